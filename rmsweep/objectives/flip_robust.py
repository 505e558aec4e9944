"""Bradley-Terry that is unbiased when labels are flipped at a known rate."""

import torch

from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.pair_batch import PairBatch, State


def flip_robust(batch: PairBatch, state: State, *, flip_rate: float) -> tuple[torch.Tensor, State]:
    """Return ((1 - flip_rate) BT - flip_rate BT of the swapped pair) / (1 - 2 flip_rate), in nats.

    Shape: (runs, batch). This is BT - flip_rate / (1 - 2 flip_rate) * (chosen - rejected). Its mean
    over labels flipped with probability flip_rate, whatever the pair, is the BT of the true label;
    one pair's value may be negative and has no lower bound. flip_rate: in [0, 0.5); 0 is
    Bradley-Terry. Natarajan et al., NeurIPS 2013, Lemma 1; Chowdhury et al., 2024
    (arXiv:2403.00409).
    """
    if not 0 <= flip_rate < 0.5:
        raise ValueError(f"flip_rate must be in [0, 0.5) (0 = Bradley-Terry), got {flip_rate}")
    loss, _ = bradley_terry(batch, {})
    return loss - flip_rate / (1 - 2 * flip_rate) * (batch.chosen - batch.rejected), state
