"""Ensembles: members are runs of their own, and how their rewards become one."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.tiny_runs import MLP_TINY, TINY, assert_same_numbers, items_of, rows_of, spec_of

from rmsweep.cache.inputs import open_inputs
from rmsweep.config.launchers import Local, Place
from rmsweep.config.random_streams import stream
from rmsweep.launch import packs
from rmsweep.results import schema
from rmsweep.training.annotate import annotate_pairs
from rmsweep.training.fit import CENTRE_PAIRS, fit_runs
from rmsweep.training.predict import combine_members, predict_rewards, stack_models

pytestmark = pytest.mark.slow

PLACE = Place(None, "cpu", 1)
N = 10
LOSSES = {
    "bt": ("loss=bt_mlp", "loss.hidden=[7,5]"),
    "normbt scripts": ("loss=normbt", *MLP_TINY, "training.protocol=rbt_scripts"),
    "clf": ("loss=clf_mlp", *MLP_TINY),
}


def fitted(*overrides):
    spec = spec_of(*TINY, *overrides)
    (run,) = fit_runs(items_of([spec]), open_inputs(spec, None), PLACE)
    return run


@pytest.mark.parametrize("loss", LOSSES)
def test_the_members_of_one_run_are_ten_runs_bit_for_bit(loss):
    """The first is the plain run, the others are member=1 to 9."""
    ensemble = fitted(*LOSSES[loss], f"loss.ensemble={N}")
    assert len(ensemble.models) == N
    alone = [fitted(*LOSSES[loss], *([f"loss.member={i}"] if i else [])) for i in range(N)]
    for member, own in zip(ensemble.models, alone, strict=True):
        for one, other in zip(member, own.models[0], strict=True):
            assert torch.equal(one, other)
    first = torch.stack([member[0].flatten() for member in ensemble.models])
    assert len(first.unique(dim=0)) == N
    assert ensemble.facts["epochs"] == round(np.mean([run.facts["epochs"] for run in alone]))
    own = np.mean([run.facts["order_consistency"] for run in alone])
    assert ensemble.facts["order_consistency"] == pytest.approx(own)


@pytest.mark.parametrize("loss", ["clf_lgb", "clf_logistic"])
def test_members_without_weights_differ_by_their_split(loss):
    ensemble = fitted(f"loss={loss}", "loss.ensemble=2", *(["loss.rounds=3"] * ("lgb" in loss)))
    member = fitted(f"loss={loss}", "loss.member=1", *(["loss.rounds=3"] * ("lgb" in loss)))
    x = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    first, second = (
        predict_rewards(stack_models([run]), x, PLACE)
        for run in (fitted(f"loss={loss}", *(["loss.rounds=3"] * ("lgb" in loss))), member)
    )
    assert (first != second).any()
    expected = (first - ensemble.centres[0] + second - ensemble.centres[1]) / 2
    np.testing.assert_allclose(predict_rewards(stack_models([ensemble]), x, PLACE), expected)


def test_members_meet_the_same_annotations_and_other_splits():
    spec = spec_of(*TINY, "loss.ensemble=3")
    cache = open_inputs(spec, None)
    pairs = [annotate_pairs(member, cache)[0] for member in spec.members]
    assert all(np.array_equal(pairs[0], other) for other in pairs)
    for purpose in ("validation split", "batches", "weights"):
        draws = {stream(member, purpose).random() for member in spec.members}
        assert len(draws) == 3
        assert stream(spec_of(*TINY), purpose).random() in draws


def test_an_ensemble_of_one_is_the_plain_run(tmp_path):
    one, plain = spec_of(*TINY, *MLP_TINY, "loss.ensemble=1"), spec_of(*TINY, *MLP_TINY)
    rows = rows_of(tmp_path, items_of([one, plain]))
    assert one.spec_id != plain.spec_id
    assert_same_numbers(rows.loc[one.spec_id], rows.loc[plain.spec_id])


@pytest.mark.parametrize("pick", ["mean", "min", "1.5"])
def test_the_rewards_of_a_run_are_its_centred_members_combined(pick):
    spec = spec_of(*TINY, *MLP_TINY, "loss.ensemble=4", f"loss.pick={pick}")
    cache = open_inputs(spec, None)
    (run,) = fit_runs(items_of([spec]), cache, PLACE)
    x = cache.train_embeddings().reshape(-1, cache.dim).copy()
    rewards = predict_rewards(stack_models([run]), x, PLACE)[0]
    pairs, _ = annotate_pairs(spec, cache)
    annotated_responses = x[pairs[:CENTRE_PAIRS].ravel()]
    members = []
    for parameters, centre, member in zip(run.models, run.centres, spec.members, strict=True):
        with torch.no_grad():
            h = torch.from_numpy(x)[None].float()
            for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
                h = (h @ weight + bias).relu()
            own = (h @ parameters[-2] + parameters[-1])[0, :, 0].numpy()
        alone = fitted(*MLP_TINY, *([f"loss.member={member.loss.member}"] * bool(members)))
        seen = predict_rewards(stack_models([alone]), annotated_responses, PLACE)
        assert centre == pytest.approx(seen.mean(), rel=1e-5)
        members.append(own - seen.mean())
    expected = {
        "mean": np.mean(members, axis=0),
        "min": np.min(members, axis=0),
        "1.5": np.mean(members, axis=0) - 1.5 * np.std(members, axis=0),
    }
    np.testing.assert_allclose(rewards, expected[pick], atol=1e-5)


def test_picks_are_rows_of_their_own_on_the_same_members(tmp_path):
    picks = ("mean", "min", "1", "2")
    options = (*TINY, *MLP_TINY, "loss.ensemble=3")
    specs = [spec_of(*options, f"loss.pick={pick}") for pick in picks]
    rows = rows_of(tmp_path, items_of(specs[:1]))
    for i, spec in enumerate(specs[1:]):
        rows = pd.concat([rows, rows_of(tmp_path / str(i), items_of([spec]))])
    assert rows["spearman"].nunique() == 4
    assert rows["epochs"].nunique() == rows["order_consistency"].nunique() == 1
    assert rows["loss.ensemble"].tolist() == [3] * 4
    assert rows.loc[[spec.spec_id for spec in specs], "loss.pick"].tolist() == [
        "mean", "min", "1.0", "2.0"
    ]  # fmt: skip


def test_a_member_that_diverges_fails_the_run_and_is_named(tmp_path):
    spec = spec_of(*TINY, *MLP_TINY, "loss.ensemble=2", "training.learning_rate=1e30")
    row = rows_of(tmp_path, items_of([spec])).loc[spec.spec_id]
    assert row["status"] == "failed"
    assert row["error"].startswith("FloatingPointError: member 0: the loss is not finite in epoch")


def test_members_counts_are_added_up(tmp_path):
    spec = spec_of(*TINY, "loss=normbt", *MLP_TINY, "loss.ensemble=2")
    row = rows_of(tmp_path, items_of([spec])).loc[spec.spec_id]
    assert json.loads(row["objective_counts"]) == {"n_zero_distances": 0}


@pytest.mark.parametrize("seed", range(5))
def test_combining_rewards(seed):
    rewards = np.random.default_rng(seed).normal(size=(2, 4, 7))  # (runs, members, rows)
    mean, least, lower, lower_still = (
        combine_members(rewards, p) for p in ("mean", "min", 1.0, 2.0)
    )
    assert mean.shape == (2, 7)
    np.testing.assert_allclose(mean, rewards.mean(axis=1))
    np.testing.assert_array_equal(least, rewards.min(axis=1))
    assert (least < mean).all() and (lower_still < lower).all() and (lower < mean).all()
    np.testing.assert_allclose(mean - lower, lower - lower_still)
    shuffled = rewards[:, np.random.default_rng(seed).permutation(4)]
    for pick in ("mean", "min", 1.0):
        np.testing.assert_allclose(combine_members(shuffled, pick), combine_members(rewards, pick))
        same = np.repeat(rewards[:, :1], 4, axis=1)
        np.testing.assert_allclose(combine_members(same, pick), rewards[:, 0], atol=1e-12)
        np.testing.assert_array_equal(combine_members(rewards[:, :1], pick), rewards[:, 0])


def test_a_pack_holds_at_most_as_many_members_as_runs():
    plain = items_of([spec_of(*TINY, f"seed={s}") for s in range(4)])
    big = items_of([spec_of(*TINY, "loss.ensemble=5", f"seed={s}") for s in range(4)])
    launcher = Local("local", workers=1, pack_runs=10)
    sizes = [len(pack) for pack in packs.local_packs([*plain, *big], launcher, "cuda")]
    assert sorted(sizes) == [2, 2, 4]
    small = dataclasses.replace(launcher, pack_runs=3)
    assert [len(p) for p in packs.local_packs(big, small, "cuda")] == [1] * 4


def test_an_ensemble_leaves_no_diagnostics_and_its_members_do(tmp_path):
    """Those of the first member are the plain run's; an ensemble has no one last layer."""
    options = (*TINY, *MLP_TINY, "evaluation.diagnostics=true")
    specs = [spec_of(*options, more) for more in ("loss.ensemble=2", "loss.member=1", "seed=0")]
    rows = rows_of(tmp_path, items_of(specs))
    recorded = rows.loc[[spec.spec_id for spec in specs], list(schema.DIAGNOSTICS)].notna()
    assert recorded.all(axis=1).tolist() == [False, True, True]
    assert not recorded.iloc[0].any()
