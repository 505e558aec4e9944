"""What an objective sees of a batch of pairs: predicted rewards, features, embeddings, margins."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

State = dict[str, torch.Tensor]  # what a loss keeps from batch to batch, runs first


class PairBatch(NamedTuple):
    """A batch of annotated pairs for each run of a pack; H is the width of the last hidden layer.

    Under `training.protocol=rbt_scripts` a loss with `rows: responses` gets responses one by one:
    the absent half of a pair then has the predicted reward at which its term vanishes (+inf where
    the chosen one is absent, -inf where the rejected one is) and zero features; embeddings and
    margin are None.
    """

    chosen: torch.Tensor  # (runs, batch) predicted rewards, fp32
    rejected: torch.Tensor  # (runs, batch)
    features_chosen: torch.Tensor  # (runs, batch, H), in the run's precision
    features_rejected: torch.Tensor  # (runs, batch, H)
    embeddings_chosen: torch.Tensor | None = None  # (runs, batch, D) as cached, in that precision
    embeddings_rejected: torch.Tensor | None = None  # (runs, batch, D)
    margin: torch.Tensor | None = None  # (runs, batch) golden, fp32; None but with needs_margin


def needs_margin(objective: Callable[..., Any]) -> Callable[..., Any]:
    """Mark an objective, as a decorator, as one that reads `margin`.

    That is the golden reward of the chosen minus that of the rejected response, divided by the
    dataset's reward_scale: negative where the annotator erred.
    """
    objective.needs_margin = True  # type: ignore[attr-defined]
    return objective
