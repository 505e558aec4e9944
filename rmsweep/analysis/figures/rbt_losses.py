"""The losses side by side: RBT (arXiv:2411.04991) Figs. 1 to 3, 8 to 11 and 16 to 18."""

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmsweep.analysis.figures import grouped_bars, panels, shown_runs
from rmsweep.analysis.figures.error_bars import Bars, draw_series
from rmsweep.analysis.figures.grouped_bars import Series
from rmsweep.analysis.figures.style import loss_style, metric_label

BASE_LINE: Any = {"color": "#555555", "linestyle": "--", "linewidth": 0.9}
BASE_IN_WORDS = "base LLM: mean golden reward of its responses"
OF_VALUES = (
    "They also show how prompts differ in golden reward; --metric improvement leaves it out."
)


def by_base_llm(
    rows: pd.DataFrame, bars: Bars, variant: str, metric: str = "improvement"
) -> Figure:
    """Draw a metric at one noise level and quantity: a bar a loss and base LLM."""
    rows = shown_runs.of_datasets(rows, variant)
    rows, held = shown_runs.at_reference(rows, shown_runs.REFERENCE)
    group = grouped_bars.base_llm_field(rows)
    facets = shown_runs.facets(rows, [group])
    cells = bars.means(rows, [*facets, group], metric)
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    looks = {loss: loss_style(loss) for loss in labels}
    series = [
        Series(labels[loss], {"loss": loss}, look.color, look.hatch) for loss, look in looks.items()
    ]
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        grouped_bars.draw_groups(ax, part, group, series)
    panels.label_axes(figure, axes, "base LLM", metric_label(metric))
    handles = [grouped_bars.handle(one.label, one.color, one.hatch) for one in series]
    return panels.finish(figure, handles, shown_runs.footnote(rows, cells, held, bars.words))


def over_error(rows: pd.DataFrame, bars: Bars, variant: str, metric: str = "bon_golden") -> Figure:
    """Draw a metric against the error rate that annotators of each beta made."""
    rows, held = shown_runs.over_field(rows, variant, "annotation.beta", "quantity")
    x = "annotation.beta", "annotation_error", "annotation error rate"
    return _curves(rows, *x, held, bars, metric)


def over_quantity(
    rows: pd.DataFrame, bars: Bars, variant: str, metric: str = "bon_golden"
) -> Figure:
    """Draw a metric against quantity."""
    rows, held = shown_runs.over_field(rows, variant, "quantity", "annotation.beta")
    return _curves(rows, "quantity", "quantity", "annotated pairs", held, bars, metric)


def _curves(
    rows: pd.DataFrame,
    field: str,
    column: str,
    x_label: str,
    held: list[str],
    bars: Bars,
    metric: str,
) -> Figure:
    """A line a loss over a field; x: the mean of a column of the results at each value of it.

    Where the metric is golden reward a panel also has that of the base LLM.
    """
    facets = shown_runs.facets(rows, [field])
    cells = bars.means(rows, [*facets, field], metric)
    by = [*facets, field, "loss"]
    if column != field:
        cells = shown_runs.with_number(cells, rows, by, column, pd.Series.mean)
    with_base = metric == "bon_golden"
    if with_base:
        cells = shown_runs.with_number(cells, rows, by, "base", pd.Series.mean)
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        if column == "quantity":
            ax.set_xscale("log", base=2)  # before the lines, which make room for themselves
        draw_series(ax, part, column, labels, line=True)
        if with_base:
            ax.axhline(part["base"].mean(), **BASE_LINE)
        if column == "quantity":
            numbers = sorted(set(part[field]))
            panels.set_x_ticks(ax, numbers, panels.quantity_labels(ax, numbers))
            ax.minorticks_off()
    panels.label_axes(figure, axes, x_label, metric_label(metric))
    words = f"{bars.words} {OF_VALUES}" if with_base and bars.kind == "interval" else bars.words
    footnote = shown_runs.footnote(rows, cells, held, words)
    line: list[Artist] = [Line2D([], [], **BASE_LINE, label=BASE_IN_WORDS)] if with_base else []
    return panels.finish(figure, [*panels.loss_handles(labels), *line], footnote)
