"""Updates by representation distance: figures of NBT (arXiv:2512.06343), on frozen embeddings.

Their data are the columns that runs with `evaluation.diagnostics=true` have.
"""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.rbt_losses import draw_lines
from rmsweep.analysis.figures.style import RC
from rmsweep.errors import MissingData

BY_SEED = "Error bars: 95 % intervals, bootstrap over {seeds} seeds only."
GRADIENT = "gradient norm of the last layer"


@matplotlib.rc_context(RC)
def nbt_gradients(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Gradient norm of training pairs against representation distance, coloured by error."""
    rows, held = _recorded(rows)
    runs = shown_runs.done(rows)
    labels = panels.loss_labels(runs)
    by = [*shown_runs.facets(rows, []), "loss.label"]
    runs = shown_runs.with_fields(runs, by[:-1])
    runs = runs.assign(**{"loss.label": runs["loss"].map(labels)})
    first = runs.groupby(by, dropna=False, sort=False)["seed"].idxmin()  # not all have seed 0
    runs = runs.loc[first]
    runs = runs.sort_values("loss", key=lambda loss: loss.map(list(labels).index), kind="stable")
    figure, axes = panels.facet_panels(runs, by)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(runs, by), strict=True):
        names = ("pair_distance", "pair_gradient_norm", "pair_error")
        x, y, error = (part[name].iloc[0] for name in names)
        points = ax.scatter(x, y, s=4, c=error, cmap="viridis", norm=Normalize(0, 1), linewidth=0)
        ax.set(xlim=(0, None), ylim=(0, None))
    figure.colorbar(points, ax=axes, label="prediction error", aspect=30, pad=0.01)
    panels.label_axes(figure, axes, "representation distance", GRADIENT)
    n, seed = (
        shown_runs.span_text(runs["pair_distance"].map(len)),
        shown_runs.span_text(runs["seed"]),
    )
    what = (
        f"{n} training pairs of one run each (seed {seed}), after training; single pairs, no means."
    )
    return panels.finish(
        figure, [], [*shown_runs.held_line(held), what, *shown_runs.missing_line(rows)]
    )


def nbt_updates(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Mean gradient norm of training pairs by decile of representation distance."""
    return _by_decile(rows, "decile_gradient_norm", f"mean {GRADIENT}", rng)


def nbt_accuracy(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Agreement with the annotations of training pairs by decile of representation distance."""
    return _by_decile(rows, "decile_accuracy", "agreement with the annotation", rng)


@matplotlib.rc_context(RC)
def _by_decile(rows: pd.DataFrame, column: str, y: str, rng: np.random.Generator) -> Figure:
    rows, held = _recorded(rows)
    facets = shown_runs.facets(rows, [])
    cells = shown_runs.means_of_list(rows, [*facets, "loss"], column, rng)
    cells["decile"] = cells["position"] + 1
    labels = panels.loss_labels(shown_runs.done(rows))
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_lines(ax, part, "decile", labels)
        panels.set_x_ticks(ax, range(1, 11), [str(decile) for decile in range(1, 11)])
    panels.label_axes(figure, axes, "decile of representation distance, nearest first", y)
    footnote = shown_runs.footnote(
        rows, cells, held, f"Means over training pairs, after training. {BY_SEED}"
    )
    return panels.finish(figure, panels.loss_handles(labels), footnote)


def _recorded(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs that have diagnostics, or are missing, at the papers' settings or the nearest."""
    has_none = rows["pair_distance"].isna() & rows.index.isin(shown_runs.done(rows).index)
    rows = rows[~has_none]
    if shown_runs.done(rows).empty:
        raise MissingData("runs with evaluation.diagnostics=true")
    return shown_runs.at_reference(rows, shown_runs.REFERENCE)
