"""The statistics of golden rewards: spread within and between prompts, ties, both ends."""

from typing import Any

import numpy as np

HISTOGRAM_BINS = 40
LEVELS = {"1%": 0.01, "25%": 0.25, "50%": 0.5, "75%": 0.75, "99%": 0.99}


def reward_statistics(golden: np.ndarray) -> dict[str, Any]:
    """Return statistics of finite golden rewards (prompts, K), in the unit of the rewards.

    within_std: mean over prompts of the std of their K rewards; between_std: std of the prompts'
    means; both with ddof 0. mean_difference_*: mean |r1 - r2| over all pairs of one prompt, and
    over all pairs of two prompts (null with one prompt). share_tied_*: of the responses at the
    commonest value; of the pairs of one prompt whose rewards are equal.
    """
    values, counts = np.unique(golden, return_counts=True)
    histogram, edges = np.histogram(golden, bins=HISTOGRAM_BINS)
    same, cross = _mean_differences(golden)
    quantiles = np.quantile(golden, list(LEVELS.values())).tolist()
    return {
        "mean": float(golden.mean()),
        "std": float(golden.std()),
        "quantiles": dict(zip(LEVELS, quantiles, strict=True)),
        "within_std": float(golden.std(axis=1).mean()),
        "between_std": float(golden.mean(axis=1).std()),
        "mean_difference_same_prompt": same,
        "mean_difference_cross_prompt": cross,
        "n_values": len(values),
        "floor": float(values[0]),
        "share_at_floor": float(counts[0] / golden.size),
        "ceiling": float(values[-1]),
        "share_at_ceiling": float(counts[-1] / golden.size),
        "commonest": float(values[counts.argmax()]),
        "share_tied_at_commonest": float(counts.max() / golden.size if counts.max() > 1 else 0.0),
        "share_tied_same_prompt": _share_tied(golden),
        "share_constant_prompts": float((golden == golden[:, :1]).all(axis=1).mean()),
        "histogram": {"counts": histogram.tolist(), "edges": edges.tolist()},
    }


def _mean_differences(golden: np.ndarray) -> tuple[float, float | None]:
    """Return the exact mean |r1 - r2| over all pairs of one prompt, and of two; by sorting."""
    n_prompts, k = golden.shape
    same = _sum_differences(golden).sum()
    n_same = n_prompts * k * (k - 1) / 2
    n_cross = golden.size * (golden.size - 1) / 2 - n_same
    total = _sum_differences(golden.reshape(1, -1))[0]
    return float(same / n_same), float((total - same) / n_cross) if n_cross else None


def _sum_differences(rows: np.ndarray) -> np.ndarray:
    """Return the sum of |x - y| over the pairs of each row (rows, n)."""
    n = rows.shape[1]  # in order, the value of rank i enters 2 i - n + 1 times
    return np.sort(rows, axis=1) @ (2.0 * np.arange(n) - n + 1)


def _share_tied(golden: np.ndarray) -> float:
    """Return the share of same-prompt pairs with equal rewards."""
    ordered = np.sort(golden, axis=1)
    is_new = np.ones(golden.shape, bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    sizes = np.bincount(is_new.ravel().cumsum() - 1)
    n_prompts, k = golden.shape
    return float((sizes * (sizes - 1)).sum() / (n_prompts * k * (k - 1)))
