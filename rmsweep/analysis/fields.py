"""The fields of specs that tell runs apart, and which runs meet conditions on them."""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis.metrics import metric_named
from rmsweep.config.columns import column_types
from rmsweep.config.reward_models import kind_of
from rmsweep.config.spec import NOT_IN_ID
from rmsweep.errors import Absent, nearest


def as_typed(value: Any) -> str:
    """Return a value as one types it on the command line: null, 0.3, 40000, true."""
    if value is None or isinstance(value, bool | list | dict):
        return json.dumps(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def id_fields(columns: Container[str]) -> list[str]:
    """Return those of the columns that are fields of a spec's id, in the spec's order."""
    return [name for name in column_types() if name in columns and name not in NOT_IN_ID]


def spec_fields(wanted: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the fields of each key's spec, null as None, and integer codes for their values.

    wanted: `key` and fields of specs. Each option of a loss has a field of its own, loss.NAME. Both
    have a line for each key, in the order of wanted; the fields are indexed by key. Codes ascend
    with numbers, else they follow first appearance, which is the order of the sweep file.
    """
    names = [name for name in wanted if name not in ("spec_id", "canonical")]
    fields = wanted.drop_duplicates("key")[names].set_index("key")
    if "loss.options" in fields:
        texts = fields["loss.options"].astype(object).where(fields["loss.options"].notna(), "{}")
        options = {text: dict(_leaves(json.loads(text))) for text in texts.unique()}
        for name in dict.fromkeys(name for own in options.values() for name in own):
            labels = {text: _hashable(own.get(name)) for text, own in options.items()}
            column = [labels[text] for text in texts]
            fields[f"loss.{name}"] = pd.Series(column, fields.index, dtype=object)
    plain = {name: column.to_numpy(object, na_value=None) for name, column in fields.items()}
    codes = {}
    for field, column in fields.items():
        is_number = pd.api.types.is_numeric_dtype(column)
        values = column if is_number else plain[field]
        codes[field] = pd.factorize(values, sort=is_number, use_na_sentinel=False)[0]
    return pd.DataFrame(plain, fields.index, dtype=object), pd.DataFrame(codes)


def trains_in_epochs(rows: pd.DataFrame) -> np.ndarray:
    """Return which runs have a reward model that knows protocols and early stopping: (runs,).

    All of them, where rows do not say what they have.
    """
    if "loss.reward_model" not in rows:
        return np.ones(len(rows), dtype=bool)
    is_trained = rows["loss.reward_model"].map(lambda name: kind_of(name).trains_in_epochs)
    return is_trained.to_numpy(dtype=bool)


def _leaves(options: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Options of a loss by dotted name; a function, with options of its own, by its _target_."""
    for name, value in options.items():
        if isinstance(value, dict):
            yield path + name, value.get("_target_")
            own = {k: v for k, v in value.items() if k not in ("_target_", "_partial_")}
            yield from _leaves(own, f"{path}{name}.")
        else:
            yield path + name, value


def meets_conditions(fields: pd.DataFrame, conditions: Mapping[str, Any]) -> np.ndarray:
    """Return which runs have, for every field named, the value or one of a list: (runs,) bool.

    fields: of `spec_fields`. Values are compared as on the command line, so 1 is 1.0.
    ValueError: no such field, or no run that has the value.
    """
    is_match = np.ones(len(fields), dtype=bool)
    for field, values in conditions.items():
        if field not in fields:
            raise Absent(f"unknown field {field!r}; {nearest(field, fields)}")
        options = fields[field].map(as_typed)
        wanted = [as_typed(value) for value in (values if isinstance(values, list) else [values])]
        for option in wanted:
            if option not in set(options):
                raise Absent(f"no run has {field}={option}; {nearest(option, set(options))}")
        is_match &= options.isin(wanted).to_numpy()
    return is_match


def select_specs(wanted: pd.DataFrame, conditions: Mapping[str, Any]) -> pd.DataFrame:
    """Return the lines of wanted that meet the conditions; ValueError where none meets all."""
    fields, _ = spec_fields(wanted)
    kept = wanted[wanted["key"].isin(fields.index[meets_conditions(fields, conditions)])]
    if kept.empty:
        raise ValueError(f"no run meets all of {conditions_text(conditions)}")
    return kept.reset_index(drop=True)


def conditions_text(conditions: Mapping[str, Any]) -> str:
    """Return conditions as one types them: loss=bt_mlp,clf_mlp and quantity=5000."""
    lists = {f: v if isinstance(v, list) else [v] for f, v in conditions.items()}
    return " and ".join(f"{f}={','.join(map(as_typed, values))}" for f, values in lists.items())


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def combination_ids(codes: pd.DataFrame, fields: Sequence[str]) -> np.ndarray:
    """Return the number of each line's combination of the fields' values: (lines,) integers.

    The numbers ascend with the values, the first field's first. codes: such as of `spec_fields`.
    """
    if not fields:
        return np.zeros(len(codes), dtype=int)
    return codes.groupby(list(fields), dropna=False).ngroup().to_numpy()


def dataset_ids(fields: pd.DataFrame, metric: str) -> np.ndarray:
    """Return the number of the data that a metric is taken on, a stratum of prompts: (runs,).

    fields: of the runs, by name. A metric by labelled pair is taken on the set that was judged
    first, which is the run's own dataset where some of its pairs are held out. The other metrics
    are taken on the cache of evaluation.golden, and without one on the run's own dataset.
    """
    none = pd.Series(None, fields.index, dtype=object)
    names = (fields.get(field, none) for field in ("dataset", "dataset.stem"))
    own = pd.Series(list(zip(*names, strict=True)), fields.index)
    other = fields.get("evaluation.golden.dataset", none)
    if metric_named(metric).by == "pair":
        pairs = fields.get("evaluation.pairs", none)
        is_other = fields.get("evaluation.held_out", none).isna() & pairs.notna()
        other = pairs.map(lambda names: str(names).split(",")[0]).where(is_other)
    return pd.factorize(own.where(other.isna(), other))[0]
