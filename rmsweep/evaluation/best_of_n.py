"""How well predicted rewards order a prompt's responses: exact Best-of-N, rank correlation, pairs.

Metrics take one block of test prompts and several runs at once, predicted (runs, prompts, M) and
golden (prompts, M), both finite, and return float64. A run's numbers do not depend on the runs
beside it. Ties are exact equality of the predicted rewards.
Pass `descending_orders(predicted)` as `orders` to several metrics to sort once.
"""

from collections.abc import Sequence

import numpy as np
import scipy  # which loads scipy.spatial where it is used: few runs need it

Orders = Sequence[tuple[np.ndarray, np.ndarray]]
COMPARED = 16  # values of a block in which each is compared with each


def rank_weights(m: int, ns: Sequence[int]) -> np.ndarray:
    """Return the probability that the response of rank i, 0 best of m, tops a random n-subset.

    C(m-1-i, n-1) / C(m, n): the subset holds rank i and n-1 of the m-1-i below it. By recurrence
    from w[0] = n/m, so that no binomial overflows; w[i] = 0 for i > m-n.
    ns: each in [1, m]; 1 gives the mean, m the top. Returns (len(ns), m), rows sum to 1.
    """
    n = np.asarray(ns)
    if np.any((n < 1) | (n > m)):
        outside = n[(n < 1) | (n > m)].tolist()
        raise ValueError(f"n must be in [1, {m}], the responses cached per prompt; got {outside}")
    i = np.arange(m - 1)
    steps = np.maximum(m - n[:, None] - i, 0) / (m - 1 - i)
    return np.cumprod(np.concatenate([n[:, None] / m, steps], axis=1), axis=1)


def best_of_n(
    predicted: np.ndarray, golden: np.ndarray, ns: Sequence[int], orders: Orders | None = None
) -> np.ndarray:
    """Return the expected golden reward of the top predicted of n responses, without replacement.

    predicted: (runs, prompts, M). golden: (prompts, M). Tied predictions share their ranks' weights
    equally, as if ties were broken at random. Returns (runs, prompts, len(ns)) in golden's unit.
    n = 1 is the mean golden reward (base); golden[None] as predicted gives the oracle.
    """
    _check(predicted, golden)
    weights = rank_weights(golden.shape[1], ns).T
    expected = np.empty((*predicted.shape[:2], len(ns)))
    for run, (order, starts) in enumerate(orders or map(_descending, predicted)):
        expected[run] = _tie_means(np.take_along_axis(golden, order, axis=1), starts) @ weights
    return expected


def spearman_within_prompt(
    predicted: np.ndarray, golden: np.ndarray, orders: Orders | None = None
) -> np.ndarray:
    """Return Spearman's rank correlation within each prompt, average ranks for ties.

    predicted: (runs, prompts, M). golden: (prompts, M). Returns (runs, prompts) in [-1, 1]; nan
    where predicted or golden is constant within the prompt, since there is nothing to order.
    """
    _check(predicted, golden)
    order, starts = _descending(golden)
    golden_ranks = np.empty(golden.shape)
    np.put_along_axis(golden_ranks, order, _centred_ranks(order.shape, starts), axis=1)
    golden_square = (golden_ranks**2).sum(axis=1)
    correlation = np.full(predicted.shape[:2], np.nan)
    for run, (order, starts) in enumerate(orders or map(_descending, predicted)):
        ranks = _centred_ranks(order.shape, starts)
        product = (ranks * np.take_along_axis(golden_ranks, order, axis=1)).sum(axis=1)
        scale = np.sqrt((ranks**2).sum(axis=1) * golden_square)
        np.divide(product, scale, out=correlation[run], where=scale > 0)
    return correlation


def pairwise_accuracy_within_prompt(
    predicted: np.ndarray, golden: np.ndarray, orders: Orders | None = None
) -> np.ndarray:
    """Return the share of a prompt's response pairs that predicted orders as golden does.

    predicted: (runs, prompts, M). golden: (prompts, M). A predicted tie counts 1/2, pairs of equal
    golden rewards are left out. Returns (runs, prompts) in [0, 1]; nan where all golden rewards
    tie. Counts are exact, in M log(M)^2 steps.
    """
    _check(predicted, golden)
    m = golden.shape[1]
    order, starts = _descending(golden)
    ranks = np.empty(golden.shape, dtype=np.int64)  # 0 the best, equal where golden rewards are
    np.put_along_axis(ranks, order, _groups(order.shape, starts), axis=1)
    n_pairs = _inversions(m - 1 - np.take_along_axis(ranks, order, axis=1))
    ranked, n_right = np.empty(predicted.shape, np.int32), {}
    for run, (order, starts) in enumerate(orders or map(_descending, predicted)):
        ranked[run] = np.take_along_axis(ranks, order, axis=1)
        if starts.size < order.size:
            groups = m * _groups(
                order.shape, starts
            )  # a tie is no inversion where its ranks ascend
            n_right[run] = _inversions(np.sort(groups + m - 1 - ranked[run], axis=1) % m)
            ranked[run] = np.sort(groups + ranked[run], axis=1) % m
    n_wrong = _inversions(ranked.reshape(-1, m)).reshape(ranked.shape[:2])
    n_agree = 2 * (n_pairs - n_wrong)  # twice a right pair, once a tie
    for run, n in n_right.items():
        n_agree[run] = n_pairs + n - n_wrong[run]
    accuracy = np.full(n_agree.shape, np.nan)
    return np.divide(n_agree, 2 * n_pairs, out=accuracy, where=n_pairs > 0)


def accuracies_by_distance(
    predicted: np.ndarray, golden: np.ndarray, x: np.ndarray, n_groups: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairwise accuracy of each prompt's near and far pairs, by embedding distance.

    predicted: (runs, prompts, M). golden: (prompts, M). x: (prompts, M, D) embeddings. A prompt's
    pairs of unequal golden rewards are put in n_groups groups of as equal size as can be, nearest
    first. A predicted tie counts 1/2. Returns mean distance (prompts, n_groups) and accuracy (runs,
    prompts, n_groups), nan in an empty group.
    """
    _check(predicted, golden)
    shape = (len(golden), n_groups)
    distance, accuracy = np.full(shape, np.nan), np.full((len(predicted), *shape), np.nan)
    low, high = np.triu_indices(golden.shape[1], k=1)
    for prompt, (rewards, vectors) in enumerate(zip(golden, x, strict=True)):
        margin = rewards[low] - rewards[high]
        vectors = vectors.astype(np.float64)
        apart = scipy.spatial.distance.pdist(vectors)  # in the order of triu_indices
        order = np.argsort(np.where(margin == 0, np.inf, apart), kind="stable")
        order = order[: np.count_nonzero(margin)]
        differences = predicted[:, prompt, low[order]] - predicted[:, prompt, high[order]]
        right = 0.5 + 0.5 * np.sign(differences) * np.sign(margin[order])
        for group, members in enumerate(np.array_split(np.arange(len(order)), n_groups)):
            if len(members):
                distance[prompt, group] = apart[order[members]].mean()
                accuracy[:, prompt, group] = right[:, members].mean(axis=1)
    return distance, accuracy


def kl_upper_bound(n: float | np.ndarray) -> float | np.ndarray:
    """Return the KL divergence of Best-of-N from the base LLM, in nats: log n - (n - 1) / n.

    Exact where no two responses tie, an upper bound otherwise (arXiv:2401.01879). 0 at n = 1.
    """
    return np.log(n) - (n - 1) / n


def _check(predicted: np.ndarray, golden: np.ndarray) -> None:
    shapes = predicted.shape, golden.shape
    assert predicted.ndim == 3 and predicted.shape[1:] == golden.shape, shapes
    assert np.isfinite(predicted).all() and np.isfinite(golden).all()


def descending_orders(predicted: np.ndarray) -> Orders:
    """Return for each run's rewards (runs, prompts, M) what `_descending` says of them."""
    return [_descending(rewards) for rewards in predicted]


def _descending(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order (prompts, M) of each row, best first, and where groups of ties start.

    The starts are positions in the flat order; a value that equals no other is a group of its own.
    """
    order = np.argsort(-rewards, axis=1)
    ranked = np.take_along_axis(rewards, order, axis=1)
    is_start = np.ones(ranked.shape, dtype=bool)
    is_start[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    return order, np.flatnonzero(is_start)


def _tie_means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Replace each value (prompts, M), in predicted order, by the mean of its group of ties."""
    if starts.size == values.size:  # no ties
        return values
    sizes = np.diff(starts, append=values.size)
    return np.repeat(np.add.reduceat(values.ravel(), starts) / sizes, sizes).reshape(values.shape)


def _centred_ranks(shape: tuple[int, int], starts: np.ndarray) -> np.ndarray:
    """Return average ranks in order, minus their mean: (prompts, M); 0 in a constant row."""
    ranks = np.broadcast_to(np.arange(shape[1]) - (shape[1] - 1) / 2, shape)
    return _tie_means(ranks, starts)


def _groups(shape: tuple[int, int], starts: np.ndarray) -> np.ndarray:
    """Return the number of each value's group of ties in its row, in order: (prompts, M)."""
    is_start = np.zeros(shape, dtype=np.int64)
    is_start.reshape(-1)[starts] = 1
    return is_start.cumsum(axis=1) - 1


def _inversions(values: np.ndarray) -> np.ndarray:
    """Count each row's pairs i < j with values[i] > values[j], values in [0, M): (rows,), exact.

    values: (rows, M). Within short blocks by comparing, then by merging halves of ever longer
    blocks: where a right value stands in the merged block tells how many left ones are not larger.
    """
    n_rows, m = values.shape
    size = max(COMPARED, 1 << (m - 1).bit_length())
    padded = np.full((n_rows, size), m, dtype=np.int32)
    padded[:, :m] = values
    padded = padded.reshape(-1, COMPARED)
    across = np.ascontiguousarray(padded.T)
    within = np.zeros(len(padded), np.uint8)  # at most 120
    for j in range(1, COMPARED):
        within += (across[:j] > across[j]).sum(axis=0, dtype=np.uint8)
    n_inverted = within.reshape(n_rows, -1).sum(axis=1, dtype=np.int64)
    padded.sort(axis=1)
    half = COMPARED
    while half < size:
        merged = 2 * padded.reshape(-1, 2 * half)
        merged[:, half:] += 1
        merged.sort(axis=1)
        padded = merged >> 1
        place = np.arange(2 * half)
        places = np.einsum("ij,j->i", merged & 1, place)  # sum of those of the right values
        most = half * (3 * half - 1) // 2  # that sum where no left value is larger
        n_inverted += (most - places.reshape(n_rows, -1)).sum(axis=1)
        half *= 2
    return n_inverted
