"""Same- and cross-prompt annotation: RBT (arXiv:2411.04991) Figs. 4 to 6, 12 to 15, 19, 20."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rmsweep.analysis import contrasts
from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.figures import error_bars, panels, shown_runs
from rmsweep.analysis.figures.error_bars import Bars
from rmsweep.analysis.figures.style import IMPROVEMENT, loss_style
from rmsweep.errors import MissingData

CROSS, SAME = {"pairing": "cross_prompt"}, {"pairing": "same_prompt"}


def random_pairs(rows: pd.DataFrame, bars: Bars, variant: str) -> Figure:
    """Draw same- and cross-prompt annotation under random selection, against beta."""
    return _shaded(rows, ["random"], bars, variant)


def chosen_pairs(rows: pd.DataFrame, bars: Bars, variant: str) -> Figure:
    """Draw the same for pairs of similar and of diversified responses."""
    return _shaded(rows, ["similar", "diversified"], bars, variant)


def fig6(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the pairs' mean golden margin against the gain of cross-prompt annotation.

    A point is a setting. One panel has the margin of the cross-prompt pairs, the other that of the
    same-prompt pairs.
    """
    rows, held = shown_runs.at_reference(rows, ["annotation.beta", "quantity"])
    shown_runs.require_two(rows, "pairing")
    runs, by = shown_runs.done(rows), ["loss", *shown_runs.facets(rows, ["pairing"])]
    labels = panels.loss_labels(rows)
    figure, axes = panels.panels(2)
    for ax, one, other in zip(axes, (CROSS, SAME), (SAME, CROSS), strict=True):
        sides = one, other, "improvement", "mean_margin"
        points, line = contrasts.correlation_points(runs, *sides, by, rng)
        if len(points) < 3:
            raise MissingData("three settings with both pairings")
        if one is SAME:  # cross - same, all the same
            points, line = _negated(points), _negated(line)
        points = points.rename(columns={"estimate": "mean"})
        error_bars.draw_series(ax, points, "x", labels, line=False)
        ax.axhline(0, color="black", linewidth=0.6)
        ends = (line[name].iloc[0] for name in ("estimate", "low", "high"))
        r, low, high = map(panels.signed_text, ends)
        ax.set_title(f"r = {r} [{low}, {high}], {len(points)} points")
        ax.set_xlabel(f"mean |Δr| of the {one['pairing'].replace('_', '-')} pairs")
    figure.supylabel("gain of cross-prompt annotation")
    of_r = "r: Pearson's correlation over the points, which are taken as given."
    footnote = shown_runs.footnote(rows, points, held, f"{error_bars.CROSSED} {of_r}")
    return panels.finish(figure, panels.loss_handles(labels, line=False), footnote)


def _negated(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(estimate=-table["estimate"], low=-table["high"], high=-table["low"])


def _shaded(rows: pd.DataFrame, selections: Sequence[str], bars: Bars, variant: str) -> Figure:
    """Both pairings of each loss over beta, and what lies between them shaded."""
    rows = shown_runs.of_datasets(rows, variant)
    fixed = [] if variant in shown_runs.ONE_DATASET else ["quantity"]
    if not fixed:
        shown_runs.require_two(rows, "quantity")
    rows = rows[rows["selection"].isin(selections)]
    shown_runs.require_values(rows, f"runs with selection={' or '.join(selections)}", "selection")
    shown_runs.require_two(rows, "pairing")
    rows, held = shown_runs.at_reference(rows, fixed)
    shown_runs.require_two(rows, "pairing")
    shown_runs.require_two(rows, "annotation.beta")
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
        color, place = loss_style(loss).color, error_bars.apart_by(ax, i, len(labels))
        of_loss = cells[cells["loss"] == loss].sort_values("x")
        both = of_loss.pivot(index="x", columns="pairing", values="mean").dropna()
        if both.shape[1] == 2:
            ends = both["same_prompt"].astype(float), both["cross_prompt"].astype(float)
            ax.fill_between(both.index, *ends, color=color, alpha=0.1, linewidth=0)
        for pairing, face in (("same_prompt", "white"), ("cross_prompt", color)):
            part, label = of_loss[of_loss["pairing"] == pairing], f"{labels[loss]}, {pairing}"
            error_bars.draw_means(ax, part, "x", loss, label, place, face=face, bar_width=0.6)


def _pairing_handles() -> list[Artist]:
    grey: Any = {"color": "#555555", "marker": "o", "linestyle": "none"}
    return [
        Line2D([], [], markerfacecolor="white", label="same-prompt", **grey),
        Line2D([], [], label="cross-prompt", **grey),
        Patch(color="#dddddd", label="between them"),
    ]
