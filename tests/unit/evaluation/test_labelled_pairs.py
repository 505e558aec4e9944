"""RewardBench's averages, calibration, Wilson's interval, accuracy by distance: by other means."""

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from statsmodels.stats.proportion import proportion_confint

from rmsweep.analysis.bootstrap import wilson_interval
from rmsweep.annotation.pairing import in_whole_prompts
from rmsweep.cache import rewardbench_subsets
from rmsweep.evaluation import rewardbench
from rmsweep.evaluation.best_of_n import accuracies_by_distance, pairwise_accuracy_within_prompt
from rmsweep.evaluation.calibration import N_BINS, calibration_metrics, temperature


@pytest.mark.parametrize("seed", range(5))
def test_sections_are_means_over_their_pairs(seed):
    """With accuracies that are shares of each subset's pairs, a section is the share of all."""
    rng = np.random.default_rng(seed)
    accuracy, right, total = {}, {}, {}
    for section, weights in rewardbench_subsets.SECTIONS.items():
        counts = {name: int(rng.integers(n + 1)) for name, n in weights.items()}
        accuracy |= {name: counts[name] / n for name, n in weights.items()}
        right[section], total[section] = sum(counts.values()), sum(weights.values())
    scores = rewardbench.section_scores(accuracy)
    for section, n in right.items():
        assert scores[section] == pytest.approx(n / total[section])
    four = np.mean([n / total[s] for s, n in right.items()])
    assert scores["rewardbench"] == pytest.approx(four) and scores["prior_sets"] is None
    prior = dict(zip(rewardbench_subsets.PRIOR_SETS, rng.random(4), strict=True))
    with_prior = rewardbench.section_scores(accuracy | prior | {"mtbench_human": 0.0})
    assert with_prior["prior_sets"] == pytest.approx(np.mean(list(prior.values())))
    overall = (2 * 4 * four + with_prior["prior_sets"]) / 9
    assert with_prior["rewardbench"] == pytest.approx(overall)


def test_totals_are_rewardbenchs():
    totals = {name: sum(weights.values()) for name, weights in rewardbench_subsets.SECTIONS.items()}
    assert totals == {
        "section_chat": 358, "section_chat_hard": 456, "section_safety": 740,
        "section_reasoning": 1968,
    }  # fmt: skip
    assert sum(len(weights) for weights in rewardbench_subsets.SECTIONS.values()) == 23


def test_what_is_absent_is_left_out_and_named():
    scores = rewardbench.section_scores({"donotanswer": 0.5, "refusals-dangerous": 1.0})
    assert scores["section_safety"] == pytest.approx((136 * 0.5 + 100) / 236)
    assert scores["section_chat"] is None and scores["rewardbench"] is None
    there = [
        "donotanswer",
        "refusals-dangerous",
        *rewardbench_subsets.SECTIONS["section_chat"],
        "mine",
    ]
    assert rewardbench_subsets.missing_subsets(there) == {
        "section_safety": ["refusals-offensive", "xstest-should-refuse", "xstest-should-respond"]
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_is_the_root_of_the_derivative(seed):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=4000)
    is_right = rng.random(4000) < expit(np.abs(true))
    margins = 3.0 * np.where(is_right, np.abs(true), -np.abs(true))
    found = temperature(margins)
    root = brentq(lambda a: -(margins * expit(-a * margins)).mean(), 1e-6, 10)
    assert found == pytest.approx(1 / root, rel=1e-4)
    assert found == pytest.approx(3, rel=0.2), "what the margins were multiplied by"
    assert temperature(7 * margins) == pytest.approx(7 * found, rel=1e-4)


def test_temperatures_at_the_limits():
    assert temperature(np.array([-1.0, -2.0, 0.5])) == np.inf, "no better than chance"
    assert np.isnan(temperature(np.zeros(3))) and np.isnan(temperature(np.zeros(0)))
    assert temperature(np.array([1.0, 2.0])) == pytest.approx(np.sqrt(2.5) / 100, rel=0.01)
    at_chance = calibration_metrics(np.array([1.0, -1.0, 3.0]), np.inf)
    assert at_chance["nll"] == pytest.approx(np.log(2)) and at_chance["brier"] == 0.25


@pytest.mark.parametrize("seed", range(5))
def test_calibration_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    margins = np.concatenate([rng.normal(0.3, 2, size=300), np.zeros(5)])
    found = calibration_metrics(margins, 1.7)
    p = 1 / (1 + np.exp(-margins / 1.7))
    assert found["nll"] == pytest.approx(-np.log(p).mean())
    assert found["brier"] == pytest.approx(((1 - p) ** 2).mean())
    confidence, right = np.maximum(p, 1 - p), np.where(margins == 0, 0.5, margins > 0)
    error = 0.0
    for i in range(N_BINS):
        low, high = 0.5 + i / (2 * N_BINS), 0.5 + (i + 1) / (2 * N_BINS)
        inside = (confidence >= low) & ((confidence < high) | (i == N_BINS - 1))
        assert found["reliability_pairs"][i] == inside.sum()
        if inside.any():
            assert found["reliability_accuracy"][i] == pytest.approx(right[inside].mean())
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    assert found["ece"] == pytest.approx(error)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (3, 7), (200, 347), (1, 1)])
def test_wilson_is_that_of_statsmodels(right, n):
    expected = proportion_confint(right, n, method="wilson")
    np.testing.assert_allclose(wilson_interval(right, n), expected, atol=1e-12)
    assert np.isnan(wilson_interval(0, 0)).all()


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_by_distance_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    golden = rng.integers(4, size=(5, 7)).astype(float)
    golden[4] = 1.0  # no pair has an order
    predicted = rng.integers(3, size=(2, 5, 7)).astype(np.float32)
    x = rng.normal(size=(5, 7, 3)).astype(np.float16)
    distance, accuracy = accuracies_by_distance(predicted, golden, x, n_groups=4)
    for prompt in range(4):
        pairs = [
            (np.linalg.norm(x[prompt, i].astype(float) - x[prompt, j].astype(float)), i, j)
            for i, j in itertools.combinations(range(7), 2)
            if golden[prompt, i] != golden[prompt, j]
        ]
        for group, members in enumerate(np.array_split(np.arange(len(pairs)), 4)):
            ours = [sorted(pairs)[k] for k in members]
            assert distance[prompt, group] == pytest.approx(np.mean([d for d, _, _ in ours]))
            for run in range(2):
                agrees = [
                    0.5 + 0.5 * np.sign(predicted[run, prompt, i] - predicted[run, prompt, j])
                    * np.sign(golden[prompt, i] - golden[prompt, j])
                    for _, i, j in ours
                ]  # fmt: skip
                assert accuracy[run, prompt, group] == pytest.approx(np.mean(agrees))
    assert np.isnan(accuracy[:, 4]).all() and np.isnan(distance[4]).all()
    _, whole = accuracies_by_distance(predicted, golden, x, n_groups=1)
    np.testing.assert_allclose(whole[..., 0], pairwise_accuracy_within_prompt(predicted, golden))


@pytest.mark.parametrize("seed", range(10))
def test_whole_prompts_are_set_apart(seed):
    rng = np.random.default_rng(seed)
    prompts = rng.integers(30, size=100) * 7
    apart = in_whole_prompts(prompts, 20, rng)
    assert not set(prompts[apart]) & set(prompts[~apart])
    sizes = [np.sum(prompts == p) for p in set(prompts[~apart])]
    assert apart.sum() == 20 or min(sizes) > 20 - apart.sum()
    assert in_whole_prompts(np.arange(50), 13, rng).sum() == 13
    assert not in_whole_prompts(np.zeros(50, int), 13, rng).any()
