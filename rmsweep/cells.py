"""Cells of runs: the fields that tell runs apart, their values by prompt, means and their draws.

A cell is a set of runs that one number speaks of: a table's entry, one side of a contrast.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.statistics import bootstrap_means, crossed_mean
from rmsweep.typed import nearest

# list columns whose sum is the metric by prompt; the other metrics are resampled by seed only
PER_PROMPT = {
    "improvement": ("improvement_by_prompt",),
    "oracle_share": ("improvement_by_prompt",),
    "bon_golden": ("base_by_prompt", "improvement_by_prompt"),
    "base": ("base_by_prompt",),
    "oracle": ("base_by_prompt", "headroom_by_prompt"),
    "spearman": ("spearman_by_prompt",),
    "pairwise_accuracy": ("pairwise_accuracy_by_prompt",),
    "accuracy": ("correct_by_pair",),  # by labelled pair
}
HIGHER_IS_BETTER = (
    *("improvement", "oracle_share", "bon_golden"),
    *("spearman", "pairwise_accuracy", "order_consistency", "accuracy", "rewardbench"),
    *("section_chat", "section_chat_hard", "section_safety", "section_reasoning", "prior_sets"),
)
NOT_RANKED = (
    *("base", "oracle", "annotation_error", "mean_margin", "epochs", "wall_s"),
    *("kl_risk", "margin_error"),  # of objectives whose margins are no logits they say little
    *("ece", "brier", "nll", "temperature"),
)
OF_SUBSET = "accuracy:"  # and the name of a subset of labelled pairs
N_DRAWS = 2000
ENOUGH_SEEDS = 5


class Absent(ValueError):
    """No run has what is asked for."""


def needs(metric: str) -> list[str]:
    """Columns of the results that a metric is made of, key first; ValueError for an unknown one."""
    check_metric(metric)
    if metric.startswith(OF_SUBSET):
        return ["key", "subset", "subset_accuracy"]
    headroom = ["headroom_by_prompt"] if metric == "oracle_share" else []
    return ["key", *PER_PROMPT.get(metric, (metric,)), *headroom]


def check_metric(metric: str) -> None:
    """ValueError for an unknown one; a subset's name is checked with the data."""
    if not metric.startswith(OF_SUBSET):
        check_name("metric", metric, [*HIGHER_IS_BETTER, *NOT_RANKED, OF_SUBSET + "SUBSET"])


def is_ranked(metric: str) -> bool:
    """Whether a higher value is better."""
    return metric in HIGHER_IS_BETTER or metric.startswith(OF_SUBSET)


def check_name(kind: str, name: str, valid: Iterable[str]) -> None:
    valid = list(valid)
    if name not in valid:
        raise ValueError(f"unknown {kind} {name!r}; {nearest(name, valid)}")


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


def values_by_prompt(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The metric of each row as an array by prompt or a number, and the headroom for oracle_share.

    rows: with the columns of `needs`. Index as rows; one column, for oracle_share two.
    """
    if metric.startswith(OF_SUBSET):
        return _of_subset(rows, metric.removeprefix(OF_SUBSET))
    first, *others = PER_PROMPT.get(metric, (metric,))
    check_name("metric", first, rows)
    values = rows[[first]]
    for other in others:
        sums = [_sum(a, b) for a, b in zip(values[first], rows[other], strict=True)]
        values = values.assign(**{first: pd.Series(sums, rows.index, dtype=object)})
    if metric == "oracle_share":
        values = values.assign(headroom_by_prompt=rows["headroom_by_prompt"])
    return values


def _of_subset(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Accuracy on one subset of labelled pairs; ValueError where no row has it."""
    lists = zip(rows["subset"], rows["subset_accuracy"], strict=True)
    by_name = [
        {} if names is None else dict(zip(names, accuracy, strict=True))
        for names, accuracy in lists
    ]
    check_name("subset of labelled pairs", name, sorted(set().union(*by_name)))
    values = [found.get(name) for found in by_name]
    return pd.DataFrame({OF_SUBSET + name: pd.Series(values, rows.index, dtype=float)})


def _sum(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a + b


def has_value(values: pd.DataFrame) -> np.ndarray:
    """Which rows of `values_by_prompt` have one, other than nan, in each column: (rows,) bool."""
    return np.array([all(_any_finite(v) for v in row) for row in values.to_numpy()], dtype=bool)


def _any_finite(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value).any())


def full_part(has_run: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines (a row of a table at one seed) and settings such that every line has every setting.

    has_run: (lines, settings) bool. row: (lines,). Drops, one by one, what has the largest gap: of
    a line the share of settings it lacks, of a setting the largest share of a row's lines that lack
    it. So an empty line goes first, and a setting that some row does not have before that row does.
    """
    lines, settings = np.arange(has_run.shape[0]), np.arange(has_run.shape[1])
    while not (part := has_run[np.ix_(lines, settings)]).all():
        line_gaps = (~part).mean(axis=1)
        setting_gaps = pd.DataFrame(~part).groupby(row[lines]).mean().max().to_numpy()
        if line_gaps.max() >= setting_gaps.max():
            lines = np.delete(lines, line_gaps.argmax())
        else:
            settings = np.delete(settings, setting_gaps.argmax())
    return lines, settings


def means_and_draws(
    values: pd.DataFrame, runs: pd.DataFrame, rng: np.random.Generator, n_draws: int = N_DRAWS
) -> tuple[pd.Series, pd.DataFrame]:
    """Mean of each cell and its bootstrap draws (n_draws, cells), the same draws for all.

    values: one or two columns, of which the second divides the first. runs: of each value the
    integers cell, setting, seed, dataset and n_prompts. A matrix per cell and dataset; a cell is
    the mean over its datasets, weighted by their numbers of settings. Cells without runs are
    absent.
    """
    n_seeds = runs["seed"].max() + 1 if len(runs) else 0
    parts = runs.reset_index(drop=True).groupby(["cell", "dataset", "n_prompts"], sort=True)
    seeds = runs["seed"].to_numpy()
    matrices = [
        seed_means(np.stack(column.iloc[i].to_list()), seeds[i], n_seeds)
        for _, column in values.items()
        for i in parts.indices.values()
    ]
    strata = [part[1:] for part in parts.indices] * values.shape[1]
    means = np.array([[crossed_mean(matrix) for matrix in matrices]])
    both = np.concatenate([means, bootstrap_means(matrices, strata, rng, n_draws)])
    if values.shape[1] == 2:
        over, under = np.split(both, 2, axis=1)
        both = np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)
    weights = parts["setting"].nunique()
    of = weights.index.get_level_values("cell")
    columns = {c: np.average(both[:, of == c], 1, weights[of == c]) for c in of.unique()}
    both = pd.DataFrame(columns, index=range(n_draws + 1), dtype=float)
    return both.iloc[0], both.iloc[1:]


def seed_means(values: np.ndarray, seeds: np.ndarray, n_seeds: int) -> np.ndarray:
    """Mean over the runs of each seed, nan left out: (n_seeds, prompts) from (runs[, prompts])."""
    values = values.reshape(len(values), -1).astype(float)
    is_gap = np.isnan(values)
    of_seed = (np.arange(n_seeds)[:, None] == seeds).astype(float)  # (n_seeds, runs)
    n = np.repeat(of_seed.sum(axis=1, keepdims=True), values.shape[1], axis=1)
    if is_gap.any():
        values[is_gap] = 0
        n -= of_seed @ is_gap
    total = of_seed @ values
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
