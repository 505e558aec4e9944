"""Bradley-Terry with a margin from the golden rewards of each pair."""

import torch
from torch.nn.functional import logsigmoid

from rmsweep.objectives.pair_batch import PairBatch, State, needs_margin


@needs_margin
def bradley_terry_golden_margin(
    batch: PairBatch, state: State, *, factor: float
) -> tuple[torch.Tensor, State]:
    """Return -log sigmoid(chosen - rejected - factor * |golden margin|) per pair, in nats.

    Shape: (runs, batch). factor: >= 0, log-odds per reward_scale of golden reward; 0 is
    Bradley-Terry. The absolute value, since it stands for an annotator's rating of how far apart
    two responses are: which one is better is still the label's to say, errors included. Only for
    simulated annotations. Touvron et al., 2023 (arXiv:2307.09288, Eq. 2, whose margin is such a
    rating).
    """
    if not 0 <= factor < float("inf"):
        raise ValueError(f"factor must be >= 0 and finite (0 = Bradley-Terry), got {factor}")
    assert batch.margin is not None  # rules.py refuses runs without golden rewards
    return -logsigmoid(batch.chosen - batch.rejected - factor * batch.margin.abs()), state
