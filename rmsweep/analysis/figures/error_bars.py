"""What the error bars of figures are, and how a loss's means are drawn with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, Transform

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.style import loss_style
from rmsweep.analysis.metrics import has_value, run_values
from rmsweep.errors import MissingData

OVER_SEEDS = "Error bars: 95 % intervals, bootstrap over {seeds} seeds only."
CROSSED = (
    "Error bars: 95 % intervals, crossed bootstrap over {seeds} seeds and {prompts} test prompts."
)
BARS_IN_WORDS = {
    "interval": CROSSED,
    "standard-error": (
        "Error bars: standard error over {seeds} seeds; no 95 % intervals, since the {prompts} "
        "test prompts are taken as given."
    ),
}


@dataclass(frozen=True)
class Bars:
    """The error bars that were asked for: a kind of BARS_IN_WORDS, and the intervals' generator."""

    rng: np.random.Generator
    kind: str = "interval"

    @property
    def words(self) -> str:
        """What the bars are, for `shown_runs.footnote`."""
        return BARS_IN_WORDS[self.kind]

    def means(self, rows: pd.DataFrame, fields: Sequence[str], metric: str) -> pd.DataFrame:
        """Return the cells of `shown_runs.means`, with the kind of interval that was asked for.

        A standard error is that over the metrics of the seeds; nan with fewer than two seeds.
        MissingData where no run has the metric.
        """
        cells = shown_runs.means(rows, fields, metric, self.rng)
        if cells.empty:
            raise MissingData(f"runs with {metric}")
        if self.kind == "interval":
            return cells
        runs = shown_runs.done(rows)
        values = run_values(runs, metric)
        of_run = values[has_value(values)].map(np.nanmean).astype(float)
        runs = runs.assign(of_run=of_run["value"] / of_run.get("divisor", 1.0))
        by = [*fields, "loss"]
        error = shown_runs.with_number(cells, runs, by, "of_run", pd.Series.sem)["of_run"]
        return cells.assign(low=cells["mean"] - error, high=cells["mean"] + error)


def draw_series(
    ax: Axes, cells: pd.DataFrame, x: str, labels: Mapping[str, str], *, step: int = 1, line: bool
) -> None:
    """Draw each loss's means over a column of the cells; losses stand 2 * step points apart."""
    for i, loss in enumerate(labels):
        part = cells[cells["loss"] == loss]
        part = part.sort_values(x) if line else part
        place = apart_by(ax, step * i, step * len(labels))
        draw_means(ax, part, x, loss, labels[loss], place, line=line)


def draw_means(
    ax: Axes,
    cells: pd.DataFrame,
    x: str,
    loss: str,
    label: str,
    place: Transform | None = None,
    *,
    x_reach: np.ndarray | None = None,
    line: bool = True,
    face: str | None = None,
    bar_width: float = 0.7,
) -> None:
    """Draw one loss's means and intervals over a column of the cells, in the loss's own style.

    place: of `apart_by`. x_reach: how far intervals of x reach, (2, cells). face: of the markers.
    """
    style = loss_style(loss)
    ax.errorbar(
        cells[x].astype(float),
        cells["mean"].astype(float),
        shown_runs.interval_reach(cells),
        x_reach,
        label=label,
        color=style.color,
        marker=style.marker,
        linestyle=style.linestyle if line else "none",
        markerfacecolor=face or style.color,
        elinewidth=bar_width,
        transform=place or ax.transData,
    )
    if place is not None:  # matplotlib makes no room for what is moved sideways
        for end in ("low", "mean", "high"):
            ax.update_datalim(cells.loc[cells[end].notna(), [x, end]].to_numpy(float))
        ax.margins(x=0.1)
        ax.autoscale_view()


def apart_by(ax: Axes, i: int, n: int) -> Transform:
    """Return data coordinates moved sideways, so that the i-th of n series has its own place."""
    inches = panels.figure_of(ax).dpi_scale_trans
    return ax.transData + ScaledTranslation((i - (n - 1) / 2) * 2 / 72, 0, inches)
