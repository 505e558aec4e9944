"""Updates by representation distance: figures of NBT (arXiv:2512.06343), on frozen embeddings.

Their data are the columns that runs with `evaluation.diagnostics=true` have.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import OVER_SEEDS, draw_series
from rmsweep.analysis.figures.panels import signed_text
from rmsweep.analysis.table_notes import span_text
from rmsweep.errors import MissingData
from rmsweep.results.schema import N_ERROR_BINS

DISTANCE = "representation distance"
GRADIENT = "gradient norm of the last layer"
FULL_GRADIENT = "gradient norm of all layers"
DECILE_LABELS = {
    "decile_gradient_norm": f"mean {GRADIENT}",
    "decile_accuracy": "agreement with the annotation",
}
CORRELATIONS = {"r": "gradient_correlation", "rₘ": "margin_gradient_correlation"}
ABOUT_CORRELATIONS = (
    "r: correlation of distance with the norm drawn, the full gradient of the loss; rₘ: with that "
    "of the predicted margin, which for Bradley-Terry is the loss's over the prediction error. "
    "Means over the runs. The paper reports 0.928 for whole LLMs, fine-tuned."
)
ABOUT_BINS = (
    "Means over 500 training pairs a run at most, after training: each line the pairs of one bin "
    "of the prediction error, its points fifths of them, nearest first. Dashed: the last layer's "
    "gradient. A point for which some run has no pairs is left out."
)


def nbt_gradients(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the last layer's gradient norm of training pairs by distance, coloured by error."""
    rows, held = _recorded(rows, "pair_gradient_norm")
    runs, facets = _first_runs(rows)
    figure, _ = _scatter(runs, facets, "pair_gradient_norm", GRADIENT)
    note = [*shown_runs.held_line(held), f"{_about(runs)}; single pairs, no means."]
    return panels.finish(figure, [], [*note, *shown_runs.missing_line(rows)])


def nbt_full_gradient(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the full gradient's norm of training pairs by distance, with the correlations."""
    rows, held = _recorded(rows, "pair_full_gradient_norm")
    runs, facets = _first_runs(rows)
    figure, axes = _scatter(runs, facets, "pair_full_gradient_norm", FULL_GRADIENT)
    figure.set_figheight(min(1.4 * figure.get_figheight(), panels.MOST_HIGH_IN))
    fields = [*facets[:-1], "loss"]
    of_panel: dict[tuple[Any, ...], list[str]] = {}
    for name, metric in CORRELATIONS.items():
        cells = shown_runs.means(rows, fields[:-1], metric, rng)
        for _, cell in cells.iterrows():
            of_panel.setdefault(_values(cell, fields), []).append(_with_interval(name, cell))
    for ax, (_, part) in zip(axes, shown_runs.by_panel(runs, facets), strict=True):
        text = "\n".join(of_panel.get(_values(part.iloc[0], fields), []))
        text = text.replace(" [", "\n[") if panels.n_columns(ax) > 3 else text
        ax.text(0.97, 0.97, text, transform=ax.transAxes, ha="right", va="top")
        # The text stands above the points: a line of it takes up to a tenth of the panel.
        ax.set_ylim(0, ax.get_ylim()[1] / (0.96 - 0.1 * (1 + text.count("\n"))))
    what = f"{_about(runs)}. {ABOUT_CORRELATIONS} {OVER_SEEDS.replace('Error bars', 'Brackets')}"
    return panels.finish(figure, [], shown_runs.footnote(rows, cells, held, what))


def nbt_gradients_by_error(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw mean gradient norms by distance within bins of equal prediction error."""
    rows, held = _recorded(rows, "error_bin_distance")
    facets = [*shown_runs.facets(rows, []), "loss.label"]
    cells = _error_bins(rows, facets[:-1], rng)
    figure, axes = panels.facet_panels(cells, facets)
    colours = colormaps["viridis"]((np.arange(N_ERROR_BINS) + 0.5) / N_ERROR_BINS)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        for error_bin, of_bin in part.groupby("bin"):
            _draw_error_bin(ax, of_bin, colours[error_bin])
        ax.set_ylim(0, None)
    panels.label_axes(figure, axes, DISTANCE, f"mean {FULL_GRADIENT}")
    handles = [
        Line2D([], [], color=colours[i], marker="o", label=_error_text(i))
        for i in sorted(cells["bin"].unique())
    ]
    note = shown_runs.footnote(rows, cells, held, f"{ABOUT_BINS} {OVER_SEEDS}")
    return panels.finish(figure, handles, note)


def by_decile(rows: pd.DataFrame, rng: np.random.Generator, variant: str) -> Figure:
    """Draw a mean over training pairs by decile of distance; variant: one of DECILE_LABELS."""
    rows, held = _recorded(rows, variant)
    facets = shown_runs.facets(rows, [])
    cells = shown_runs.means_of_list(rows, [*facets, "loss"], variant, rng)
    cells["decile"] = cells["position"] + 1
    labels = panels.loss_labels(shown_runs.done(rows))
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_series(ax, part, "decile", labels, line=True)
        panels.set_x_ticks(ax, range(1, 11), [str(decile) for decile in range(1, 11)])
    x_label = f"decile of {DISTANCE}, nearest first"
    panels.label_axes(figure, axes, x_label, DECILE_LABELS[variant])
    what = f"Means over training pairs, after training. {OVER_SEEDS}"
    note = shown_runs.footnote(rows, cells, held, what)
    return panels.finish(figure, panels.loss_handles(labels), note)


def _recorded(rows: pd.DataFrame, column: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs that recorded a column, or are missing, at the papers' settings or the nearest."""
    has_none = rows[column].isna() & rows.index.isin(shown_runs.done(rows).index)
    rows = rows[~has_none]
    if shown_runs.done(rows).empty:
        raise MissingData(f"runs with evaluation.diagnostics=true, which recorded {column}")
    return shown_runs.at_reference(rows, shown_runs.REFERENCE)


def _first_runs(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The done run of the first seed for each panel, and the panels' fields, loss.label last."""
    runs = shown_runs.done(rows)
    labels = panels.loss_labels(runs)
    facets = [*shown_runs.facets(rows, []), "loss.label"]
    runs = shown_runs.with_fields(runs, facets[:-1])
    runs = runs.assign(**{"loss.label": runs["loss"].map(labels)})
    first = runs.groupby(facets, dropna=False, sort=False)["seed"].idxmin()  # not all have seed 0
    order = list(labels)
    runs = runs.loc[first].sort_values(
        "loss", key=lambda loss: loss.map(order.index), kind="stable"
    )
    return runs, facets


def _error_bins(rows: pd.DataFrame, fields: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """The means over seeds of the full norm (mean, low, high), the last layer's and distance.

    A line for each fifth of each bin of the error that has pairs in every run, by loss in order.
    """
    full, last_layer, distance = (
        shown_runs.means_of_list(rows, [*fields, "loss"], f"error_bin_{name}", rng)
        for name in ("full_gradient_norm", "gradient_norm", "distance")
    )
    cells = full.assign(distance=distance["mean"], last_layer=last_layer["mean"])
    cells = shown_runs.with_number(cells, rows, [*fields, "loss"], "seed", len)
    cells = cells.rename(columns={"seed": "n_runs"})
    cells["bin"] = cells["position"] * N_ERROR_BINS // (cells["position"].max() + 1)
    labels = panels.loss_labels(shown_runs.done(rows))
    cells["loss.label"] = cells["loss"].map(labels)
    order = list(labels)
    in_every_run = cells[cells["n_seeds"] == cells["n_runs"]]
    if in_every_run.empty:
        raise MissingData("training pairs of one bin of the prediction error in every run")
    return in_every_run.sort_values("loss", key=lambda loss: loss.map(order.index), kind="stable")


def _scatter(
    runs: pd.DataFrame, facets: list[str], column: str, y_label: str
) -> tuple[Figure, list[Axes]]:
    """Draw a column of the pairs of one run a panel by distance, coloured by prediction error."""
    figure, axes = panels.facet_panels(runs, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(runs, facets), strict=True):
        x, y, error = (part[name].iloc[0] for name in ("pair_distance", column, "pair_error"))
        points = ax.scatter(x, y, s=4, c=error, cmap="viridis", norm=Normalize(0, 1), linewidth=0)
        ax.set(xlim=(0, None), ylim=(0, None))
    figure.colorbar(points, ax=axes, label="prediction error", aspect=30, pad=0.01)
    panels.label_axes(figure, axes, DISTANCE, y_label)
    return figure, axes


def _draw_error_bin(ax: Axes, cells: pd.DataFrame, colour: np.ndarray) -> None:
    """Draw one bin's means with their intervals, and dashed those of the last layer's gradient."""
    reach = shown_runs.interval_reach(cells)
    ax.errorbar(cells["distance"], cells["mean"], reach, color=colour, marker="o", elinewidth=0.7)
    ax.plot(cells["distance"], cells["last_layer"], color=colour, linestyle="--", linewidth=0.8)


def _error_text(error_bin: int) -> str:
    low, high = error_bin / N_ERROR_BINS, (error_bin + 1) / N_ERROR_BINS
    return f"error {low:g} to {high:g}"


def _about(runs: pd.DataFrame) -> str:
    """What a scatter's points are."""
    n, seed = span_text(runs["pair_distance"].map(len)), span_text(runs["seed"])
    return f"{n} training pairs of one run each (seed {seed}), after training"


def _values(row: pd.Series, fields: list[str]) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[field]) else row[field] for field in fields)


def _with_interval(name: str, cell: pd.Series) -> str:
    """A correlation in words, without an interval where there is one run."""
    mean, low, high = (signed_text(cell[end]) for end in ("mean", "low", "high"))
    return f"{name} = {mean}" + ("" if pd.isna(cell["low"]) else f" [{low}, {high}]")
