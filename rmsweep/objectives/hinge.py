"""The hinge objective of ranking support-vector machines."""

import torch

from rmsweep.objectives.pair_batch import PairBatch, State


def hinge(batch: PairBatch, state: State, *, margin: float) -> tuple[torch.Tensor, State]:
    """Return max(0, margin - (chosen - rejected)) per pair, in units of predicted reward.

    Shape: (runs, batch). A pair ordered by more than the margin has no gradient. margin: > 0; it
    fixes the unit. Herbrich et al., 2000; the rank calibration loss of SLiC-HF (arXiv:2305.10425).
    """
    if not 0 < margin < float("inf"):
        raise ValueError(f"margin must be > 0 and finite, got {margin}")
    return torch.relu(margin - (batch.chosen - batch.rejected)), state
