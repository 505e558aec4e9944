"""Planned seconds of runs: the mean of runs like them, else arithmetic; never an error."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers.tiny_runs import TINY, items_of, spec_of

from rmsweep.config.columns import spec_columns
from rmsweep.config.spec import Shape
from rmsweep.launch import cost
from rmsweep.paths import SHIPPED
from rmsweep.results import schema

LOSSES = sorted(path.stem for path in (SHIPPED / "conf/loss").glob("*.yaml"))
SHAPE = Shape(16, 80)
NOTHING = schema.SCHEMA.empty_table().to_pandas()[list(cost.MEASURED)]


def item_of(*overrides):
    (item,) = items_of([spec_of(*TINY, *overrides)])
    return dataclasses.replace(item, shape=SHAPE)


def measured(*runs):
    """Done runs: item, device, threads and seconds."""
    rows = [
        spec_columns(item.spec)
        | {"dim": item.shape.dim, "test_responses": item.shape.test_responses}
        | {"device": device, "threads": threads, "wall_s": wall_s}
        for item, device, threads, wall_s in runs
    ]
    return pd.DataFrame(rows)[list(cost.MEASURED)]


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_has_a_cost_before_anything_was_measured(loss, device):
    items = [item_of(f"loss={loss}"), item_of(f"loss={loss}", "loss.ensemble=10")]
    found, n_alike = cost.estimated_seconds(items, NOTHING, device)
    assert n_alike == 0 and np.isfinite(found).all() and found[0] > 0
    assert found[1] == pytest.approx(10 * found[0])
    is_mlp = items[0].spec.loss.reward_model == "mlp"
    assert cost.device_of(items[0], device) == (device if is_mlp else "cpu")


def test_an_ensemble_is_planned_at_its_members_cost():
    plain, ensemble = item_of(), item_of("loss.ensemble=10")
    rows = measured((plain, "cpu", 1, 2.0), (ensemble, "cpu", 1, 40.0))
    found, n_alike = cost.estimated_seconds([plain, ensemble], rows, "cpu")
    np.testing.assert_allclose(found, [3.0, 30.0])
    assert n_alike == 2


def test_seconds_are_those_of_the_same_class_and_size():
    quick, slow = item_of("loss=clf_logistic"), item_of("loss=clf_hgb")
    wide, linear = item_of("loss=bt_mlp"), item_of("loss=bt_linear")
    seen = (quick, 1.0), (slow, 50.0), (wide, 20.0), (linear, 0.5)
    rows = measured(*((item, "cpu", 2, wall_s) for item, wall_s in seen))
    options = item_of("loss=clf_logistic", "loss.estimator.C=3"), item_of("loss=normbt_linear")
    found, n_alike = cost.estimated_seconds([quick, slow, wide, linear, *options], rows, "cpu")
    np.testing.assert_allclose(found, [2, 100, 40, 1, 2, 1])
    assert n_alike == 6
    twice = dataclasses.replace(item_of("loss=clf_hgb"), shape=Shape(32, 80))
    found, n_alike = cost.estimated_seconds([twice], rows, "cpu")
    assert n_alike == 0 and found[0] == pytest.approx(200)
