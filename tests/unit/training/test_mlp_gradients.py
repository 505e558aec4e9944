"""What evaluation.diagnostics records: gradients by representation distance."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.tiny_runs import MLP_TINY, TINY, assert_same_numbers, items_of, rows_of, spec_of

from rmsweep.config.targets import import_objective
from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.paths import SHIPPED, SweepFolder
from rmsweep.results import dataset, schema
from rmsweep.training.reward_models import mlp_gradients as gradients
from rmsweep.training.reward_models import mlp_network

pytestmark = pytest.mark.slow

LOSS_FILES = sorted((SHIPPED / "conf/loss").glob("*.yaml"))
LOSSES = {path.stem: spec_of(f"loss={path.stem}").loss for path in LOSS_FILES}
OBJECTIVES = {
    loss: import_objective(of.objective, loss)
    for loss, of in LOSSES.items()
    if of.reward_model == "mlp"
}


def batch_of(seed=0, pairs=24, dim=5, hidden=(3,)):
    """Parameters of an MLP of one run and the batch of random pairs through it."""
    rng = np.random.default_rng(seed)
    parameters = mlp_network.initial_parameters([rng], (dim, *hidden, 1), "cpu")
    for p in parameters:
        p.requires_grad_(True)
    x = torch.from_numpy(rng.normal(size=(1, pairs, 2, dim)).astype(np.float32))
    margin = torch.from_numpy(rng.normal(size=(1, pairs)).astype(np.float32))
    return parameters, mlp_network.pair_batch(parameters, mlp_network.Data(x, None, margin))


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_gradient_norms_are_those_of_autograd_pair_by_pair(loss):
    parameters, batch = batch_of()
    losses, _ = OBJECTIVES[loss](batch, {})
    last_weight = parameters[-2]
    one_by_one = [
        torch.autograd.grad(losses[0, i], last_weight, retain_graph=True)[0].norm().item()
        for i in range(losses.shape[1])
    ]
    by_rewards = gradients.reward_derivatives(batch, OBJECTIVES[loss])
    norms = gradients.gradient_norms(batch, by_rewards)
    np.testing.assert_allclose(norms[0].numpy(), one_by_one, rtol=1e-5)


@pytest.mark.parametrize("loss", OBJECTIVES)
@pytest.mark.parametrize("hidden", [(), (3,), (7, 4), (6, 5, 3)])
def test_full_gradient_norms_are_those_of_autograd_one_pair_at_a_time(loss, hidden):
    parameters, batch = batch_of(hidden=hidden)
    losses, _ = OBJECTIVES[loss](batch, {})
    one_by_one = []
    for i in range(losses.shape[1]):
        by_layer = torch.autograd.grad(losses[0, i], parameters, retain_graph=True)
        one_by_one.append(np.sqrt(sum(part.square().sum().item() for part in by_layer)))
    recorded = gradients.gradients_by_distance(batch, OBJECTIVES[loss], parameters)
    np.testing.assert_allclose(recorded["pair_full_gradient_norm"], one_by_one, rtol=1e-4)
    expected = np.corrcoef(recorded["pair_distance"], one_by_one)[0, 1]
    assert recorded["gradient_correlation"] == pytest.approx(expected, abs=1e-4)
    if loss in ("bt_mlp", "bt_linear"):
        of_margin = np.array(one_by_one) / recorded["pair_error"]
        expected = np.corrcoef(recorded["pair_distance"], of_margin)[0, 1]
        assert recorded["margin_gradient_correlation"] == pytest.approx(expected, abs=1e-4)


def test_the_gradients_of_two_alike_responses_cancel():
    """The bias of the last layer has none, and two equal embeddings no gradient at all."""
    rng = np.random.default_rng(0)
    parameters = mlp_network.initial_parameters([rng], (5, 4, 1), "cpu")
    x = torch.from_numpy(rng.normal(size=(1, 30, 1, 5)).astype(np.float32)).repeat(1, 1, 2, 1)
    x[0, 0, 1] += 1e-3
    batch = mlp_network.pair_batch(parameters, mlp_network.Data(x, None))
    recorded = gradients.gradients_by_distance(batch, bradley_terry, parameters)
    norms = recorded["pair_full_gradient_norm"]
    assert 0 < norms[0] < 0.01 and (norms[1:] == 0).all()
    assert gradients.correlation(np.zeros(3), np.arange(3.0)) is None


@pytest.mark.parametrize("norm", [None, "layer"])
def test_full_gradients_of_nearly_alike_responses_are_in_double_precision(norm):
    """Their terms cancel to a ten-thousandth, of which single precision leaves three digits."""
    rng = np.random.default_rng(0)
    parameters = mlp_network.initial_parameters([rng], (5, 64, 1), "cpu")
    first = rng.normal(size=(20, 1, 5))
    x = torch.from_numpy(np.concatenate([first, first + 1e-4 * rng.normal(size=(20, 1, 5))], 1))
    signs = torch.tensor([[1.0, -1.0]]).expand(20, 2)
    norms = gradients.full_gradient_norms(parameters, x, signs, norm)
    weight, bias, head, _ = exact = [p[0].double().requires_grad_(True) for p in parameters]
    features = (x @ weight + bias).relu()
    if norm == "layer":
        features = torch.nn.functional.layer_norm(features, (64,))
    margins = (features @ head)[..., 0] @ signs[0].double()
    for i, margin in enumerate(margins):
        by_layer = torch.autograd.grad(margin, exact[:3], retain_graph=True)
        expected = np.sqrt(sum(part.square().sum().item() for part in by_layer))
        assert 0 < expected < 1e-2 and norms[i] == pytest.approx(expected, rel=1e-5)


def test_means_by_error_are_those_of_a_loop_over_the_pairs():
    rng = np.random.default_rng(0)
    error, distance = rng.random(200).astype(np.float32), rng.exponential(size=200)
    error[error > 0.8] = 0.1  # no pair is in the last bin
    values = {"distance": distance, "norm": error * distance}
    binned = gradients.means_by_error(error, values)
    for i in range(5):
        in_bin = sorted((d, e) for d, e in zip(distance, error, strict=True) if i <= 5 * e < i + 1)
        sizes = [len(in_bin) // 5 + (j < len(in_bin) % 5) for j in range(5)]
        for j, size in enumerate(sizes):
            cell = in_bin[sum(sizes[:j]) :][:size]
            at = 5 * i + j
            if not cell:
                assert np.isnan(binned["distance"][at]) and np.isnan(binned["norm"][at])
                continue
            assert binned["distance"][at] == pytest.approx(np.mean([d for d, _ in cell]))
            assert binned["norm"][at] == pytest.approx(np.mean([d * e for d, e in cell]))
    assert np.isnan(binned["norm"]).sum() == 5
    certain = gradients.means_by_error(np.array([0.0, 1.0]), {"distance": np.array([3.0, 4.0])})
    assert certain["distance"][0] == 3 and certain["distance"][20] == 4


def test_bradley_terry_scales_with_the_distance_and_normbt_does_not():
    parameters, batch = batch_of(pairs=100)
    distance = (batch.features_chosen - batch.features_rejected).norm(dim=-1)[0].detach().numpy()
    error = torch.sigmoid(batch.rejected - batch.chosen)[0].detach().numpy()
    found = {
        loss: gradients.gradients_by_distance(batch, objective, parameters)
        for loss, objective in OBJECTIVES.items()
    }
    np.testing.assert_allclose(found["bt_mlp"]["pair_distance"], distance, rtol=1e-6)
    np.testing.assert_allclose(found["bt_mlp"]["pair_error"], error, rtol=1e-5)
    np.testing.assert_allclose(found["bt_mlp"]["pair_gradient_norm"], error * distance, rtol=1e-4)
    np.testing.assert_allclose(
        found["normbt"]["pair_gradient_norm"], error * distance.mean() * (distance > 0), rtol=1e-4
    )


def test_deciles_are_tenths_of_the_pairs_from_near_to_far():
    parameters, batch = batch_of(pairs=40)
    found = gradients.gradients_by_distance(batch, bradley_terry, parameters)
    order = np.argsort(found["pair_distance"])
    for name in ("distance", "gradient_norm"):
        means = found[f"pair_{name}"][order].reshape(10, 4).mean(axis=1)
        np.testing.assert_allclose(found[f"decile_{name}"], means, rtol=1e-5)
    is_right = (0.5 - 0.5 * np.sign(found["pair_error"] - 0.5))[order].reshape(10, 4)
    np.testing.assert_allclose(found["decile_accuracy"], is_right.mean(axis=1))


def test_at_most_500_pairs_are_kept():
    parameters, batch = batch_of(pairs=1203)
    found = gradients.gradients_by_distance(batch, bradley_terry, parameters)
    assert {len(found[name]) for name in schema.DIAGNOSTICS if name.startswith("pair")} == {500}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("protocol", ["pairs", "rbt_scripts"])
def test_a_run_records_them_and_nothing_else_changes(loss, protocol, tmp_path):
    if loss not in OBJECTIVES:
        overrides = (*TINY, f"loss={loss}")
    elif loss.endswith("_linear"):
        overrides = (*TINY, f"loss={loss}", f"training.protocol={protocol}")
    else:
        overrides = (*TINY, f"loss={loss}", *MLP_TINY, f"training.protocol={protocol}")
    specs = spec_of(*overrides), spec_of(*overrides, "evaluation.diagnostics=true")
    assert specs[0].spec_id == specs[1].spec_id
    without, recorded = (
        rows_of(tmp_path / str(i), items_of([spec])).loc[spec.spec_id]
        for i, spec in enumerate(specs)
    )
    assert_same_numbers(without, recorded)
    assert all(without[name] is None for name in schema.DIAGNOSTICS)
    if loss not in OBJECTIVES:
        assert all(recorded[name] is None for name in schema.DIAGNOSTICS)
        return
    assert {len(recorded[name]) for name in schema.DIAGNOSTICS[:3]} == {gradients.N_DECILES}
    assert (np.diff(recorded["decile_distance"]) > 0).all()
    for name in schema.DIAGNOSTICS:
        if not name.startswith("error_bin_"):  # of a few pairs, some bins are empty
            assert np.isfinite(recorded[name]).all(), name
    for name in ("distance", "gradient_norm", "full_gradient_norm"):
        binned, of_pairs = recorded[f"error_bin_{name}"], recorded[f"pair_{name}"]
        assert len(binned) == 25 and of_pairs.min() <= np.nanmin(binned)
        assert np.nanmax(binned) <= of_pairs.max()
    assert all(-1 <= recorded[name] <= 1 for name in schema.CORRELATIONS)
    assert ((recorded["pair_error"] > 0) & (recorded["pair_error"] < 1)).all()


def test_parts_without_the_columns_are_read_as_null(tmp_path):
    spec = spec_of(*TINY, *MLP_TINY)
    rows_of(tmp_path, items_of([spec]))
    (part,) = (tmp_path / "runs").glob("*.parquet")
    new = [*schema.DIAGNOSTICS, "oracle_by_n"]
    scalars = list(schema.CORRELATIONS)
    pd.read_parquet(part).drop(columns=[*new, *scalars]).to_parquet(part)
    row = dataset.read_rows(SweepFolder(tmp_path), ["key", *new, *scalars]).iloc[0]
    assert all(row[name] is None for name in new) and row[scalars].isna().all()
