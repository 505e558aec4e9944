"""LightGBM reward models: gradient-boosted trees on single responses."""

import lightgbm
import numpy as np


def fit(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    *,
    objective: str,
    rounds: int,
    seed: int,
    threads: int,
) -> lightgbm.Booster:
    """Boosted trees that tell chosen from rejected responses, with LightGBM's defaults.

    embeddings: (responses, D) float16 or float32; pairs: (rows, 2) response indices, chosen first.
    The histograms go column by column, so that the trees do not depend on the number of threads.
    """
    x = np.asarray(embeddings[pairs.T.reshape(-1)], dtype=np.float32)
    is_chosen = np.repeat([1.0, 0.0], len(pairs))
    params = {
        "objective": objective,
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
