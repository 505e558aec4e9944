"""A picture of caches: their golden rewards, and how these differ within and between prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rmsweep.analysis.figures.style import PAGE_IN, RC

COLORS = {"train": "#0072b2", "test": "#d55e00"}


def draw_caches(reports: Sequence[Mapping[str, Any]]) -> Figure:
    """A row of panels for each cache, of what cache.inspecting.caches.describe found."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(PAGE_IN, 1.9 * len(reports)), layout="constrained")
        axes = figure.subplots(len(reports), 3, squeeze=False)
        for row, report in zip(axes, reports, strict=True):
            if report["kind"] == "pairs":
                _draw_pairs(row, report)
            else:
                _draw_golden(row, report)
            row[0].set_title(report["name"], loc="left")
    return figure


def _draw_golden(row: Sequence[Axes], report: Mapping[str, Any]) -> None:
    splits = report["splits"]
    for split, statistics in splits.items():
        histogram, n = statistics["rewards"]["histogram"], statistics["prompts"]
        heights = [count / (n * statistics["responses"]) for count in histogram["counts"]]
        row[0].stairs(heights, histogram["edges"], color=COLORS[split], label=split)
    row[0].set(xlabel="golden reward", ylabel="share of responses")
    row[0].legend()
    names = {
        "within_std": "std within prompts",
        "between_std": "std between prompts",
        "mean_difference_same_prompt": "mean |diff.|, same prompt",
        "mean_difference_cross_prompt": "mean |diff.|, cross prompt",
    }
    of_rewards = {split: statistics["rewards"] for split, statistics in splits.items()}
    _bars(row[1], of_rewards, names, "golden reward")
    names = {
        "between_variance": "between prompts",
        "within_variance": "within prompts",
    }
    of_embeddings = {split: statistics["embeddings"] for split, statistics in splits.items()}
    _bars(row[2], of_embeddings, names, "variance of embeddings")


def _draw_pairs(row: Sequence[Axes], report: Mapping[str, Any]) -> None:
    embeddings, texts = report["embeddings"], report["texts"]
    row[0].barh(["5 %", "50 %", "95 %"], embeddings["distance_quantiles"], color=COLORS["train"])
    row[0].set(xlabel="distance chosen to rejected, quantiles")
    row[1].barh(
        ["rejected", "chosen"],
        [texts["characters_rejected"], texts["characters_chosen"]],
        color=COLORS["train"],
    )
    row[1].set(xlabel="characters, mean")
    subsets = texts["subsets"] or {"all": report["pairs"]}
    row[2].barh(list(subsets)[::-1], list(subsets.values())[::-1], color=COLORS["train"])
    row[2].set(xlabel="pairs")


def _bars(
    axes: Axes, by_split: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], label: str
) -> None:
    """Horizontal bars: a group for each name, a bar for each split."""
    for i, (split, statistics) in enumerate(by_split.items()):
        places = [-(j + 0.4 * i) for j in range(len(names))]
        widths = [statistics[name] or 0.0 for name in names]
        axes.barh(places, widths, height=0.38, color=COLORS[split])
    axes.set_yticks([-(j + 0.2) for j in range(len(names))], list(names.values()))
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)
