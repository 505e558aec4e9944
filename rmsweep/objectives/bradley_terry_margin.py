"""Bradley-Terry with a margin that is the same for every pair."""

import torch
from torch.nn.functional import logsigmoid

from rmsweep.objectives.pair_batch import PairBatch, State


def bradley_terry_margin(
    batch: PairBatch, state: State, *, margin: float
) -> tuple[torch.Tensor, State]:
    """Return -log sigmoid(chosen - rejected - margin) per pair in nats: (runs, batch).

    margin: >= 0, in units of predicted reward (log-odds); 0 is Bradley-Terry.
    Touvron et al., 2023 (arXiv:2307.09288, Eq. 2), with one margin for all pairs.
    """
    if not 0 <= margin < float("inf"):
        raise ValueError(f"margin must be >= 0 and finite (0 = Bradley-Terry), got {margin}")
    return -logsigmoid(batch.chosen - batch.rejected - margin), state
