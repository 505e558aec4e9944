"""Pairs of runs that agree in all but what is contrasted.

A side is a map of fields to values, such as {"loss": "clf_mlp"} against {"loss": "bt_mlp"}. A pair
is a run of each that agree in every other field, the seed included. Fields that belong to a
contrasted one (loss.label, loss.hidden, base_llm.stem) count only where they vary on both sides, or
on one that shares a value with the other. Where losses are contrasted, a run of a reward model that
does not train in epochs, such as LightGBM, stands against every way of training that it has no run
of: its numbers hang on none. Runs without the metric are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis.fields import (
    combination_ids,
    dataset_ids,
    id_fields,
    meets_conditions,
    spec_fields,
    trains_in_epochs,
)
from rmsweep.analysis.means import in_full_block
from rmsweep.analysis.metrics import has_value, run_values
from rmsweep.analysis.units import unit_ids

Side = Mapping[str, Any]
Fields = Sequence[str]
N_NUMBERS = 7  # columns of `matched_pairs` before the fields of run a


def matched_pairs(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, sides: Sequence[Side] = ()
) -> pd.DataFrame:
    """Return the pairs, a line each, with the positions in rows of their two runs.

    rows: done runs, one a key, with their fields and the columns of `metric_columns(metric)`.
    sides: all that are contrasted, where these are more than a and b.

    The columns: row_a and row_b, the positions; setting, the number of the combination of the
    fields that both agree in, without the seed; seed, a number; stratum, the number of the dataset;
    unit, of golden reward (units.py), and n_prompts, of run a; and then the fields of run a.
    ValueError: an unknown field, or a value that no run has.
    """
    if set(a) != set(b):
        raise ValueError(f"both sides need the same fields, got {sorted(a)} and {sorted(b)}")
    fields, codes = spec_fields(rows[["key", *id_fields(rows)]])
    assert len(fields) == len(rows), "one row a key"
    values = run_values(rows, metric)
    is_side = [meets_conditions(fields, side) for side in (a, b)]
    is_contrasted = [meets_conditions(fields, side) for side in sides] or is_side
    row = np.arange(len(rows))  # of each line of fields and codes
    if "loss" in a:
        is_compared = np.any(is_contrasted, axis=0)
        row, trained_as = _in_every_way(codes, is_compared, trains_in_epochs(rows))
        fields, codes = (_trained_as(table, row, trained_as) for table in (fields, codes))
        is_contrasted = [is_in[row] for is_in in is_contrasted]
    setting = combination_ids(codes, _fields_in_common(codes, a, is_contrasted))
    runs = pd.DataFrame({"row": np.arange(len(row)), "setting": setting, "seed": codes["seed"]})
    of_a, of_b = (runs[(is_in_side & has_value(values))[row]] for is_in_side in is_side)
    pairs = of_a.merge(of_b, on=["setting", "seed"], suffixes=("_a", "_b"))
    pairs = pairs[["row_a", "row_b", "setting", "seed"]]
    fields_of_a = fields.drop(columns="seed").iloc[pairs["row_a"]].reset_index(drop=True)
    pairs[["row_a", "row_b"]] = row[pairs[["row_a", "row_b"]]]
    pairs["stratum"] = dataset_ids(rows, metric)[pairs["row_a"]]
    pairs["unit"] = unit_ids(rows, metric)[pairs["row_a"]]
    pairs["n_prompts"] = values["value"].map(np.size).to_numpy()[pairs["row_a"]]
    return pd.concat([pairs, fields_of_a.infer_objects()], axis=1)


def balanced_pairs(pairs: pd.DataFrame, by: Fields = ()) -> pd.DataFrame:
    """Return those pairs of each group such that every seed left has every setting left.

    Else seeds would differ by their settings, and the mean would depend on which runs are done.
    pairs: of `matched_pairs`. by: the fields whose combinations are the groups.
    """
    kept = [np.zeros(0, dtype=int)]
    for positions in pairs.groupby(combination_ids(pairs, by)).indices.values():
        part = pairs.iloc[positions]
        seed, setting = (pd.factorize(part[name])[0] for name in ("seed", "setting"))
        one_row, has_pair = np.zeros(seed.max() + 1, dtype=int), np.ones(len(part), dtype=bool)
        kept.append(positions[in_full_block(seed, setting, one_row, has_pair)])
    return pairs.iloc[np.sort(np.concatenate(kept))].reset_index(drop=True)


def _in_every_way(
    codes: pd.DataFrame, is_compared: np.ndarray, is_trained: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of runs, and of those whose way of training each is taken to have.

    All runs come first, each with its own way. After them a run that is compared and does not train
    in epochs is repeated for each way that runs of others have and none of its kind has.
    """
    every = np.arange(len(codes))
    of_training = _fields_of_training(codes)
    way = combination_ids(codes, of_training)
    is_other = is_compared & ~is_trained
    _, first_of_way = np.unique(way, return_index=True)
    lacking = np.setdiff1d(way[is_compared & is_trained], way[is_other])
    apart = combination_ids(codes, [field for field in codes if field not in of_training])
    others = every[is_other][np.unique(apart[is_other], return_index=True)[1]]
    row = np.concatenate([every, np.repeat(others, len(lacking))])
    return row, np.concatenate([every, np.tile(first_of_way[lacking], len(others))])


def _trained_as(table: pd.DataFrame, row: np.ndarray, trained_as: np.ndarray) -> pd.DataFrame:
    """The lines of some runs, with the way of training of others."""
    names = _fields_of_training(table)
    taken = table.iloc[row].reset_index(drop=True)
    return taken.assign(**{name: table[name].to_numpy()[trained_as] for name in names})


def _fields_of_training(table: pd.DataFrame) -> list[str]:
    """The fields that mean nothing without epochs; validation_share does for every reward model."""
    names = [name for name in table if name.startswith("training.")]
    return [name for name in names if name != "training.validation_share"]


def _fields_in_common(codes: pd.DataFrame, contrasted: Side, is_side: list[Any]) -> list[str]:
    """Fields, without the seed, in which the two runs of a pair agree."""
    in_common = []
    for field in codes:
        if field in (*contrasted, "seed", "loss.options"):  # the options' own fields stand apart
            continue
        belongs = any(field.startswith(f"{name}.") for name in contrasted)
        parts = [codes.loc[is_in, field] for is_in in is_side] if belongs else [codes[field]]
        varies = [part.nunique() > 1 for part in parts]
        if all(varies) or (any(varies) and set.intersection(*map(set, parts))):
            in_common.append(field)
    return in_common
