"""Objectives: every loss in conf/, closed formulas, NormBT's weights, hashes of users' sources."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers.batches import OBJECTIVES, batch_of
from scipy.spatial.distance import mahalanobis
from torch.nn.functional import softplus

from rmsweep.config import parse
from rmsweep.config import targets as resolving
from rmsweep.config.compose import compose_one, hydra_at_conf, interpolated, search_path
from rmsweep.config.targets import import_objective, source_sha256
from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.bradley_terry_golden_margin import bradley_terry_golden_margin
from rmsweep.objectives.bradley_terry_margin import bradley_terry_margin
from rmsweep.objectives.classification import classification
from rmsweep.objectives.flip_robust import flip_robust
from rmsweep.objectives.hinge import hinge
from rmsweep.objectives.label_smoothing import label_smoothing
from rmsweep.objectives.margin_out import margin_out
from rmsweep.objectives.normbt import DISTANCES, normbt
from rmsweep.objectives.pair_batch import PairBatch
from rmsweep.objectives.thurstone import thurstone

OPTIONS = import_objective(OBJECTIVES["normbt.objective"], "loss.objective").keywords


def equally_distant(runs=2, pairs=6, width=5, distance=3.0):
    h = torch.randn((runs, pairs, width), generator=torch.Generator().manual_seed(5))
    shift = torch.zeros(width)
    shift[1] = distance
    return h + shift, h


def distances(batch):
    return (batch.features_chosen - batch.features_rejected).norm(dim=-1)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("runs", "pairs"), [(1, 1), (3, 7)])
def test_a_loss_is_finite_and_per_pair(name, runs, pairs):
    loss, state = import_objective(OBJECTIVES[name], name)(batch_of(0, runs, pairs), {})
    assert loss.shape == (runs, pairs)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss).all()
    assert all(tensor.shape[0] == runs for tensor in state.values())


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_a_loss_decreases_as_a_wrongly_ordered_pair_comes_nearer_to_order(name, seed):
    objective, batch = import_objective(OBJECTIVES[name], name), batch_of(seed)
    batch = batch._replace(chosen=batch.rejected - 1 - batch.chosen.abs())
    before, _ = objective(batch, {})
    assert (objective(batch._replace(chosen=batch.chosen + 0.5), {})[0] < before).all()
    assert (objective(batch._replace(rejected=batch.rejected - 0.5), {})[0] < before).all()
    assert (objective(batch._replace(rejected=batch.rejected + 0.5), {})[0] > before).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_runs_of_a_batch_do_not_meet(name):
    objective, batch = import_objective(OBJECTIVES[name], name), batch_of(1, runs=3)
    together, state = objective(batch, {})
    for run in range(3):
        alone, own = objective(PairBatch(*(t[run : run + 1] for t in batch)), {})
        assert torch.equal(alone[0], together[run])
        assert all(torch.equal(own[k][0], state[k][run]) for k in state)


@pytest.mark.parametrize("seed", range(3))
def test_bradley_terry_against_its_formula(seed):
    batch = batch_of(seed)
    loss, state = bradley_terry(batch, {"kept": 1})
    expected = np.log1p(np.exp(-(batch.chosen - batch.rejected).double().numpy()))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)
    assert state == {"kept": 1}


@pytest.mark.parametrize("seed", range(3))
def test_classification_against_its_formula(seed):
    batch = batch_of(seed)
    loss, _ = classification(batch, {})
    chosen, rejected = batch.chosen.double().numpy(), batch.rejected.double().numpy()
    expected = np.log1p(np.exp(-chosen)) + np.log1p(np.exp(rejected))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_one_value_of_each_from_the_definition():
    zeros = torch.zeros(1, 1)
    batch = PairBatch(zeros, zeros, torch.ones(1, 1, 2), torch.zeros(1, 1, 2), margin=zeros + 2)
    assert bradley_terry(batch, {})[0].item() == pytest.approx(math.log(2))
    assert classification(batch, {})[0].item() == pytest.approx(2 * math.log(2))
    assert normbt(batch, {}, **OPTIONS)[0].item() == pytest.approx(math.log(2))
    assert thurstone(batch, {})[0].item() == pytest.approx(math.log(2))
    one = batch._replace(chosen=zeros + 1)  # Phi(1) = 0.841344746, a table's value
    assert thurstone(one, {})[0].item() == pytest.approx(-math.log(0.841344746), rel=1e-6)
    assert hinge(one, {}, margin=3.0)[0].item() == 2
    ln = math.log
    found = bradley_terry_golden_margin(one, {}, factor=0.5)[0].item()  # 1 - 0.5 * 2 = 0
    assert found == pytest.approx(ln(2))
    assert bradley_terry_margin(one, {}, margin=1.0)[0].item() == pytest.approx(ln(2))
    certain = batch._replace(chosen=zeros + ln(3))  # sigmoid = 3/4
    found = label_smoothing(certain, {}, smoothing=0.25)[0].item()
    assert found == pytest.approx(0.75 * ln(4 / 3) + 0.25 * ln(4), rel=1e-6)
    found = flip_robust(certain, {}, flip_rate=0.25)[0].item()
    assert found == pytest.approx((0.75 * ln(4 / 3) - 0.25 * ln(4)) / 0.5, rel=1e-6)


@pytest.mark.parametrize("margin", [-1e4, 1e4])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_rewards_stay_finite(name, margin):
    batch = batch_of(0)
    rewards = torch.full((2, 6), margin, requires_grad=True)
    loss, _ = import_objective(OBJECTIVES[name], name)(batch._replace(chosen=rewards), {})
    (gradient,) = torch.autograd.grad(loss.sum(), rewards)
    assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()


def test_classification_of_an_absent_half_is_the_present_term_alone():
    reward = torch.tensor([[0.7, -0.2, 1.5, 0.0]], requires_grad=True)
    here = torch.tensor([[True, False, True, False]])
    none = torch.zeros(1, 4, 0)
    batch = PairBatch(
        torch.where(here, reward, torch.inf), torch.where(here, -torch.inf, reward), none, none
    )
    loss, _ = classification(batch, {})
    expected = torch.where(here, softplus(-reward), softplus(reward))
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss.sum(), reward)
    torch.testing.assert_close(gradient, torch.sigmoid(reward.detach()) - here.float())


def test_normbt_is_bradley_terry_where_all_distances_are_equal():
    batch = batch_of(0, features=equally_distant())
    loss, _ = normbt(batch, {}, **OPTIONS)
    torch.testing.assert_close(loss, bradley_terry(batch, {})[0])


def test_normbt_is_near_bradley_terry_where_distances_are_nearly_equal():
    chosen, rejected = equally_distant()
    noise = 0.01 * torch.randn(chosen.shape, generator=torch.Generator().manual_seed(2))
    batch = batch_of(0, features=(chosen + noise, rejected))
    loss, _ = normbt(batch, {}, **OPTIONS)
    torch.testing.assert_close(loss, bradley_terry(batch, {})[0], rtol=0.02, atol=0)


def test_normbt_weighs_by_inverse_distance():
    batch = batch_of(0)
    loss, _ = normbt(batch, {}, **OPTIONS)
    d = distances(batch)
    expected = d.mean(dim=1, keepdim=True) / d * bradley_terry(batch, {})[0]
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_normbt_weights_do_not_change_when_features_are_scaled(factor):
    state, scaled_state = {}, {}
    for seed in range(3):
        batch, scaled = batch_of(seed), batch_of(seed, scale=factor)
        loss, state = normbt(batch, state, **OPTIONS)
        scaled_loss, scaled_state = normbt(scaled, scaled_state, **OPTIONS)
        torch.testing.assert_close(scaled_loss, loss, rtol=1e-4, atol=1e-4)  # epsilon is 1e-8
        torch.testing.assert_close(scaled_state["scale"], factor * state["scale"])


def test_normbt_weights_by_the_moving_average_of_the_batches_before():
    """w_t reads mu_t, and then mu_{t+1} = 0.9 mu_t + 0.1 * batch mean; mu_0 is the first mean."""
    state, scale = {}, None
    for seed in range(3):
        batch = batch_of(seed, scale=1.0 + seed)
        loss, state = normbt(batch, state, **OPTIONS)
        mean = distances(batch).mean(dim=1)
        scale = mean if scale is None else scale
        expected = scale[:, None] / distances(batch) * bradley_terry(batch, {})[0]
        torch.testing.assert_close(loss, expected)
        scale = 0.9 * scale + 0.1 * mean
        torch.testing.assert_close(state["scale"], scale)
    assert state["scale"].shape == (2,)


def test_normbt_leaves_other_state_and_its_argument_untouched():
    before = {"other": torch.ones(2)}
    _, after = normbt(batch_of(0), before, **OPTIONS)
    assert before.keys() == {"other"}
    assert after.keys() == {"other", "scale", "n_zero_distances"}


def test_normbt_weight_carries_no_gradient():
    batch = batch_of(0)
    rewards = batch.chosen.clone().requires_grad_()
    features = batch.features_chosen.clone().requires_grad_()
    loss, state = normbt(batch._replace(chosen=rewards, features_chosen=features), {}, **OPTIONS)
    assert not state["scale"].requires_grad
    by_reward, by_features = torch.autograd.grad(loss.sum(), (rewards, features), allow_unused=True)
    assert by_features is None
    d = distances(batch)
    weight = d.mean(dim=1, keepdim=True) / d
    expected = -weight * torch.sigmoid(batch.rejected - batch.chosen)
    torch.testing.assert_close(by_reward, expected)


def test_normbt_of_equal_features_stays_finite():
    batch = batch_of(0)
    some = batch.features_chosen.clone()
    some[:, 0] = batch.features_rejected[:, 0]
    state = {}
    for features, n_zero in ((some, 1), (batch.features_rejected, 1 + 6)):  # one, then all
        loss, state = normbt(batch._replace(features_chosen=features), state, **OPTIONS)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(state["scale"]).all()
        assert state["n_zero_distances"].tolist() == [n_zero] * 2
        assert torch.equal(loss[:, 0], bradley_terry(batch, {})[0][:, 0])  # weight 1


def test_normbt_takes_half_precision_features():
    batch = batch_of(0)
    half = batch._replace(
        features_chosen=batch.features_chosen.bfloat16(),
        features_rejected=batch.features_rejected.bfloat16(),
    )
    loss, state = normbt(half, {}, **OPTIONS)
    assert loss.dtype == state["scale"].dtype == torch.float32
    torch.testing.assert_close(loss, normbt(batch, {}, **OPTIONS)[0], rtol=0.05, atol=0.05)


def of_normbt(batch, state=None, **options):
    return normbt(batch, {} if state is None else state, **OPTIONS | options)


def test_normbt_scales():
    """ema has a test of its own above; batch follows nothing, and none is the bare 1 / d."""
    states = {"batch": {}, "none": {}}
    for seed in range(3):
        batch = batch_of(seed)
        d, bt = distances(batch), bradley_terry(batch, {})[0]
        for scale, m in (("batch", d.mean(dim=1)), ("none", torch.ones(2))):
            loss, states[scale] = of_normbt(batch, states[scale], scale=scale)
            torch.testing.assert_close(loss, m[:, None] / d * bt)


def test_normbt_clipped_at_1_clips_each_pairs_update_at_that_of_the_mean_distance():
    """The last layer's gradient is (1 - sigmoid) * w * d, so w * d never exceeds the mean."""
    batch = batch_of(0)
    d = distances(batch)
    weight = of_normbt(batch, clip=1.0)[0] / bradley_terry(batch, {})[0]
    torch.testing.assert_close(weight * d, torch.minimum(d, d.mean(dim=1, keepdim=True)))


def test_normbt_of_cosine_distance_against_its_formula():
    batch = batch_of(0)
    a, b = batch.features_chosen.double(), batch.features_rejected.double()
    d = (1 - (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).float()
    expected = d.mean(dim=1, keepdim=True) / d * bradley_terry(batch, {})[0]
    torch.testing.assert_close(of_normbt(batch, distance="cosine")[0], expected)


@pytest.mark.parametrize("seed", range(3))
def test_normbt_of_mahalanobis_distance_is_that_of_scipy(seed):
    batch = batch_of(seed, pairs=40)
    loss, _ = of_normbt(batch, distance="mahalanobis")
    for run in range(2):
        a, b = (h[run].double().numpy() for h in (batch.features_chosen, batch.features_rejected))
        covariance = np.cov(np.concatenate([a, b]).T, bias=True)
        covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        inverse = np.linalg.inv(covariance)
        d = np.array([mahalanobis(x, y, inverse) for x, y in zip(a, b, strict=True)])
        expected = torch.tensor(d.mean() / d).float() * bradley_terry(batch, {})[0][run]
        torch.testing.assert_close(loss[run], expected, rtol=1e-4, atol=1e-5)


def test_normbt_of_mahalanobis_distance_does_not_change_when_features_are_mixed():
    """Scaled unlike, the features are as far apart; the Euclidean distance is another."""
    batch, factor = batch_of(0, pairs=400), torch.tensor([1.0, 5.0, 0.2, 3.0, 1.0])
    stretched = batch._replace(
        features_chosen=batch.features_chosen * factor,
        features_rejected=batch.features_rejected * factor,
    )
    weights = [of_normbt(b, distance="mahalanobis")[0] for b in (batch, stretched)]
    torch.testing.assert_close(weights[0], weights[1], rtol=0.05, atol=0.05)
    assert not torch.allclose(of_normbt(batch)[0], of_normbt(stretched)[0], rtol=0.2)


def test_normbt_of_features_that_are_all_equal_is_finite_for_every_distance():
    batch = batch_of(0)
    same = torch.ones_like(batch.features_chosen)
    batch = batch._replace(features_chosen=same, features_rejected=same)
    for distance in DISTANCES:
        assert torch.isfinite(of_normbt(batch, distance=distance)[0]).all(), distance


@pytest.mark.parametrize("name", ["golden_margin", "smoothed", "margin_out"])
def test_normbt_weights_the_base_that_its_yaml_names(name):
    """NormBT on top of another loss is that loss times NormBT's weights."""
    batch = batch_of(0)
    on_top = import_objective(OBJECTIVES[f"normbt_{name}.objective"], "loss")(batch, {})[0]
    alone = import_objective(OBJECTIVES[f"bt_{name}.objective"], "loss")(batch, {})[0]
    weight = of_normbt(batch)[0] / bradley_terry(batch, {})[0]
    torch.testing.assert_close(on_top, weight * alone)


def test_margin_out_is_the_margins_size_times_bradley_terry():
    batch = batch_of(0)
    expected = batch.margin.abs() * bradley_terry(batch, {})[0]
    torch.testing.assert_close(margin_out(batch, {})[0], expected)


@pytest.mark.parametrize("seed", range(3))
def test_normbt_of_power_0_is_bradley_terry_exactly(seed):
    batch = batch_of(seed)
    batch.features_chosen[:, 0] = batch.features_rejected[:, 0]
    loss, _ = of_normbt(batch, power=0.0)
    assert torch.equal(loss, bradley_terry(batch, {})[0])


@pytest.mark.parametrize("seed", range(3))
def test_normbt_power_and_clip(seed):
    batch = batch_of(seed)
    weight = of_normbt(batch)[0] / bradley_terry(batch, {})[0]
    squared, _ = of_normbt(batch, power=2.0)
    torch.testing.assert_close(squared, weight**2 * bradley_terry(batch, {})[0])
    clipped, _ = of_normbt(batch, clip=1.0)
    torch.testing.assert_close(clipped, weight.clamp(max=1.0) * bradley_terry(batch, {})[0])
    assert (weight > 1).any() and (weight < 1).any()
    unclipped, _ = of_normbt(batch, clip=float(weight.max()) * 2)
    assert torch.equal(unclipped, of_normbt(batch)[0])


def test_normbt_of_the_embeddings_distance_does_not_read_the_features():
    batch = batch_of(0)
    loss, _ = of_normbt(batch, distance="embedding")
    d = (batch.embeddings_chosen - batch.embeddings_rejected).norm(dim=-1)
    expected = d.mean(dim=1, keepdim=True) / d * bradley_terry(batch, {})[0]
    torch.testing.assert_close(loss, expected)
    other = batch._replace(features_chosen=batch.features_chosen + 3)
    assert torch.equal(of_normbt(other, distance="embedding")[0], loss)


def test_normbt_weights_do_not_change_when_a_pair_is_swapped():
    batch = batch_of(0)
    c, r, hc, hr, xc, xr, margin = batch
    swapped = PairBatch(r, c, hr, hc, xr, xc, -margin)
    found = of_normbt(swapped)[0] / bradley_terry(swapped, {})[0]
    torch.testing.assert_close(found, of_normbt(batch)[0] / bradley_terry(batch, {})[0])


OWN = "def loss(batch, state):\n    return (batch.rejected - batch.chosen).exp(){}, state\n"


def test_equal_sources_have_one_hash_and_changed_ones_another(tmp_path, monkeypatch):
    for name, change in (("a", ""), ("b", ""), ("c", " * 2")):
        (tmp_path / f"own_{name}_of_test_objectives.py").write_text(OWN.format(change))
    monkeypatch.syspath_prepend(tmp_path)
    a, b, c = (source_sha256(f"own_{x}_of_test_objectives.loss") for x in "abc")
    assert a == b != c


def test_an_edited_loss_is_another_spec(tmp_path, monkeypatch):
    target = "own_edited_of_test_objectives.loss"
    source = tmp_path / "own_edited_of_test_objectives.py"
    source.write_text(OWN.format(""))
    monkeypatch.syspath_prepend(tmp_path)

    def spec():
        resolving.source_sha256.cache_clear()  # as in a new process
        parse.spec_part.cache_clear()
        with hydra_at_conf():
            overrides = [f"loss.objective._target_={target}", "precision=fp32", search_path([])]
            config = compose_one(overrides)
        return parse.parse(interpolated(config.values), config.choices)

    before, again = spec(), spec()
    source.write_text(OWN.format(" + 0"))
    after = spec()
    assert before.spec_id == again.spec_id != after.spec_id
    assert before.key("data") != after.key("data")
    assert dataclasses.replace(after, loss=before.loss) == before


@pytest.mark.parametrize("target", ["os.getcwd", "own_object_of_test_objectives.loss"])
def test_what_has_no_source_of_its_own_is_refused(target, tmp_path, monkeypatch):
    text = "import functools\nloss = functools.partial(print)\n"
    (tmp_path / "own_object_of_test_objectives.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"{target}'.* no Python source"):
        source_sha256(target)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_of_rmsweep_have_no_source_hash(name):
    assert source_sha256(OBJECTIVES[name]["_target_"]) is None
