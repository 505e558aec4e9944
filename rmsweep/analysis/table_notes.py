"""The lines under a table: what is resampled, marked, averaged over and missing."""

from collections.abc import Sequence

import pandas as pd

from rmsweep.analysis.fields import spec_fields
from rmsweep.analysis.means import ENOUGH_SEEDS, N_DRAWS
from rmsweep.analysis.metrics import metric_named
from rmsweep.analysis.table_fields import averaged_fields
from rmsweep.analysis.units import UNIT_FIELDS


def table_notes(
    cells: pd.DataFrame,
    wanted: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    against: str | None = None,
) -> list[str]:
    """Return the lines to stand under the table that `tables.compare` returns.

    cells: of `compare`; the other arguments are those that it was called with.
    """
    seeds = cells.loc[cells["mean"].notna(), "n_seeds"]
    lines = [f"{metric}: mean [95 % interval]; {_resampling(cells, metric)}; B = {N_DRAWS:,}."]
    lines += _marks(cells, against)
    _, codes = spec_fields(wanted)
    if averaged := averaged_fields(codes, [*row_fields, *column_fields]):
        lines.append(f"Averaged over {_averaged_text(codes, averaged)}.")
    lines += _left_out(cells, metric, is_averaged=bool(averaged))
    if len(seeds) and seeds.min() < ENOUGH_SEEDS:
        lines.append(f"WARNING: fewer than {ENOUGH_SEEDS} seeds, the intervals are too narrow.")
    return lines


def _resampling(cells: pd.DataFrame, metric: str) -> str:
    with_mean = cells[cells["mean"].notna()]
    seeds = span_text(with_mean["n_seeds"])
    by = metric_named(metric).by
    if by == "seed":
        return f"paired bootstrap over seeds only ({seeds}), test prompts are not resampled"
    unit = {"prompt": "prompts", "pair": "labelled pairs"}[by]
    prompts = span_text(with_mean["n_prompts"])
    return f"paired, crossed bootstrap over seeds ({seeds}) and {unit} ({prompts})"


def _averaged_text(codes: pd.DataFrame, averaged: Sequence[str]) -> str:
    """Name the fields averaged over; datasets that other fields tell apart are named as such."""
    texts = {field: f"{field} ({codes[field].nunique()} values)" for field in averaged}
    apart = [field for field in averaged if field in UNIT_FIELDS]
    if apart and apart != ["dataset"]:
        n_datasets = codes[apart].drop_duplicates().shape[0]
        texts[apart[0]] = f"{n_datasets} datasets, told apart by {' and '.join(apart)}"
    return ", ".join(text for field, text in texts.items() if field not in apart[1:])


def _marks(cells: pd.DataFrame, against: str | None) -> list[str]:
    lines = []
    if against is not None:
        lines.append(
            f"After the semicolon: paired difference from {against} [95 % interval]; *, **, *** "
            f"p < 0.05, 0.01, 0.001 (Holm, {cells['p_holm'].notna().sum()} comparisons)."
        )
        is_alone = cells["mean"].notna() & cells["difference"].isna() & ~cells["is_baseline"]
        if is_alone.any():
            lines.append(f"{is_alone.sum()} cells have no counterpart in {against}.")
    if cells["is_best"].any():
        tied = "the 95 % interval of the paired difference from it includes 0"
        lines.append(f"* best of its column; ~ tied with the best: {tied}.")
    return lines


def _left_out(cells: pd.DataFrame, metric: str, is_averaged: bool) -> list[str]:
    """Which runs are missing, and which are done but in no mean."""
    lines = []
    n_wanted, n_runs, n_used = (cells[name].sum() for name in ("n_wanted", "n_runs", "n_used"))
    if n_runs < n_wanted:
        missing = f"{n_wanted - n_runs:,} of {n_wanted:,} runs are missing"
        lines.append(f"INCOMPLETE: {missing}; (n of N): runs done of those wanted.")
    if n_used < n_runs:
        why_absent = metric_named(metric).why_absent
        why = f"they have no {metric}" + (f" ({why_absent})" if why_absent else "")
        if is_averaged:
            why = "the rows of a column are compared on settings that all have at every seed used"
        lines.append(f"{n_runs - n_used:,} done runs are left out: {why}.")
    return lines


def span_text(numbers: pd.Series) -> str:
    """Return the least and the greatest number, or the one there is; 0 of none."""
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
