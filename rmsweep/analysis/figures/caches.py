"""A picture of caches: their golden rewards, and how these differ within and between prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rmsweep.analysis.figures.style import PAGE_IN, RC

COLORS = {"train": "#0072b2", "test": "#d55e00"}
REWARD_SPREADS = {
    "within_std": "std within prompts",
    "between_std": "std between prompts",
    "mean_difference_same_prompt": "mean |diff.|, same prompt",
    "mean_difference_cross_prompt": "mean |diff.|, cross prompt",
}
VARIANCES = {"between_variance": "between prompts", "within_variance": "within prompts"}


@matplotlib.rc_context(RC)
def draw_caches(reports: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a row of panels for each cache, of what cache.inspecting.caches.describe_cache says."""
    figure = Figure(figsize=(PAGE_IN, 1.9 * len(reports)), layout="constrained")
    axes = figure.subplots(len(reports), 3, squeeze=False)
    for row, report in zip(axes, reports, strict=True):
        draw = _draw_pairs if report["kind"] == "pairs" else _draw_golden
        draw(row, report)
        row[0].set_title(report["name"], loc="left")
    return figure


def _draw_golden(row: Sequence[Axes], report: Mapping[str, Any]) -> None:
    for split, statistics in report["splits"].items():
        histogram, n = statistics["rewards"]["histogram"], statistics["prompts"]
        heights = [count / (n * statistics["responses"]) for count in histogram["counts"]]
        row[0].stairs(heights, histogram["edges"], color=COLORS[split], label=split)
    row[0].set(xlabel="golden reward", ylabel="share of responses")
    row[0].legend()
    _draw_bars(row[1], report, "rewards", REWARD_SPREADS, "golden reward")
    _draw_bars(row[2], report, "embeddings", VARIANCES, "variance of embeddings")


def _draw_pairs(row: Sequence[Axes], report: Mapping[str, Any]) -> None:
    texts, color = report["texts"], COLORS["train"]
    row[0].barh(["5 %", "50 %", "95 %"], report["embeddings"]["distance_quantiles"], color=color)
    row[0].set(xlabel="distance chosen to rejected, quantiles")
    n_characters = [texts["characters_rejected"], texts["characters_chosen"]]
    row[1].barh(["rejected", "chosen"], n_characters, color=color)
    row[1].set(xlabel="characters, mean")
    subsets = texts["subsets"] or {"all": report["pairs"]}
    row[2].barh(list(subsets)[::-1], list(subsets.values())[::-1], color=color)
    row[2].set(xlabel="pairs")


def _draw_bars(
    ax: Axes, report: Mapping[str, Any], part: str, names: Mapping[str, str], label: str
) -> None:
    """Horizontal bars of a part of the report: a group for each name, a bar for each split."""
    for i, (split, statistics) in enumerate(report["splits"].items()):
        places = [-(j + 0.4 * i) for j in range(len(names))]
        widths = [statistics[part][name] or 0.0 for name in names]
        ax.barh(places, widths, height=0.38, color=COLORS[split])
    ax.set_yticks([-(j + 0.2) for j in range(len(names))], list(names.values()))
    ax.set_xlabel(label)
    ax.grid(axis="y", visible=False)
