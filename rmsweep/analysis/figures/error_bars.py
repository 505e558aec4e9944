"""What the error bars of RBT's figures are: our intervals or, by that name, its standard errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import standard_error_over_seeds
from rmsweep.analysis.figures import shown_runs

CROSSED = (
    "Error bars: 95 % intervals, crossed bootstrap over {seeds} seeds and {prompts} test prompts."
)
KINDS = {
    "interval": CROSSED,
    "standard-error": (
        "Error bars: standard error over {seeds} seeds, as the paper draws it; no 95 % intervals, "
        "since the {prompts} test prompts are taken as given."
    ),
}


@dataclass(frozen=True)
class Bars:
    """kind: one of KINDS. rng: of the intervals."""

    rng: np.random.Generator
    kind: str = "interval"

    @property
    def words(self) -> str:
        """For `shown_runs.footnote`."""
        return KINDS[self.kind]

    def means(self, rows: pd.DataFrame, fields: Sequence[str], metric: str) -> pd.DataFrame:
        """Return the cells of `shown_runs.means`, with the kind of interval that was asked for.

        A standard error is that over the seeds' scalar metric; nan with fewer than two seeds.
        """
        cells = shown_runs.means(rows, fields, metric, self.rng)
        if self.kind == "interval":
            return cells
        by = [*fields, "loss"]
        error = shown_runs.with_number(cells, rows, by, metric, _standard_error)[metric]
        return cells.assign(low=cells["mean"] - error, high=cells["mean"] + error)


def _standard_error(values: pd.Series) -> float:
    return float(standard_error_over_seeds(values.to_numpy(dtype=float)))
