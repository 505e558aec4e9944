"""The classification objective: each response on its own."""

import torch
from torch.nn.functional import logsigmoid

from rmsweep.objectives.pair_batch import PairBatch, State


def classification(batch: PairBatch, state: State) -> tuple[torch.Tensor, State]:
    """Return the binary cross-entropy of "was chosen", summed over a pair's two responses, in nats.

    -log sigmoid(chosen) - log sigmoid(-rejected): (runs, batch). The logit serves as the reward.
    CLF of arXiv:2411.04991, Section 3.
    """
    return -logsigmoid(batch.chosen) - logsigmoid(-batch.rejected), state
