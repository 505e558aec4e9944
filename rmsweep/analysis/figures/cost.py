"""What a loss costs, and what it brings."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import CROSSED, draw_means
from rmsweep.analysis.figures.style import IMPROVEMENT, RC

SECONDS_IN_WORDS = (
    "Seconds: fit and score of a pack divided by its runs; their bars resample the seeds only."
)


@matplotlib.rc_context(RC)
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
    panels.label_axes(figure, axes, "seconds per run", IMPROVEMENT)
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
