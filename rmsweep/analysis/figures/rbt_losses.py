"""The losses side by side: RBT (arXiv:2411.04991) Figs. 1 to 3, 8 to 11 and 16 to 18."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation, Transform

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import Bars
from rmsweep.analysis.figures.style import RC, loss_style

IMPROVEMENT = "improvement of golden reward over the base LLM"


def fig1(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Improvement by Best-of-N for each base LLM, at one noise level and quantity."""
    return _bars(shown_runs.of_datasets(rows, later=False), bars)


def fig16(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 1 on HelpSteer and UltraFeedback."""
    return _bars(shown_runs.of_datasets(rows, later=True), bars)


def fig2(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Improvement against the annotation error rate, at the largest quantity."""
    return _against_error(shown_runs.of_datasets(rows, later=False), ["quantity"], bars)


def fig17(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 2 on HelpSteer and UltraFeedback."""
    return _against_error(shown_runs.of_datasets(rows, later=True), ["quantity"], bars)


def fig8(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 2 at every quantity, on the first dataset (RBT: Harmless)."""
    return _against_error(shown_runs.of_dataset(rows, 0), [], bars)


def fig9(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 2 at every quantity, on the second dataset (RBT: Helpful)."""
    return _against_error(shown_runs.of_dataset(rows, 1), [], bars)


def fig3(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Improvement against quantity, at beta = 1."""
    return _against_quantity(shown_runs.of_datasets(rows, later=False), ["annotation.beta"], bars)


def fig18(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 3 on HelpSteer and UltraFeedback."""
    return _against_quantity(shown_runs.of_datasets(rows, later=True), ["annotation.beta"], bars)


def fig10(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 3 at every beta, on the first dataset (RBT: Harmless)."""
    return _against_quantity(shown_runs.of_dataset(rows, 0), [], bars)


def fig11(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 3 at every beta, on the second dataset (RBT: Helpful)."""
    return _against_quantity(shown_runs.of_dataset(rows, 1), [], bars)


@matplotlib.rc_context(RC)
def _bars(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Groups of bars, a group a base LLM, a bar a loss."""
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


def _against_error(rows: pd.DataFrame, fixed: list[str], bars: Bars) -> Figure:
    """Curves over the error rate that annotators of each beta made; fixed: ["quantity"] or []."""
    if not fixed:
        shown_runs.require(rows, "runs with two quantities", "quantity", 2)
    rows, held = shown_runs.at_reference(rows, ["pairing", "selection", *fixed])
    shown_runs.require(rows, "runs with two values of beta", "annotation.beta", 2)
    return _curves(rows, "annotation.beta", "annotation_error", "annotation error rate", held, bars)


def _against_quantity(rows: pd.DataFrame, fixed: list[str], bars: Bars) -> Figure:
    """Curves over the quantity; fixed: ["annotation.beta"] or []."""
    if not fixed:
        shown_runs.require(rows, "runs with two values of beta", "annotation.beta", 2)
    rows, held = shown_runs.at_reference(rows, ["pairing", "selection", *fixed])
    shown_runs.require(rows, "runs with two quantities", "quantity", 2)
    return _curves(rows, "quantity", "quantity", "annotated pairs", held, bars)


@matplotlib.rc_context(RC)
def _curves(
    rows: pd.DataFrame,
    field: str,
    column: str,
    x_label: str,
    held: Sequence[str],
    bars: Bars,
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
        draw_lines(ax, part, column, labels)
        if column == "quantity":
            numbers = sorted(set(part[field]))
            panels.set_x_ticks(ax, numbers, panels.quantity_labels(ax, numbers))
            ax.minorticks_off()
    panels.label_axes(figure, axes, x_label, IMPROVEMENT)
    footnote = shown_runs.footnote(rows, cells, held, bars.words)
    return panels.finish(figure, panels.loss_handles(labels), footnote)


def draw_lines(ax: Axes, cells: pd.DataFrame, x: str, labels: Mapping[str, str]) -> None:
    """Each loss's means over a column of the cells; the losses stand 2 points apart, to be seen."""
    for i, loss in enumerate(labels):
        part, style = cells[cells["loss"] == loss].sort_values(x), loss_style(loss)
        ax.errorbar(
            part[x].astype(float),
            part["mean"],
            yerr=shown_runs.interval_reach(part),
            label=labels[loss],
            color=style.color,
            marker=style.marker,
            linestyle=style.linestyle,
            elinewidth=0.7,
            transform=apart_by(ax, i, len(labels)),
        )
        make_room(ax, part, x)


def apart_by(ax: Axes, i: int, n: int) -> Transform:
    """Data coordinates, moved sideways such that the i-th of n series has a place of its own."""
    inches = panels.figure_of(ax).dpi_scale_trans
    return ax.transData + ScaledTranslation((i - (n - 1) / 2) * 2 / 72, 0, inches)


def make_room(ax: Axes, cells: pd.DataFrame, x: str) -> None:
    """Widen the axes to means and intervals; matplotlib does not see what is moved sideways."""
    for end in ("low", "mean", "high"):
        ax.update_datalim(cells.loc[cells[end].notna(), [x, end]].to_numpy(float))
    ax.margins(x=0.1)
    ax.autoscale_view()
