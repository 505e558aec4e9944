"""Best-of-N: golden reward of the pick over N and over the square root of its KL divergence."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import OVER_SEEDS, draw_series
from rmsweep.evaluation.best_of_n import kl_upper_bound

BARS_OVER_SEEDS = f"{OVER_SEEDS[:-1]}; the test prompts are taken as given."
ORACLE: Any = {"color": "black", "linestyle": (0, (4, 1)), "linewidth": 0.8}
RANDOM: Any = {"color": "black", "linestyle": (0, (1, 2)), "linewidth": 0.8}


def best_of_n_curves(rows: pd.DataFrame, rng: np.random.Generator, variant: str) -> Figure:
    """Draw the golden reward of the pick against N, or √KL(Best-of-N || base LLM).

    variant: "n" or "kl".
    """
    rows, held = shown_runs.at_reference(rows, shown_runs.REFERENCE)
    shown_runs.require_values(rows, "runs with bon_golden_by_n", "bon_golden")
    facets = shown_runs.facets(rows, [])
    cells = shown_runs.means_of_list(rows, [*facets, "loss"], "bon_golden_by_n", rng)
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    runs = shown_runs.with_fields(shown_runs.done(rows), facets)
    runs = runs[runs["bon_golden_by_n"].notna()]
    parts = shown_runs.by_panel(cells, facets), shown_runs.by_panel(runs, facets)
    for ax, (_, part), (_, of_panel) in zip(axes, *parts, strict=True):
        ns = np.asarray(of_panel["bon_n"].iloc[0], float)
        x = np.sqrt(kl_upper_bound(ns)) if variant == "kl" else ns
        if variant == "n":
            ax.set_xscale("log", base=2)
        draw_series(ax, part.assign(x=x[part["position"]]), "x", labels, line=True)
        _draw_limits(ax, x, of_panel)
        if variant == "n":
            panels.set_x_ticks(ax, ns.tolist(), [f"{n:g}" for n in ns])
            ax.minorticks_off()
    x_label = "N" if variant == "n" else "√KL from the base LLM, √nats (upper bound)"
    panels.label_axes(figure, axes, x_label, "golden reward of the pick")
    limits = [Line2D([], [], label="oracle", **ORACLE), Line2D([], [], label="random", **RANDOM)]
    footnote = shown_runs.footnote(rows, cells, held, BARS_OVER_SEEDS)
    if runs["oracle_by_n"].isna().any():
        footnote.append("Some runs, of an earlier version, hold the oracle at the largest N only.")
    return panels.finish(figure, [*panels.loss_handles(labels), *limits], footnote)


def _draw_limits(ax: Axes, x: np.ndarray, runs: pd.DataFrame) -> None:
    """The pick by golden reward, and a random one, which no N improves."""
    recorded = runs["oracle_by_n"].dropna()
    if len(recorded):
        ax.plot(x, recorded.iloc[0], **ORACLE)
    else:  # runs of an earlier version have only its end, at N of the scalar metrics
        all_n, n = list(runs["bon_n"].iloc[0]), runs.get("evaluation.n", pd.Series([None])).iloc[0]
        position = all_n.index(int(max(all_n) if n is None or pd.isna(n) else n))
        ax.plot(x[position], runs["oracle"].iloc[0], color="black", marker="_", markersize=8)
    ax.axhline(runs["base"].mean(), **RANDOM)
