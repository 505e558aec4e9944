"""The metrics of a run: what each is made of, and its values by prompt."""

from typing import Any

import numpy as np
import pandas as pd

from rmsweep.errors import check_name

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
