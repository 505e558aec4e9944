"""The fields of specs that tell runs apart, and which runs have given values."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.errors import Absent, nearest


def label(value: Any) -> str:
    """As on the command line: null, 0.3, 40000, true."""
    if value is None or isinstance(value, bool | list | dict):
        return json.dumps(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def spec_fields(wanted: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fields of each key, null as None, loss.options also spread over loss.*; integer codes.

    wanted: `key` and fields of specs. Codes ascend with numbers, else follow first appearance,
    which is the order of the sweep file.
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


def _leaves(options: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Options of a loss by dotted name; a function, with options of its own, by its _target_."""
    for name, value in options.items():
        if isinstance(value, dict):
            yield path + name, value.get("_target_")
            own = {k: v for k, v in value.items() if k not in ("_target_", "_partial_")}
            yield from _leaves(own, f"{path}{name}.")
        else:
            yield path + name, value


def matches(fields: pd.DataFrame, conditions: Mapping[str, Any]) -> np.ndarray:
    """Which runs have, for every field named, the value or one of the values given: (runs,) bool.

    fields: of `spec_fields`. Values are compared as on the command line, so 1 is 1.0.
    ValueError: no such field, or no run that has the value.
    """
    is_match = np.ones(len(fields), dtype=bool)
    for field, wanted in conditions.items():
        if field not in fields:
            raise Absent(f"unknown field {field!r}; {nearest(field, fields)}")
        labels = fields[field].map(label)
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if label(value) not in set(labels):
                raise Absent(f"no run has {field}={label(value)}; {nearest(value, set(labels))}")
        values = wanted if isinstance(wanted, list) else [wanted]
        is_match &= labels.isin([label(value) for value in values]).to_numpy()
    return is_match


def select(wanted: pd.DataFrame, conditions: Mapping[str, Any]) -> pd.DataFrame:
    """The lines of wanted whose runs match; ValueError where none meets all conditions."""
    fields, _ = spec_fields(wanted)
    kept = wanted[wanted["key"].isin(fields.index[matches(fields, conditions)])]
    if kept.empty:
        raise ValueError(f"no run meets all of {describe(conditions)}")
    return kept.reset_index(drop=True)


def describe(conditions: Mapping[str, Any]) -> str:
    """Conditions as on the command line: loss=bt_mlp,clf_mlp and quantity=5000."""
    lists = {f: v if isinstance(v, list) else [v] for f, v in conditions.items()}
    return " and ".join(f"{f}={','.join(map(label, values))}" for f, values in lists.items())


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def ids(codes: pd.DataFrame, fields: Sequence[str]) -> np.ndarray:
    """Number of the combination of the fields' values: (runs,)."""
    if not fields:
        return np.zeros(len(codes), dtype=int)
    return codes.groupby(list(fields), dropna=False).ngroup().to_numpy()


def dataset_ids(fields: pd.DataFrame, metric: str) -> np.ndarray:
    """Number of what a metric is taken on, whose prompts or pairs are a stratum: (runs,).

    fields: of the runs, by name. The run's own dataset; of accuracy the labelled pairs judged
    first, of the other metrics the cache of evaluation.golden, where there is one.
    """
    none = pd.Series(None, fields.index, dtype=object)
    own = pd.Series(
        list(zip(*(fields.get(f, none) for f in ("dataset", "dataset.stem")), strict=True)),
        fields.index,
    )
    other = fields.get("evaluation.golden.dataset", none)
    if metric == "accuracy":
        first = fields.get("evaluation.pairs", none).map(lambda pairs: str(pairs).split(",")[0])
        is_other = (
            fields.get("evaluation.held_out", none).isna()
            & fields.get("evaluation.pairs", none).notna()
        )
        other = first.where(is_other)
    return pd.factorize(own.where(other.isna(), other))[0]
