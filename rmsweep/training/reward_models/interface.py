"""The interface of a kind of reward model, and the one lookup of the kind of a loss."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rmsweep.annotation.splits import Split
from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.losses import Loss
from rmsweep.config.spec import Item, RunSpec
from rmsweep.training.fitted_run import Array, FittedRun

# By loss.reward_model: the module whose REWARD_MODEL it is, loaded where it is used, since
# LightGBM and scikit-learn are a fifth of the start-up. What is not here is a user's own.
MODULES = {"mlp": "mlp", "trees": "trees", "classifier": "classifiers"}


class RewardModel(ABC):
    """A kind of reward model: how its models are fitted, asked for rewards, saved and read back.

    What is known of a kind before it is loaded (does it run on a GPU, can it be saved, ...) is in
    its class in config/reward_models.py.
    """

    @abstractmethod
    def fit(
        self,
        items: list[Item],
        embeddings: Array,
        splits: list[Split],
        inputs: Inputs,
        place: Place,
    ) -> list[FittedRun]:
        """Fit one model an item, of runs that share their loss, on the rows of its split.

        embeddings: (responses, D), which the splits index; on a GPU only where the kind runs there.
        """

    @abstractmethod
    def predict(self, stacked: Any, x: Array, spec: RunSpec, place: Place) -> Array:
        """Predict rewards, (models, rows), of embeddings x (rows, D); a GPU may go on computing.

        stacked: what `stack` returned.
        """

    def stack(self, models: list[Any]) -> Any:
        """Prepare several models for many calls of `predict`."""
        return models

    def save(self, models: list[Any], spec: RunSpec, folder: Path) -> None:
        """Write a run's models as files in an empty folder, in a format that is safe to read."""
        raise NotImplementedError(spec.loss.options.why_unsaved)

    def load(self, folder: Path, spec: RunSpec, dim: int, place: Place) -> list[Any]:
        """Read back what `save` wrote, of embeddings with `dim` values; ValueError where it is not.

        No code that only the folder names is run: the caller has checked the spec for it.
        """
        raise NotImplementedError(spec.loss.options.why_unsaved)

    def n_together(self, spec: RunSpec, dim: int, place: Place) -> int:
        """Return how many models to fit together."""
        return 1

    def diagnose(
        self, run: FittedRun, embeddings: Array, pairs: np.ndarray, inputs: Inputs, place: Place
    ) -> dict[str, np.ndarray]:
        """Return a row's diagnostics of a run's training pairs (pairs, 2), if the kind has any."""
        return {}


def reward_model_of(loss: Loss) -> RewardModel:
    """Return the kind of reward model that a loss is fitted on."""
    module = MODULES.get(loss.reward_model, "own")
    kind: RewardModel = importlib.import_module(f"{__package__}.{module}").REWARD_MODEL
    return kind


def fit_each(
    items: list[Item], splits: list[Split], fit: Callable[[Item, np.ndarray], Any]
) -> list[FittedRun]:
    """Fit one model an item, one after the other; fit: of an item and its pairs (pairs, 2)."""
    return [
        FittedRun(item, [fit(item, split.train)], [0.0], {}, None)
        for item, split in zip(items, splits, strict=True)
    ]
