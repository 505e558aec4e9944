"""The losses side by side: RBT (arXiv:2411.04991) Figs. 1 to 3, 8 to 11 and 16 to 18."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import Bars, draw_series
from rmsweep.analysis.figures.style import IMPROVEMENT, loss_style


def by_base_llm(rows: pd.DataFrame, bars: Bars, variant: str) -> Figure:
    """Draw improvement by Best-of-N at one noise level and quantity: a bar a loss and base LLM."""
    rows = shown_runs.of_datasets(rows, variant)
    rows, held = shown_runs.at_reference(rows, shown_runs.REFERENCE)
    group = "base_llm" if rows["base_llm"].nunique() > 1 else "base_llm.stem"
    facets = shown_runs.facets(rows, [group])
    cells = bars.means(rows, [*facets, group], "improvement")
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    width = 0.8 / len(labels)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        groups = list(dict.fromkeys(part[group]))
        for i, loss in enumerate(labels):
            of_loss, style = part[part["loss"] == loss], loss_style(loss)
            x = np.array([groups.index(name) for name in of_loss[group]])
            ax.bar(
                x + (i + 0.5) * width - 0.4,
                of_loss["mean"],
                width * 0.92,
                label=labels[loss],
                yerr=shown_runs.interval_reach(of_loss),
                color=style.color,
                hatch=style.hatch,
                edgecolor="white",
                linewidth=0,
                error_kw={"elinewidth": 0.8},
            )
        ax.set_xticks(range(len(groups)), groups, rotation=25 if len(groups) > 2 else 0)
        ax.set_xlim(-0.5, max(len(groups), 1) - 0.5)  # also where a panel lacks a loss, or all
        ax.axhline(0, color="black", linewidth=0.6)
    panels.label_axes(figure, axes, "base LLM", IMPROVEMENT)
    handles = [
        Patch(facecolor=s.color, hatch=s.hatch, edgecolor="white", linewidth=0, label=labels[loss])
        for loss in labels
        for s in [loss_style(loss)]
    ]
    return panels.finish(figure, handles, shown_runs.footnote(rows, cells, held, bars.words))


def over_error(rows: pd.DataFrame, bars: Bars, variant: str) -> Figure:
    """Draw improvement against the error rate that annotators of each beta made."""
    rows, held = shown_runs.over_field(rows, variant, "annotation.beta", "quantity")
    return _curves(rows, "annotation.beta", "annotation_error", "annotation error rate", held, bars)


def over_quantity(rows: pd.DataFrame, bars: Bars, variant: str) -> Figure:
    """Draw improvement against quantity."""
    rows, held = shown_runs.over_field(rows, variant, "quantity", "annotation.beta")
    return _curves(rows, "quantity", "quantity", "annotated pairs", held, bars)


def _curves(
    rows: pd.DataFrame, field: str, column: str, x_label: str, held: list[str], bars: Bars
) -> Figure:
    """A line a loss over a field; x: the mean of a column of the results at each value of it."""
    facets = shown_runs.facets(rows, [field])
    cells = bars.means(rows, [*facets, field], "improvement")
    if column != field:
        by = [*facets, field, "loss"]
        cells = shown_runs.with_number(cells, rows, by, column, pd.Series.mean)
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        if column == "quantity":
            ax.set_xscale("log", base=2)  # before the lines, which make room for themselves
        draw_series(ax, part, column, labels, line=True)
        if column == "quantity":
            numbers = sorted(set(part[field]))
            panels.set_x_ticks(ax, numbers, panels.quantity_labels(ax, numbers))
            ax.minorticks_off()
    panels.label_axes(figure, axes, x_label, IMPROVEMENT)
    footnote = shown_runs.footnote(rows, cells, held, bars.words)
    return panels.finish(figure, panels.loss_handles(labels), footnote)
