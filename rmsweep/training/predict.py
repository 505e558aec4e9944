"""Prediction of rewards by fitted runs, whatever their reward models are."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rmsweep.cache.blocks import cut
from rmsweep.cache.layout import LabelledPairs
from rmsweep.config.launchers import Place
from rmsweep.config.losses import PICKS
from rmsweep.config.spec import RunSpec
from rmsweep.training.reward_models.interface import Array, FittedRun, reward_model_of

BLOCK_ROWS = 4096  # responses of a block of test prompts
LEAST_ROWS = 16  # fewer would be multiplied in another way, and rounded in another


@dataclass(frozen=True)
class StackedModels:
    """The reward models of several runs that share their loss, prepared for many predictions."""

    models: Any  # as RewardModel.stack returns them
    centres: np.ndarray  # (runs, members)
    spec: RunSpec  # of one of the runs


def stack_models(runs: list[FittedRun]) -> StackedModels:
    """Prepare the reward models of runs that share their loss for `predict_rewards`."""
    spec = runs[0].item.spec
    models = [model for run in runs for model in run.models]
    centres = np.array([run.centres for run in runs])
    return StackedModels(reward_model_of(spec.loss).stack(models), centres, spec)


def predict_rewards(stacked: StackedModels, x: Array, place: Place) -> np.ndarray:
    """Predict rewards, (runs, rows), of embeddings x (rows, D); ValueError if not finite."""
    return finish_prediction(start_prediction(stacked, x, place), stacked)


def start_prediction(stacked: StackedModels, x: Array, place: Place) -> Array:
    """Do the first half of `predict_rewards`: (models, rows), which a GPU may still compute."""
    kind = reward_model_of(stacked.spec.loss)
    return kind.predict(stacked.models, x, stacked.spec, place)


def finish_prediction(rewards: Array, stacked: StackedModels) -> np.ndarray:
    """Do the second half of `predict_rewards`, with what `start_prediction` returned."""
    predicted = rewards.cpu().numpy() if isinstance(rewards, torch.Tensor) else rewards
    if not np.isfinite(predicted).all():
        raise ValueError("predicted rewards hold NaN or inf: the fit diverged")
    pick = stacked.spec.loss.pick
    if pick is None:
        return predicted
    members = predicted.reshape(*stacked.centres.shape, -1) - stacked.centres[..., None]
    return combine_members(members, pick)


def block_threads(place: Place) -> ThreadPoolExecutor:
    """Return a pool for different blocks, whose threads give the bits that `machine.threads` does.

    A new thread would otherwise multiply matrices with all cores.
    """
    return ThreadPoolExecutor(
        place.at_once, initializer=torch.set_num_threads, initargs=(place.threads,)
    )


def nonfinite_message(name: str, prompt: int, response: int) -> str:
    """Say that embeddings are not finite; name: of the split."""
    return (
        f"{name} embeddings hold NaN or inf at prompt {prompt}, response {response} (from 0); "
        "make that file anew"
    )


def nonfinite_pair_message(pairs: LabelledPairs | None, row: int, response: int) -> str:
    """Say that embeddings of a labelled pair are not finite; response: 0 chosen, 1 rejected."""
    assert pairs is not None
    which = ("chosen", "rejected")[response]
    return f"{pairs.path} holds NaN or inf at pair {row} (from 0), {which}; make that file anew"


def combine_members(rewards: np.ndarray, pick: str | float) -> np.ndarray:
    """Return an ensemble's predicted rewards, (..., rows), from its members' (..., members, rows).

    pick: mean; min, the most pessimistic member's (worst-case optimisation of arXiv:2310.02743);
    or a number k > 0, a lower confidence bound: the mean minus k standard deviations (ddof 0) of
    the members. min and k compare members, whose rewards must have a common zero point.
    """
    if isinstance(pick, str):
        return PICKS[pick](rewards, axis=-2)
    return rewards.mean(axis=-2) - pick * rewards.std(axis=-2)


def prompt_blocks(n_prompts: int, m: int) -> list[tuple[int, int]]:
    """Return the first and last (exclusive) prompt of each block; m: responses to a prompt."""
    return cut(n_prompts, BLOCK_ROWS // m, least=-(-LEAST_ROWS // m))
