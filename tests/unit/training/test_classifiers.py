"""scikit-learn's classifiers as reward models: against scikit-learn itself, logits, refusals."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from rmsweep.training.reward_models import classifiers, trees

RNG = np.random.default_rng(0)
EMBEDDINGS = (RNG.normal(size=(300, 6)) * [1, 100, 1, 1, 1e-3, 1] + [0, 50, 0, 0, 0, 3]).astype(
    np.float32
)
GOLDEN = EMBEDDINGS[:, 0] + EMBEDDINGS[:, 1] / 100
PAIRS = RNG.integers(300, size=(200, 2))
PAIRS = np.where((GOLDEN[PAIRS[:, 0]] > GOLDEN[PAIRS[:, 1]])[:, None], PAIRS, PAIRS[:, ::-1])
LOGISTIC = {"_target_": "sklearn.linear_model.LogisticRegression", "C": 1.0, "max_iter": 1000}
ESTIMATORS = {
    "logistic": LOGISTIC,
    "hgb": {
        "_target_": "sklearn.ensemble.HistGradientBoostingClassifier", "max_iter": 20,
        "early_stopping": False,
    },
    "no decision function": {"_target_": "sklearn.naive_bayes.GaussianNB"},
    "certain": {"_target_": "sklearn.neighbors.KNeighborsClassifier", "n_neighbors": 1},
}  # fmt: skip


def rank_correlation(one, other):
    return np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_rewards_are_finite_log_odds_that_follow_golden(name):
    model = classifiers.fit_classifier(EMBEDDINGS, PAIRS, estimator=ESTIMATORS[name], seed=0)
    rewards = classifiers.predict_classifiers([model, model], EMBEDDINGS)
    assert rewards.shape == (2, 300) and rewards.dtype == np.float64
    assert np.isfinite(rewards).all() and np.array_equal(rewards[0], rewards[1])
    assert rank_correlation(rewards[0], GOLDEN) > (0.3 if name == "certain" else 0.6)
    if name == "no decision function":
        probability = model.predict_proba(EMBEDDINGS.astype(float))[:, 1]
        np.testing.assert_allclose(rewards[0], logit(probability))
    if name == "certain":
        assert np.abs(rewards).max() == pytest.approx(-np.log(classifiers.LEAST_PROBABILITY))


def test_logistic_regression_is_scikit_learns_on_standardised_embeddings():
    model = classifiers.fit_classifier(EMBEDDINGS, PAIRS, estimator=LOGISTIC, seed=0)
    x = EMBEDDINGS[np.concatenate([PAIRS[:, 0], PAIRS[:, 1]])].astype(float)
    mean, std = x.mean(axis=0), x.std(axis=0)
    own = LogisticRegression(max_iter=1000).fit((x - mean) / std, [1] * 200 + [0] * 200)
    expected = own.decision_function((EMBEDDINGS - mean) / std)
    found = classifiers.predict_classifiers([model], EMBEDDINGS)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_dimension_that_is_constant_does_no_harm():
    constant = EMBEDDINGS.copy()
    constant[:, 2] = 7
    model = classifiers.fit_classifier(constant, PAIRS, estimator=LOGISTIC, seed=0)
    assert np.isfinite(classifiers.predict_classifiers([model], constant)).all()


def test_a_fit_that_does_not_converge_is_an_error():
    with pytest.raises(ConvergenceWarning, match="failed to converge"):
        classifiers.fit_classifier(EMBEDDINGS, PAIRS, estimator=LOGISTIC | {"max_iter": 1}, seed=0)


def test_the_seed_is_the_random_state():
    forest = {"_target_": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 5}
    fits = [
        classifiers.fit_classifier(EMBEDDINGS, PAIRS, estimator=forest, seed=s) for s in (0, 0, 1)
    ]
    rewards = classifiers.predict_classifiers(fits, EMBEDDINGS)
    assert np.array_equal(rewards[0], rewards[1]) and (rewards[0] != rewards[2]).any()


def test_bradley_terry_trees_order_the_pairs_and_not_the_prompts():
    """Pairs within groups whose offset hides the reward: only the order within a pair counts."""
    offsets = np.repeat(RNG.normal(size=150) * 20, 2)
    x = np.stack([offsets, GOLDEN + offsets, GOLDEN], 1).astype(np.float32)
    pairs = np.arange(300).reshape(150, 2)
    pairs = np.where((GOLDEN[pairs[:, 0]] > GOLDEN[pairs[:, 1]])[:, None], pairs, pairs[:, ::-1])
    models = [
        trees.fit_trees(x, pairs, objective=name, rounds=50, seed=0, threads=1)
        for name in ("bradley_terry", "binary")
    ]
    bt, clf = trees.predict_trees([trees.scorer_of(m) for m in models], x, 1)
    assert (bt[pairs[:, 0]] > bt[pairs[:, 1]]).mean() > 0.9
    assert rank_correlation(bt, GOLDEN) > 0.8
    assert not np.array_equal(bt, clf)
    nll = [np.logaddexp(0, r[pairs[:, 1]] - r[pairs[:, 0]]).mean() for r in (bt, clf)]
    assert nll[0] < nll[1] < np.log(2)
