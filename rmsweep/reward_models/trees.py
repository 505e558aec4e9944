"""LightGBM reward models: gradient-boosted trees on single responses."""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np

from rmsweep.objectives.boosted_bradley_terry import boosted_bradley_terry


def _bradley_terry(rewards: np.ndarray, data: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
    return boosted_bradley_terry(rewards)


OBJECTIVES: dict[str, str | Callable[..., Any]] = {
    "binary": "binary",
    "bradley_terry": _bradley_terry,
}


def fit(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    *,
    objective: str,
    rounds: int,
    seed: int,
    threads: int,
) -> lightgbm.Booster:
    """Boosted trees with LightGBM's defaults, in `rounds` rounds.

    objective: binary, LightGBM's own, tells chosen from rejected responses; bradley_terry orders
    the two of each pair (boosted_bradley_terry.py).
    embeddings: (responses, D) float16 or float32; pairs: (rows, 2) response indices, chosen first.
    The histograms go column by column, so that the trees do not depend on the number of threads.
    """
    x = np.asarray(embeddings[pairs.T.reshape(-1)], dtype=np.float32)
    is_chosen = np.repeat([1.0, 0.0], len(pairs))
    params = {
        "objective": OBJECTIVES[objective],
        "num_threads": threads,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(x, label=is_chosen, params=params, free_raw_data=True)
    return lightgbm.train(params, data, num_boost_round=rounds)


def predict(models: list[lightgbm.Booster], x: np.ndarray, threads: int) -> np.ndarray:
    """Predicted rewards, the log-odds: (runs, rows) float64, of x (rows, D) float32."""
    return np.stack([m.predict(x, raw_score=True, num_threads=threads) for m in models])
