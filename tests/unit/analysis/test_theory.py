"""The theory against quadrature, simulation with our own annotators, and brute force."""

import functools
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers.composing import composed
from scipy import integrate, special, stats

from rmsweep.analysis import theory
from rmsweep.analysis.figures import convergence
from rmsweep.analysis.figures import theory as figures
from rmsweep.analysis.figures.style import save_figure
from rmsweep.annotation.preferences import error_rate, preference_probability, prefers_first
from rmsweep.cache import synthetic
from rmsweep.cache.inputs import open_inputs
from rmsweep.config.launchers import Place
from rmsweep.config.parse import parse
from rmsweep.config.spec import Item
from rmsweep.evaluation import risks
from rmsweep.evaluation.score import score_runs
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema
from rmsweep.training.fit import fit_runs
from rmsweep.training.predict import predict_rewards, stack_models

SEEDS = range(10)


def xi(beta, link="logistic"):
    return lambda distance: preference_probability(distance, beta, link)


def independent_means(masses, value):
    """same_and_cross by definition: sums over all pairs of cells and of prompts."""
    cells = range(masses.shape[1])

    def mean(p, q):
        return sum(p[i] * q[j] * value[abs(i - j)] for i in cells for j in cells)

    same = np.mean([mean(p, p) for p in masses])
    return same, np.mean([mean(p, q) for p, q in itertools.product(masses, masses)])


def random_masses(rng, prompts=5, cells=9):
    return rng.dirichlet(np.full(cells, 0.3), size=prompts)


# Annotation quality


EXAMPLE_1 = [(1, 0.6749), (2, 0.7251), (4, 0.7781), (10, 0.8428)]


@pytest.mark.parametrize(("square", "published"), EXAMPLE_1)
def test_gaussian_quality_gives_the_published_values_for_margins_of_that_variance(
    square, published
):
    quality = theory.gaussian_quality(xi(np.sqrt(square)), np.sqrt(0.5))
    assert quality == pytest.approx(published, abs=1.2e-4)  # two of them rounded the other way


@pytest.mark.parametrize("spread", [0.01, 0.3, 1, 5, 300])
def test_gaussian_quality_has_a_closed_form_for_probit(spread):
    found = theory.gaussian_quality(xi(spread, "probit"), 1.0)
    assert found == pytest.approx(0.5 + np.arctan(np.sqrt(2) * spread) / np.pi, abs=1e-8)


def test_gaussian_quality_has_its_limits():
    assert theory.gaussian_quality(xi(0), 1.0) == pytest.approx(0.5)
    assert theory.gaussian_quality(xi(1), 0.0) == 0.5
    assert theory.gaussian_quality(xi(np.inf), 1.0) == pytest.approx(1)
    rising = [theory.gaussian_quality(xi(beta), 1.0) for beta in (0.1, 0.5, 1, 3, 10)]
    assert np.all(np.diff(rising) > 0)
    assert theory.gaussian_quality(xi(2), 1.5) == pytest.approx(theory.gaussian_quality(xi(3), 1.0))
    with pytest.raises(ValueError, match="sigma"):
        theory.gaussian_quality(xi(1), np.nan)


@pytest.mark.parametrize(("beta", "sigma"), [(0.5, 1), (1, 1), (3, 0.7), (3, 1)])
def test_gaussian_quality_density_is_that_of_the_quality(beta, sigma):
    """By quadrature in the logit: mass 1, mean as gaussian_quality, distribution as simulated."""

    def integral(weight, low=0.0):
        def at(logit):
            q = special.expit(logit)
            density = theory.gaussian_quality_density(np.array([q]), beta, sigma)[0]
            return weight(q) * density * q * (1 - q)

        return integrate.quad(at, low, 22, limit=200)[0]

    assert integral(lambda q: 1) == pytest.approx(1, abs=1e-5)
    mean = theory.gaussian_quality(xi(beta), sigma)
    assert integral(lambda q: q) == pytest.approx(mean, abs=1e-5)
    scores = np.random.default_rng(0).normal(3, sigma, (100_000, 2))
    quality = xi(beta)(np.abs(scores[:, 0] - scores[:, 1]))
    assert (quality > 0.8).mean() == pytest.approx(
        integral(lambda q: 1, special.logit(0.8)), abs=0.006
    )


def test_gaussian_quality_density_is_zero_where_no_quality_is():
    outside = theory.gaussian_quality_density(np.array([-1, 0, 0.4999, 1, 1.2]), 1.0, 1.0)
    np.testing.assert_array_equal(outside, 0)
    with pytest.raises(ValueError, match="beta"):
        theory.gaussian_quality_density(np.array([0.7]), 0.0, 1.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_simulated_annotators_have_the_quality(seed):
    rng, n = np.random.default_rng(seed), 40_000
    beta, sigma = rng.uniform(0.3, 5), rng.uniform(0.3, 2)
    margin = np.subtract(*rng.normal(1, sigma, (2, n)))
    first = prefers_first(preference_probability(margin, beta), rng.random(n))
    quality = theory.gaussian_quality(xi(beta), sigma)
    assert 1 - error_rate(margin, first) == pytest.approx(quality, abs=4.5 * 0.5 / np.sqrt(n))


# Same prompt, cross prompt


@pytest.mark.parametrize("seed", SEEDS)
def test_same_and_cross_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    masses, values = random_masses(rng), rng.normal(size=9)
    found = theory.same_and_cross(masses, values)
    np.testing.assert_allclose(found, independent_means(masses, values))


@pytest.mark.parametrize("seed", range(200))
def test_cross_prompt_is_at_least_same_prompt_for_any_scores_and_concave_xi(seed):
    """No symmetry and no single mode: random masses, and a random concave nondecreasing function"""
    rng = np.random.default_rng(seed)
    masses = random_masses(rng, prompts=rng.integers(2, 6), cells=30)
    concave = np.cumsum(np.sort(rng.exponential(size=30))[::-1])
    beta = rng.exponential()
    for values in (
        concave, np.arange(30.0), xi(beta)(np.arange(30.0)), xi(beta, "probit")(np.arange(30.0))
    ):  # fmt: skip
        same, cross = theory.same_and_cross(masses, values)
        assert cross >= same - 1e-12


def test_the_inequality_needs_a_concave_xi():
    """Scores +-1 for one prompt and 0 for the other: only the first has pairs further than 1."""
    masses = np.array([[0.5, 0, 0.5], [0, 1, 0]])
    same, cross = theory.same_and_cross(masses, np.array([0.5, 0.5, 1.0]))
    assert same == pytest.approx(0.625) and cross == pytest.approx(0.5625)


def test_equal_prompts_have_equal_pairs():
    masses = np.repeat(random_masses(np.random.default_rng(0), prompts=1), 4, axis=0)
    same, cross = theory.same_and_cross(masses, np.arange(9.0))
    assert same == pytest.approx(cross)


ROOT3 = np.sqrt(3)
SCIPY = {
    "Gaussian": stats.norm(),
    "Laplace": stats.laplace(scale=np.sqrt(0.5)),
    "logistic": stats.logistic(scale=ROOT3 / np.pi),
    "uniform": stats.uniform(-ROOT3, 2 * ROOT3),
    "Student t, 5 df": stats.t(5, scale=np.sqrt(0.6)),
}
MEAN_DISTANCES = {
    "Gaussian": 2 / np.sqrt(np.pi), "Laplace": 1.5 * np.sqrt(0.5),
    "logistic": 2 * np.sqrt(3) / np.pi, "uniform": 2 * np.sqrt(3) / 3,
    "Student t, 5 df": None,
}  # fmt: skip


@pytest.mark.parametrize("name", theory.FAMILIES)
def test_families_are_standardised_and_have_their_mean_distances(name):
    family = SCIPY[name]
    scores = np.linspace(-60, 60, 1201)
    np.testing.assert_allclose(theory.FAMILIES[name](scores), family.cdf(scores), rtol=1e-12)
    assert family.mean() == pytest.approx(0) and family.var() == pytest.approx(1)
    x = np.linspace(0, 1.7, 50)
    np.testing.assert_allclose(family.pdf(x), family.pdf(-x))
    assert np.all(np.diff(family.pdf(x)) <= 1e-12)
    edges = np.linspace(-40, 40, 8001)
    masses = theory.cell_masses(np.zeros(1), np.ones(1), theory.FAMILIES[name], edges)
    same = theory.same_and_cross(masses, np.arange(8000) * 0.01)[0]
    exact = (
        MEAN_DISTANCES[name]
        or integrate.quad(  # Gini: 2 * integral of F (1 - F)
            lambda x: 2 * family.cdf(x) * family.sf(x), -np.inf, np.inf
        )[0]
    )
    assert same == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("name", theory.FAMILIES)
def test_cell_masses_are_those_of_the_scores(name):
    """Both means against draws of responses, two of one prompt and one each of two."""
    family, rng, n = SCIPY[name], np.random.default_rng(1), 200_000
    locations, scales = rng.normal(0, 2, 20), rng.uniform(0.5, 2, 20)
    edges = np.linspace(-60, 60, 6001)
    masses = theory.cell_masses(locations, scales, theory.FAMILIES[name], edges)
    found = theory.same_and_cross(masses, xi(1)(np.arange(6000) * 0.02))

    def draw(prompt):
        return locations[prompt] + scales[prompt] * family.rvs(n, random_state=rng)

    first, other = rng.integers(20, size=(2, n))
    drawn = [xi(1)(np.abs(draw(first) - draw(partner))).mean() for partner in (first, other)]
    np.testing.assert_allclose(found, drawn, atol=0.003)


def test_a_grid_too_narrow_is_refused():
    with pytest.raises(AssertionError, match="narrow"):
        theory.cell_masses(np.zeros(1), np.ones(1), special.ndtr, np.linspace(-1, 1, 9))


@pytest.mark.slow
def test_gaussian_prompts_have_the_closed_form():
    """Prop. 10: same 2 s / sqrt(pi), cross 2 sqrt(s^2 + t^2) / sqrt(pi)."""
    edges = np.linspace(-40, 40, 8001)
    quantiles = special.ndtri((np.arange(2000) + 0.5) / 2000)
    masses = theory.cell_masses(1.5 * quantiles, np.full(2000, 0.8), special.ndtr, edges)
    found = theory.same_and_cross(masses, np.arange(8000) * 0.01)
    np.testing.assert_allclose(found, 2 * np.array([0.8, 1.7]) / np.sqrt(np.pi), rtol=1e-3)


# Order consistency


@pytest.mark.parametrize("seed", SEEDS)
def test_order_consistency_lies_in_its_range_and_equals_its_weighted_form(seed):
    """Exactly on the same pairs for the range; in expectation over labels for the weighted form."""
    rng, n = np.random.default_rng(seed), 20_000
    margin, beta = rng.normal(size=n), rng.uniform(0.3, 5)
    predicted = margin + rng.normal(0, rng.uniform(0.1, 3), n)
    reliability = preference_probability(np.abs(margin), beta)
    label = prefers_first(preference_probability(margin, beta), rng.random(n))
    is_right = (predicted > 0) == (margin > 0)
    agreement, error = ((predicted > 0) == label).mean(), error_rate(margin, label)
    lower, upper = theory.order_consistency_range(agreement, error)
    assert lower - 1e-12 <= is_right.mean() <= upper + 1e-12
    expected = np.where(is_right, reliability, 1 - reliability).mean(), (1 - reliability).mean()
    assert 2 * expected[0] - 1 <= np.subtract(*expected) + 1e-12
    weights = 2 * reliability - 1
    weighted = theory.weighted_order_consistency(*expected)
    assert weighted == pytest.approx((is_right * weights).sum() / weights.sum())


def test_order_consistency_range_by_enumeration():
    """All golden orders, labels and predictions of three pairs; the range's ends are reached."""
    ends = set()
    for golden, label, predicted in itertools.product(
        itertools.product((0, 1), repeat=3), repeat=3
    ):
        right, agreement, error = (
            np.mean(np.equal(a, b)) for a, b in
            ((predicted, golden), (predicted, label), (label, 1 - np.array(golden)))
        )  # fmt: skip
        lower, upper = theory.order_consistency_range(agreement, error)
        assert lower - 1e-12 <= right <= upper + 1e-12
        ends |= {name for name, end in (("low", lower), ("up", upper)) if abs(right - end) < 1e-12}
    assert ends == {"low", "up"}


def test_proposition_9_by_hand():
    bound = theory.conditional_order_bound(np.array([0.5, 0.9, 1.0]), 0.1)
    np.testing.assert_allclose(bound, [0.25, 0.9 * 0.81 + 0.1 * 0.01, 0.9])
    assert theory.overall_order_bound(0.05, 0.1, 0.02) == pytest.approx(0.68)


def test_the_assumed_threshold_is_the_lowest_from_which_the_overall_bound_follows():
    epsilon = np.linspace(0, 0.25, 51)[:, None]
    quality = np.linspace(0.5, 1, 2001)
    reaches = theory.conditional_order_bound(quality, epsilon) >= 1 - 4 * epsilon - 1e-12
    lowest = quality[reaches.argmax(axis=1)]
    assert reaches.any(axis=1).all()
    np.testing.assert_allclose(theory.sufficient_quality(epsilon[:, 0]), lowest, atol=3e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_model_is_below_the_bounds_of_proposition_9(seed):
    """Kinds of pairs, each with its quality and its disagreement, all of it on right labels."""
    rng = np.random.default_rng(seed)
    share, quality = rng.dirichlet(np.ones(6)), 1 - 0.5 * rng.random(6) ** 3
    disagreement = rng.exponential(0.03, 6)
    is_right = np.maximum(quality - disagreement, 0)
    for epsilon in (0.01, 0.05, 0.1, 0.2, 0.25):
        is_kept = disagreement <= epsilon
        assert (is_right >= theory.conditional_order_bound(quality, epsilon))[is_kept].all()
        delta = share[~is_kept].sum()
        kappa = share[quality < theory.sufficient_quality(epsilon)].sum()
        assert share @ is_right >= theory.overall_order_bound(epsilon, kappa, delta) - 1e-12
    rates = share @ disagreement, share @ (1 - quality)
    best = theory.best_overall_bound(np.array([1 - rates[0]]), np.array([rates[1]]))[0]
    assert 0 <= best <= share @ is_right + 1e-12
    assert theory.conditional_order_bound(0.5, 0.5) > 0, "not 0, which a model of such errors has"


def test_the_best_overall_bound_needs_a_model_that_almost_always_agrees():
    """From 15/16 on it can be above 0, with noisy labels from 61/64 on, by epsilon = 3/16."""
    agreement, error = np.array([1, 0.99, 0.7]), np.array([0, 0.001, 0.3])
    bounds = theory.best_overall_bound(agreement, error)
    np.testing.assert_allclose(bounds, [1 - 4 / 1600, 0.588, 0], atol=1e-3)
    agreement = np.array([0.99, 0.99, 1, 61 / 64, 61 / 64 + 1e-6, 15 / 16, 15 / 16 + 1e-2])
    error = np.array([0.1, 0.4, 0.5, 0.1, 0.1, 0, 0])
    bounds = theory.best_overall_bound(agreement, error)
    np.testing.assert_allclose(bounds[:3], [1 / 4 - 0.01 * 16 / 3] * 2 + [1 / 4], rtol=1e-12)
    assert (bounds[3:] > 0).tolist() == [False, True, False, True]


def test_order_consistency_without_noise_is_the_agreement():
    agreement = np.array([0.0, 0.4, 1.0])
    np.testing.assert_array_equal(
        theory.order_consistency_range(agreement, np.zeros(3))[0], agreement
    )
    np.testing.assert_array_equal(
        theory.order_consistency_range(agreement, np.zeros(3))[1], agreement
    )
    np.testing.assert_array_equal(
        theory.weighted_order_consistency(agreement, np.zeros(3)), agreement
    )
    assert np.isnan(theory.weighted_order_consistency(np.array([0.5]), np.array([0.5])))[0]


# The classification reward


@pytest.mark.parametrize("seed", SEEDS)
def test_the_classification_reward_keeps_order_shrinks_margins_and_stays_within_its_offsets(seed):
    rng = np.random.default_rng(seed)
    opponents = rng.normal(rng.normal(), rng.exponential(2), rng.integers(1, 40))
    rewards = np.sort(rng.normal(0, 6, 100))
    found = theory.classification_reward(rewards, opponents)
    low, high = theory.offset_limits(opponents)
    wins = np.mean([special.expit(rewards - r) for r in opponents], axis=0)
    np.testing.assert_allclose(special.expit(found), wins)
    assert np.all(found >= rewards + low - 1e-9) and np.all(found <= rewards + high + 1e-9)
    steps = np.diff(found) / np.diff(rewards)
    assert np.all(steps > 0) and np.all(steps <= 1 + 1e-9)


def test_the_offset_has_its_limits():
    opponents = np.array([-1.0, 0.5, 2.0])
    found = theory.classification_reward(np.array([-60.0, 60.0]), opponents) - [-60, 60]
    np.testing.assert_allclose(found, theory.offset_limits(opponents)[::-1], atol=1e-9)
    np.testing.assert_allclose(theory.classification_reward(opponents, np.zeros(1)), opponents)
    assert theory.offset_limits(np.array([2.0])) == pytest.approx((-2, -2))
    gaussian = 0.7 + 1.3 * special.ndtri((np.arange(200_000) + 0.5) / 200_000)
    half = 1.3**2 / 2
    assert theory.offset_limits(gaussian) == pytest.approx((-0.7 - half, -0.7 + half), abs=0.01)


def test_annotated_pairs_show_the_classification_reward():
    """Log-odds of `chosen` of responses of one reward among simulated annotations."""
    rng, opponents, n = np.random.default_rng(0), np.array([-2.0, 0.0, 1.0]), 60_000
    for reward in (-1.0, 0.5, 2.0):
        margin = reward - rng.choice(opponents, n)
        chosen = prefers_first(preference_probability(margin, 1.0), rng.random(n)).mean()
        expected = special.expit(theory.classification_reward(np.array([reward]), opponents)[0])
        assert chosen == pytest.approx(expected, abs=4.5 * 0.5 / np.sqrt(n))


# Convergence


@pytest.mark.parametrize("seed", SEEDS)
def test_truncated_kl_risk_by_brute_force(seed):
    true, predicted = np.random.default_rng(seed).normal(0, 3, (2, 200))
    p0, p = special.expit(true), special.expit(predicted)
    kl = p0 * np.log(p0 / p) + (1 - p0) * np.log((1 - p0) / (1 - p))
    cut = p0 * np.minimum(2, np.log(p0 / p)) + (1 - p0) * np.minimum(2, np.log((1 - p0) / (1 - p)))
    found = risks.truncated_kl_risk(true, predicted)
    np.testing.assert_allclose(found, cut, atol=1e-12)
    hellinger = (p0**0.5 - p**0.5) ** 2 + ((1 - p0) ** 0.5 - (1 - p) ** 0.5) ** 2
    assert np.all(found <= kl + 1e-12) and np.all(found >= hellinger - 1e-12)
    np.testing.assert_array_equal(risks.truncated_kl_risk(true, true), 0)
    assert np.all(np.isfinite(risks.truncated_kl_risk(true, 1000 * predicted)))


def test_convergence_rate_by_hand():
    """Smoothness 2, alpha 1, 4 dimensions: exponent -4/8, constant 2^((4 + 16) / 8)."""
    found = theory.convergence_rate(np.array([1, 100]), 2, 1, 4)
    np.testing.assert_allclose(found, 2**2.5 * np.array([1, 0.1]))


# The columns kl_risk and margin_error

SHAPE = {
    "train_prompts": 40, "train_responses": 3, "test_prompts": 7, "test_responses": 5, "dim": 16,
    "n_clusters": 2, "intrinsic_dim": 4,
}  # fmt: skip
TINY = [
    *(f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()),
    *("quantity=30", "training.max_epochs=3", "loss.hidden=[16]", "precision=fp32"),
]
CPU = Place(None, "cpu", 1)


def fitted(*overrides):
    """A run's spec, cache, predicted test rewards (prompts, responses) and metrics."""
    config = composed(*TINY, *overrides)
    spec = parse(config.values, config.choices)
    inputs = open_inputs(spec, None)
    cache = inputs.scored
    run = fit_runs([Item("key", spec)], inputs, CPU)[0]
    x = cache.read_test(0, cache.test_prompts).reshape(-1, cache.dim)
    predicted = predict_rewards(stack_models([run]), x, CPU)
    return cache, predicted.reshape(cache.test_golden.shape), score_runs([run], inputs, CPU)[0][1]


@pytest.mark.parametrize("scale", ["std", "2.5"])
def test_the_recorded_risks_are_those_of_neighbouring_test_responses(scale):
    cache, predicted, metrics = fitted("annotation.beta=3", f"dataset.reward_scale={scale}")
    unit = cache.train_golden.std() if scale == "std" else 2.5
    risks, errors = [], []
    for golden, rewards in zip(cache.test_golden, predicted.astype(float), strict=True):
        for i, j in ((0, 1), (2, 3)):  # the fifth response has no partner
            true, estimate = 3 * (golden[i] - golden[j]) / unit, rewards[i] - rewards[j]
            p0, p = special.expit(true), special.expit(estimate)
            terms = ((p0, p), (1 - p0, 1 - p))
            risks.append(sum(a * min(2, np.log(a / b)) for a, b in terms))
            errors.append(abs(true - estimate))
    assert metrics["kl_risk"] == pytest.approx(np.mean(risks), rel=1e-6)
    assert metrics["margin_error"] == pytest.approx(np.mean(errors), rel=1e-6)


@pytest.mark.parametrize("annotator", ["annotation.beta=.inf", "annotation.link=probit"])
def test_annotators_without_logits_have_no_risks(annotator):
    metrics = fitted(annotator)[2]
    assert metrics["kl_risk"] is None and metrics["margin_error"] is None


def test_coin_flips_are_met_by_equal_rewards():
    """beta = 0: the true margin is 0, so the error is the mean predicted margin itself."""
    _, predicted, metrics = fitted("annotation.beta=0")
    margins = predicted[:, [0, 2]].astype(float) - predicted[:, [1, 3]]
    assert metrics["margin_error"] == pytest.approx(np.abs(margins).mean(), rel=1e-6)


def test_parts_without_risks_read_as_null(tmp_path):
    old = schema.SCHEMA
    for name in schema.RISKS:
        old = old.remove(old.get_field_index(name))
    table = old.empty_table().to_pylist() + [{"key": "a", "status": "done"}]
    part = tmp_path / "runs" / "part-0.parquet"
    parquet.write_table(pa.Table.from_pylist(table, schema=old), part)
    for columns in (None, ["key", *schema.RISKS]):
        row = dataset.read_rows(SweepFolder(tmp_path), columns).iloc[0]
        assert row["key"] == "a" and row[list(schema.RISKS)].isna().all()


# Figures


@functools.cache
def convergence_rows():
    rng, rows = np.random.default_rng(0), []
    limits = {beta: convergence.synthetic_limits(beta) for beta in (1.0, 3.0)}
    for beta, quantity, seed in itertools.product(limits, (250, 1000, 4000), range(3)):
        risk, error = limits[beta]
        noise = 1 + 0.1 * rng.random()
        rows.append(
            {
                "key": f"{beta} {quantity} {seed}", "loss": "bt_mlp", "annotation.beta": beta,
                "quantity": quantity, "seed": seed, "pairing": "same_prompt",
                "dataset.reward_scale": "2.3", "dataset.synthetic.within_std": 2.3, "dim": 16,
                "dataset.synthetic.dim": 16, "dataset.synthetic.intrinsic_dim": 6,
                "dataset.synthetic.noise": 0.0,
                "kl_risk": risk + noise * 30 / quantity, "margin_error": error * noise,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def consistency_rows():
    error = np.linspace(0, 0.5, 11)
    rows = pd.DataFrame({"annotation_error": error, "order_consistency": 0.95 - 0.8 * error})
    return rows.assign(**{"training.protocol": "pairs"})


DRAWN = {
    "annotation_quality": figures.theory_annotation_quality,
    "cross_prompt": figures.theory_cross_prompt,
    "classification_reward": figures.theory_classification_reward,
    "order_consistency": lambda rng: figures.theory_order_consistency(consistency_rows()),
    "convergence": lambda rng: convergence.theory_convergence(convergence_rows(), rng),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_drawn_and_depend_on_the_seed_alone(name, tmp_path):
    suffixes = ("png", "svg")
    for path in ("a", "b"):
        figure = DRAWN[name](np.random.default_rng(3))
        for ax in figure.axes:
            assert ax.get_xlabel() and ax.get_ylabel()
        for suffix in suffixes:
            save_figure(figure, tmp_path / f"{path}.{suffix}")
    for suffix in suffixes:
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_agreement_with_labels_that_were_trained_on_is_not_drawn():
    """rbt_scripts holds out rows whose pairs are mostly trained on."""
    rows = consistency_rows()
    scripts = rows.assign(**{"training.protocol": "rbt_scripts", "order_consistency": 1.0})
    figure = figures.theory_order_consistency(pd.concat([rows, scripts], ignore_index=True))
    (runs,) = (line for line in figure.axes[0].lines if line.get_label() == "a run")
    np.testing.assert_array_equal(runs.get_ydata(), rows["order_consistency"])
    with pytest.raises(ValueError, match="training.protocol=pairs"):
        figures.theory_order_consistency(scripts)


@pytest.mark.parametrize("seed", range(3))
def test_simulated_markers_lie_on_their_lines(seed):
    """Each marker of the mean quality within 5 standard errors of the curve under it."""
    figure = figures.theory_annotation_quality(np.random.default_rng(seed))
    right, n = figure.axes[1], 0
    for container, sigma in zip(right.containers, np.repeat([0.5, 1, 2], 6), strict=True):
        (beta,), (share,) = container.lines[0].get_data()
        expected = theory.gaussian_quality(xi(beta), sigma)
        standard_error = np.sqrt(expected * (1 - expected) / figures.N_SIMULATED)
        assert abs(share - expected) < 5 * standard_error
        n += 1
    assert n == 18


def test_rows_that_cannot_be_drawn_are_refused():
    nothing = consistency_rows().assign(order_consistency=np.nan)
    with pytest.raises(ValueError, match="order_consistency"):
        figures.theory_order_consistency(nothing)
    rows, rng = convergence_rows(), np.random.default_rng(0)
    for unfit in (
        rows.iloc[:0],
        rows.assign(kl_risk=np.nan),
        rows.assign(**{"dataset.reward_scale": "std"}),
        pd.concat([rows, rows.assign(loss="clf_mlp")]),
        rows[rows["quantity"] == 250],
    ):
        with pytest.raises(ValueError, match="sweeps=theory_convergence"):
            convergence.theory_convergence(unfit, rng)
    cross = rows.assign(pairing="cross_prompt", key=rows["key"] + " cross")
    with pytest.raises(ValueError, match="runs with one pairing; --where"):
        convergence.theory_convergence(pd.concat([rows, cross], ignore_index=True), rng)


def slopes(figure):
    """The exponent of each grey line, by its label."""
    lines = [line for line in figure.axes[0].lines if "slope" in line.get_label()]
    ends = {line.get_label(): np.log(line.get_xydata()[[0, -1]]) for line in lines}
    return {
        label: np.subtract(*end[::-1, 1]) / np.subtract(*end[::-1, 0])
        for label, end in ends.items()
    }


def test_the_slope_of_the_rate_is_drawn_for_the_dimensions_of_one_response():
    """Smoothness 2, alpha 1: -4 / (4 + d). Real data have no known intrinsic dimension."""
    figure = convergence.theory_convergence(convergence_rows(), np.random.default_rng(0))
    found = slopes(figure)
    ambient, intrinsic = (f"slope of the bound, d = {d} ({k})"
        for d, k in ((16, "ambient"), (12, "intrinsic")))  # fmt: skip
    assert found == pytest.approx({ambient: -4 / 20, intrinsic: -4 / 16})
    caption = " ".join(figure.get_supxlabel().split())
    assert "d is the number of values of one response's embedding (ambient), or of" in caption
    noisy = convergence_rows().assign(**{"dataset.synthetic.noise": 0.5})
    assert list(slopes(convergence.theory_convergence(noisy, np.random.default_rng(0)))) == [
        ambient
    ]
    no_synthetic = {name: np.nan for name in convergence_rows() if "synthetic" in name}
    real = convergence_rows().assign(**no_synthetic, dim=384, **{"dataset.reward_scale": "std"})
    figure = convergence.theory_convergence(real, np.random.default_rng(0))
    assert slopes(figure) == pytest.approx({"slope of the bound, d = 384 (ambient)": -4 / 388})
    assert "intrinsic" not in figure.get_supxlabel() and "limit" not in figure.get_supxlabel()
    risks_drawn = figure.axes[0].lines[0].get_ydata()
    expected = real[real["annotation.beta"] == 1].groupby("quantity")["kl_risk"].mean()
    np.testing.assert_allclose(risks_drawn, expected)


def test_one_synthetic_embedding_varies_in_twice_the_dimensions_of_a_latent():
    source = synthetic.SyntheticSource(
        base_llm="a", backbone="b", dataset="c", seed=0, train_prompts=60, train_responses=4,
        test_prompts=1, test_responses=2, dim=16, n_clusters=2, intrinsic_dim=6, between_std=4.0,
        within_std=1.0, variance_ratio=1.0, noise=0.0,
    )  # fmt: skip
    embeddings = synthetic.synthetic_embeddings(source, "train", 0, 60).reshape(-1, 16)
    spread = np.linalg.svd(embeddings.astype(float), compute_uv=False)
    assert spread[11] > 1 and spread[12] < 0.05  # what rounding to float16 leaves


def test_the_published_qualities_lie_on_the_curve_of_example_1():
    figure = figures.theory_annotation_quality(np.random.default_rng(0))
    (crosses,) = (line for line in figure.axes[1].lines if "published" in line.get_label())
    assert list(figures.PUBLISHED_QUALITY.items()) == EXAMPLE_1
    for beta, published in crosses.get_xydata():
        assert theory.gaussian_quality(xi(beta), 1.0) == pytest.approx(published, abs=1.2e-4)


def test_proposition_9_is_drawn_with_its_own_constants():
    figure = figures.theory_order_consistency(consistency_rows())
    _, of_runs, of_one_margin = figure.axes
    (published,) = (line for line in of_runs.lines if "Prop. 9" in line.get_label())
    expected = [1 - 4 * np.sqrt(0.05), *[0] * 10]  # noisy labels leave nothing of it
    np.testing.assert_allclose(published.get_ydata(), expected, atol=1e-4)
    curve = next(line for line in of_one_margin.lines if line.get_label() == "ε = 0.1")
    quality, bound = curve.get_data()
    np.testing.assert_allclose(bound, 0.9 * quality**2 + 0.1 * (1 - quality) ** 2)
    assert "above 0 for 1 of 11 runs" in " ".join(figure.get_supxlabel().split())


@pytest.mark.slow
def test_every_beta_is_drawn_and_missing_runs_are_counted():
    rows = convergence_rows()
    more = [rows.assign(key=rows["key"] + f" {i}") for i in range(3)]
    for i, part in enumerate(more):
        part["annotation.beta"] += 10 * i
    rows = pd.concat(more, ignore_index=True)
    figure = convergence.theory_convergence(rows, np.random.default_rng(0))
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert {f"β = {beta:g}" for beta in rows["annotation.beta"].unique()} <= set(labels)
    lost = rows.assign(status=np.where(rows.index == 0, None, "done"))
    lost.loc[0, ["kl_risk", "margin_error"]] = np.nan
    caption = convergence.theory_convergence(lost, np.random.default_rng(0)).get_supxlabel()
    assert f"INCOMPLETE: {len(rows) - 1} of {len(rows)} runs." in " ".join(caption.split())
    lost = consistency_rows().assign(status=[None, *["done"] * 10])
    lost.loc[0, "order_consistency"] = np.nan
    assert "INCOMPLETE: 10 of 11" in figures.theory_order_consistency(lost).get_supxlabel()


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_synthetic_limits_are_those_of_the_synthetic_data(spread):
    """Golden rewards generated anew, with and without their unexplained part."""
    source = synthetic.SyntheticSource(
        base_llm="a", backbone="b", dataset="c", seed=0, train_prompts=20_000, train_responses=2,
        test_prompts=1, test_responses=2, dim=16, n_clusters=2, intrinsic_dim=6, between_std=4.0,
        within_std=1.0, variance_ratio=1.0, noise=0.0,
    )  # fmt: skip
    margin = spread * np.subtract(*synthetic.synthetic_rewards(source, "train").T)
    n_chunks = -(-20_000 // synthetic.CHUNK_PROMPTS)
    latents = [synthetic.chunk_latents(source, "train", chunk) for chunk in range(n_chunks)]
    drawn = np.concatenate([part.unexplained for part in latents])[:20_000]
    u = spread * np.sqrt(synthetic.UNEXPLAINED) * (drawn[:, 0] - drawn[:, 1])
    nodes = spread * np.sqrt(2 * synthetic.UNEXPLAINED) * special.ndtri((np.arange(99) + 0.5) / 99)
    best = special.expit((margin - u)[:, None] + nodes).mean(axis=1)
    estimate = theory.classification_reward(margin - u, nodes)
    np.testing.assert_allclose(special.expit(estimate), best)
    risk = risks.truncated_kl_risk(margin, estimate).mean()
    limits = convergence.synthetic_limits(spread)
    error = np.abs(margin - estimate).mean()
    assert limits == pytest.approx((risk, error), rel=0.04)
    assert limits[1] > 0.99 * np.abs(u).mean()


def test_the_sweep_has_what_the_figure_takes():
    config = composed("sweeps=theory_convergence")
    spec = parse(config.values, config.choices)
    assert spec.dataset.synthetic.noise == 0 and spec.loss.name == "bt_mlp"
    assert spec.dataset.reward_scale == spec.dataset.synthetic.within_std == 2.3
