"""What an objective sees: predicted rewards and penultimate features of a batch of pairs."""

from typing import NamedTuple

import torch


class PairBatch(NamedTuple):
    """A batch of annotated pairs for each run of a pack; H is the width of the last hidden layer.

    Under `training.protocol=rbt_scripts` a loss with `rows: responses` gets responses one by one:
    the absent half of a pair then has the predicted reward at which its term vanishes (+inf where
    the chosen one is absent, -inf where the rejected one is) and zero features.
    """

    chosen: torch.Tensor  # (runs, batch) predicted rewards, fp32
    rejected: torch.Tensor  # (runs, batch)
    features_chosen: torch.Tensor  # (runs, batch, H), in the run's precision
    features_rejected: torch.Tensor  # (runs, batch, H)
