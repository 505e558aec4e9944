"""A run with the reward models that were fitted for it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rmsweep.config.spec import Item

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
