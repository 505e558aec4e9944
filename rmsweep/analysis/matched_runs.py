"""Pairs of runs that agree in all but what is contrasted.

A side is a map of fields to values, such as {"loss": "clf_mlp"} against {"loss": "bt_mlp"}. A pair
is a run of each that agree in every other field, the seed included; fields that belong to a
contrasted one (loss.label, base_llm.stem) count only where they vary on both sides. Runs without
the metric are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis.fields import dataset_ids, ids, matches, spec_fields
from rmsweep.analysis.means import full_part
from rmsweep.analysis.metrics import has_value, values_by_prompt
from rmsweep.config.columns import column_types
from rmsweep.config.spec import NOT_IN_ID

Side = Mapping[str, Any]
N_OWN = 6  # columns of `pair` before the fields


def pair(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, sides: Sequence[Side] = ()
) -> pd.DataFrame:
    """The pairs, a line each: row_a and row_b (positions in rows), setting, seed, the fields of a.

    rows: done runs, one a key, with their fields and the columns of `cells.needs(metric)`. setting,
    seed and stratum are numbers: of the combination of the fields paired on but the seed, of the
    seed, of the dataset. n_prompts: of run a. sides: all that are contrasted,
    where a and b are not. ValueError: an unknown field, or a value no run has.
    """
    if set(a) != set(b):
        raise ValueError(f"both sides need the same fields, got {sorted(a)} and {sorted(b)}")
    fields, codes = spec_fields(rows[["key", *_field_names(rows)]])
    assert len(fields) == len(rows), "one row a key"
    values = values_by_prompt(rows, metric)
    is_side = [matches(fields, side) for side in (a, b)]
    are_in = [matches(fields, side) for side in sides] or is_side
    setting = ids(codes, _paired_on(codes, a, are_in))
    runs = pd.DataFrame({"row": np.arange(len(rows)), "setting": setting, "seed": codes["seed"]})
    of_a, of_b = (runs[is_in & has_value(values)] for is_in in is_side)
    pairs = of_a.merge(of_b, on=["setting", "seed"], suffixes=("_a", "_b"))
    pairs = pairs[["row_a", "row_b", "setting", "seed"]]
    pairs["stratum"] = dataset_ids(rows, metric)[pairs["row_a"]]
    pairs["n_prompts"] = values.iloc[:, 0].map(np.size).to_numpy()[pairs["row_a"]]
    plain = fields.drop(columns="seed").iloc[pairs["row_a"]].reset_index(drop=True)
    return pd.concat([pairs, plain.infer_objects()], axis=1)


def balanced(pairs: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Those pairs of each group such that every seed left has every setting left.

    Else seeds would differ by their settings, and the mean would depend on which runs are done.
    """
    kept = [np.zeros(0, dtype=int)]
    for positions in pairs.groupby(group_ids(pairs, by)).indices.values():
        part = pairs.iloc[positions]
        seed, setting = (pd.factorize(part[name])[0] for name in ("seed", "setting"))
        has_pair = np.zeros((seed.max() + 1, setting.max() + 1), dtype=bool)
        has_pair[seed, setting] = True
        seeds, settings = full_part(has_pair, np.zeros(len(has_pair), dtype=int))
        kept.append(positions[np.isin(seed, seeds) & np.isin(setting, settings)])
    return pairs.iloc[np.sort(np.concatenate(kept))].reset_index(drop=True)


def group_ids(pairs: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Number of the combination of the fields `by`: (pairs,)."""
    if not by:
        return np.zeros(len(pairs), dtype=int)
    return pairs.groupby(list(by), dropna=False).ngroup().to_numpy()


def _paired_on(codes: pd.DataFrame, contrasted: Side, is_side: list[np.ndarray]) -> list[str]:
    """Fields, without the seed, in which the two runs of a pair agree."""
    on = []
    for field in codes:
        belongs = any(field.startswith(f"{name}.") for name in contrasted)
        parts = [codes.loc[is_in, field] for is_in in is_side] if belongs else [codes[field]]
        is_told = field not in (*contrasted, "seed", "loss.options")  # whose fields stand apart
        if is_told and all(part.nunique() > 1 for part in parts):
            on.append(field)
    return on


def _field_names(rows: pd.DataFrame) -> list[str]:
    return [name for name in column_types() if name in rows and name not in NOT_IN_ID]
