"""Figures of the theory of arXiv:2411.04991 (RBT); analysis/theory.py has formulas, sources."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import special

from rmsweep.analysis import theory
from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.style import KNOWN
from rmsweep.annotation import pairing
from rmsweep.annotation.preferences import error_rate, preference_probability, prefers_first
from rmsweep.errors import MissingData

SERIES: list[tuple[str, Any, str]] = [
    *((s.color, s.linestyle, s.marker) for s in KNOWN.values()),
    ("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
]
N_SIMULATED = 20_000  # annotated pairs behind each marker
N_POPULATIONS = 200  # random ones, on which the inequality is checked
MARKERS = f"Markers: {N_SIMULATED:,} simulated pairs each"
PUBLISHED_QUALITY = {1: 0.6749, 2: 0.7251, 4: 0.7781, 10: 0.8428}  # by (beta sd of margin)^2
HEIGHT_IN = 2.0  # of a panel
GRID = np.linspace(-60, 60, 6001)  # of scores, in standard deviations within a prompt


def theory_annotation_quality(rng: np.random.Generator) -> Figure:
    """Draw the annotation quality of Gaussian scores, its density and its mean (RBT, Example 1).

    Markers are simulated: qualities of drawn pairs above, the share of right labels of rmsweep's
    annotators below, with binomial 95 % intervals.
    """
    figure, (top, bottom) = panels.panels(2, HEIGHT_IN)
    for (colour, line, marker), product in zip(SERIES, (0.5, 1, 2, 5), strict=False):
        quality = np.linspace(0.5005, 0.9995, 500)
        density = theory.gaussian_quality_density(quality, product, 1.0)
        top.plot(quality, density, color=colour, ls=line, label=f"βσ = {product:g}")
        simulated = _xi(product)(np.abs(np.subtract(*rng.normal(size=(2, N_SIMULATED)))))
        counts, edges = np.histogram(simulated, bins=25, range=(0.5, 1), density=True)
        top.plot((edges[1:] + edges[:-1]) / 2, counts, marker, color=colour, mfc="white")
    top.set_ylim(0, 10)
    name_axes(top, "annotation quality σ(β|Δr|) of a pair", "density")
    betas = np.geomspace(0.1, 30, 60)
    for (colour, line, marker), sigma in zip(SERIES, (0.5, 1, 2), strict=False):
        means = [theory.gaussian_quality(_xi(beta), sigma) for beta in betas]
        bottom.plot(betas, means, color=colour, ls=line, label=f"σ = {sigma:g}")
        margin = np.subtract(*rng.normal(0, sigma, (2, N_SIMULATED)))
        for beta in (0.1, 0.3, 1, 3, 10, 30):
            probability = preference_probability(margin, beta)
            share = 1 - error_rate(margin, prefers_first(probability, rng.random(N_SIMULATED)))
            half = 1.96 * np.sqrt(share * (1 - share) / N_SIMULATED)
            bottom.errorbar(beta, share, half, fmt=marker, color=colour, mfc="white")
    squares = np.array(list(PUBLISHED_QUALITY))
    published = list(PUBLISHED_QUALITY.values())
    bottom.plot(np.sqrt(squares / 2), published, "x", color="black", zorder=5, label="published")
    log_x(bottom, "{x:g}")
    name_axes(bottom, "β of the annotator", "mean quality Q_pair")
    caption = (
        f"Annotation quality of Gaussian scores (RBT, Example 1; Δr has variance 2σ²). {MARKERS}, "
        "below with 95 % intervals. Crosses: the example's numbers, where Δr has variance σ²."
    )
    return panels.finish(figure, [], [caption])


def theory_cross_prompt(rng: np.random.Generator) -> Figure:
    """Draw margins and quality, same- against cross-prompt (RBT, Prop. 10 and Theorem 11).

    Prompts differ in location (Gaussian) and have equal scales in the first two panels; the last
    has both sides of the inequality for random prompts, and for a quality that is not concave.
    """
    figure, (top, middle, bottom) = panels.panels(3, HEIGHT_IN)
    prompts = special.ndtri((np.arange(60) + 0.5) / 60)
    prompts /= prompts.std()
    ratios, betas = np.linspace(0, 3, 9), np.geomspace(0.1, 30, 25)
    for (colour, line, _), (name, family) in zip(SERIES, theory.FAMILIES.items(), strict=True):
        style: dict[str, Any] = {"color": colour, "ls": line, "label": name}
        pairs = [_same_and_cross(t * prompts, 1.0, family, [np.abs]) for t in ratios]
        top.plot(ratios, [cross / same for (same,), (cross,) in pairs], **style)
        same, cross = _same_and_cross(prompts, 1.0, family, [_xi(beta) for beta in betas])
        middle.plot(betas, cross - same, **style)
    for ratio in (0.5, 1, 2, 3):
        golden = rng.normal(ratio * rng.normal(size=(N_SIMULATED, 1)), 1, (N_SIMULATED, 2))
        same, cross = _simulated_margins(golden, rng)
        top.plot(ratio, cross / same, "o", color=SERIES[0][0], mfc="white")
    top.plot([], [], "o", color=SERIES[0][0], mfc="white", label="simulated, Gaussian")
    name_axes(top, "sd between / sd within prompts", "E|Δr| cross / same")
    log_x(middle, "{x:g}")
    name_axes(middle, "β of the annotator", "Q_pair, cross minus same", legend=False)
    for marker, name, is_concave in (("o", "concave ξ", True), ("x", "ξ a step", False)):
        points = np.array([_random_population(rng, is_concave) for _ in range(N_POPULATIONS)])
        below = (points[:, 1] < points[:, 0] - 1e-12).sum()
        label = f"{name}: {below} of {N_POPULATIONS} below"
        bottom.plot(*points.T, marker, color=SERIES[1 - is_concave][0], alpha=0.6, label=label)
    bottom.plot([0.5, 1], [0.5, 1], color="black", lw=0.8)
    name_axes(bottom, "same-prompt quality", "cross-prompt quality")
    caption = (
        "Cross-prompt pairs differ more (RBT, Prop. 10), which makes labels better for every "
        f"concave quality ξ of the margin (Theorem 11). {MARKERS}. Bottom: {N_POPULATIONS} random "
        "populations of prompts for each ξ; below the line the inequality fails."
    )
    return panels.finish(figure, [], [caption])


def theory_order_consistency(rows: pd.DataFrame) -> Figure:
    """Draw what agreement with noisy labels says of the golden order (RBT, Prop. 9).

    rows: annotation_error and order_consistency of runs, nulls left out, and training.protocol:
    rbt_scripts trains on most of the labels that it holds out, so agreement with them says nothing
    of the golden order. Above as recorded, with the most that the golden order reaches, 1 - error;
    below the order consistency that follows: guaranteed at least, weighted by reliability (cut to
    [0, 1]), and at most. Sampling error is not in it: labels of the held-out pairs give one, labels
    of all pairs the other.
    """
    wanted, is_held_out = rows, rows["training.protocol"] == "pairs"
    rows = rows.loc[is_held_out, ["annotation_error", "order_consistency"]].dropna()
    if rows.empty:
        raise MissingData(
            "a run of training.protocol=pairs with both annotation_error and order_consistency"
        )
    error, agreement = rows["annotation_error"].to_numpy(), rows["order_consistency"].to_numpy()
    figure, (top, middle, bottom) = panels.panels(3, HEIGHT_IN)
    line = np.linspace(0, max(0.5, error.max()), 2)
    top.plot(line, 1 - line, color="black", lw=1, label="golden order: 1 − error")
    top.axhline(0.5, color="black", lw=0.8, ls=":", label="coin flip")
    top.plot(error, agreement, "o", color=SERIES[0][0], alpha=0.4, rasterized=True, label="a run")
    name_axes(top, "annotation error rate", "agreement with held-out labels")
    lower, upper = theory.order_consistency_range(agreement, error)
    weighted = np.clip(theory.weighted_order_consistency(agreement, error), 0, 1)
    published = theory.best_overall_bound(agreement, error)
    middle.vlines(error, lower, upper, color="0.85", lw=0.8, zorder=0, rasterized=True)
    bounds = {
        "weighted by reliability": weighted,
        "at least: c − e": lower,
        "at most: c + e": upper,
        "at least: Prop. 9": published,
    }
    for (colour, _, marker), (label, values) in zip(SERIES, bounds.items(), strict=False):
        middle.plot(error, values, marker, color=colour, alpha=0.5, rasterized=True, label=label)
    middle.set_ylim(-0.02, 1.05)
    name_axes(middle, "annotation error rate e", "agreement with the golden order")
    _draw_conditional_bounds(bottom)
    caption = (
        f"Order consistency (RBT, Prop. 9) of {len(rows):,} runs, each drawn by itself: with c the "
        "agreement with noisy labels and e their error rate, agreement with the golden order is at "
        "least c − e and, weighted by reliability (cut to 0 and 1), (c − e) / (1 − 2e): derived "
        "here. Prop. 9 states 1 − 4ε − κ − δ, drawn for the best ε with δ and κ bounded by "
        f"Markov's inequality: above 0 for {(published > 0).sum():,} of {len(rows):,} runs. Labels "
        "are a sample, so single runs can pass a bound by chance; runs of rbt_scripts, which train "
        "on held-out labels, are left out. Bottom: Prop. 9 for pairs of one margin, "
        "(1 − ε)ξ² + ε(1 − ξ)²; thin: ξ − ε, derived here; circles: 1 − 4ε is reached, the "
        "threshold assumed for κ."
    )
    return panels.finish(figure, [], [caption, *shown_runs.missing_line(wanted)])


def _draw_conditional_bounds(ax: Axes) -> None:
    """Draw Prop. 9's bound for pairs of one margin against the quality of their labels."""
    quality = np.linspace(0.5, 1, 101)
    for (colour, line, _), epsilon in zip(SERIES, np.array([0, 0.05, 0.1, 0.2]), strict=False):
        bound = theory.conditional_order_bound(quality, epsilon)
        ax.plot(quality, bound, color=colour, ls=line, label=f"ε = {epsilon:g}")
        ax.plot(quality, quality - epsilon, color=colour, lw=0.5)
        threshold = theory.sufficient_quality(epsilon)
        reached = theory.conditional_order_bound(threshold, epsilon)
        ax.plot(threshold, reached, "o", color=colour, mfc="white")
    name_axes(ax, "annotation quality ξ of a pair", "agreement, at least")


def theory_classification_reward(rng: np.random.Generator) -> Figure:
    """Draw what a classifier of chosen responses learns on Bradley-Terry data (RBT, Prop. 24).

    Opponents' rewards are N(0, tau^2). Markers: log-odds of being chosen among simulated
    annotations of responses of one reward, with binomial 95 % intervals.
    """
    figure, (top, bottom) = panels.panels(2, HEIGHT_IN)
    rewards = np.linspace(-8, 8, 161)
    top.plot(rewards, rewards, color="black", lw=0.8, label="BT reward")
    for (colour, line, marker), tau in zip(SERIES, (0.5, 1, 2, 3), strict=False):
        opponents = tau * special.ndtri((np.arange(4000) + 0.5) / 4000)
        classification = theory.classification_reward(rewards, opponents)
        top.plot(rewards, classification, color=colour, ls=line, label=f"opponents' sd = {tau:g}")
        bottom.plot(rewards, classification - rewards, color=colour, ls=line)
        for end in theory.offset_limits(opponents):
            bottom.axhline(end, color=colour, lw=0.6, ls=(0, (1, 3)))
        for reward in np.linspace(-4, 4, 5):
            margin = reward - rng.normal(0, tau, N_SIMULATED)
            chosen = prefers_first(preference_probability(margin, 1.0), rng.random(N_SIMULATED))
            share = chosen.mean()
            half = 1.96 / np.sqrt(N_SIMULATED * share * (1 - share))  # of a logit
            offset = special.logit(share) - reward
            bottom.errorbar(reward, offset, half, fmt=marker, color=colour, mfc="white")
    name_axes(top, "Bradley-Terry reward r", "classification reward s")
    name_axes(bottom, "Bradley-Terry reward r", "offset s − r (dotted: its limits)", legend=False)
    what = "What a classifier learns on Bradley-Terry data"
    source = "(RBT, Prop. 24; how it states this is not known: derived here from the definitions)"
    return panels.finish(figure, [], [f"{what} {source}. {MARKERS}, with 95 % intervals."])


def _xi(beta: float) -> theory.Xi:
    return lambda distance: preference_probability(distance, beta)


def _simulated_margins(golden: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Mean |margin| of rmsweep's own same-prompt and cross-prompt pairs."""
    means = []
    for name in pairing.PAIRINGS:
        pairs = pairing.pairs_to_annotate(golden, "random", name, len(golden), rng)
        means.append(float(np.abs(np.subtract(*golden.reshape(-1)[pairs].T)).mean()))
    return means


def _same_and_cross(
    locations: np.ndarray, scales: float | np.ndarray, family: theory.Cdf, xis: list[theory.Xi]
) -> np.ndarray:
    """Return the means of each quality on one population: (2, xis), same and cross."""
    masses = theory.cell_masses(locations, scales * np.ones(len(locations)), family, GRID)
    distances = np.arange(masses.shape[1]) * (GRID[1] - GRID[0])
    return theory.same_and_cross(masses, np.stack([xi(distances) for xi in xis]))


def _random_population(rng: np.random.Generator, is_concave: bool) -> np.ndarray:
    """Qualities of a few random prompts of a random family; not concave: sure beyond a distance."""
    n_prompts = rng.integers(2, 5)
    locations = rng.normal(0, rng.exponential(), n_prompts)
    scales = rng.lognormal(0, 0.6, n_prompts)
    family = rng.choice(np.array(list(theory.FAMILIES.values()), dtype=object))
    threshold = rng.uniform(0.5, 4)
    xi = _xi(rng.lognormal(0, 1)) if is_concave else lambda d: np.where(d > threshold, 1, 0.5)
    return _same_and_cross(locations, scales, family, [xi])[:, 0]


def log_x(ax: Axes, ticks: str) -> None:
    """Make the x axis logarithmic, with labels of plain text, as style.RC wants."""
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(ticks)
    ax.xaxis.set_minor_formatter(NullFormatter())


def name_axes(ax: Axes, x: str, y: str, *, legend: bool = True) -> None:
    """Label both axes, and add the panel's own legend."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if legend:
        ax.legend()
