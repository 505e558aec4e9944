"""Same- and cross-prompt annotation: RBT (arXiv:2411.04991) Figs. 4, 5, 12 to 15, 19, 20."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.figures import error_bars, grouped_bars, panels, shown_runs
from rmsweep.analysis.figures.error_bars import Bars
from rmsweep.analysis.figures.grouped_bars import Series
from rmsweep.analysis.figures.style import GREY, loss_style, metric_label

HATCHES = {"same_prompt": "", "cross_prompt": "//////"}
# The paper has similar at the left.
SELECTIONS = {"random": ["random"], "chosen": ["similar", "diversified"]}


def _of_selections(rows: pd.DataFrame, which: str, datasets: str) -> pd.DataFrame:
    """Return the runs of some datasets and selections, in the order of the latter."""
    selections = SELECTIONS[which]
    rows = shown_runs.of_datasets(rows, datasets)
    rows = pd.concat([rows[rows["selection"] == selection] for selection in selections])
    shown_runs.require_values(rows, f"runs with selection={' or '.join(selections)}", "selection")
    shown_runs.require_two(rows, "pairing")
    return rows


def pairs_by_base_llm(
    rows: pd.DataFrame, bars: Bars, variant: tuple[str, str], metric: str = "improvement"
) -> Figure:
    """Draw two bars a loss and base LLM, plain of same-prompt and hatched of cross-prompt pairs.

    variant: which of SELECTIONS, and which datasets (`shown_runs.of_datasets`).
    """
    rows = _of_selections(rows, *variant)
    rows, held = shown_runs.at_reference(rows, ["annotation.beta", "quantity"])
    shown_runs.require_two(rows, "pairing")
    group = grouped_bars.base_llm_field(rows)
    facets = shown_runs.facets(rows, [group, "pairing"])
    cells = bars.means(rows, [*facets, group, "pairing"], metric)
    labels = panels.loss_labels(rows)
    series = [
        Series(f"{label}, {pairing}", {"loss": loss, "pairing": pairing}, look.color, hatch)
        for loss, label in labels.items()
        for look in [loss_style(loss)]
        for pairing, hatch in HATCHES.items()
    ]
    figure, axes = panels.facet_panels(cells, facets, across=["selection"])
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        grouped_bars.draw_groups(ax, part, group, series)
    _level_selections(axes, cells, facets)
    panels.label_axes(figure, axes, "base LLM", metric_label(metric))
    handles = [grouped_bars.handle(labels[loss], loss_style(loss).color) for loss in labels]
    for pairing, hatch in HATCHES.items():
        handles.append(grouped_bars.handle(pairing.replace("_", "-"), GREY, hatch))
    footnote = shown_runs.footnote(rows, cells, [*_one_selection(rows), *held], bars.words)
    return panels.finish(figure, handles, footnote)


def _level_selections(axes: Sequence[Axes], cells: pd.DataFrame, facets: Sequence[str]) -> None:
    """Give panels that differ in the selection alone one y axis, so that their bars compare."""
    alike: dict[Any, list[Axes]] = {}
    for ax, (values, _) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        others = tuple(value for field, value in values.items() if field != "selection")
        alike.setdefault(others, []).append(ax)
    for group in alike.values():
        bottoms, tops = zip(*(ax.get_ylim() for ax in group), strict=True)
        for ax in group:
            ax.set_ylim(min(bottoms), max(tops))


def pairs_over_beta(
    rows: pd.DataFrame, bars: Bars, variant: tuple[str, str], metric: str = "improvement"
) -> Figure:
    """Draw both pairings of each loss over beta, at every quantity; variant: as above."""
    rows = _of_selections(rows, *variant)
    shown_runs.require_two(rows, "quantity")
    shown_runs.require_two(rows, "annotation.beta")
    facets = shown_runs.facets(rows, ["annotation.beta", "pairing"])
    cells = bars.means(rows, [*facets, "annotation.beta", "pairing"], metric)
    betas = sorted(cells["annotation.beta"].unique())
    cells = cells.assign(x=[betas.index(beta) for beta in cells["annotation.beta"]])
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        _draw_pairings(ax, part, labels)
        panels.set_x_ticks(ax, range(len(betas)), [as_typed(beta) for beta in betas])
    panels.label_axes(figure, axes, "annotators' β", metric_label(metric))
    footnote = shown_runs.footnote(rows, cells, _one_selection(rows), bars.words)
    return panels.finish(figure, [*panels.loss_handles(labels), *_pairing_handles()], footnote)


def _one_selection(rows: pd.DataFrame) -> list[str]:
    """Return the selection, for the caption, where it is one and makes no panels."""
    selections = list(shown_runs.done(rows)["selection"].unique())
    return selections if len(selections) == 1 else []


def _draw_pairings(ax: Axes, cells: pd.DataFrame, labels: Mapping[str, str]) -> None:
    for i, loss in enumerate(labels):
        color, place = loss_style(loss).color, error_bars.apart_by(ax, i, len(labels))
        of_loss = cells[cells["loss"] == loss].sort_values("x")
        for pairing, face in (("same_prompt", "white"), ("cross_prompt", color)):
            part, label = of_loss[of_loss["pairing"] == pairing], f"{labels[loss]}, {pairing}"
            error_bars.draw_means(ax, part, "x", loss, label, place, face=face, bar_width=0.6)


def _pairing_handles() -> list[Artist]:
    grey: Any = {"color": GREY, "marker": "o", "linestyle": "none"}
    return [
        Line2D([], [], markerfacecolor="white", label="same-prompt", **grey),
        Line2D([], [], label="cross-prompt", **grey),
    ]
