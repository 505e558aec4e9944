"""The interface of a kind of reward model, and the one lookup of the kind of a loss."""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rmsweep.annotation.splits import Split
from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.losses import Loss
from rmsweep.config.spec import Item, RunSpec

Array = np.ndarray | torch.Tensor


@dataclass(frozen=True)
class FittedRun:
    """A run after its fit: its reward models, or why there are none, and facts for its row."""

    item: Item
    models: list[Any]  # one, or an ensemble's members, as the kind of reward model has them
    centres: list[float]  # each member's zero point; of a run that is no ensemble 0
    facts: dict[str, Any]  # what the row says of annotation and training
    error: str | None  # why there is no valid model
    held_out_margins: list[np.ndarray] = field(default_factory=list)  # predicted reward of the
    # chosen minus that of the rejected response, of the validation pairs; of an ensemble none


class RewardModel(ABC):
    """A kind of reward model: how its models are fitted, asked for rewards, saved and read back.

    What is known of a kind before it is loaded (does it run on a GPU, can it be saved, ...) is in
    its class in config/reward_models.py.
    """

    def fit(
        self, items: list[Item], x: Array, splits: list[Split], inputs: Inputs, place: Place
    ) -> list[FittedRun]:
        """Fit one model an item, of runs that share their loss, on the rows of its split.

        x: (responses, D) embeddings, which the splits index; on a GPU only where the kind runs
        there. A kind that trains its models together has its own `fit`; any other has `fit_one`.
        """
        runs = []
        for item, split in zip(items, splits, strict=True):
            model = self.fit_one(item.spec, x, split.train, inputs, place)
            runs.append(FittedRun(item, [model], [0.0], {}, None))
        return runs

    def fit_one(
        self, spec: RunSpec, x: Array, pairs: np.ndarray, inputs: Inputs, place: Place
    ) -> Any:
        """Fit one model on pairs (pairs, 2) of rows of x, chosen first."""
        raise NotImplementedError

    @abstractmethod
    def predict(self, stacked: Any, x: Array, spec: RunSpec, place: Place) -> Array:
        """Predict rewards (models, rows) of x (rows, D); a GPU may go on. stacked: by `stack`."""

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
    ) -> dict[str, Any]:
        """Return a row's diagnostics of a run's training pairs (pairs, 2), if the kind has any."""
        return {}


def reward_model_of(loss: Loss) -> RewardModel:
    """Return the kind that a loss is fitted on; a kind's module is loaded where it is used."""
    module = importlib.import_module(f"{__package__}.{loss.options.module}")
    kind: RewardModel = module.REWARD_MODEL
    return kind
