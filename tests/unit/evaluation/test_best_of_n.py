"""Exact Best-of-N and the within-prompt metrics, against enumeration and scipy."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from rmsweep.evaluation.best_of_n import (
    _inversions,
    best_of_n,
    kl_upper_bound,
    pairwise_accuracy_within_prompt,
    rank_weights,
    spearman_within_prompt,
)


def block(seed, runs=3, prompts=4, m=7, levels=None):
    """Predicted and golden rewards of one block; with levels, rounded so that many tie."""
    rng = np.random.default_rng(seed)
    predicted = rng.normal(size=(runs, prompts, m))
    golden = 0.5 * predicted[0] + rng.normal(size=(prompts, m))
    if levels is not None:
        predicted, golden = np.round(predicted * levels), np.round(golden * levels)
    return predicted.astype(np.float32), golden


def enumerated_best_of_n(predicted, golden, n):
    """Mean over every n-subset of the golden reward of its top, ties broken at random."""
    picks = []
    for subset in itertools.combinations(range(len(golden)), n):
        top = max(predicted[i] for i in subset)
        picks.append(np.mean([golden[i] for i in subset if predicted[i] == top]))
    return np.mean(picks)


@pytest.mark.parametrize("m", [1, 2, 7, 500, 2000])
def test_rank_weights_are_probabilities(m):
    ns = np.unique(np.geomspace(1, m, 12).astype(int))
    weights = rank_weights(m, ns)
    assert weights.shape == (len(ns), m) and np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("m, n", [(500, 7), (2000, 100), (500, 250), (9, 4)])
def test_rank_weights_equal_the_exact_binomials(m, n):
    exact = [math.comb(m - 1 - i, n - 1) / math.comb(m, n) for i in range(m)]
    np.testing.assert_allclose(rank_weights(m, [n])[0], exact, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("ns", [[0], [8], [1, -1]])
def test_n_outside_the_cached_responses_is_refused(ns):
    with pytest.raises(ValueError, match=r"n must be in \[1, 7\], the responses cached per prompt"):
        rank_weights(7, ns)


@pytest.mark.parametrize("levels", [None, 1, 2])
@pytest.mark.parametrize("m", [1, 3, 7])
def test_best_of_n_is_the_mean_over_all_subsets(m, levels):
    predicted, golden = block(m, m=m, levels=levels)
    ns = range(1, m + 1)
    exact = [
        [[enumerated_best_of_n(p, g, n) for n in ns] for p, g in zip(run, golden, strict=True)]
        for run in predicted
    ]
    np.testing.assert_allclose(best_of_n(predicted, golden, ns), exact, atol=1e-12)


def test_best_of_n_agrees_with_sampling():
    predicted, golden = block(1, runs=1, prompts=1, m=50, levels=2)
    rng = np.random.default_rng(0)
    subsets = rng.permuted(np.tile(np.arange(50), (20_000, 1)), axis=1)[:, :10]
    picks = subsets[np.arange(20_000), predicted[0, 0][subsets].argmax(axis=1)]
    sampled = golden[0, picks]
    exact = best_of_n(predicted, golden, [10])[0, 0, 0]
    assert abs(sampled.mean() - exact) < 4 * sampled.std() / np.sqrt(20_000)


@pytest.mark.parametrize("n", [1, 2, 10, 499, 500])
def test_the_largest_of_n_ranks_has_a_known_mean(n):
    ranks = np.arange(1.0, 501)[None]
    expected = n * 501 / (n + 1)  # mean maximum of n drawn from 1..M without replacement
    np.testing.assert_allclose(best_of_n(ranks[None], ranks, [n])[0, 0, 0], expected)


@pytest.mark.parametrize("seed", range(5))
def test_best_of_n_limits(seed):
    predicted, golden = block(seed, m=40, levels=1)
    first, last = np.moveaxis(best_of_n(predicted, golden, [1, 40]), -1, 0)
    is_top = predicted == predicted.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(first, np.broadcast_to(golden.mean(axis=1), first.shape), atol=1e-12)
    np.testing.assert_allclose(
        last, np.where(is_top, golden, 0).sum(-1) / is_top.sum(-1), atol=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_golden_as_predicted_is_the_oracle(seed):
    _, golden = block(seed, m=50)
    ns = [1, 2, 5, 10, 50]
    oracle = best_of_n(golden[None], golden, ns)[0]
    assert np.all(np.diff(oracle, axis=1) > 0)
    np.testing.assert_allclose(oracle[:, -1], golden.max(axis=1))
    predicted = block(seed, m=50)[0]
    assert np.all(best_of_n(predicted, golden, ns) <= oracle + 1e-12)
    np.testing.assert_allclose(best_of_n(-golden[None], golden, [50])[0, :, 0], golden.min(axis=1))


def test_all_tied_predictions_give_the_mean_for_every_n():
    golden = block(0, m=30)[1]
    got = best_of_n(np.zeros((1, 4, 30), np.float32), golden, [1, 3, 30])
    np.testing.assert_allclose(got[0], np.repeat(golden.mean(1)[:, None], 3, axis=1), atol=1e-12)


@pytest.mark.parametrize("levels", [None, 1, 2])
def test_spearman_agrees_with_scipy(levels):
    predicted, golden = block(3, m=30, levels=levels)
    exact = [
        [scipy.stats.spearmanr(p, g).statistic for p, g in zip(run, golden, strict=True)]
        for run in predicted
    ]
    np.testing.assert_allclose(spearman_within_prompt(predicted, golden), exact, atol=1e-12)


@pytest.mark.parametrize("levels", [None, 1, 2])
def test_pairwise_accuracy_is_the_mean_over_all_pairs(levels):
    predicted, golden = block(4, m=12, levels=levels)

    def accuracy(p, g):
        pairs = [(i, j) for i, j in itertools.permutations(range(12), 2) if g[i] > g[j]]
        return np.mean([0.5 * (1 + np.sign(p[i] - p[j])) for i, j in pairs])

    exact = [[accuracy(p, g) for p, g in zip(run, golden, strict=True)] for run in predicted]
    np.testing.assert_allclose(pairwise_accuracy_within_prompt(predicted, golden), exact)


def test_pairwise_accuracy_agrees_with_kendalls_tau_without_ties():
    predicted, golden = block(5, m=60)
    tau = [
        [scipy.stats.kendalltau(p, g).statistic for p, g in zip(run, golden, strict=True)]
        for run in predicted
    ]
    accuracy = pairwise_accuracy_within_prompt(predicted, golden)
    np.testing.assert_allclose(accuracy, (1 + np.array(tau)) / 2)


def test_constant_prompts_have_no_order():
    predicted, golden = block(6, runs=2, prompts=3, m=20)
    golden[1] = 0.1
    predicted[0, 2] = 0.3
    spearman = spearman_within_prompt(predicted, golden)
    np.testing.assert_array_equal(np.isnan(spearman), [[False, True, True], [False, True, False]])
    accuracy = pairwise_accuracy_within_prompt(predicted, golden)
    np.testing.assert_array_equal(np.isnan(accuracy), [[False, True, False]] * 2)
    assert accuracy[0, 2] == 0.5


@pytest.mark.parametrize("metric", [spearman_within_prompt, pairwise_accuracy_within_prompt])
def test_order_metrics_are_one_for_golden_itself_and_mirror(metric):
    _, golden = block(7, m=30, levels=2)
    perfect, reversed_ = metric(golden[None], golden), metric(-golden[None], golden)
    np.testing.assert_allclose(perfect, 1)
    np.testing.assert_allclose(reversed_, -1 if metric is spearman_within_prompt else 0)


@pytest.mark.parametrize(
    "metric",
    [
        lambda p, g: best_of_n(p, g, [1, 3, 9]),
        spearman_within_prompt,
        pairwise_accuracy_within_prompt,
    ],
)
def test_only_the_order_of_predicted_matters_and_runs_do_not_mix(metric):
    predicted, golden = block(8, m=30, levels=2)
    expected = metric(predicted, golden)
    np.testing.assert_array_equal(metric(2 * predicted + 7, golden), expected)
    np.testing.assert_array_equal(metric(predicted**3, golden), expected)
    for run in range(len(predicted)):
        np.testing.assert_array_equal(metric(predicted[run : run + 1], golden)[0], expected[run])


def test_non_finite_predictions_are_refused():
    predicted, golden = block(9)
    predicted[0, 0, 0] = np.nan
    with pytest.raises(AssertionError):
        best_of_n(predicted, golden, [1])


def test_kl_upper_bound():
    np.testing.assert_allclose(kl_upper_bound(np.array([1, 2, 500])), [0, 0.193147, 5.216608], 1e-5)


def test_pairs_are_counted_beyond_what_32_bits_hold():
    m = 70_000
    assert _inversions(np.arange(m)[None, ::-1]).tolist() == [m * (m - 1) // 2]
