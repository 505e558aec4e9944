"""Updates by representation distance: figures of NBT (arXiv:2512.06343), on frozen embeddings.

Their data are the columns that runs with `evaluation.diagnostics=true` have.
"""

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import OVER_SEEDS, draw_series
from rmsweep.analysis.table_notes import span_text
from rmsweep.errors import MissingData

GRADIENT = "gradient norm of the last layer"
DECILE_LABELS = {
    "decile_gradient_norm": f"mean {GRADIENT}",
    "decile_accuracy": "agreement with the annotation",
}


def nbt_gradients(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the gradient norm of training pairs against their distance, coloured by error."""
    rows, held = _recorded(rows)
    runs = shown_runs.done(rows)
    labels = panels.loss_labels(runs)
    facets = [*shown_runs.facets(rows, []), "loss.label"]
    runs = shown_runs.with_fields(runs, facets[:-1])
    runs = runs.assign(**{"loss.label": runs["loss"].map(labels)})
    first = runs.groupby(facets, dropna=False, sort=False)["seed"].idxmin()  # not all have seed 0
    runs = runs.loc[first]
    runs = runs.sort_values("loss", key=lambda loss: loss.map(list(labels).index), kind="stable")
    figure, axes = panels.facet_panels(runs, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(runs, facets), strict=True):
        names = ("pair_distance", "pair_gradient_norm", "pair_error")
        x, y, error = (part[name].iloc[0] for name in names)
        points = ax.scatter(x, y, s=4, c=error, cmap="viridis", norm=Normalize(0, 1), linewidth=0)
        ax.set(xlim=(0, None), ylim=(0, None))
    figure.colorbar(points, ax=axes, label="prediction error", aspect=30, pad=0.01)
    panels.label_axes(figure, axes, "representation distance", GRADIENT)
    n, seed = span_text(runs["pair_distance"].map(len)), span_text(runs["seed"])
    what = f"{n} training pairs of one run each (seed {seed}), after training"
    note = [*shown_runs.held_line(held), f"{what}; single pairs, no means."]
    return panels.finish(figure, [], [*note, *shown_runs.missing_line(rows)])


def by_decile(rows: pd.DataFrame, rng: np.random.Generator, variant: str) -> Figure:
    """Draw a mean over training pairs by decile of distance; variant: one of DECILE_LABELS."""
    rows, held = _recorded(rows)
    facets = shown_runs.facets(rows, [])
    cells = shown_runs.means_of_list(rows, [*facets, "loss"], variant, rng)
    cells["decile"] = cells["position"] + 1
    labels = panels.loss_labels(shown_runs.done(rows))
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_series(ax, part, "decile", labels, line=True)
        panels.set_x_ticks(ax, range(1, 11), [str(decile) for decile in range(1, 11)])
    x_label = "decile of representation distance, nearest first"
    panels.label_axes(figure, axes, x_label, DECILE_LABELS[variant])
    what = f"Means over training pairs, after training. {OVER_SEEDS}"
    note = shown_runs.footnote(rows, cells, held, what)
    return panels.finish(figure, panels.loss_handles(labels), note)


def _recorded(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs that have diagnostics, or are missing, at the papers' settings or the nearest."""
    has_none = rows["pair_distance"].isna() & rows.index.isin(shown_runs.done(rows).index)
    rows = rows[~has_none]
    if shown_runs.done(rows).empty:
        raise MissingData("runs with evaluation.diagnostics=true")
    return shown_runs.at_reference(rows, shown_runs.REFERENCE)
