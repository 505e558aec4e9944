"""Losses of a pair's difference: what they have in common, their limits, refused options."""

import itertools
import json

import numpy as np
import pytest
import torch
from helpers.batches import OBJECTIVES, batch_of

from rmsweep.config import losses
from rmsweep.config.targets import import_objective, options_of, try_objective
from rmsweep.objectives.boosted_bradley_terry import boosted_bradley_terry
from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.bradley_terry_golden_margin import bradley_terry_golden_margin
from rmsweep.objectives.bradley_terry_margin import bradley_terry_margin
from rmsweep.objectives.flip_robust import flip_robust
from rmsweep.objectives.hinge import hinge
from rmsweep.objectives.label_smoothing import label_smoothing
from rmsweep.objectives.thurstone import thurstone
from rmsweep.paths import SHIPPED

PAIRWISE = [name for name, value in OBJECTIVES.items() if "classification" not in value["_target_"]]


def swap(batch):
    c, r, hc, hr, xc, xr, margin = batch
    return type(batch)(r, c, hr, hc, xr, xc, -margin)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("shift", [-3.0, 0.5])
def test_a_shift_of_all_rewards_changes_nothing(name, shift):
    objective, batch = import_objective(OBJECTIVES[name], name), batch_of(0)
    shifted = batch._replace(chosen=batch.chosen + shift, rejected=batch.rejected + shift)
    torch.testing.assert_close(objective(shifted, {})[0], objective(batch, {})[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(name):
    objective, step = import_objective(OBJECTIVES[name], name), 1e-6
    batch = type(batch_of(0))(*(t.double() for t in batch_of(0)))
    rewards = torch.stack([batch.chosen, batch.rejected]).requires_grad_()

    def total(at):
        return objective(batch._replace(chosen=at[0], rejected=at[1]), {})[0].sum()

    (gradient,) = torch.autograd.grad(total(rewards), rewards)
    for place in itertools.product(*map(range, rewards.shape)):
        moved = torch.zeros_like(rewards)
        moved[place] = step
        numeric = (total(rewards + moved) - total(rewards - moved)) / (2 * step)
        assert gradient[place].item() == pytest.approx(numeric.item(), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("objective", [bradley_terry, thurstone])
@pytest.mark.parametrize("seed", range(3))
def test_the_likelihoods_of_a_pair_and_of_its_swap_sum_to_one(objective, seed):
    batch = batch_of(seed)
    both = [torch.exp(-objective(b, {})[0]) for b in (batch, swap(batch))]
    torch.testing.assert_close(sum(both), torch.ones_like(both[0]))


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (bradley_terry_margin, {"margin": 0.0}),
        (bradley_terry_golden_margin, {"factor": 0.0}),
        (label_smoothing, {"smoothing": 0.0}),
        (flip_robust, {"flip_rate": 0.0}),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_at_zero_it_is_bradley_terry_exactly(objective, options, seed):
    batch = batch_of(seed)
    assert torch.equal(objective(batch, {}, **options)[0], bradley_terry(batch, {})[0])


@pytest.mark.parametrize("seed", range(3))
def test_a_margin_is_a_lower_reward_of_the_chosen(seed):
    batch = batch_of(seed)
    lower = batch._replace(chosen=batch.chosen - 0.7)
    torch.testing.assert_close(
        bradley_terry_margin(batch, {}, margin=0.7)[0], bradley_terry(lower, {})[0]
    )
    by_pair = batch._replace(chosen=batch.chosen - 0.7 * batch.margin.abs())
    found, _ = bradley_terry_golden_margin(batch, {}, factor=0.7)
    torch.testing.assert_close(found, bradley_terry(by_pair, {})[0])
    erred = batch._replace(margin=-batch.margin)  # the label errs, the distance is the same
    assert torch.equal(bradley_terry_golden_margin(erred, {}, factor=0.7)[0], found)


@pytest.mark.parametrize("flip_rate", [0.05, 0.2, 0.45])
def test_flip_robust_is_unbiased_over_all_flips(flip_rate):
    """Every way to flip 6 labels, with its probability: the mean is the loss of the true labels."""
    batch = type(batch_of(0))(*(t.double() for t in batch_of(3, runs=1)))
    mean = torch.zeros(())
    for flips in itertools.product([False, True], repeat=6):
        flip = torch.tensor([flips])
        seen = batch._replace(
            chosen=torch.where(flip, batch.rejected, batch.chosen),
            rejected=torch.where(flip, batch.chosen, batch.rejected),
        )
        probability = flip_rate ** sum(flips) * (1 - flip_rate) ** (6 - sum(flips))
        mean = mean + probability * flip_robust(seen, {}, flip_rate=flip_rate)[0].sum()
    expected = bradley_terry(batch, {})[0].sum()
    torch.testing.assert_close(mean, expected, rtol=1e-12, atol=0)


def test_label_smoothing_is_smallest_at_the_log_odds_of_its_label():
    difference = torch.linspace(-5, 5, 1001)[None]
    batch = batch_of(0)._replace(chosen=difference, rejected=torch.zeros_like(difference))
    loss, _ = label_smoothing(batch, {}, smoothing=0.1)
    assert difference[0, loss.argmin()].item() == pytest.approx(np.log(9), abs=0.01)


def test_hinge_has_no_gradient_beyond_its_margin():
    difference = torch.tensor([[-2.0, 0.0, 1.4, 1.6, 30.0]], requires_grad=True)
    batch = batch_of(0)._replace(chosen=difference, rejected=torch.zeros(1, 5))
    loss, _ = hinge(batch, {}, margin=1.5)
    assert loss.tolist() == [pytest.approx([3.5, 1.5, 0.1, 0.0, 0.0])]
    (gradient,) = torch.autograd.grad(loss.sum(), difference)
    assert gradient.tolist() == [[-1, -1, -1, 0, 0]]


def test_thurstone_far_from_zero():
    difference = torch.tensor([[-100.0, -30.0, 30.0]])
    batch = batch_of(0)._replace(chosen=difference, rejected=torch.zeros(1, 3))
    loss, _ = thurstone(batch, {})
    # log Phi(-x) = -x^2/2 - log(x sqrt(2 pi)) - 1/x^2 + ..., Mills' ratio
    tail = [x * x / 2 + np.log(x * np.sqrt(2 * np.pi)) + 1 / x**2 for x in (100.0, 30.0)]
    np.testing.assert_allclose(loss[0].numpy(), [*tail, 0.0], rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_boosting_derivatives_are_those_of_finite_differences(seed):
    rng = np.random.default_rng(seed)
    rewards, step = 2 * rng.normal(size=14), 1e-5

    def total(at):
        return np.logaddexp(0, at[7:] - at[:7]).sum()

    gradient, hessian = boosted_bradley_terry(rewards)
    for i in range(14):
        moved = step * (np.arange(14) == i)
        numeric = (total(rewards + moved) - total(rewards - moved)) / (2 * step)
        assert gradient[i] == pytest.approx(numeric, rel=1e-6, abs=1e-9)
        change = (
            boosted_bradley_terry(rewards + moved)[0] - boosted_bradley_terry(rewards - moved)[0]
        )
        assert hessian[i] == pytest.approx(change[i] / (2 * step), rel=1e-6, abs=1e-9)


def test_boosting_derivatives_of_extreme_rewards_are_finite():
    with np.errstate(all="raise"):
        for d in boosted_bradley_terry(np.array([-1e4, 1e4, 1e4, -1e4])):
            assert np.isfinite(d).all()


BAD = {
    "bt_margin": [("margin", -0.1, ">= 0"), ("margin", float("inf"), ">= 0 and finite")],
    "bt_golden_margin": [("factor", -1.0, ">= 0"), ("factor", float("nan"), ">= 0")],
    "bt_smoothed": [("smoothing", 0.5, "[0, 0.5)"), ("smoothing", -0.1, "[0, 0.5)")],
    "bt_flip_robust": [("flip_rate", 0.5, "[0, 0.5)"), ("flip_rate", -0.1, "[0, 0.5)")],
    "hinge_mlp": [("margin", 0.0, "> 0"), ("margin", "wide", "must be float, got 'wide'")],
    "normbt": [
        ("scale", "mean", "one of ema, batch, none"),
        ("distance", "hidden", "one of features, embedding"),
        ("power", -1.0, ">= 0"),
        ("clip", 0.0, "> 0 (inf = no clipping)"),
        ("epsilon", 0.0, "> 0"),
        ("decay", 1.0, "in [0, 1)"),
        ("scale", 3, "must be str, got 3"),
    ],
}
BAD_OPTIONS = [(loss, *case) for loss, cases in BAD.items() for case in cases]


def loss_values(name, **options):
    """The fields of a loss's yaml, as composed, its objective's options changed."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.load(SHIPPED / "conf" / "loss" / f"{name}.yaml"))
    values["objective"] |= options
    return values


@pytest.mark.parametrize(("name", "option", "value", "rule"), BAD_OPTIONS)
def test_options_out_of_range_are_refused_before_anything_runs(name, option, value, rule):
    with pytest.raises(ValueError) as refused:
        losses.fields_of(loss_values(name, **{option: value}))
    message = str(refused.value)
    assert message.startswith("loss.objective") and option in message and rule in message
    assert "\n" not in message


def test_one_option_written_twice_is_one_run():
    one, other = (losses.fields_of(loss_values("normbt", power=p)) for p in (1, 1.0))
    assert json.dumps(one["objective"]) == json.dumps(other["objective"])
    infinite = losses.fields_of(loss_values("normbt", clip=".inf"))["objective"]
    assert options_of(infinite)["clip"] == float("inf")


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (lambda batch, state: (batch.chosen.mean(), state), "loss per pair"),
        (lambda batch, state: (batch.chosen, None), "NoneType"),
        (lambda batch, state: batch.chosen, "must return the loss per pair"),
        (lambda batch, state: batch.chosen / "2", "fails on a batch"),
        (lambda batch, state: (batch.margin.abs(), state), "AttributeError"),  # not declared
    ],
)
def test_an_objective_that_cannot_work_is_refused(objective, words):
    with pytest.raises(ValueError, match=words):
        try_objective(objective, "loss.objective", is_by_response=False)
