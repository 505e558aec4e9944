"""The crossed bootstrap: coverage, pairing, limits, and seeds that are missing."""

import numpy as np
import pytest
import scipy.stats
import statsmodels.stats.multitest

from rmsweep.analysis.bootstrap import (
    bootstrap_means,
    bootstrap_p_values,
    crossed_mean,
    holm,
    percentile_interval,
    wins,
)


def table(rng, n_seeds=10, n_prompts=100, seed_sd=0.5, prompt_sd=1.5, noise_sd=1.0):
    """Values with true mean 0: an effect of the seed, one of the prompt, and noise."""
    seeds = rng.normal(scale=seed_sd, size=(n_seeds, 1))
    prompts = rng.normal(scale=prompt_sd, size=(1, n_prompts))
    return seeds + prompts + rng.normal(scale=noise_sd, size=(n_seeds, n_prompts))


def interval(matrix, rng, n_draws=2000):
    low, high = percentile_interval(bootstrap_means([matrix], ["a"], rng, n_draws))
    return low[0], high[0]


def coverage(intervals):
    return np.mean([low <= 0 <= high for low, high in intervals])


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd, prompt_sd", [(0.5, 1.5), (0.1, 2.0), (0.5, 0.5)])
def test_interval_covers_the_true_mean_as_often_as_it_says(seed_sd, prompt_sd):
    rng = np.random.default_rng(0)
    tables = [table(rng, seed_sd=seed_sd, prompt_sd=prompt_sd) for _ in range(300)]
    assert 0.90 <= coverage([interval(y, rng, 500) for y in tables]) <= 0.99


@pytest.mark.slow
def test_pooled_values_would_cover_far_too_rarely():
    rng = np.random.default_rng(0)
    pooled = [interval(table(rng).reshape(1, -1), rng, 500) for _ in range(100)]
    assert coverage(pooled) < 0.7


@pytest.mark.slow
def test_the_difference_of_two_losses_is_covered_too():
    rng = np.random.default_rng(1)
    intervals = []
    for _ in range(300):
        prompts = rng.normal(scale=2, size=(1, 100))
        pair = [prompts + table(rng, prompt_sd=0.5) for _ in range(2)]
        draws = bootstrap_means(pair, ["a", "a"], rng, 500)
        intervals.append(percentile_interval(draws[:, [0]] - draws[:, [1]]))
    assert 0.90 <= coverage(intervals) <= 0.99


def test_the_generator_reaches_the_resampling():
    y = table(np.random.default_rng(0))
    first, again, other = (interval(y, np.random.default_rng(seed), 300) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_common_prompts_make_differences_narrow():
    rng = np.random.default_rng(3)
    prompts = rng.normal(scale=2, size=(1, 100))
    pair = [prompts + table(rng, seed_sd=0.1, prompt_sd=0, noise_sd=0.3) for _ in range(2)]
    widths = []
    for strata in (["a", "a"], ["a", "b"]):
        draws = bootstrap_means(pair, strata, np.random.default_rng(0))
        low, high = percentile_interval(draws[:, [0]] - draws[:, [1]])
        widths.append((high - low)[0])
    assert widths[0] < widths[1] / 4


def test_equal_matrices_never_differ_and_a_shift_is_exact():
    y = table(np.random.default_rng(4))
    draws = bootstrap_means([y, y, y + 0.25], ["a"] * 3, np.random.default_rng(0), 200)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    np.testing.assert_allclose(draws[:, 2] - draws[:, 0], 0.25)


def test_strata_may_differ_in_prompts_and_share_the_draws_of_the_seeds():
    seeds = np.arange(5.0)[:, None]
    a, b = np.repeat(seeds, 7, axis=1), np.repeat(seeds, 30, axis=1)
    draws = bootstrap_means([a, b], [("a", 7), ("b", 30)], np.random.default_rng(0), 200)
    np.testing.assert_allclose(draws[:, 0], draws[:, 1])
    assert len(np.unique(draws[:, 0].round(9))) > 10


def test_draws_equal_a_loop_over_resampled_tables_in_distribution():
    rng = np.random.default_rng(5)
    y = table(rng, n_seeds=4, n_prompts=20)
    loop = [y[rng.integers(4, size=4)][:, rng.integers(20, size=20)].mean() for _ in range(20_000)]
    draws = bootstrap_means([y], ["a"], rng, 20_000)[:, 0]
    np.testing.assert_allclose(draws.std(), np.std(loop), rtol=0.03)
    np.testing.assert_allclose(
        np.quantile(draws, [0.025, 0.5, 0.975]), np.quantile(loop, [0.025, 0.5, 0.975]), atol=0.05
    )


def test_no_variance_gives_zero_width():
    low, high = interval(np.full((5, 20), 1.5), np.random.default_rng(0), 100)
    np.testing.assert_allclose([low, high], 1.5)


def test_one_seed_leaves_the_prompts_and_one_prompt_the_seeds():
    rng = np.random.default_rng(6)
    y = rng.normal(size=(1, 400))
    low, high = interval(y, rng)
    np.testing.assert_allclose(high - low, 2 * 1.96 * y.std() / 20, rtol=0.1)
    low, high = interval(y.T, rng)
    np.testing.assert_allclose(high - low, 2 * 1.96 * y.std() / 20, rtol=0.1)
    assert np.isnan(interval(np.ones((1, 1)), rng)).all()


def test_a_missing_seed_is_left_out_of_mean_and_draws():
    rng = np.random.default_rng(7)
    y = rng.normal(size=(5, 50))
    missing = y.copy()
    missing[[1, 4]] = np.nan
    assert crossed_mean(missing) == pytest.approx(y[[0, 2, 3]].mean())
    draws = bootstrap_means([y, missing], ["a", "a"], rng)
    n_dropped = np.isnan(draws[:, 1]).sum()
    assert not np.isnan(draws[:, 0]).any()
    assert n_dropped == pytest.approx(2000 * (2 / 5) ** 5, abs=25)
    low, high = percentile_interval(draws)
    assert low[1] < crossed_mean(missing) < high[1]


def test_a_cell_without_runs_has_neither_mean_nor_interval():
    empty = np.full((3, 10), np.nan)
    assert np.isnan(crossed_mean(empty))
    assert np.isnan(interval(empty, np.random.default_rng(0), 50)).all()
    assert bootstrap_means([], [], np.random.default_rng(0), 50).shape == (50, 0)


def test_nan_prompts_are_left_out_of_each_seeds_mean():
    y = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 8.0]])
    assert crossed_mean(y) == pytest.approx((2 + 8) / 2)
    full = table(np.random.default_rng(8), n_prompts=60)
    gaps = np.concatenate([full, np.full((10, 20), np.nan)], axis=1)
    assert crossed_mean(gaps) == pytest.approx(full.mean())
    widths = [np.diff(interval(m, np.random.default_rng(0)))[0] for m in (full, gaps)]
    np.testing.assert_allclose(*widths, rtol=0.15)


def test_percentile_interval_is_central_and_checks_its_level():
    draws = np.linspace(0, 100, 1001)[:, None]
    np.testing.assert_allclose(percentile_interval(draws), [[2.5], [97.5]])
    np.testing.assert_allclose(percentile_interval(draws, 0.5), [[25], [75]])
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        percentile_interval(draws, 95)


def test_wins_counts_a_tie_as_a_half():
    x = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 0.0]])
    y = np.array([[0.0, 2.0, 9.0], [1.0, 1.0, np.nan]])
    np.testing.assert_array_equal(wins(x, y), [[1, 0.5, 0], [1, np.nan, np.nan]])
    np.testing.assert_array_equal(wins(x, -np.inf), [[1, 1, 1], [1, np.nan, 1]])
    np.testing.assert_array_equal(wins(y, x), 1 - wins(x, y))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_holm_is_that_of_statsmodels(seed):
    p = np.random.default_rng(seed).random(12) ** 4
    p[3] = p[5]
    theirs = statsmodels.stats.multitest.multipletests(p, method="holm")[1]
    np.testing.assert_allclose(holm(p), theirs)
    np.testing.assert_allclose(holm(np.append(p, np.nan))[:-1], theirs)


def test_holm_by_hand_and_at_its_limits():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_array_equal(holm(np.array([0.9, np.nan, 0.8])), [1, np.nan, 1])
    assert holm(np.array([0.2])) == [0.2] and holm(np.array([])).size == 0


def test_p_of_the_bootstrap_is_that_of_the_normal_distribution():
    draws = np.random.default_rng(0).normal(0.3, 0.2, size=(200_000, 1))
    theirs = 2 * scipy.stats.norm.cdf(-1.5)
    assert bootstrap_p_values(np.array([0.3]), draws) == pytest.approx(theirs, rel=0.02)
    assert bootstrap_p_values(np.array([-0.3]), -draws) == pytest.approx(theirs, rel=0.02)
    still = np.full((10, 3), 0.3)
    still[:, 2] = np.nan
    p = bootstrap_p_values(np.array([0.3, 0.0, 0.3]), still)
    np.testing.assert_array_equal(p, [0, 1, np.nan])


def test_p_values_are_fair_under_no_difference():
    rng = np.random.default_rng(9)
    p = []
    for _ in range(300):
        y = table(rng)
        p.extend(bootstrap_p_values(np.array([y.mean()]), bootstrap_means([y], ["a"], rng, 300)))
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.1
