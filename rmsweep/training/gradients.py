"""Gradients and accuracy by representation distance, of a trained MLP on its training pairs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rmsweep.objectives.pair_batch import PairBatch

N_DECILES = 10
N_PAIRS = 500  # kept of a run, for a scatter plot


def gradients_by_distance(batch: PairBatch, objective: Callable[..., Any]) -> dict[str, np.ndarray]:
    """Return what a row keeps for the figures of arXiv:2512.06343.

    batch: the training pairs of one run, (1, pairs), 10 or more. Distance: that of the penultimate
    features, ||h_chosen - h_rejected||. decile_*: (10,) means over tenths of the pairs, nearest
    first, of distance, gradient norm, and agreement with the annotation (a predicted tie is 1/2).
    pair_*: distance, gradient norm and prediction error 1 - sigmoid(chosen - rejected) of at most
    500 pairs, evenly spaced in the order given.
    """
    apart = (batch.features_chosen.float() - batch.features_rejected.float()).detach()
    distance = torch.linalg.vector_norm(apart, dim=-1)[0].cpu().numpy()
    norm = gradient_norms(batch, objective)[0].cpu().numpy()
    difference = (batch.chosen - batch.rejected).detach()[0]
    error = torch.sigmoid(-difference).cpu().numpy()
    agrees = 0.5 + 0.5 * np.sign(difference.cpu().numpy())
    deciles = np.array_split(np.argsort(distance, kind="stable"), N_DECILES)
    kept = np.linspace(0, len(distance) - 1, min(N_PAIRS, len(distance))).astype(int)
    return {
        "decile_distance": np.array([distance[pairs].mean() for pairs in deciles]),
        "decile_gradient_norm": np.array([norm[pairs].mean() for pairs in deciles]),
        "decile_accuracy": np.array([agrees[pairs].mean() for pairs in deciles]),
        "pair_distance": distance[kept],
        "pair_gradient_norm": norm[kept],
        "pair_error": error[kept],
    }


def gradient_norms(batch: PairBatch, objective: Callable[..., Any]) -> torch.Tensor:
    """Return the norm of each pair's gradient by the last layer's weights: (runs, batch).

    The layer is linear, so the gradient is the features weighted by the derivatives by the rewards;
    for Bradley-Terry (1 - sigmoid(margin)) ||h_chosen - h_rejected||. NormBT's mean distance is
    here that of the batch.
    """
    rewards = [r.detach().requires_grad_(True) for r in (batch.chosen, batch.rejected)]
    features = [h.detach() for h in (batch.features_chosen, batch.features_rejected)]
    seen = batch._replace(chosen=rewards[0], rejected=rewards[1])
    seen = seen._replace(features_chosen=features[0], features_rejected=features[1])
    losses, _ = objective(seen, {})
    by_chosen, by_rejected = torch.autograd.grad(losses.sum(), rewards)
    gradient = by_chosen[..., None] * features[0] + by_rejected[..., None] * features[1]
    return torch.linalg.vector_norm(gradient, dim=-1)
