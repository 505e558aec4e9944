"""Bars in groups: a group a base LLM, and within it a bar a series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rmsweep.analysis.figures import shown_runs

WHITE_EDGE: Any = {"edgecolor": "white", "linewidth": 0}  # the colour of a hatch is its edge's


@dataclass(frozen=True)
class Series:
    """The bars of one look: those of the cells that have the values."""

    label: str
    values: Mapping[str, Any]
    color: str
    hatch: str


def base_llm_field(rows: pd.DataFrame) -> str:
    """Return the field that tells base LLMs apart: where all have one name, their stems."""
    return "base_llm" if rows["base_llm"].nunique() > 1 else "base_llm.stem"


def draw_groups(ax: Axes, cells: pd.DataFrame, group: str, series: Sequence[Series]) -> None:
    """Draw the cells' means and intervals as bars that stand on zero, side by side in a group."""
    groups = list(dict.fromkeys(cells[group]))
    width = 0.8 / len(series)
    for i, one in enumerate(series):
        is_of_series = [cells[field] == value for field, value in one.values.items()]
        bars = cells[np.logical_and.reduce(is_of_series)]
        x = np.array([groups.index(name) for name in bars[group]])
        ax.bar(
            x + (i + 0.5) * width - 0.4,
            bars["mean"],
            width * 0.92,
            label=one.label,
            yerr=shown_runs.interval_reach(bars),
            color=one.color,
            hatch=one.hatch,
            error_kw={"elinewidth": 0.8, "capsize": 1.5 if len(series) < 5 else 0.8},
            **WHITE_EDGE,
        )
    ax.set_xticks(range(len(groups)), groups, rotation=25 if len(groups) > 2 else 0)
    ax.set_xlim(-0.5, max(len(groups), 1) - 0.5)  # also where a panel lacks a series, or all
    ax.axhline(0, color="black", linewidth=0.6)


def handle(label: str, color: str, hatch: str = "") -> Artist:
    """Return a legend entry for bars of one look."""
    return Patch(facecolor=color, hatch=hatch, label=label, **WHITE_EDGE)
