"""Every kind of reward model keeps to the interface, and nothing else asks which kind it is."""

import importlib
import re

import numpy as np
import pytest
from helpers.tiny_runs import TINY, items_of, spec_of

from rmsweep.cache.inputs import open_inputs
from rmsweep.config.columns import spec_columns
from rmsweep.config.launchers import Place
from rmsweep.config.reward_models import BUILT_IN_KINDS, Own, kind_of, options_of_row
from rmsweep.paths import CHECKOUT
from rmsweep.training import reward_models
from rmsweep.training.fit import fit_runs
from rmsweep.training.reward_models.interface import RewardModel, reward_model_of

OF_KIND = {
    "mlp": ("loss=clf_mlp", "loss.hidden=[8]"),
    "trees": ("loss=clf_lgb", "loss.rounds=3"),
    "classifier": ("loss=clf_logistic",),
}
KIND_ASKED = re.compile(
    r"""["'](mlp|trees|classifier)["']|loss\.reward_model\b["']?\]? *(==|!=|in\b)|"""
    r"\b(Mlp|Trees|Classifier|Own)\b|isinstance\([\w.]*objective, "
)
MAY_ASK = ("config", "training/reward_models", "cache/building")  # there, of language models
CPU = Place(None, "cpu", 1)


@pytest.mark.parametrize("kind", [*BUILT_IN_KINDS.values(), Own])
def test_every_kind_names_a_module_of_its_own_that_has_its_reward_model(kind):
    module = importlib.import_module(f"{reward_models.__name__}.{kind.module}")
    assert isinstance(module.REWARD_MODEL, RewardModel)
    others = {other.module for other in [*BUILT_IN_KINDS.values(), Own] if other is not kind}
    assert kind.module not in others, "a kind without a module of its own is another kind's model"


def test_a_name_that_is_no_built_in_kind_is_a_users_own():
    assert OF_KIND.keys() == BUILT_IN_KINDS.keys()
    assert kind_of("my_models.Ridge") is Own


def test_no_module_asks_which_kind_a_reward_model_is():
    package = CHECKOUT / "rmsweep"
    modules = [
        path for path in sorted(package.rglob("*.py"))
        if not path.relative_to(package).as_posix().startswith(MAY_ASK)
    ]  # fmt: skip
    assert len(modules) > 100
    lines = [
        f"{path.relative_to(package)}:{number}: {line.strip()}"
        for path in modules
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if KIND_ASKED.search(line)
    ]
    assert not lines, "a kind of reward model is asked what it can: config/reward_models.py"


@pytest.mark.parametrize("kind", OF_KIND)
def test_each_kind_fits_predicts_and_is_read_back(kind, tmp_path):
    specs = [spec_of(*TINY, *OF_KIND[kind], f"seed={seed}") for seed in (0, 1)]
    inputs, model = open_inputs(specs[0], None), reward_model_of(specs[0].loss)
    assert isinstance(model, RewardModel) and model.n_together(specs[0], 16, CPU) == 1
    runs = fit_runs(items_of(specs), inputs, CPU)
    x = inputs.train_embeddings().reshape(-1, inputs.dim)[:50].copy()
    models = [fitted for run in runs for fitted in run.models]
    rewards = np.asarray(model.predict(model.stack(models), x, specs[0], CPU))
    assert rewards.shape == (2, 50) and (rewards[0] != rewards[1]).any()
    alone = np.asarray(model.predict(model.stack(models[1:]), x, specs[1], CPU))
    np.testing.assert_array_equal(alone[0], rewards[1])
    if specs[0].loss.options.why_unsaved is not None:
        with pytest.raises(NotImplementedError, match="pickle"):
            model.save(models[:1], specs[0], tmp_path)
        return
    model.save(models[:1], specs[0], tmp_path)
    again = model.load(tmp_path, specs[0], inputs.dim, CPU)
    predicted = np.asarray(model.predict(model.stack(again), x, specs[0], CPU))
    np.testing.assert_array_equal(predicted[0], rewards[0])
    next(tmp_path.iterdir()).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError):
        model.load(tmp_path, specs[0], inputs.dim, CPU)


@pytest.mark.parametrize("kind", OF_KIND)
def test_options_come_back_from_a_row(kind):
    spec = spec_of(*TINY, *OF_KIND[kind])
    row = spec_columns(spec)
    options = options_of_row(row["loss.reward_model"], row["loss.options"])
    assert type(options) is type(spec.loss.options) is kind_of(kind)
    shape = (3, 100, 16, 50)
    assert options.multiply_adds(*shape) == spec.loss.options.multiply_adds(*shape) > 0
    assert options.code == spec.loss.options.code
