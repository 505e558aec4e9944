"""Result tables: the runs of a sweep -> one comparison in long form (table_formats.py prints it).

A cell is what shares the row fields and the column fields. Its runs differ in the seed and in the
fields averaged over; one combination of the latter is a setting. Means over different settings do
not compare, so within a column all rows are compared on the same settings, each at every seed used
(`cells.full_part`); what that leaves out is counted, and the notes say so.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import bootstrap_p_values, holm, percentile_interval
from rmsweep.analysis.fields import dataset_ids, ids, label, spec_fields
from rmsweep.analysis.means import ENOUGH_SEEDS, N_DRAWS, full_part, means_and_draws
from rmsweep.analysis.metrics import (
    PER_PROMPT,
    check_metric,
    has_value,
    is_ranked,
    values_by_prompt,
)
from rmsweep.errors import check_name, nearest

COLUMN_ORDER = (
    *("base_llm", "dataset", "annotation.beta", "quantity"),
    *("pairing", "selection", "training.protocol", "backbone"),
)


def compare(
    rows: pd.DataFrame,
    wanted: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    rng: np.random.Generator,
    against: str | None = None,
) -> pd.DataFrame:
    """Mean and 95 % interval of one metric for every cell: long form, column by column.

    rows: the done runs, by `key`, with metrics. wanted: `key` and fields of all specs of the sweep.
    Returns the fields and mean, low, high (nan where there is no value or nothing to resample),
    n_seeds, n_prompts (NA where only seeds are resampled), n_runs done of n_wanted, n_used in the
    mean, is_best, is_tied_with_best: the 95 % interval of the paired difference from the column's
    best does not exclude 0 (true of the best itself). Only HIGHER_IS_BETTER has marks, and only
    columns with two values. oracle_share: mean improvement / mean headroom of a dataset, averaged
    over the datasets.

    against: an option of a row or column field, such as bt_mlp, the baseline. Then no cell is best
    or tied; each is compared with the cell that has the baseline's option instead of its own, and
    has difference (nan where there is none), difference_low and _high, paired, is_baseline, and
    p_holm, corrected for all differences of the table.
    """
    fields, codes = spec_fields(wanted)
    check_metric(metric)
    cell_fields = checked_fields(fields, row_fields, column_fields)
    against_field = _field_of(against, fields[cell_fields]) if against is not None else None
    runs = _assign(codes, row_fields, column_fields, against_field)
    runs["dataset"] = dataset_ids(fields, metric)
    done = rows.drop_duplicates("key").set_index("key")
    values = values_by_prompt(done, metric).reindex(fields.index)
    runs["is_done"] = fields.index.isin(rows["key"])
    runs["has_value"] = has_value(values)
    runs["n_prompts"] = values.iloc[:, 0].map(np.size).to_numpy()
    runs["is_used"] = False
    for positions in runs.groupby("column").indices.values():
        runs.loc[positions, "is_used"] = _is_infull_part(runs.loc[positions])
    used = runs[runs["is_used"]]
    means, draws = means_and_draws(values.iloc[used.index], used, rng)
    cells = _counts(fields[cell_fields], runs, metric)
    cells["mean"] = means.reindex(cells.index)
    cells["low"], cells["high"] = percentile_interval(draws.reindex(columns=cells.index).to_numpy())
    cells["is_best"] = cells["is_tied_with_best"] = False
    differences = []
    if against is not None and against_field is not None:
        others = [field for field in cell_fields if field != against_field]
        baseline = _baseline_cells(cells, against_field, against, others)
        differences = _add_differences(cells, baseline, draws)
    elif is_ranked(metric):
        for _, column in cells[cells["mean"].notna()].groupby("column"):
            _mark_best(cells, column["mean"], draws)
    counts = ["n_seeds", "n_prompts", "n_runs", "n_wanted", "n_used"]
    order = [*cell_fields, "mean", "low", "high", *counts, "is_best", "is_tied_with_best"]
    return cells[[*order, *differences]]


def default_rows(wanted: pd.DataFrame, column_fields: Sequence[str] = ()) -> list[str]:
    """The loss and those of its own fields that vary within a loss."""
    _, codes = spec_fields(wanted)
    if "loss" in column_fields:
        return _first_varying(codes, column_fields)
    own = [field for field in _settable(codes) if field.startswith("loss.")]
    return ["loss", *_varying(codes, ["loss", *column_fields], own)]


def default_columns(wanted: pd.DataFrame, row_fields: Sequence[str]) -> list[str]:
    """The first of COLUMN_ORDER, then of all fields, that varies within a row; [] if none does."""
    return _first_varying(spec_fields(wanted)[1], row_fields)


def notes(
    cells: pd.DataFrame,
    wanted: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    against: str | None = None,
) -> list[str]:
    """Lines to stand under the table of `compare`: what is resampled, averaged over, missing."""
    is_there = cells["mean"].notna()
    seeds = cells.loc[is_there, "n_seeds"]
    how = f"paired bootstrap over seeds only ({_span(seeds)}), test prompts are not resampled"
    if metric in PER_PROMPT:
        prompts = _span(cells.loc[is_there, "n_prompts"])
        unit = "labelled pairs" if metric == "accuracy" else "prompts"
        how = f"paired, crossed bootstrap over seeds ({_span(seeds)}) and {unit} ({prompts})"
    lines = [f"{metric}: mean [95 % interval]; {how}; B = {N_DRAWS:,}."]
    if against is not None:
        lines.append(
            f"After the semicolon: paired difference from {against} [95 % interval]; *, **, *** "
            f"p < 0.05, 0.01, 0.001 (Holm, {cells['p_holm'].notna().sum()} comparisons)."
        )
        is_alone = is_there & cells["difference"].isna() & ~cells["is_baseline"]
        if is_alone.any():
            lines.append(f"{is_alone.sum()} cells have no counterpart in {against}.")
    if cells["is_best"].any():
        tied = "the 95 % interval of the paired difference from it includes 0"
        lines.append(f"* best of its column; ~ tied with the best: {tied}.")
    _, codes = spec_fields(wanted)
    averaged = _varying(codes, [*row_fields, *column_fields], _settable(codes))
    if averaged:
        names = ", ".join(f"{field} ({codes[field].nunique()} values)" for field in averaged)
        lines.append(f"Averaged over {names}.")
    n_wanted, n_runs, n_used = (cells[name].sum() for name in ("n_wanted", "n_runs", "n_used"))
    if n_runs < n_wanted:
        missing = f"{n_wanted - n_runs:,} of {n_wanted:,} runs are missing"
        lines.append(f"INCOMPLETE: {missing}; (n of N): runs done of those wanted.")
    if n_used < n_runs:
        why = f"they have no {metric} (constant predictions have no rank correlation)"
        if metric != "spearman":
            why = f"they have no {metric}"
        if averaged:
            why = "the rows of a column are compared on settings that all have at every seed used"
        lines.append(f"{n_runs - n_used:,} done runs are left out: {why}.")
    if len(seeds) and seeds.min() < ENOUGH_SEEDS:
        lines.append(f"WARNING: fewer than {ENOUGH_SEEDS} seeds, the intervals are too narrow.")
    return lines


def checked_fields(
    fields: Iterable[str], row_fields: Sequence[str], column_fields: Sequence[str]
) -> list[str]:
    """Row and column fields together; ValueError for one that specs have not, or stands twice."""
    cell_fields = [*row_fields, *column_fields]
    for field in cell_fields:
        check_name("field", field, fields)
    if len(set(cell_fields)) < len(cell_fields):
        raise ValueError(f"a field may stand once in rows and columns, got {cell_fields}")
    return cell_fields


def _settable(codes: pd.DataFrame) -> list[str]:
    """Fields but seed; those that say the same again (stems, loss.options) last."""
    fields = [field for field in codes if field != "seed"]
    return sorted(fields, key=lambda field: (field.endswith(".stem"), field == "loss.options"))


def _varying(codes: pd.DataFrame, within: Sequence[str], fields: Iterable[str]) -> list[str]:
    """Those fields that vary where `within` and the ones found before are fixed."""
    found: list[str] = []
    for field in fields:
        is_free = field not in within and codes[field].nunique() > 1
        if is_free and codes.groupby(ids(codes, [*within, *found]))[field].nunique().max() > 1:
            found.append(field)
    return found


def _first_varying(codes: pd.DataFrame, within: Sequence[str]) -> list[str]:
    order = dict.fromkeys([*COLUMN_ORDER, *_settable(codes)])
    fields = (field for field in order if field in codes)
    return next(([field] for field in fields if _varying(codes, within, [field])), [])


def _assign(
    codes: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    against_field: str | None,
) -> pd.DataFrame:
    """Row, column, cell, setting and seed of every wanted run, as integers.

    Rows are what is compared within a column, so a column field to compare against counts there.
    """
    cell_fields = [*row_fields, *column_fields]
    averaged = _varying(codes, cell_fields, _settable(codes))
    if codes.duplicated([*cell_fields, *averaged, "seed"]).any():
        raise ValueError(
            "two runs wanted agree in every field but not in their key, since data or code changed "
            "between the launches of the sweep; run it again under a new name"
        )
    compared = [] if against_field is None else [against_field]
    return pd.DataFrame(
        {
            "row": ids(codes, list(dict.fromkeys([*row_fields, *compared]))),
            "column": ids(codes, [f for f in column_fields if f not in compared]),
            "cell": ids(codes, [*column_fields, *row_fields]),
            "setting": ids(codes, averaged),
            "seed": codes["seed"],
        }
    )


def _is_infull_part(runs: pd.DataFrame) -> np.ndarray:
    """Which runs of one column enter the comparison: (runs,) bool."""
    lines = runs.groupby(["row", "seed"], sort=True)
    line, row = lines.ngroup().to_numpy(), lines["row"].first().to_numpy()
    setting = pd.factorize(runs["setting"])[0]
    has_run = np.zeros((line.max() + 1, setting.max() + 1), dtype=bool)
    has_run[line, setting] = runs["has_value"]
    kept_lines, kept_settings = full_part(has_run, row)
    return np.isin(line, kept_lines) & np.isin(setting, kept_settings)


def _counts(cell_values: pd.DataFrame, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One line a cell, in order: its fields, its column, numbers of seeds, prompts and runs."""
    first = runs.drop_duplicates("cell").sort_values("cell")
    cells = cell_values.iloc[first.index].reset_index(drop=True)
    cells["column"] = first["column"].to_numpy()
    used = runs[runs["is_used"]]
    prompts = used.drop_duplicates(["cell", "dataset", "n_prompts"])
    numbers = {
        "n_seeds": used.groupby("cell")["seed"].nunique(),
        "n_prompts": prompts.groupby("cell")["n_prompts"].sum(),
        "n_runs": runs.groupby("cell")["is_done"].sum(),
        "n_wanted": runs.groupby("cell").size(),
        "n_used": runs.groupby("cell")["is_used"].sum(),
    }
    for name, number in numbers.items():
        cells[name] = number.reindex(cells.index, fill_value=0).astype("Int64")
    if metric not in PER_PROMPT:
        cells["n_prompts"] = pd.Series(pd.NA, cells.index, dtype="Int64")
    return cells


def _mark_best(cells: pd.DataFrame, means: pd.Series, draws: pd.DataFrame) -> None:
    """Set the marks of one column's cells in place. means: those of its cells that have one."""
    if len(means) < 2:
        return
    best = means.idxmax()
    low, _ = percentile_interval(draws[[best]].to_numpy() - draws[means.index].to_numpy())
    rounding = 1e-12 * abs(means[best])  # equal values may differ in the last bit
    cells.loc[best, "is_best"] = True
    cells.loc[means.index, "is_tied_with_best"] = ~(low > rounding)


def _field_of(option: str, fields: pd.DataFrame) -> str:
    """The first of the fields that has this option; ValueError if none has."""
    options = {field: set(fields[field].map(label)) for field in fields}
    for field, there in options.items():
        if option in there:
            return field
    raise ValueError(
        f"no row or column is {option}; {nearest(option, set().union(*options.values()))}"
    )


def _baseline_cells(
    cells: pd.DataFrame, field: str, option: str, others: Sequence[str]
) -> pd.Series:
    """The number of the cell that each is compared with; NA where the sweep does not have it."""
    keys = pd.Series(list(zip(*[cells[other].map(label) for other in others], strict=True)))
    if not others:
        keys = pd.Series([()] * len(cells))
    is_baseline = (cells[field].map(label) == option).to_numpy()
    cell_of = dict(zip(keys[is_baseline], cells.index[is_baseline], strict=True))
    return pd.Series([cell_of.get(key) for key in keys], cells.index, dtype="Int64")


def _add_differences(cells: pd.DataFrame, baseline: pd.Series, draws: pd.DataFrame) -> list[str]:
    """Add the columns of differences in place; their names. baseline: a cell for each, or NA."""
    cells["is_baseline"] = (baseline == cells.index.to_series()).fillna(False).astype(bool)
    is_met = baseline.notna() & ~cells["is_baseline"] & cells["mean"].notna()
    is_met &= cells["mean"].reindex(baseline).notna().to_numpy()
    one, other = cells.index[is_met], baseline[is_met].astype(int)
    names = ["difference", "difference_low", "difference_high", "p_holm"]
    cells[names] = np.nan
    cells.loc[one, names[0]] = cells["mean"][one].to_numpy() - cells["mean"][other].to_numpy()
    apart = draws[one].to_numpy() - draws[other].to_numpy()
    cells.loc[one, names[1]], cells.loc[one, names[2]] = percentile_interval(apart)
    cells.loc[one, names[3]] = holm(bootstrap_p_values(cells.loc[one, names[0]].to_numpy(), apart))
    return ["is_baseline", *names]


def _span(numbers: pd.Series) -> str:
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
