"""What a loss costs, and what it brings."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import CROSSED
from rmsweep.analysis.figures.rbt_losses import IMPROVEMENT
from rmsweep.analysis.figures.style import RC, loss_style


@matplotlib.rc_context(RC)
def cost(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Improvement against the seconds that a run took; a line a loss, a point a quantity."""
    rows, held = shown_runs.at_reference(rows, ["pairing", "selection", "annotation.beta"])
    facets = shown_runs.facets(rows, ["quantity"])
    by = [*facets, "quantity"]
    cells = shown_runs.means(rows, by, "improvement", rng)
    seconds = shown_runs.means(rows, by, "wall_s", rng)
    on = [*by, "loss"]
    cells = cells.merge(seconds[[*on, "mean", "low", "high"]], on=on, suffixes=("", "_s"))
    labels = panels.loss_labels(rows)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        for loss in labels:
            of_loss, style = part[part["loss"] == loss].sort_values("quantity"), loss_style(loss)
            in_seconds = of_loss[["mean_s", "low_s", "high_s"]].set_axis(
                ["mean", "low", "high"], axis=1
            )
            ax.errorbar(
                of_loss["mean_s"],
                of_loss["mean"],
                shown_runs.interval_reach(of_loss),
                shown_runs.interval_reach(in_seconds),
                color=style.color,
                marker=style.marker,
                linestyle=style.linestyle,
                elinewidth=0.6,
                label=labels[loss],
            )
        _scale_seconds(ax, part["mean_s"])
    panels.label_axes(figure, axes, "seconds per run", IMPROVEMENT)
    quantities = ", ".join(f"{n:,}" for n in sorted(cells["quantity"].unique()))
    held = [*held, f"along a line {quantities} pairs"]
    what = (
        f"{CROSSED} Seconds: fit and score of a pack divided by its runs; their bars resample the "
        "seeds only."
    )
    footnote = shown_runs.footnote(rows, cells, held, what)
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
