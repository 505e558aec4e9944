"""NormBT: Bradley-Terry with each pair weighted by its inverse representation distance."""

import torch

from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.pair_batch import PairBatch


def normbt(batch: PairBatch, state: dict, *, decay: float, epsilon: float):
    """w * BT per pair in nats: (runs, batch), w = m / max(||h_chosen - h_rejected||, epsilon).

    h are the penultimate features; w carries no gradient. m is the mean distance of a batch, one
    per run: the first batch's, then an exponential moving average with `decay`, updated before
    weighting. It scales with the features, so w does not. The weighting is arXiv:2512.06343's; the
    average, its decay and epsilon are assumed, since the paper leaves them open.
    """
    with torch.no_grad():
        difference = batch.features_chosen.float() - batch.features_rejected.float()
        distance = torch.linalg.vector_norm(difference, dim=-1)
        mean = distance.mean(dim=1)
        scale = decay * state["scale"] + (1 - decay) * mean if "scale" in state else mean
        weight = scale[:, None] / distance.clamp_min(epsilon)
    loss, _ = bradley_terry(batch, {})
    return weight * loss, {**state, "scale": scale}
