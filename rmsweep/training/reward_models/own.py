"""Reward models of a user's own class, one object a model: docs/add-a-reward-model.md."""

from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.reward_models import PATH, Own, checked_rewards
from rmsweep.config.spec import RunSpec
from rmsweep.config.targets import new_object
from rmsweep.errors import one_line
from rmsweep.training.reward_models.interface import Array, RewardModel


class OwnModels(RewardModel):
    """The kind of a user's class, on one thread: sums over more would depend on their number."""

    def fit_one(
        self, spec: RunSpec, x: Array, pairs: np.ndarray, inputs: Inputs, place: Place
    ) -> Any:
        with threadpool_limits(1):
            model = _new(spec)
            chosen, rejected = (np.asarray(x[half], np.float32) for half in pairs.T)
            model.fit(chosen, rejected, seed=spec.seed)
            return model

    def predict(self, stacked: Any, x: Array, spec: RunSpec, place: Place) -> Array:
        """Predict with each model; ValueError, which names the class, for what are no rewards."""
        rows = np.asarray(x, np.float32)
        with threadpool_limits(1):
            rewards = [model.predict(rows) for model in stacked]
        return np.stack([checked_rewards(r, len(rows), spec.loss.reward_model) for r in rewards])

    def save(self, models: list[Any], spec: RunSpec, folder: Path) -> None:
        for i, model in enumerate(models):
            of_model = folder / f"model-{i}"
            of_model.mkdir()
            model.save(of_model)

    def load(self, folder: Path, spec: RunSpec, dim: int, place: Place) -> list[Any]:
        models = []
        for i in range(spec.n_members):
            model = _new(spec)
            try:
                model.load(folder / f"model-{i}")
            except Exception as error:  # noqa: BLE001  a user's class may raise anything
                what = f"{type(error).__name__}: {one_line(error)}"
                raise ValueError(f"{spec.loss.reward_model}.load fails ({what})") from None
            models.append(model)
        return models


REWARD_MODEL = OwnModels()


def _new(spec: RunSpec) -> Any:
    assert isinstance(spec.loss.options, Own)
    return new_object(spec.loss.options.reward_model, PATH)
