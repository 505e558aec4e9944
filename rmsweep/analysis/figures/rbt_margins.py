"""The margins of pairs, and what cross-prompt annotation yields: RBT (arXiv:2411.04991) Fig. 6."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmsweep.analysis import contrasts
from rmsweep.analysis.bootstrap import percentile_interval
from rmsweep.analysis.fields import combination_ids
from rmsweep.analysis.figures import error_bars, grouped_bars, panels, shown_runs
from rmsweep.analysis.figures.style import BASE_LLM_COLORS, GREY, SELECTION_MARKERS
from rmsweep.analysis.matched_runs import balanced_pairs, matched_pairs
from rmsweep.analysis.means import means_and_draws
from rmsweep.analysis.metrics import run_values
from rmsweep.errors import MissingData

CROSS, SAME = {"pairing": "cross_prompt"}, {"pairing": "same_prompt"}
VALUE, GAIN = "value: cross-prompt", "gain: cross − same"
READINGS = (
    "y is read in both ways that the paper's words allow: the value is the improvement under "
    "cross-prompt annotation, the gain is that less the improvement under same-prompt annotation."
)
OF_R = "r: Pearson's correlation over a panel's points, which are taken as given."
ENOUGH_POINTS = 3  # for a correlation


def fig6(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the mean golden margin of same-prompt pairs against what cross-prompt ones yield.

    A point is a base LLM and selection, its mean over the losses. A dataset has a panel for each
    of two readings of "improvement by cross-prompt annotation".
    """
    rows, held = shown_runs.at_reference(rows, ["annotation.beta", "quantity"])
    shown_runs.require_two(rows, "pairing")
    llm = grouped_bars.base_llm_field(rows)
    facets = ["reading", *shown_runs.facets(rows, ["pairing", "selection", llm])]
    points = _points(shown_runs.done(rows), [*facets[1:], llm, "selection"], rng)
    if points.groupby(facets, dropna=False).size().max() < ENOUGH_POINTS:
        raise MissingData(f"{ENOUGH_POINTS} base LLMs or selections with both pairings")
    colors = dict(zip(points[llm].unique(), itertools.cycle(BASE_LLM_COLORS), strict=False))
    markers = _markers({*points["selection"]})
    figure, axes = panels.facet_panels(points, facets, across=facets[1:])
    for ax, (_, part) in zip(axes, shown_runs.by_panel(points, facets), strict=True):
        for point in part.to_dict("records"):
            _draw_point(ax, point, colors[point[llm]], markers[point["selection"]])
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set_title("\n".join(text for text in (ax.get_title(), _correlation(part)) if text))
    panels.label_axes(figure, axes, "mean |Δr| of the same-prompt pairs", "golden reward")
    losses = shown_runs.done(rows)["loss"].nunique()
    held = [*([f"mean over {losses} losses"] if losses > 1 else []), *held]
    words = f"{READINGS} {error_bars.CROSSED} {OF_R}"
    footnote = shown_runs.footnote(rows, points, held, words)
    return panels.finish(figure, _handles(colors, markers), footnote)


def _points(runs: pd.DataFrame, by: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return for each reading a point a combination of the fields, over the same pairs of runs.

    x: the mean golden margin of the same-prompt pairs. mean, low, high: of y. draws: of y, an array
    a point.
    """
    pairs = balanced_pairs(matched_pairs(runs, CROSS, SAME, "improvement"), by)
    if pairs.empty:
        raise MissingData("runs that agree in all but the pairing")
    groups = combination_ids(pairs, by)
    cross = pairs.assign(cell=groups, dataset=pairs["stratum"])
    values = run_values(runs, "improvement").iloc[pairs["row_a"]]
    margins = runs["mean_margin"].iloc[pairs["row_b"]].astype(float).reset_index(drop=True)
    readings = {
        VALUE: means_and_draws(values, cross, rng),
        GAIN: contrasts.difference_draws(runs, pairs, "improvement", rng, by),
    }
    tables = []
    for reading, (estimates, draws) in readings.items():
        table = contrasts.effect_table(pairs, "improvement", by, estimates, draws)
        table = table.rename(columns={"estimate": "mean"})
        x = margins.groupby(groups).mean()
        tables.append(table.assign(reading=reading, x=x, draws=list(draws.to_numpy().T)))
    return pd.concat(tables, ignore_index=True)


def _draw_point(ax: Axes, point: dict[str, Any], color: str, marker: str) -> None:
    ax.errorbar(
        point["x"],
        point["mean"],
        shown_runs.interval_reach(pd.DataFrame([point])),
        label=f"{point['reading']}, {point['selection']}",
        color=color,
        marker=marker,
        linestyle="none",
        elinewidth=0.6,
    )


def _correlation(points: pd.DataFrame) -> str:
    """Return r over the points with its interval; none of fewer than three, or of one x."""
    if len(points) < ENOUGH_POINTS or np.ptp(points["x"]) == 0:
        return ""
    y = np.vstack([points["mean"], np.stack(points["draws"]).T]).astype(float)
    r = contrasts.correlations(points["x"].to_numpy(), y)
    ends = map(panels.signed_text, (r[0], *np.ravel(percentile_interval(r[1:, None]))))
    return "r = {} [{}, {}]".format(*ends)


def _markers(selections: set[str]) -> dict[str, str]:
    """Return the marker of each selection, a user's own ones after those that are shipped."""
    own = zip(sorted(selections - {*SELECTION_MARKERS}), itertools.cycle("DvPX*"), strict=False)
    every = SELECTION_MARKERS | dict(own)
    return {name: marker for name, marker in every.items() if name in selections}


def _handles(colors: dict[str, str], markers: dict[str, str]) -> list[Artist]:
    looks = [(name, color, "o") for name, color in colors.items()]
    looks += [(name, GREY, marker) for name, marker in markers.items()]
    return [
        Line2D([], [], color=color, marker=marker, linestyle="none", label=name)
        for name, color, marker in looks
    ]
