"""Bradley-Terry with smoothed labels, also called conservative Bradley-Terry."""

import torch

from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.pair_batch import PairBatch, State


def label_smoothing(
    batch: PairBatch, state: State, *, smoothing: float
) -> tuple[torch.Tensor, State]:
    """Return (1 - smoothing) * BT + smoothing * BT of the swapped pair, in nats: (runs, batch).

    This is BT + smoothing * (chosen - rejected). Smallest where chosen - rejected is the log-odds
    of 1 - smoothing, so that no pair asks for more. smoothing: in [0, 0.5); 0 is Bradley-Terry.
    Mitchell, 2023 (conservative DPO); Szegedy et al., 2016 (arXiv:1512.00567, Section 7).
    """
    if not 0 <= smoothing < 0.5:
        raise ValueError(f"smoothing must be in [0, 0.5) (0 = Bradley-Terry), got {smoothing}")
    loss, _ = bradley_terry(batch, {})
    return loss + smoothing * (batch.chosen - batch.rejected), state
