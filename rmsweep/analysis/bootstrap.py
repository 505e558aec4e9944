"""Means over seeds and prompts and their intervals: a paired, crossed bootstrap; shares; Holm.

Runs share their seeds and their test prompts, so the values of a table are not independent draws:
pooled seed-prompt values would give intervals far too narrow. Here seeds and prompts are resampled
independently of each other (crossed; Owen 2007, doi 10.1214/07-AOAS122), and all matrices of one
call see the same draws (paired), so that differences between columns of draws are paired ones.

A matrix is (seeds, prompts), float, nan where there is no value: a whole row where a seed has no
run, single entries where a prompt has none. Row i is the same seed in all matrices of a call. Where
a metric is one number a run, a matrix has one column. Its estimate is `crossed_mean`.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import scipy  # which loads its parts where they are used: most tables need none of them


def crossed_mean(matrix: np.ndarray) -> float:
    """Return the mean over the seeds of the mean over the prompts, without what is nan.

    matrix: (seeds, prompts). Each seed that has a value counts the same, whatever the number of its
    prompts with one. nan where no value is left.
    """
    ones = np.ones((1, len(matrix))), np.ones((1, matrix.shape[1]))
    return float(_weighted_means(matrix[None], *ones)[0, 0])


def bootstrap_means(
    matrices: Sequence[np.ndarray],
    strata: Sequence[Hashable],
    rng: np.random.Generator,
    n_draws: int = 2000,
) -> np.ndarray:
    """Return bootstrap draws of the crossed_mean of each matrix: (n_draws, matrices).

    Each draw takes as many seeds and as many prompts as there are, with replacement, independently
    of each other: the product-reweighted bootstrap of crossed factors (Owen 2007).

    matrices: each (seeds, prompts of its stratum). strata: one label per matrix; equal labels mean
    the same prompts in the same order and so the same draws of prompts; strata draw their own. The
    draws of the seeds are common to all. With one seed only prompts vary, with one prompt only
    seeds. nan: a draw without any seed that the matrix has; every draw of a matrix with fewer than
    two values, which has nothing to resample.
    """
    assert len(matrices) == len(strata) and len({len(matrix) for matrix in matrices}) <= 1
    draws = np.full((n_draws, len(matrices)), np.nan)
    if not matrices:
        return draws
    seed_weights = _resample_counts(rng, len(matrices[0]), n_draws)
    for stratum in dict.fromkeys(strata):
        members = [i for i, label in enumerate(strata) if label == stratum]
        values = np.stack([matrices[i] for i in members])  # fails unless the prompts agree
        prompt_weights = _resample_counts(rng, values.shape[2], n_draws)
        draws[:, members] = _weighted_means(values, seed_weights, prompt_weights)
    draws[:, [np.isfinite(matrix).sum() < 2 for matrix in matrices]] = np.nan
    return draws


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper end of the central percentile interval of each column.

    draws: (n_draws, columns); nan draws are dropped. Two arrays (columns,), nan where none is left.
    Efron and Tibshirani 1993, chapter 13. ValueError unless 0 < level < 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), such as 0.95; got {level}")
    ends = np.full((2, draws.shape[1]), np.nan)
    for column, values in enumerate(draws.T):
        values = values[~np.isnan(values)]
        if values.size:
            ends[:, column] = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return ends[0], ends[1]


def wilson_interval(n_right: int, n: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % score interval of a share n_right / n of independent pairs.

    Both are nan where n is 0. Wilson 1927, Journal of the American Statistical Association 22:209.
    """
    if not n:
        return float("nan"), float("nan")
    ends = scipy.stats.binomtest(n_right, n).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


def wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return 1 where x > y, 1/2 where they tie and 0 where x < y: paired, elementwise.

    x, y: broadcast against each other; nan where either is. `bootstrap_means` takes such matrices.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return np.where(np.isnan(x) | np.isnan(y), np.nan, (x > y) + (x == y) / 2)


def bootstrap_p_values(estimates: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the two-sided p of "the true value is 0" for each column: (columns,).

    p = 2 Phi(-|estimate| / sd of the draws), the normal approximation, since the share of draws
    beyond 0 is never below 1 / n_draws, too coarse to be corrected for many comparisons (Davison
    and Hinkley 1997, section 4.4.1).

    estimates: (columns,). draws: (n_draws, columns), nan dropped. nan without draws; 1 for an
    estimate of 0, and 0 for another whose draws do not vary.
    """
    p = np.full(len(estimates), np.nan)
    for column, values in enumerate(draws.T):
        values = values[~np.isnan(values)]
        if values.size:
            with np.errstate(divide="ignore"):  # inf where all draws agree
                z = np.divide(abs(estimates[column]), values.std()) if estimates[column] else 0.0
            p[column] = 2 * scipy.special.ndtr(-z)
    return p


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p values corrected for their number m, so that the family-wise error is bounded.

    Calling those below alpha significant has a chance of at most alpha of any false one. The i-th
    smallest (from 0) becomes max over j <= i of min(1, (m - j) p_(j)). p_values: (m,), nan stays
    and does not count. Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    corrected = np.full(len(p_values), np.nan)
    positions = np.flatnonzero(~np.isnan(p_values))
    order = positions[np.argsort(p_values[positions], kind="stable")]
    scaled = np.minimum(1, np.arange(len(order), 0, -1) * p_values[order])
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected


def _resample_counts(rng: np.random.Generator, n: int, n_draws: int) -> np.ndarray:
    """Return how often each of n is drawn in n draws with replacement: (n_draws, n)."""
    picks = rng.integers(n, size=(n_draws, n)) + n * np.arange(n_draws)[:, None]
    counts = np.bincount(picks.ravel(), minlength=n_draws * n)
    return counts.reshape(n_draws, n).astype(float)


def _weighted_means(
    values: np.ndarray, seed_weights: np.ndarray, prompt_weights: np.ndarray
) -> np.ndarray:
    """Weighted crossed_mean of each matrix for each draw: (draws, matrices).

    values: (matrices, seeds, prompts). Weights: (draws, seeds) and (draws, prompts).
    """
    shape = (len(prompt_weights), *values.shape[:2])
    flat = values.reshape(-1, values.shape[2])
    has_value = ~np.isnan(flat)
    total = prompt_weights @ np.where(has_value, flat, 0).T
    n = prompt_weights.sum(axis=1, keepdims=True) * has_value.any(axis=1)
    is_partial = has_value.any(axis=1) & ~has_value.all(axis=1)  # they need a product of their own
    n[:, is_partial] = prompt_weights @ has_value[is_partial].T.astype(float)
    n = n.reshape(shape)
    seed_means = np.divide(total.reshape(shape), n, out=np.zeros(shape), where=n > 0)
    weights = seed_weights[:, None, :] * (n > 0)
    n = weights.sum(axis=2)
    mean = np.full(n.shape, np.nan)
    return np.divide((weights * seed_means).sum(axis=2), n, out=mean, where=n > 0)
