"""The labelled pairs that reward models are judged on, and their subsets."""

from dataclasses import dataclass

import numpy as np

from rmsweep.annotation import pairing
from rmsweep.cache import rewardbench_subsets
from rmsweep.cache.layout import LabelledPairs
from rmsweep.config.random_streams import stream
from rmsweep.config.spec import RunSpec


@dataclass(frozen=True, eq=False)
class Judged:
    """A set of labelled pairs that reward models are judged on, in the order of its subsets."""

    name: str
    labelled: LabelledPairs
    rows: np.ndarray  # (pairs,) positions in `labelled`
    subsets: dict[str, int]  # number of pairs by name, in order; of all by the set's, without any


def held_out_pairs(spec: RunSpec, prompts: np.ndarray) -> np.ndarray:
    """Return which pairs are held out at every seed, in whole prompts, as (pairs,) bool."""
    share, n = spec.evaluation.held_out, len(prompts)
    if share is None:
        return np.zeros(n, bool)
    held_out = pairing.in_whole_prompts(prompts, round(share * n), stream(spec, "held out"))
    if not 0 < held_out.sum() <= n - 2:
        raise ValueError(
            f"evaluation.held_out={share} must hold out at least 1 of the {n} pairs of "
            f"{spec.dataset.stem} and leave 2, holds out {held_out.sum()}; choose another share"
        )
    return held_out


def require_unseen(name: str, pairs: LabelledPairs, trained: set[str]) -> None:
    """Raise ValueError where a set to judge has prompts that are trained on."""
    is_seen = pairs.table["prompt"].isin(trained)
    if is_seen.any():
        raise ValueError(
            f"evaluation.pairs: {is_seen.sum()} of the {len(is_seen)} pairs of {name} have prompts "
            "that are trained on, too; judge held-out pairs (evaluation.held_out), or another set"
        )


def require_distinct_subsets(judged: list[Judged]) -> None:
    """Raise ValueError where two sets to judge share a subset, which would have two accuracies."""
    names = [name for one in judged for name in one.subsets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"evaluation.pairs: subset {twice[0]} is in more than one of the sets to judge "
            f"({', '.join(one.name for one in judged)}); give one of them"
        )


def judged_pairs(name: str, pairs: LabelledPairs, rows: np.ndarray) -> Judged:
    """Return a set to judge; rows: (n,) positions in pairs. ValueError for an unknown subset."""
    if "subset" not in pairs.table:
        return Judged(name, pairs, rows, {name: len(rows)})
    subset = pairs.table["subset"].iloc[rows].astype(str)
    rewardbench_subsets.check_subsets(subset.unique(), f"pairs_{name}.parquet")
    counts = subset.value_counts().sort_index()
    ordered = rows[np.argsort(subset.to_numpy(), kind="stable")]
    return Judged(name, pairs, ordered, {str(k): int(n) for k, n in counts.items()})
