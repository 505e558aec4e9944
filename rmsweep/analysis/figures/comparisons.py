"""Losses against each other: difference by beta and quantity, win rates, and cost."""

import itertools
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator

from rmsweep.analysis import contrasts
from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import CROSSED, draw_means
from rmsweep.analysis.figures.style import GREY, IMPROVEMENT_LABEL, PAGE_IN
from rmsweep.analysis.table_notes import span_text
from rmsweep.errors import MissingData

BASELINE = "bt_mlp"
NONE_AGREE = "runs with two losses that agree in all else"
POOLED = ("base_llm", "base_llm.stem", "backbone", "backbone.stem")
PAIRED = "95 % intervals: paired, crossed bootstrap over {seeds} seeds and {prompts} test prompts."
UNDECIDED: Any = {"hatch": "////", "fill": False, "linewidth": 0, "edgecolor": GREY}
SECONDS_IN_WORDS = (
    "Seconds: fit and score of a pack divided by its runs; their bars resample the seeds only."
)


def heatmap(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw improvement of each loss less BT-MLP's (or the first's) by beta and quantity."""
    rows, held = shown_runs.at_reference(rows, ["pairing", "selection"])
    shown_runs.require_two(rows, "loss")
    labels, runs = panels.loss_labels(rows), shown_runs.done(rows)
    baseline = BASELINE if BASELINE in labels else next(iter(labels))
    shown = ["annotation.beta", "quantity"]
    varying = shown_runs.facets(rows, shown)
    pooled = [f for f in varying if f in POOLED]
    facets = ["difference", *(f for f in varying if f not in POOLED)]
    tables = []
    for loss in (loss for loss in labels if loss != baseline):
        sides = {"loss": loss}, {"loss": baseline}
        by = [*facets[1:], *shown]
        differences = contrasts.paired_differences(runs, *sides, "improvement", rng, by)
        tables.append(differences.assign(difference=f"{labels[loss]} − {labels[baseline]}"))
    cells = pd.concat(tables)
    if cells.empty:
        raise MissingData(NONE_AGREE)
    figure, axes = panels.facet_panels(cells, facets)
    farthest = float(cells["estimate"].abs().max()) or 1.0
    decimals = 2 if farthest > 0.1 else 3
    betas, quantities = (sorted(cells[field].unique()) for field in shown)
    if len(betas) > 4:  # the numbers need the width
        figure.set_figwidth(PAGE_IN)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        x = [betas.index(beta) for beta in part["annotation.beta"]]
        y = [quantities.index(n) for n in part["quantity"]]
        text = [panels.signed_text(v, "+", decimals) for v in part["estimate"]]
        shape = len(quantities), len(betas)
        image = draw_cells(ax, part.assign(x=x, y=y, text=text), shape, 0, farthest)
        ax.set_xticks(range(len(betas)), [as_typed(beta) for beta in betas])
        ax.set_yticks(range(len(quantities)), [f"{n:,}" for n in quantities])
    panels.label_axes(figure, axes, "annotators' β", "annotated pairs")
    figure.colorbar(image, ax=axes, label="difference of improvement", aspect=30, pad=0.01)
    handles = [Patch(**UNDECIDED, label="undecided: the 95 % interval includes 0")]
    if pooled:
        held = [*held, "mean over " + ", ".join(f"{f} ({runs[f].nunique()})" for f in pooled)]
    return panels.finish(figure, handles, shown_runs.footnote(rows, cells, held, PAIRED))


def win_rates(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the share of the prompts on which a row's loss beats a column's, over all settings."""
    runs = shown_runs.done(rows)
    labels = panels.loss_labels(runs)
    losses, lines = list(labels), []
    for (y, loss), (x, other) in itertools.combinations(enumerate(losses), 2):
        sides = {"loss": loss}, {"loss": other}
        line = contrasts.paired_win_rates(runs, *sides, "improvement", rng)
        other_way = 1 - line[["estimate", "high", "low"]].set_axis(
            ["estimate", "low", "high"], axis=1
        )
        lines += [line.assign(x=x, y=y), line.assign(x=y, y=x, **other_way)]
    if not lines or (cells := pd.concat(lines)).empty:
        raise MissingData(NONE_AGREE)
    percent = 100 * cells[["estimate", "low", "high"]]
    cells["text"] = [f"{m:.3g} %\n[{a:.3g}, {b:.3g}]" for m, a, b in percent.to_numpy()]
    figure, (ax,) = panels.panels(1)
    if len(losses) > 4:
        figure.set_size_inches(PAGE_IN, 0.4 * len(losses))
    farthest = max(float((cells["estimate"] - 0.5).abs().max()), 0.05)
    draw_cells(ax, cells, (len(losses), len(losses)), 0.5, farthest)
    ax.invert_yaxis()
    names = [textwrap.fill(label, 12) for label in labels.values()]
    ax.set_xticks(range(len(losses)), names)
    ax.set_yticks(range(len(losses)), names)
    ax.set(xlabel="… than this loss", ylabel="this loss is better …")
    pairs = f"{span_text(cells['n_pairs'])} pairs of runs that differ in the loss only"
    what = f"Share of prompts won (ties ½) over {pairs}"
    handles = [Patch(**UNDECIDED, label="undecided: the interval includes 50 %")]
    return panels.finish(figure, handles, shown_runs.footnote(rows, cells, [what], PAIRED))


def draw_cells(
    ax: Axes, cells: pd.DataFrame, shape: tuple[int, int], middle: float, farthest: float
) -> AxesImage:
    """Draw an image with a text in each cell, hatched where its interval has the middle in it.

    cells: x, y (columns and rows of the image), estimate, low, high, text. Colours reach `farthest`
    from the middle on both sides; signs or numbers say in grey what they say in colour.
    """
    grid = np.full(shape, np.nan)
    grid[cells["y"], cells["x"]] = cells["estimate"]
    norm = TwoSlopeNorm(middle, middle - farthest, middle + farthest)
    image = ax.imshow(grid, cmap="PuOr", norm=norm, origin="lower", aspect="auto", zorder=0)
    for cell in cells.to_dict("records"):
        x, y, estimate = cell["x"], cell["y"], cell["estimate"]
        is_decided = cell["low"] > middle or cell["high"] < middle
        if not is_decided:
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **UNDECIDED))
        is_dark = is_decided and abs(estimate - middle) > 0.6 * farthest
        ground = None if is_decided else {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
        color = "white" if is_dark else "black"
        ax.text(x, y, cell["text"], ha="center", va="center", color=color, bbox=ground)
    ax.grid(visible=False)
    return image


def cost(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw improvement against the seconds that a run took; a line a loss, a point a quantity."""
    rows, held = shown_runs.at_reference(rows, ["pairing", "selection", "annotation.beta"])
    facets = shown_runs.facets(rows, ["quantity"])
    by = [*facets, "quantity"]
    cells = shown_runs.means(rows, by, "improvement", rng)
    seconds = shown_runs.means(rows, by, "wall_s", rng).copy()
    seconds["reach"] = list(shown_runs.interval_reach(seconds).T)
    seconds = seconds.rename(columns={"mean": "seconds"})[[*by, "loss", "seconds", "reach"]]
    cells = cells.merge(seconds, on=[*by, "loss"])
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        for loss, label in labels.items():
            of_loss = part[part["loss"] == loss].sort_values("quantity")
            reach = np.reshape(of_loss["reach"].to_list(), (-1, 2)).T
            draw_means(ax, of_loss, "seconds", loss, label, x_reach=reach, bar_width=0.6)
        _scale_seconds(ax, part["seconds"])
    panels.label_axes(figure, axes, "seconds per run", IMPROVEMENT_LABEL)
    quantities = ", ".join(f"{n:,}" for n in sorted(cells["quantity"].unique()))
    held = [*held, f"along a line {quantities} pairs"]
    footnote = shown_runs.footnote(rows, cells, held, f"{CROSSED} {SECONDS_IN_WORDS}")
    return panels.finish(figure, panels.loss_handles(labels), footnote)


def _scale_seconds(ax: Axes, seconds: pd.Series) -> None:
    """A logarithmic axis, with enough ticks, where the seconds differ much."""
    if seconds.max() > 5 * seconds.min():
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
