"""Best-of-N: golden reward of the pick over N and over the square root of its KL divergence."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.rbt_losses import draw_lines
from rmsweep.analysis.figures.style import RC
from rmsweep.evaluation.best_of_n import kl_upper_bound

BY_SEED = (
    "Error bars: 95 % intervals, bootstrap over {seeds} seeds only; the test prompts are taken as "
    "given."
)


def bon_n(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Golden reward of the pick against N."""
    return _curves(rows, rng, over_kl=False)


def bon_kl(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Golden reward of the pick against the square root of KL(Best-of-N || base LLM)."""
    return _curves(rows, rng, over_kl=True)


@matplotlib.rc_context(RC)
def _curves(rows: pd.DataFrame, rng: np.random.Generator, *, over_kl: bool) -> Figure:
    rows, held = shown_runs.at_reference(rows, shown_runs.REFERENCE)
    shown_runs.require(rows, "runs with bon_golden_by_n", "bon_golden")
    facets = shown_runs.facets(rows, [])
    cells = shown_runs.means_of_list(rows, [*facets, "loss"], "bon_golden_by_n", rng)
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    runs = shown_runs.with_fields(shown_runs.done(rows), facets)
    runs = runs[runs["bon_golden_by_n"].notna()]
    for ax, (_, part), (_, of_panel) in zip(
        axes, shown_runs.by_panel(cells, facets), shown_runs.by_panel(runs, facets), strict=True
    ):
        ns = np.asarray(of_panel["bon_n"].iloc[0], float)
        x = np.sqrt(kl_upper_bound(ns)) if over_kl else ns
        if not over_kl:
            ax.set_xscale("log", base=2)
        draw_lines(ax, part.assign(x=x[part["position"]]), "x", labels)
        _draw_limits(ax, x, of_panel)
        if not over_kl:
            panels.set_x_ticks(ax, ns.tolist(), [f"{n:g}" for n in ns])
            ax.minorticks_off()
    x_label = "√KL from the base LLM, √nats (upper bound)" if over_kl else "N"
    panels.label_axes(figure, axes, x_label, "golden reward of the pick")
    limits = [
        Line2D([], [], color="black", linestyle=(0, (4, 1)), linewidth=0.8, label="oracle"),
        Line2D([], [], color="black", linestyle=(0, (1, 2)), linewidth=0.8, label="random"),
    ]
    footnote = shown_runs.footnote(rows, cells, held, BY_SEED)
    if runs["oracle_by_n"].isna().any():
        footnote.append("Some runs, of an earlier version, hold the oracle at the largest N only.")
    return panels.finish(figure, [*panels.loss_handles(labels), *limits], footnote)


def _draw_limits(ax: Axes, x: np.ndarray, runs: pd.DataFrame) -> None:
    """The pick by golden reward, and a random one, which no N improves."""
    recorded = runs["oracle_by_n"].dropna()
    if len(recorded):
        ax.plot(x, recorded.iloc[0], color="black", linestyle=(0, (4, 1)), linewidth=0.8)
    else:  # runs of an earlier version have only its end
        at = list(runs["bon_n"].iloc[0]).index(shown_runs.scored_n(runs))
        ax.plot(x[at], runs["oracle"].iloc[0], color="black", marker="_", markersize=8)
    ax.axhline(runs["base"].mean(), color="black", linestyle=(0, (1, 2)), linewidth=0.8)
