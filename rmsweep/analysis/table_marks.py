"""What is marked in a table: the best cell of a column (*), those tied with it (~), differences."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import bootstrap_p_values, holm, percentile_interval
from rmsweep.analysis.fields import as_typed
from rmsweep.errors import nearest

DIFFERENCE_COLUMNS = ("is_baseline", "difference", "difference_low", "difference_high", "p_holm")


def mark_best(cells: pd.DataFrame, draws: pd.DataFrame, better: str) -> None:
    """Add the columns is_best and is_tied_with_best to the cells, in place.

    In each column with two means or more the best cell is that of the highest mean, or of the
    lowest where lower is better. A cell is tied with the best where the 95 % interval of the paired
    difference from it includes 0; the best itself counts as tied. Nothing is marked for a metric
    that is "not ranked".

    cells: with `column` and `mean`. draws: (n_draws, cells with a mean). better: of the metric.
    """
    cells["is_best"] = cells["is_tied_with_best"] = False
    if better == "not ranked":
        return
    sign = -1 if better == "lower" else 1
    for _, column in cells[cells["mean"].notna()].groupby("column"):
        if len(column) < 2:
            continue
        best = (sign * column["mean"]).idxmax()
        leads = sign * (draws[[best]].to_numpy() - draws[column.index].to_numpy())
        low, _ = percentile_interval(leads)
        rounding = 1e-12 * abs(column["mean"][best])  # equal values may differ in the last bit
        cells.loc[best, "is_best"] = True
        cells.loc[column.index, "is_tied_with_best"] = ~(low > rounding)


def field_with_option(option: str, fields: pd.DataFrame) -> str:
    """Return the first of the fields that has this option; ValueError if none has.

    fields: the row and column fields of the runs, by name.
    """
    options = {field: set(fields[field].map(as_typed)) for field in fields}
    for field, of_field in options.items():
        if option in of_field:
            return field
    known = set().union(*options.values())
    raise ValueError(f"no row or column is {option}; {nearest(option, known)}")


def add_differences(
    cells: pd.DataFrame,
    draws: pd.DataFrame,
    cell_fields: Sequence[str],
    against_field: str,
    against: str,
) -> None:
    """Add DIFFERENCE_COLUMNS to the cells, in place: each is compared with its baseline cell.

    That is the cell with the option `against` of `against_field` and the same other fields.
    difference is paired and has a 95 % interval; it is nan for a baseline, without a baseline and
    where either has no mean. p_holm is corrected for all differences of the table.

    cells: with cell_fields and `mean`. draws: (n_draws, cells with a mean).
    """
    others = [field for field in cell_fields if field != against_field]
    baseline = _baseline_cells(cells, against_field, against, others)
    cells["is_baseline"] = (baseline == cells.index.to_series()).fillna(False).astype(bool)
    is_compared = baseline.notna() & ~cells["is_baseline"] & cells["mean"].notna()
    is_compared &= cells["mean"].reindex(baseline).notna().to_numpy()
    one, other = cells.index[is_compared], baseline[is_compared].astype(int)
    differences = cells["mean"][one].to_numpy() - cells["mean"][other].to_numpy()
    difference_draws = draws[one].to_numpy() - draws[other].to_numpy()
    low, high = percentile_interval(difference_draws)
    p_holm = holm(bootstrap_p_values(differences, difference_draws))
    cells[list(DIFFERENCE_COLUMNS[1:])] = np.nan
    cells.loc[one, list(DIFFERENCE_COLUMNS[1:])] = np.stack([differences, low, high, p_holm], 1)


def _baseline_cells(
    cells: pd.DataFrame, field: str, option: str, others: Sequence[str]
) -> pd.Series:
    """The number of the cell that each is compared with; NA where the sweep does not have it."""
    keys = [tuple(map(as_typed, values)) for values in cells[list(others)].to_numpy(dtype=object)]
    options = cells[field].map(as_typed)
    cell_of = {keys[cell]: cell for cell in cells.index if options[cell] == option}
    return pd.Series([cell_of.get(key) for key in keys], cells.index, dtype="Int64")
