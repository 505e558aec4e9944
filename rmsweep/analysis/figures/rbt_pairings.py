"""Same- and cross-prompt annotation: RBT (arXiv:2411.04991) Figs. 4 to 6, 12 to 15, 19, 20."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rmsweep.analysis import contrasts
from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import CROSSED, Bars
from rmsweep.analysis.figures.rbt_losses import IMPROVEMENT, apart_by, make_room
from rmsweep.analysis.figures.style import RC, loss_style
from rmsweep.errors import MissingData

CROSS, SAME = {"pairing": "cross_prompt"}, {"pairing": "same_prompt"}
RANDOM, CHOSEN = ("random",), ("similar", "diversified")


def fig4(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Same- and cross-prompt annotation under random selection, against beta."""
    return _shaded(shown_runs.of_datasets(rows, later=False), RANDOM, ["quantity"], bars)


def fig19(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 4 on HelpSteer and UltraFeedback."""
    return _shaded(shown_runs.of_datasets(rows, later=True), RANDOM, ["quantity"], bars)


def fig5(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 4 for pairs of similar and of diversified responses."""
    return _shaded(shown_runs.of_datasets(rows, later=False), CHOSEN, ["quantity"], bars)


def fig20(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 5 on HelpSteer and UltraFeedback."""
    return _shaded(shown_runs.of_datasets(rows, later=True), CHOSEN, ["quantity"], bars)


def fig12(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 4 at every quantity, on the first dataset (RBT: Harmless)."""
    return _at_every_quantity(shown_runs.of_dataset(rows, 0), RANDOM, bars)


def fig13(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 4 at every quantity, on the second dataset (RBT: Helpful)."""
    return _at_every_quantity(shown_runs.of_dataset(rows, 1), RANDOM, bars)


def fig14(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 5 at every quantity, on the first dataset (RBT: Harmless)."""
    return _at_every_quantity(shown_runs.of_dataset(rows, 0), CHOSEN, bars)


def fig15(rows: pd.DataFrame, bars: Bars) -> Figure:
    """Fig. 5 at every quantity, on the second dataset (RBT: Helpful)."""
    return _at_every_quantity(shown_runs.of_dataset(rows, 1), CHOSEN, bars)


@matplotlib.rc_context(RC)
def fig6(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """The pairs' mean golden margin against the gain of cross-prompt annotation; a point a setting.

    One panel has the margin of the cross-prompt pairs, the other that of the same-prompt pairs.
    """
    rows, held = shown_runs.at_reference(rows, ["annotation.beta", "quantity"])
    rows = _with_both_pairings(rows)
    runs, by = shown_runs.done(rows), ["loss", *shown_runs.facets(rows, ["pairing"])]
    labels = panels.loss_labels(rows)
    figure, axes = panels.panels(2)
    for ax, one, other in zip(axes, (CROSS, SAME), (SAME, CROSS), strict=True):
        points, line = contrasts.correlation_points(
            runs, one, other, "improvement", "mean_margin", by, rng
        )
        if len(points) < 3:
            raise MissingData("three settings with both pairings")
        if one is SAME:  # cross - same, all the same
            points, line = _negated(points), _negated(line)
        for i, loss in enumerate(labels):
            part, style = points[points["loss"] == loss], loss_style(loss)
            part = part.rename(columns={"estimate": "mean"})
            ax.errorbar(
                part["x"],
                part["mean"],
                shown_runs.interval_reach(part),
                color=style.color,
                marker=style.marker,
                linestyle="none",
                elinewidth=0.7,
                label=labels[loss],
                transform=apart_by(ax, i, len(labels)),
            )
            make_room(ax, part, "x")
        ax.axhline(0, color="black", linewidth=0.6)
        r, low, high = (
            panels.signed_text(line[name].iloc[0]) for name in ("estimate", "low", "high")
        )
        ax.set_title(f"r = {r} [{low}, {high}], {len(points)} points")
        ax.set_xlabel(f"mean |Δr| of the {one['pairing'].replace('_', '-')} pairs")
    figure.supylabel("gain of cross-prompt annotation")
    interval = f"{CROSSED} r: Pearson's correlation over the points, which are taken as given."
    footnote = shown_runs.footnote(rows, points, held, interval)
    handles = panels.loss_handles(labels, line=False)
    return panels.finish(figure, handles, footnote)


def _negated(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(estimate=-table["estimate"], low=-table["high"], high=-table["low"])


def _with_both_pairings(rows: pd.DataFrame) -> pd.DataFrame:
    shown_runs.require(rows, "runs with both pairings", "pairing", 2)
    return rows


def _at_every_quantity(rows: pd.DataFrame, selections: Sequence[str], bars: Bars) -> Figure:
    shown_runs.require(rows, "runs with two quantities", "quantity", 2)
    return _shaded(rows, selections, [], bars)


@matplotlib.rc_context(RC)
def _shaded(rows: pd.DataFrame, selections: Sequence[str], fixed: list[str], bars: Bars) -> Figure:
    """Both pairings of each loss over beta, and what lies between them shaded."""
    rows = shown_runs.with_value(rows, "selection", selections)
    shown_runs.require(rows, f"runs with selection={' or '.join(selections)}", "selection")
    rows, held = shown_runs.at_reference(_with_both_pairings(rows), fixed)
    rows = _with_both_pairings(rows)
    shown_runs.require(rows, "runs with two values of beta", "annotation.beta", 2)
    facets = shown_runs.facets(rows, ["annotation.beta", "pairing"])
    cells = bars.means(rows, [*facets, "annotation.beta", "pairing"], "improvement")
    betas = sorted(cells["annotation.beta"].unique())
    cells = cells.assign(x=[betas.index(beta) for beta in cells["annotation.beta"]])
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        _draw_pairings(ax, part, labels)
        panels.set_x_ticks(ax, range(len(betas)), [as_typed(beta) for beta in betas])
    panels.label_axes(figure, axes, "annotators' β", IMPROVEMENT)
    selections_shown = shown_runs.done(rows)["selection"].unique()
    if len(selections_shown) == 1:
        held = [*selections_shown, *held]
    footnote = shown_runs.footnote(rows, cells, held, bars.words)
    return panels.finish(figure, [*panels.loss_handles(labels), *_pairing_handles()], footnote)


def _draw_pairings(ax: Axes, cells: pd.DataFrame, labels: Mapping[str, str]) -> None:
    for i, loss in enumerate(labels):
        style, apart = loss_style(loss), apart_by(ax, i, len(labels))
        of_loss = cells[cells["loss"] == loss].sort_values("x")
        both = of_loss.pivot(index="x", columns="pairing", values="mean").dropna()
        if both.shape[1] == 2:
            ends = both["same_prompt"].astype(float), both["cross_prompt"].astype(float)
            ax.fill_between(both.index, *ends, color=style.color, alpha=0.1, linewidth=0)
        for pairing, face in (("same_prompt", "white"), ("cross_prompt", style.color)):
            part = of_loss[of_loss["pairing"] == pairing]
            ax.errorbar(
                part["x"],
                part["mean"].astype(float),
                shown_runs.interval_reach(part),
                color=style.color,
                marker=style.marker,
                linestyle=style.linestyle,
                markerfacecolor=face,
                elinewidth=0.6,
                label=f"{labels[loss]}, {pairing}",
                transform=apart,
            )
            make_room(ax, part, "x")


def _pairing_handles() -> list[Artist]:
    grey: Any = {"color": "#555555", "marker": "o", "linestyle": "none"}
    return [
        Line2D([], [], markerfacecolor="white", label="same-prompt", **grey),
        Line2D([], [], label="cross-prompt", **grey),
        Patch(color="#dddddd", label="between them"),
    ]
