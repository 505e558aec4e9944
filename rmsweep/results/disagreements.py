"""Two rows of one run are compared, number by number, whoever made them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema

CUDA_TOLERANCE = 0.02  # of max(1, |metric|), of scalars; sums on a GPU have no fixed order


def differing_numbers(then: Mapping[str, Any], now: Mapping[str, Any], exact: bool) -> list[str]:
    """Return in words the numbers of two rows that differ, of those that `then` has.

    exact: compare every number bit for bit; else scalars within CUDA_TOLERANCE.
    """
    texts = []
    for name in schema.NUMBERS if exact else (*schema.SCALARS, *schema.JUDGED):
        if not _is_null(then.get(name)):
            text = _difference(then[name], now[name], 0.0 if exact else CUDA_TOLERANCE)
            texts += [f"{name}{text}"] if text else []
    return texts


def disagreeing_runs(names: Sequence[str], repeated: Collection[str]) -> dict[str, str]:
    """Return the keys whose done rows in these sweeps disagree, with the sweep of the first row.

    repeated: the keys with several done rows; no other row is read. What a row lacks, as without
    diagnostics, was not recorded and is not compared.
    """
    if not repeated:
        return {}
    own = [dataset.all_done_rows(SweepFolder.named(n), repeated).assign(sweep=n) for n in names]
    runs = {}
    rows = pd.concat(own).sort_values("finished_at", kind="stable")
    for key, of_run in rows.groupby("key"):
        first, *others = of_run.to_dict("records")
        exact = set(of_run["device"]) == {"cpu"}
        for other in others:
            common = {name: value for name, value in first.items() if not _is_null(other[name])}
            if differing_numbers(common, other, exact):
                runs[str(key)] = str(first["sweep"])
    return runs


def disagreement_line(runs: Mapping[str, str]) -> str:
    """Return one line about the runs that `disagreeing_runs` returned, of which there are some."""
    key, sweep = next(iter(runs.items()))
    whose = "1 run has" if len(runs) == 1 else f"{len(runs)} runs have"
    return (
        f"{whose} done rows with other numbers, of which the first that finished counts, such as "
        f"{key}: `rmsweep verify {sweep} --key {key}` tells whether it comes out again"
    )


def _is_null(value: Any) -> bool:
    return value is None or (np.ndim(value) == 0 and bool(pd.isna(value)))


def _difference(was: Any, now: Any, tolerance: float) -> str | None:
    """Return where, and from what to what, a value changed most; None where it did not."""
    if _is_null(now) or np.shape(was) != np.shape(now):
        return f" {was} then, {now} now"
    if np.asarray(was).dtype.kind in "OU":  # names
        return None if np.array_equal(was, now) else f" {was} then, {now} now"
    before, after = np.atleast_1d(np.asarray(was, float)), np.atleast_1d(np.asarray(now, float))
    with np.errstate(invalid="ignore"):
        gap = np.abs(after - before)
        same = (before == after) | (gap <= tolerance * np.maximum(1, np.abs(before)))
    same |= np.isnan(before) & np.isnan(after)
    if same.all():
        return None
    worst = int(np.argmax(np.where(same, -1, np.nan_to_num(gap, nan=np.inf))))
    where = "" if np.ndim(was) == 0 else f"[{worst}]"
    old, new, off = float(before[worst]), float(after[worst]), float(gap[worst])
    return f"{where} {old!r} then, {new!r} now, off by {off:.2g}"
