"""Predicted rewards of fitted runs, whatever their reward models are."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rmsweep.cache.blocks import cut
from rmsweep.cache.layout import LabelledPairs
from rmsweep.config.launchers import Place
from rmsweep.config.losses import PICKS
from rmsweep.config.spec import Item, RunSpec
from rmsweep.training.reward_models import (
    mlp,  # the others where they are used: a fifth of the start-up
)

Array = np.ndarray | torch.Tensor


@dataclass(frozen=True)
class FittedRun:
    item: Item
    models: list[Any]  # one, or an ensemble's members: MLP parameters with a leading dimension of
    # 1, LightGBM boosters, or scikit-learn pipelines
    centres: list[float]  # each member's zero point; of a run that is no ensemble 0
    facts: dict[str, Any]  # what the row says of annotation and training
    error: str | None  # why there is no valid model
    held_out_margins: list[np.ndarray] = field(default_factory=list)  # predicted reward of the
    # chosen minus that of the rejected response, of the validation pairs; of an ensemble none


@dataclass(frozen=True)
class Stacked:
    """Reward models of several runs as one argument of `predict`."""

    models: list[Any]
    centres: np.ndarray  # (runs, members)


def stack(runs: list[FittedRun]) -> Stacked:
    """Reward models of runs that share their loss, as one argument of `predict`."""
    models = [model for run in runs for model in run.models]
    if runs[0].item.spec.loss.reward_model == "mlp":
        models = [torch.cat(layer) for layer in zip(*models, strict=True)]
    if runs[0].item.spec.loss.reward_model == "trees":
        from rmsweep.training.reward_models import trees

        models = [trees.scorer(model) for model in models]
    return Stacked(models, np.array([run.centres for run in runs]))


def predict(stacked: Stacked, x: Array, spec: RunSpec, place: Place) -> np.ndarray:
    """Predicted rewards, (runs, rows), of embeddings x (rows, D); ValueError if not finite."""
    return finished(begun(stacked, x, spec, place), stacked, spec)


def begun(stacked: Stacked, x: Array, spec: RunSpec, place: Place) -> Array:
    """The first half of `predict`: (models, rows), which a GPU may still be computing."""
    if spec.loss.reward_model == "trees":
        from rmsweep.training.reward_models import trees

        return trees.predict(stacked.models, np.asarray(x), place.threads)
    if spec.loss.reward_model == "classifier":
        from rmsweep.training.reward_models import classifiers

        return classifiers.predict(stacked.models, np.asarray(x))
    on_device = torch.as_tensor(x).to(place.device, non_blocking=True)
    return mlp.predict(stacked.models, on_device.to(mlp.DTYPES[spec.precision]))


def finished(rewards: Array, stacked: Stacked, spec: RunSpec) -> np.ndarray:
    """The second half of `predict`, of what `begun` returned."""
    predicted = rewards.cpu().numpy() if isinstance(rewards, torch.Tensor) else rewards
    if not np.isfinite(predicted).all():
        raise ValueError("predicted rewards hold NaN or inf: the fit diverged")
    if spec.loss.pick is None:
        return predicted
    members = predicted.reshape(*stacked.centres.shape, -1) - stacked.centres[..., None]
    return combine(members, spec.loss.pick)


def nonfinite(name: str, prompt: int, response: int) -> str:
    return (
        f"{name} embeddings hold NaN or inf at prompt {prompt}, response {response} (from 0); "
        "make that file anew"
    )


def nonfinite_pair(pairs: LabelledPairs | None, row: int, response: int) -> str:
    assert pairs is not None
    which = ("chosen", "rejected")[response]
    return f"{pairs.path} holds NaN or inf at pair {row} (from 0), {which}; make that file anew"


def combine(rewards: np.ndarray, pick: str | float) -> np.ndarray:
    """The ensemble's predicted rewards, (..., rows), from its members', (..., members, rows).

    pick: mean; min, the most pessimistic member's (worst-case optimisation of arXiv:2310.02743);
    or a number k > 0, a lower confidence bound: the mean minus k standard deviations (ddof 0) of
    the members. min and k compare members, whose rewards must have a common zero point.
    """
    if isinstance(pick, str):
        return PICKS[pick](rewards, axis=-2)
    return rewards.mean(axis=-2) - pick * rewards.std(axis=-2)


BLOCK_ROWS = 4096  # responses of a block of test prompts
LEAST_ROWS = 16  # fewer would be multiplied in another way, and rounded in another


def blocks(n_prompts: int, m: int) -> list[tuple[int, int]]:
    """Return the first and last (exclusive) prompt of each block; m: responses to a prompt.

    A last block of under LEAST_ROWS responses joins the one before.
    """
    return cut(n_prompts, BLOCK_ROWS // m, least=-(-LEAST_ROWS // m))
