"""Which fields of specs make the rows and the columns of a table, and which it averages over."""

from collections.abc import Iterable, Sequence

import pandas as pd

from rmsweep.analysis.fields import combination_ids, spec_fields
from rmsweep.analysis.units import UNIT_FIELDS, is_in_golden_reward
from rmsweep.errors import check_name

COLUMN_ORDER = ["base_llm", "dataset", "annotation.beta", "quantity", "pairing", "selection"]
COLUMN_ORDER += ["training.protocol", "backbone"]


def default_rows(wanted: pd.DataFrame, metric: str, column_fields: Sequence[str] = ()) -> list[str]:
    """Return the loss and those of its own fields that vary within a loss.

    wanted: `key` and fields of all specs of the sweep. Where the loss makes the columns, the rows
    are what `default_columns` says of them.
    """
    _, codes = spec_fields(wanted)
    if "loss" in column_fields:
        return default_columns(wanted, metric, column_fields)
    own = [field for field in _settable(codes) if field.startswith("loss.")]
    return ["loss", *_varying(codes, ["loss", *column_fields], own)]


def default_columns(wanted: pd.DataFrame, metric: str, row_fields: Sequence[str]) -> list[str]:
    """Return the fields that make the columns of a table; [] where nothing varies within a row.

    They are those that tell datasets apart, where a row has several and the metric is in golden
    reward, which is not averaged over them. Else it is the first of COLUMN_ORDER, then of all
    fields, that varies within a row. wanted: `key` and fields of all specs of the sweep.
    """
    _, codes = spec_fields(wanted)
    datasets = fields_of_units(codes, row_fields) if is_in_golden_reward(metric) else []
    return datasets or _first_varying(codes, row_fields)


def fields_of_units(codes: pd.DataFrame, cell_fields: Sequence[str]) -> list[str]:
    """Return the fields that tell apart datasets, or scales of one, that runs of a cell are of.

    codes: of `spec_fields`.
    """
    return _varying(codes, cell_fields, [field for field in UNIT_FIELDS if field in codes])


def checked_fields(
    fields: Iterable[str], row_fields: Sequence[str], column_fields: Sequence[str]
) -> list[str]:
    """Return row and column fields together; ValueError for one that specs lack, or given twice."""
    cell_fields = [*row_fields, *column_fields]
    for field in cell_fields:
        check_name("field", field, fields)
    if len(set(cell_fields)) < len(cell_fields):
        raise ValueError(f"a field may stand once in rows and columns, got {cell_fields}")
    return cell_fields


def averaged_fields(codes: pd.DataFrame, cell_fields: Sequence[str]) -> list[str]:
    """Return the fields but the seed that tell the runs of a cell apart: those averaged over.

    codes: of `spec_fields`.
    """
    return _varying(codes, cell_fields, _settable(codes))


def _settable(codes: pd.DataFrame) -> list[str]:
    """Fields but seed; loss.options, which says the same again as each option does, comes last.

    A stem stays before the other fields of its group: where datasets of one name vary, it names
    them, and not the spread of their rewards.
    """
    fields = [field for field in codes if field != "seed"]
    return sorted(fields, key=lambda field: field == "loss.options")


def _varying(codes: pd.DataFrame, within: Sequence[str], fields: Iterable[str]) -> list[str]:
    """Those fields that vary where `within` and the varying ones before them are fixed."""
    varying: list[str] = []
    for field in fields:
        if field in within or codes[field].nunique() < 2:
            continue
        groups = codes.groupby(combination_ids(codes, [*within, *varying]))
        if groups[field].nunique().max() > 1:
            varying.append(field)
    return varying


def _first_varying(codes: pd.DataFrame, within: Sequence[str]) -> list[str]:
    order = dict.fromkeys([*COLUMN_ORDER, *_settable(codes)])
    fields = (field for field in order if field in codes)
    return next(([field] for field in fields if _varying(codes, within, [field])), [])
