"""LightGBM reward models: gradient-boosted trees on single responses."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from lightgbm.basic import LightGBMError

from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.reward_models import Trees
from rmsweep.config.spec import RunSpec
from rmsweep.objectives.boosted_bradley_terry import boosted_bradley_terry
from rmsweep.training.reward_models.interface import Array, RewardModel

# Responses whose values part a cache's bins. LightGBM's own 200,000 would, at D = 2048, be 3.3 GB
# in float64, several times over and in every worker.
BIN_SAMPLE = 20_000
SAME_TREES: dict[str, Any] = {"deterministic": True, "force_col_wise": True, "verbosity": -1}


def fit_trees(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    *,
    objective: str,
    rounds: int,
    seed: int,
    threads: int,
    bins: lightgbm.Dataset | None = None,
) -> lightgbm.Booster:
    """Fit boosted trees with LightGBM's defaults, in `rounds` rounds.

    objective: binary, LightGBM's own, tells chosen from rejected responses; bradley_terry orders
    the two of each pair (boosted_bradley_terry.py).
    embeddings: (responses, D) float16 or float32; pairs: (rows, 2) response indices, chosen first.
    bins: `binned_embeddings`; else the rows that are fitted get bins of their own.
    The histograms go column by column, so that the trees do not depend on the number of threads.
    """
    rows, is_chosen = pairs.T.reshape(-1), np.repeat([1.0, 0.0], len(pairs))
    order = np.arange(len(rows))
    params = SAME_TREES | {"objective": objective, "num_threads": threads, "seed": seed}
    if bins is None:
        x = np.asarray(embeddings[rows], dtype=np.float32)
        data = lightgbm.Dataset(x, label=is_chosen, params=params, free_raw_data=True)
    else:
        order = np.argsort(rows, kind="stable")  # as `subset` does, without a word
        data = bins.subset(rows[order].tolist()).construct()
        data.set_label(is_chosen[order])  # before `construct` it would be lost
    if objective == "bradley_terry":
        params["objective"] = functools.partial(_bradley_terry, order=order)
    return lightgbm.train(params, data, num_boost_round=rounds)


def _bradley_terry(
    rewards: np.ndarray, data: lightgbm.Dataset, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return LightGBM's gradient and Hessian, in the order of its rows.

    order: (rows,) where each row stands among the pairs' chosen, then their rejected halves.
    """
    of_pairs = np.empty_like(rewards)
    of_pairs[order] = rewards
    gradient, hessian = boosted_bradley_terry(of_pairs)
    return gradient[order], hessian[order]


class _Rows(lightgbm.Sequence):
    """The embeddings, read a batch at a time, so that no copy of all is made."""

    def __init__(self, embeddings: np.ndarray):
        self.embeddings = embeddings

    def __getitem__(self, index: int | slice) -> np.ndarray:  # type: ignore[override]
        return self.embeddings[index].astype(np.float64)

    def __len__(self) -> int:
        return len(self.embeddings)


_binned: dict[str, lightgbm.Dataset] = {}  # of the cache that this process met last


def binned_embeddings(embeddings: np.ndarray, fingerprint: str, threads: int) -> lightgbm.Dataset:
    """Put a cache's training embeddings (responses, D) in bins, a byte a value; made once."""
    if fingerprint not in _binned:
        _binned.clear()
        params = SAME_TREES | {"num_threads": threads, "bin_construct_sample_cnt": BIN_SAMPLE}
        _binned[fingerprint] = lightgbm.Dataset(_Rows(embeddings), params=params).construct()
    return _binned[fingerprint]


@dataclass(frozen=True)
class Scorer:
    """Boosted trees over the features that they use, so that a row's others are not copied."""

    booster: lightgbm.Booster
    features: np.ndarray  # positions among all D


def scorer_of(model: lightgbm.Booster) -> Scorer:
    """Number the trees' features anew, without unused ones; rewards stay the same, bit for bit."""
    used = np.flatnonzero(model.feature_importance("split"))
    used = used if len(used) else np.zeros(1, int)  # trees without a split
    number = {str(old): str(new) for new, old in enumerate(used)}
    fields: dict[str, Callable[[str], str]] = {
        "split_feature": lambda values: " ".join(number[v] for v in values.split()),
        "max_feature_idx": lambda _: str(len(used) - 1),
        "feature_names": lambda _: " ".join(f"Column_{i}" for i in used),
        "feature_infos": lambda _: " ".join(["none"] * len(used)),
    }
    text, importances, _ = model.model_to_string().partition("\nfeature_importances:")
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.M)  # bytes, which change
    pattern = rf"^({'|'.join(fields)})=(.*)$"
    text = re.sub(pattern, lambda m: f"{m[1]}={fields[m[1]](m[2])}", text, flags=re.M)
    return Scorer(lightgbm.Booster(model_str=text + importances.partition("\n\n")[2]), used)


def predict_trees(scorers: list[Scorer], x: np.ndarray, threads: int) -> np.ndarray:
    """Predict rewards, the log-odds: (runs, rows) float64, of x (rows, D) float16 or float32."""
    rewards = []
    for scorer in scorers:
        used = np.take(x, scorer.features, axis=1).astype(np.float32)
        rewards.append(scorer.booster.predict(used, raw_score=True, num_threads=threads))
    return np.stack(rewards)


class BoostedTrees(RewardModel):
    """The kind of LightGBM's trees, fitted one run after the other. A model is a Booster."""

    def fit_one(
        self, spec: RunSpec, x: Array, pairs: np.ndarray, inputs: Inputs, place: Place
    ) -> lightgbm.Booster:
        objective, options = spec.loss.objective, spec.loss.options
        assert isinstance(objective, str) and isinstance(options, Trees)
        embeddings, bins = np.asarray(x), None
        if options.bins == "cache":
            bins = binned_embeddings(embeddings, inputs.fingerprint, place.threads)
        settings = {"rounds": options.rounds, "seed": spec.seed, "threads": place.threads}
        return fit_trees(embeddings, pairs, objective=objective, bins=bins, **settings)

    def stack(self, models: list[Any]) -> list[Scorer]:
        return [scorer_of(model) for model in models]

    def predict(self, stacked: Any, x: Array, spec: RunSpec, place: Place) -> Array:
        return predict_trees(stacked, np.asarray(x), place.threads)

    def save(self, models: list[Any], spec: RunSpec, folder: Path) -> None:
        for i, model in enumerate(models):
            model.save_model(folder / f"model-{i}.txt")

    def load(self, folder: Path, spec: RunSpec, dim: int, place: Place) -> list[Any]:
        files = [folder / f"model-{i}.txt" for i in range(spec.n_members)]
        try:
            return [lightgbm.Booster(model_file=file) for file in files]
        except LightGBMError as error:
            raise ValueError(str(error)) from None


REWARD_MODEL = BoostedTrees()
