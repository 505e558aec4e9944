"""The metrics of a run: one table, a row each, from which everything about a metric is read.

A new metric is a row, and a function where it is made of several columns. Valid names, the help of
`--metric`, the columns that are read, what is resampled, and which value is the best of a column of
a table follow from the row.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rmsweep.errors import check_name

if TYPE_CHECKING:  # `rmsweep --help` and `list` name the metrics, and do without pandas
    import pandas as pd

OF_SUBSET = "accuracy:"  # and the name of a subset of labelled pairs
GOLDEN_LISTS = (  # columns of lists in golden reward
    "base_by_prompt",
    "improvement_by_prompt",
    "headroom_by_prompt",
    "bon_golden_by_n",
    "oracle_by_n",
    "decile_margin",
)


@dataclass(frozen=True)
class Metric:
    """A number of each run that tables, claims and reports compare.

    line: what it is, for --help and the docs.
    unit: of its values.
    better: which values are better; "not ranked" where none of a table is marked as best.
    by: what its values belong to. Beside the seeds, prompts or labelled pairs are resampled.
    columns: of the results that it is made of; empty: the one of its own name, which ends in
        _by_prompt where it has a value by prompt.
    of_run: makes a run's value, a number or an array (prompts,) or (pairs,), from the run's entries
        in `columns`, in their order. None: there is one column, and its entry is the value.
    divisor: a column by prompt. A mean of the metric is then the mean over the divisor's mean.
    why_absent: when a done run has no value, for the notes under a table.
    in_report: whether `rmsweep report` has a table of it.
    """

    line: str
    unit: str
    better: Literal["higher", "lower", "not ranked"]
    by: Literal["prompt", "pair", "seed"] = "seed"
    columns: tuple[str, ...] = ()
    of_run: Callable[..., Any] | None = None
    divisor: str | None = None
    why_absent: str = ""
    in_report: bool = False


def accuracy_of_subset(subset: str, names: np.ndarray, accuracies: np.ndarray) -> float | None:
    """Return a run's accuracy on one subset of labelled pairs, None where it has no such pairs.

    names, accuracies: (subsets,), of all subsets that the run was judged on.
    """
    return dict(zip(names, accuracies, strict=True)).get(subset)


def regret(headroom: np.ndarray, improvement: np.ndarray) -> np.ndarray:
    """Return the golden reward that a run's Best-of-N pick loses to the oracle's: (prompts,).

    headroom, improvement: (prompts,), what the oracle and the run gain over a random response.
    """
    return headroom - improvement


METRICS = {
    "improvement": Metric(
        "golden reward that Best-of-N gains over a random response",
        unit="golden reward",
        better="higher",
        by="prompt",
        in_report=True,
    ),
    "oracle_share": Metric(
        "improvement as a share of what Best-of-N by golden reward gains",
        unit="share",
        better="higher",
        by="prompt",
        columns=("improvement_by_prompt",),
        divisor="headroom_by_prompt",
        in_report=True,
    ),
    "bon_golden": Metric(
        "golden reward of the Best-of-N pick",
        unit="golden reward",
        better="higher",
        by="prompt",
        columns=("base_by_prompt", "improvement_by_prompt"),
        of_run=np.add,
    ),
    "base": Metric("golden reward of a random response", "golden reward", "not ranked", "prompt"),
    "oracle": Metric(
        "golden reward of Best-of-N by golden reward",
        unit="golden reward",
        better="not ranked",
        by="prompt",
        columns=("base_by_prompt", "headroom_by_prompt"),
        of_run=np.add,
    ),
    "regret": Metric(
        "golden reward of the oracle's pick minus that of the Best-of-N pick",
        unit="golden reward",
        better="lower",
        by="prompt",
        columns=("headroom_by_prompt", "improvement_by_prompt"),
        of_run=regret,
    ),
    "spearman": Metric(
        "rank correlation with golden reward within prompts",
        unit="correlation",
        better="higher",
        by="prompt",
        why_absent="constant predictions have no rank correlation",
    ),
    "pairwise_accuracy": Metric(
        "right orders of two responses to a prompt", "share", "higher", "prompt", in_report=True
    ),
    "accuracy": Metric(
        "right orders of the labelled pairs of the first set judged",
        unit="share",
        better="higher",
        by="pair",
        columns=("correct_by_pair",),
        in_report=True,
    ),
    "order_consistency": Metric("agreement with the validation pairs' labels", "share", "higher"),
    "rewardbench": Metric("mean over RewardBench's sections", "share", "higher"),
    "section_chat": Metric("accuracy on RewardBench's Chat", "share", "higher"),
    "section_chat_hard": Metric("accuracy on RewardBench's Chat Hard", "share", "higher"),
    "section_safety": Metric("accuracy on RewardBench's Safety", "share", "higher"),
    "section_reasoning": Metric("accuracy on RewardBench's Reasoning", "share", "higher"),
    "prior_sets": Metric("accuracy on RewardBench's prior sets", "share", "higher"),
    "annotation_error": Metric("annotations against the golden order", "share", "not ranked"),
    "mean_margin": Metric("mean |margin| of the annotated pairs", "golden reward", "not ranked"),
    "epochs": Metric("epochs of training", "epochs", "not ranked"),
    "wall_s": Metric("time of the run's pack over its number of runs", "seconds", "not ranked"),
    # Where an objective's margins are no logits the next two say little.
    "kl_risk": Metric("truncated KL risk of predicted margins", "nats", "not ranked"),
    "margin_error": Metric("mean error of predicted margins", "logits", "not ranked"),
    "gradient_correlation": Metric(
        "of representation distance and full gradient norm, over training pairs",
        unit="correlation",
        better="not ranked",
        why_absent="evaluation.diagnostics=true records it",
    ),
    "margin_gradient_correlation": Metric(
        "the same with the gradient of the predicted margin, that of the loss at equal errors",
        unit="correlation",
        better="not ranked",
        why_absent="evaluation.diagnostics=true records it",
    ),
    "ece": Metric("expected calibration error on labelled pairs", "probability", "not ranked"),
    "brier": Metric("Brier score on labelled pairs", "squared probability", "not ranked"),
    "nll": Metric("negative log-likelihood of labelled pairs", "nats", "not ranked"),
    "temperature": Metric("what calibration divides margins by", "predicted reward", "not ranked"),
}

ACCURACY_OF_SUBSET = Metric(
    "accuracy on one subset of labelled pairs",
    unit="share",
    better="higher",
    columns=("subset", "subset_accuracy"),
    of_run=accuracy_of_subset,  # `metric_named` fills in the subset
)


def valid_names() -> list[str]:
    """Return what `--metric` takes; SUBSET stands for the name of a subset of labelled pairs."""
    return [*METRICS, OF_SUBSET + "SUBSET"]


def check_metric(name: str) -> None:
    """Raise ValueError for an unknown metric; a subset's name is checked with the data."""
    if not name.startswith(OF_SUBSET):
        check_name("metric", name, valid_names())


def metric_named(name: str) -> Metric:
    """Return the metric of that name: a row of METRICS, or the accuracy on a subset.

    Any other name is a column of numbers or entries of lists, which claims may compare, too.
    """
    if name.startswith(OF_SUBSET):
        subset = name.removeprefix(OF_SUBSET)
        of_run = functools.partial(accuracy_of_subset, subset)
        return dataclasses.replace(ACCURACY_OF_SUBSET, line=f"accuracy on {subset}", of_run=of_run)
    unit = "golden reward" if name.partition("[")[0] in GOLDEN_LISTS else ""
    return METRICS.get(name, Metric(name, unit, better="not ranked"))


def metric_columns(name: str) -> list[str]:
    """Return the columns of the results that a metric is made of; the divisor comes last."""
    metric = metric_named(name)
    own = f"{name}_by_prompt" if metric.by == "prompt" else name
    return [*(metric.columns or (own,)), *([metric.divisor] if metric.divisor else [])]


def metric_lines() -> str:
    """Return a line for each metric, for `--help`."""
    rows = METRICS | {OF_SUBSET + "SUBSET": ACCURACY_OF_SUBSET}
    lines = [f"  {name:<28} {metric.line} ({metric.unit})" for name, metric in rows.items()]
    return "\n".join(["metrics (unit):", *lines])


def run_values(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the metric of each run: column `value`, and `divisor` where the metric has one.

    rows: with the columns of `metric_columns`. An entry is a number or an array (prompts,) or
    (pairs,); None or nan where the run has none. ValueError: a column that rows lack, or a subset
    of labelled pairs that no row has.
    """
    import pandas as pd

    metric = metric_named(name)
    columns = metric_columns(name)
    for column in columns:
        check_name("metric", column, rows)
    if name.startswith(OF_SUBSET):
        subsets = set().union(*rows["subset"].dropna())
        check_name("subset of labelled pairs", name.removeprefix(OF_SUBSET), sorted(subsets))
    values = pd.DataFrame({"value": rows[columns[0]]})
    if metric.of_run is not None:
        entries = zip(*(rows[column] for column in metric.columns), strict=True)
        computed = [
            None if any(entry is None for entry in run) else metric.of_run(*run) for run in entries
        ]
        values["value"] = pd.Series(computed, rows.index, dtype=object)
    if metric.divisor is not None:
        values["divisor"] = rows[metric.divisor]
    return values


def has_value(values: pd.DataFrame) -> np.ndarray:
    """Return which runs of `run_values` have a finite number in each column: (runs,) bool."""
    is_finite = values.map(lambda value: value is not None and bool(np.isfinite(value).any()))
    return is_finite.to_numpy(dtype=bool).all(axis=1)
