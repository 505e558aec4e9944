"""Simulated annotators: probabilities, labels under common uniforms, error rates."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from rmsweep.annotation.preferences import LINKS, error_rate, preference_probability, prefers_first

BETAS = (0.0, 0.3, 1.0, 3.0, 10.0, np.inf)


def margins_and_uniforms(seed, n=500, levels=None):
    rng = np.random.default_rng(seed)
    margin = rng.normal(size=n)
    return margin if levels is None else np.round(margin * levels), rng.random(n)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("seed", range(10))
def test_preference_probability_is_a_fair_sigmoid(seed, link):
    margin = np.random.default_rng(seed).normal(size=200)
    forth, back = (preference_probability(m, 2.0, link) for m in (margin, -margin))
    np.testing.assert_allclose(forth + back, 1)
    np.testing.assert_array_equal(preference_probability(margin, 0.0, link), 0.5)
    np.testing.assert_array_equal(preference_probability(margin, np.inf, link), margin > 0)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("beta", BETAS)
def test_ties_are_one_half_for_every_beta(beta, link):
    np.testing.assert_array_equal(preference_probability(np.zeros(3), beta, link), 0.5)


def test_one_value_from_the_definition():
    found = preference_probability(np.array([0.5]), 3.0)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-1.5)), rtol=1e-12)


@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_probit_is_the_normal_distribution_function(beta):
    margin, _ = margins_and_uniforms(0)
    found = preference_probability(margin, beta, "probit")
    np.testing.assert_allclose(found, scipy.stats.norm.cdf(beta * margin), rtol=1e-12)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("seed", range(5))
def test_labels_only_flip_towards_right_as_beta_grows(seed, link):
    margin, uniforms = margins_and_uniforms(seed)
    is_wrong = [
        prefers_first(preference_probability(margin, beta, link), uniforms) != (margin > 0)
        for beta in BETAS
    ]
    for noisier, cleaner in zip(is_wrong, is_wrong[1:], strict=False):
        assert not (cleaner & ~noisier).any()
    assert is_wrong[0].mean() > 0.4
    assert not is_wrong[-1].any()


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("beta", BETAS)
def test_realised_error_rate_has_its_closed_form_expectation(beta, link):
    margin, uniforms = margins_and_uniforms(7, n=20_000, levels=2)  # a fifth are ties
    labels = prefers_first(preference_probability(margin, beta, link), uniforms)
    cumulative = {"logistic": scipy.special.expit, "probit": scipy.stats.norm.cdf}[link]
    scaled = np.multiply(beta, np.abs(margin), where=margin != 0, out=np.zeros_like(margin))
    expected = cumulative(-scaled)  # of a tie: 1/2
    std = np.sqrt((expected * (1 - expected)).sum()) / len(margin)
    assert (margin == 0).mean() > 0.1
    assert abs(error_rate(margin, labels) - expected.mean()) <= 4 * std + 1e-12


def test_error_rate_counts_a_tie_one_half_whatever_its_label():
    margin = np.array([2.0, -1.0, 0.0, 0.0])
    assert error_rate(margin, np.array([True, False, True, False])) == 0.25
    assert error_rate(margin, np.array([False, False, True, True])) == 0.5
    assert error_rate(margin, np.array([False, True, True, True])) == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_without_noise_labels_are_golden_and_ties_a_coin_flip(seed):
    margin, uniforms = margins_and_uniforms(seed, n=2000, levels=1)
    labels = prefers_first(preference_probability(margin, np.inf), uniforms)
    is_tie = margin == 0
    np.testing.assert_array_equal(labels[~is_tie], margin[~is_tie] > 0)
    assert abs(labels[is_tie].mean() - 0.5) < 4 * 0.5 / np.sqrt(is_tie.sum())


def test_beta_zero_ignores_the_margin():
    margin, uniforms = margins_and_uniforms(0)
    labels = prefers_first(preference_probability(margin, 0.0), uniforms)
    np.testing.assert_array_equal(labels, uniforms < 0.5)


@pytest.mark.parametrize("beta", [-1.0, -np.inf, np.nan])
def test_negative_and_nan_beta_are_refused(beta):
    with pytest.raises(ValueError, match="beta must be >= 0"):
        preference_probability(np.ones(2), beta)
