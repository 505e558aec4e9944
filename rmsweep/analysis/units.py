"""The units of golden rewards: those of two datasets do not compare, and have no common mean.

The golden rewards of one dataset, of whatever base LLM, come from one scorer and have one unit.
Another dataset has a unit of its own, and so have synthetic data that are scaled otherwise. What is
pooled over units is pooled in shares of the oracle's improvement, or refused.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from rmsweep.analysis.metrics import metric_named
from rmsweep.errors import MissingData

SHARE = "oracle_share"
# Metrics of which a difference is one in the oracle's improvement.
HAVE_SHARE = ("improvement", "bon_golden")
SCALES = ("dataset.synthetic.between_std", "dataset.synthetic.within_std")
UNIT_FIELDS = ("dataset", "dataset.stem", *SCALES, "evaluation.golden.dataset")


def is_in_golden_reward(metric: str) -> bool:
    """Return whether the values of a metric have the unit of their dataset's golden rewards."""
    return metric_named(metric).unit == "golden reward"


def unit_ids(fields: pd.DataFrame, metric: str) -> np.ndarray:
    """Return the number of the unit of golden reward that a metric is taken in: (runs,).

    fields: of the runs, by name. A metric by prompt is taken on the cache of evaluation.golden, and
    any other, such as mean_margin, on the run's own dataset. 0 for all runs where the metric is
    neither in golden reward nor a ratio of such means.
    """
    if not is_in_golden_reward(metric) and metric_named(metric).divisor is None:
        return np.zeros(len(fields), dtype=int)
    *names, golden = (_column(fields, field) for field in UNIT_FIELDS)
    units = pd.Series(list(zip(*names, strict=True)), fields.index, dtype=object)
    if metric_named(metric).by == "prompt":
        units = units.where(golden.isna(), golden)
    return pd.factorize(units)[0]


def require_one_unit(units: Iterable[int], metric: str) -> None:
    """Raise MissingData for a metric in golden reward that would be pooled over several units."""
    if is_in_golden_reward(metric) and len(set(units)) > 1:
        share = f"; {SHARE} can be pooled" if metric in HAVE_SHARE else ""
        raise MissingData(
            f"one dataset: {metric} is in golden reward, of which each dataset has a unit of its "
            f"own{share}"
        )


def _column(fields: pd.DataFrame, name: str) -> pd.Series:
    """The values of a field, None where there is none: nan is not even equal to itself."""
    if name not in fields:
        return pd.Series(None, fields.index, dtype=object)
    column = fields[name].astype(object)
    return column.where(column.notna(), None)
