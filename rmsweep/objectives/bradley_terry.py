"""The Bradley-Terry objective."""

import torch

from rmsweep.objectives.pair_batch import PairBatch, State


def bradley_terry(batch: PairBatch, state: State) -> tuple[torch.Tensor, State]:
    """Negative log-likelihood per pair in nats, -log sigmoid(chosen - rejected): (runs, batch).

    Bradley & Terry, 1952; arXiv:2411.04991, Eq. 2.
    """
    return -torch.nn.functional.logsigmoid(batch.chosen - batch.rejected), state
