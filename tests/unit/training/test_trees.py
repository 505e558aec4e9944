"""LightGBM on bins of the whole cache, and on the features that its trees use alone."""

import json

import lightgbm
import numpy as np
import pytest
from helpers.tiny_runs import TINY, spec_of

from rmsweep.config import losses
from rmsweep.config.reward_models import Trees
from rmsweep.results import sweep_record
from rmsweep.training.reward_models import trees

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 12)).astype(np.float16)
GOLDEN = X[:, 0].astype(float) + np.sin(3 * X[:, 1].astype(float))
PAIRS = RNG.integers(0, 500, size=(200, 2))  # some responses are in several pairs
PAIRS = PAIRS[PAIRS[:, 0] != PAIRS[:, 1]]
PAIRS = np.where((GOLDEN[PAIRS[:, 0]] > GOLDEN[PAIRS[:, 1]])[:, None], PAIRS, PAIRS[:, ::-1])
FIT = {"rounds": 8, "seed": 3, "threads": 1}


def trees_of(model):
    return model.model_to_string().partition("\nparameters:")[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_subset_of_binned_rows_is_a_dataset_that_refers_to_them(dtype):
    x = X.astype(dtype)
    found = trees.fit_trees(
        x, PAIRS, objective="binary", bins=trees.binned_embeddings(x, dtype, 1), **FIT
    )
    whole = lightgbm.Dataset(x.astype(np.float32), params=trees.SAME_TREES)
    rows = PAIRS.T.reshape(-1)
    order = np.argsort(rows, kind="stable")
    params = trees.SAME_TREES | {"objective": "binary", "num_threads": 1, "seed": 3}
    label = np.repeat([1.0, 0.0], len(PAIRS))[order]
    data = lightgbm.Dataset(x[rows[order]].astype(np.float32), label=label, reference=whole)
    assert trees_of(found) == trees_of(lightgbm.train(params, data, num_boost_round=8))


@pytest.mark.parametrize("objective", ["binary", "bradley_terry"])
def test_no_label_is_lost_among_binned_rows(objective):
    model = trees.fit_trees(
        X, PAIRS, objective=objective, bins=trees.binned_embeddings(X, "x", 1), **FIT
    )
    (rewards,) = trees.predict_trees([trees.scorer_of(model)], X, 1)
    assert (rewards[PAIRS[:, 0]] > rewards[PAIRS[:, 1]]).mean() > 0.85


def test_a_cache_is_binned_once():
    first = trees.binned_embeddings(X, "one", 1)
    assert trees.binned_embeddings(X, "one", 1) is first
    assert trees.binned_embeddings(X, "other", 1) is not first


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("objective", ["binary", "bradley_terry"])
def test_predicted_rewards_are_those_of_the_booster(objective, dtype):
    x = np.concatenate([X, RNG.normal(size=(300, 12)), np.zeros((2, 12))]).astype(dtype)
    models = [
        trees.fit_trees(x, pairs, objective=objective, rounds=rounds, seed=0, threads=1)
        for pairs in (
            PAIRS,
            PAIRS[:120],
            PAIRS[: 9 if objective == "binary" else 30],
        )  # 9: no split
        for rounds in (1, 6)
    ]
    scorers = [trees.scorer_of(model) for model in models]
    assert any(1 < len(s.features) < 12 for s in scorers)
    expected = [m.predict(x.astype(np.float32), raw_score=True, num_threads=1) for m in models]
    np.testing.assert_array_equal(trees.predict_trees(scorers, x, 1), expected)


def test_bins_of_the_cache_are_another_spec_and_bins_of_the_run_the_old_one():
    run, cache = (spec_of(*TINY, "loss=clf_lgb", f"loss.bins={b}") for b in ("run", "cache"))
    assert run == spec_of(*TINY, "loss=clf_lgb") and run.spec_id != cache.spec_id
    assert "bins" not in run.canonical
    for spec in (run, cache):
        assert sweep_record.stored_spec(spec.canonical, spec.loss.label, False) == spec


def test_a_yaml_without_bins_is_one_with_its_own():
    values = {"reward_model": "trees", "objective": "binary", "rounds": 3}
    options = losses.fields_of(json.loads(json.dumps(values)))["options"]
    assert options == Trees(3, None)


def test_other_bins_are_refused():
    with pytest.raises(ValueError, match="loss.bins must be run or cache, got own"):
        spec_of(*TINY, "loss=clf_lgb", "loss.bins=own")
