"""Result tables: the runs of a sweep become one comparison in long form, a line a cell.

A cell holds the runs that share the values of the row fields and of the column fields. They differ
in the seed and in the fields averaged over; one combination of the latter is a setting. Means over
different settings do not compare, so within a column all rows are compared on the same settings,
each at every seed used (`means.full_block`); what that leaves out is counted, and the notes say so.
Golden rewards of several datasets have units of their own (units.py) and are not averaged.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import percentile_interval
from rmsweep.analysis.fields import as_typed, combination_ids, dataset_ids, spec_fields
from rmsweep.analysis.means import in_full_block, means_and_draws
from rmsweep.analysis.metrics import check_metric, has_value, metric_named, run_values
from rmsweep.analysis.table_fields import averaged_fields, checked_fields, fields_of_units
from rmsweep.analysis.table_marks import (
    DIFFERENCE_COLUMNS,
    add_differences,
    field_with_option,
    mark_best,
)
from rmsweep.analysis.units import HAVE_SHARE, SHARE, UNIT_FIELDS, is_in_golden_reward, unit_ids

CELL_COUNTS = ("n_seeds", "n_prompts", "n_runs", "n_wanted", "n_used")


def compare(
    rows: pd.DataFrame,
    wanted: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    rng: np.random.Generator,
    against: str | None = None,
) -> pd.DataFrame:
    """Return the mean of a metric and its 95 % interval for every cell, column by column.

    Three steps: every wanted run gets its place in the table; the runs with a value that make a
    full block of their column are used; their means and draws by cell make the lines.

    rows: of the done runs, `key` and the columns of `metric_columns(metric)`. wanted: `key` and
    fields of all specs of the sweep. against: the baseline, an option of a row or column field.

    Returns a line a cell with the row and column fields and
        mean: nan where there is no value; low, high: also where there is nothing to resample;
        n_seeds, n_prompts: that the mean is over; n_prompts is NA where seeds alone are resampled;
        n_runs, n_wanted, n_used: runs that are done, that the sweep wants, that the mean takes;
        is_best, is_tied_with_best: see `table_marks.mark_best`; all False with a baseline;
    and with a baseline the columns of `table_marks.add_differences`. ValueError: an unknown metric,
    field, option of `against` or subset of labelled pairs; a cell of golden rewards in two units.
    """
    fields, codes = spec_fields(wanted)  # a line a run, in one order; fields are indexed by key
    check_metric(metric)
    cell_fields = checked_fields(fields, row_fields, column_fields)
    against_field = None if against is None else field_with_option(against, fields[cell_fields])
    runs = _wanted_runs(codes, row_fields, column_fields, against_field)

    done = rows.drop_duplicates("key").set_index("key")  # two sweeps may have done one run
    values = run_values(done, metric).reindex(fields.index)
    runs["dataset"] = dataset_ids(fields, metric)
    runs["is_done"] = fields.index.isin(done.index)
    runs["has_value"] = has_value(values)
    runs["n_prompts"] = values["value"].map(np.size).to_numpy()
    runs["unit"] = unit_ids(fields, metric)
    _require_unit_by_cell(fields, codes, runs, metric, cell_fields, against_field)
    runs["is_used"] = _is_used(runs)
    used = runs[runs["is_used"]]
    means, draws = means_and_draws(values.iloc[used.index], used, rng)

    cells = _counted_cells(fields[cell_fields], runs, metric)
    cells["mean"] = means.reindex(cells.index)
    cells["low"], cells["high"] = percentile_interval(draws.reindex(columns=cells.index).to_numpy())
    n_units = runs[runs["is_used"]].groupby("column")["unit"].nunique().max()
    is_ranked = against is None and not (is_in_golden_reward(metric) and n_units > 1)
    mark_best(cells, draws, metric_named(metric).better if is_ranked else "not ranked")
    columns = [*cell_fields, "mean", "low", "high", *CELL_COUNTS, "is_best", "is_tied_with_best"]
    if against is not None and against_field is not None:
        add_differences(cells, draws, cell_fields, against_field, against)
        columns += DIFFERENCE_COLUMNS
    return cells[columns]


def _wanted_runs(
    codes: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    against_field: str | None,
) -> pd.DataFrame:
    """Return the place of every wanted run: row, column, cell, setting and seed, as integers.

    The field of a baseline is part of the row, so a cell and its baseline use the same settings.
    """
    cell_fields = [*row_fields, *column_fields]
    averaged = averaged_fields(codes, cell_fields)
    if codes.duplicated([*cell_fields, *averaged, "seed"]).any():
        raise ValueError(
            "two runs wanted agree in every field but not in their key, since data or code changed "
            "between the launches of the sweep; run it again under a new name"
        )
    compared = [] if against_field is None else [against_field]
    fields_of = {
        "row": list(dict.fromkeys([*row_fields, *compared])),
        "column": [field for field in column_fields if field not in compared],
        "cell": [*column_fields, *row_fields],  # in the order of the lines, column by column
        "setting": averaged,
    }
    places = {name: combination_ids(codes, fields) for name, fields in fields_of.items()}
    return pd.DataFrame({**places, "seed": codes["seed"]})


def _require_unit_by_cell(
    fields: pd.DataFrame,
    codes: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    cell_fields: Sequence[str],
    against_field: str | None,
) -> None:
    """Raise ValueError where a cell, or a difference of two, would mix units of golden reward."""
    if not is_in_golden_reward(metric):
        return
    n_units = runs[runs["has_value"]].groupby("cell")["unit"].nunique()
    reason = f"{metric} is in golden reward, of which each dataset has a unit of its own"
    if (n_units > 1).any():
        apart = fields_of_units(codes, cell_fields)
        options = ",".join(dict.fromkeys(fields[apart[0]].map(as_typed)))
        share = f"--metric {SHARE}, " if metric in HAVE_SHARE else ""
        raise ValueError(
            f"{reason}, so it is not averaged over {apart[0]}={options}; give {share}"
            f"--where {apart[0]}={options.partition(',')[0]}, or --columns {','.join(apart)}"
        )
    if against_field in UNIT_FIELDS:
        share = f"; give --metric {SHARE}" if metric in HAVE_SHARE else ""
        raise ValueError(f"{reason}, so no difference of two is taken{share}")


def _is_used(runs: pd.DataFrame) -> np.ndarray:
    """Return which runs the means take, those of each column's full block: (runs,) bool."""
    is_used = np.zeros(len(runs), dtype=bool)
    for positions in runs.groupby("column").indices.values():
        column = runs.iloc[positions]
        lines = column.groupby(["row", "seed"], sort=True)
        line, row_of_line = lines.ngroup().to_numpy(), lines["row"].first().to_numpy()
        setting, is_valued = pd.factorize(column["setting"])[0], column["has_value"].to_numpy()
        is_used[positions] = in_full_block(line, setting, row_of_line, is_valued)
    return is_used


def _counted_cells(fields: pd.DataFrame, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a line a cell, indexed by its number: its fields, its column, and CELL_COUNTS."""
    first = runs.drop_duplicates("cell").sort_values("cell")
    cells = fields.iloc[first.index].reset_index(drop=True)
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
    if metric_named(metric).by == "seed":
        cells["n_prompts"] = pd.Series(pd.NA, cells.index, dtype="Int64")
    return cells
