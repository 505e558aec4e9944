"""The Bradley-Terry objective."""

import torch

from rmsweep.objectives.pair_batch import PairBatch, State


def bradley_terry(batch: PairBatch, state: State) -> tuple[torch.Tensor, State]:
    """Return the negative log-likelihood per pair, -log sigmoid(chosen - rejected), in nats.

    Shape: (runs, batch). Bradley & Terry, 1952; arXiv:2411.04991, Eq. 2.
    """
    return -torch.nn.functional.logsigmoid(batch.chosen - batch.rejected), state
