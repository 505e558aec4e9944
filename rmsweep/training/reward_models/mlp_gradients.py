"""Gradients and accuracy by representation distance, of a trained MLP on its training pairs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rmsweep.objectives.pair_batch import PairBatch
from rmsweep.results.schema import N_ERROR_BINS
from rmsweep.training.reward_models import mlp_network

N_DECILES = 10
N_PAIRS = 500  # kept of a run, for scatter plots, and to compute full gradients of
N_DISTANCE_BINS = 5  # of equal numbers of pairs within a bin of the error


def gradients_by_distance(
    batch: PairBatch,
    objective: Callable[..., Any],
    parameters: list[torch.Tensor],
    norm: str | None = None,
    margin: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return what a row keeps for the figures of arXiv:2512.06343.

    batch: the training pairs of one run, (1, pairs), 10 or more. parameters, norm: of its MLP.
    margin: (pairs,) golden reward of the chosen minus the rejected response, None where people
    labelled.

    Distance is that of the penultimate features, ||h_chosen - h_rejected||, and prediction error is
    1 - sigmoid(chosen - rejected). The gradient is by the last layer's weights, the full one by all
    parameters. decile_*: of `means_by_decile`, over all pairs. pair_*: distance, error and norms of
    at most 500 pairs, evenly spaced in the order given, which the seed of the split makes random.
    error_bin_*: of `means_by_error`, over the same pairs.

    *_correlation: Pearson's of distance with the norm of a full gradient, None where either is
    constant: of the loss, and of the predicted margin, which for Bradley-Terry is that of the loss
    over the error. Far pairs have small errors once a model is trained, so the two differ.
    """
    apart = (batch.features_chosen.float() - batch.features_rejected.float()).detach()
    distance = torch.linalg.vector_norm(apart, dim=-1)[0].cpu().numpy()
    by_rewards = reward_derivatives(batch, objective)
    head_norm = gradient_norms(batch, by_rewards)[0].cpu().numpy()
    difference = (batch.chosen - batch.rejected).detach()[0]
    error = torch.sigmoid(-difference).cpu().numpy()
    by_decile = means_by_decile(distance, head_norm, difference.cpu().numpy(), margin)
    kept = np.linspace(0, len(distance) - 1, min(N_PAIRS, len(distance))).astype(int)
    x = _embeddings(batch, kept)
    of_loss = full_gradient_norms(parameters, x, by_rewards[0, kept], norm)
    signs = x.new_tensor([[1, -1]]).expand(len(x), 2)
    of_margin = full_gradient_norms(parameters, x, signs, norm)
    of_pairs = {
        "distance": distance[kept],
        "gradient_norm": head_norm[kept],
        "full_gradient_norm": of_loss,
    }
    binned = means_by_error(error[kept], of_pairs)
    return {
        **{f"decile_{name}": means for name, means in by_decile.items()},
        "pair_error": error[kept],
        **{f"pair_{name}": values for name, values in of_pairs.items()},
        **{f"error_bin_{name}": means for name, means in binned.items()},
        "gradient_correlation": correlation(distance[kept], of_loss),
        "margin_gradient_correlation": correlation(distance[kept], of_margin),
    }


def _embeddings(batch: PairBatch, pairs: np.ndarray) -> torch.Tensor:
    """Return the embeddings of some pairs of a batch of one run: (pairs, 2, D), chosen first."""
    assert batch.embeddings_chosen is not None and batch.embeddings_rejected is not None
    return torch.stack([batch.embeddings_chosen[0, pairs], batch.embeddings_rejected[0, pairs]], 1)


def reward_derivatives(batch: PairBatch, objective: Callable[..., Any]) -> torch.Tensor:
    """Return the derivatives of each pair's loss by its two rewards: (runs, batch, 2).

    NormBT's mean distance is here that of the batch.
    """
    rewards = [r.detach().requires_grad_(True) for r in (batch.chosen, batch.rejected)]
    features = [h.detach() for h in (batch.features_chosen, batch.features_rejected)]
    seen = batch._replace(chosen=rewards[0], rejected=rewards[1])
    seen = seen._replace(features_chosen=features[0], features_rejected=features[1])
    losses, _ = objective(seen, {})
    return torch.stack(torch.autograd.grad(losses.sum(), rewards), dim=-1)


def gradient_norms(batch: PairBatch, by_rewards: torch.Tensor) -> torch.Tensor:
    """Return the norm of each pair's gradient by the last layer's weights: (runs, batch).

    by_rewards: of `reward_derivatives`. The layer is linear, so the gradient is the features
    weighted by them; for Bradley-Terry (1 - sigmoid(margin)) ||h_chosen - h_rejected||.
    """
    gradient = by_rewards[..., :1] * batch.features_chosen.detach()
    gradient = gradient + by_rewards[..., 1:] * batch.features_rejected.detach()
    return torch.linalg.vector_norm(gradient, dim=-1)


def full_gradient_norms(
    parameters: list[torch.Tensor],
    x: torch.Tensor,
    by_rewards: torch.Tensor,
    norm: str | None = None,
) -> np.ndarray:
    """Return the norm of each pair's gradient by all weights and biases of an MLP: (pairs,).

    parameters: of one run. x: (pairs, 2, D), chosen first. by_rewards: (pairs, 2), the derivatives
    by the two rewards of what the gradient is of: the loss, or some other function. In double
    precision, since the terms of two alike responses cancel, whatever precision the run has. Only
    the last layer's weights times by_rewards are single.

    The gradient by a layer's weights is the sum of u v' over the two responses, with u what the
    layer reads and v the derivatives by its outputs, and the gradient by its biases the sum of v.
    So its square is the sum of (u_i u_j + 1) v_i v_j over both responses i and j, by which no
    pair's gradient, as large as the MLP, is ever held.
    """
    hidden = [p[0].detach().double() for p in parameters[:-2]]
    head = [p.detach() for p in parameters[-2:]]
    read = [x.double()]
    for weight, bias in zip(hidden[::2], hidden[1::2], strict=True):
        read.append((read[-1] @ weight + bias).relu())
    with torch.enable_grad():
        last = read[-1].flatten(0, 1)[None].requires_grad_(True)
        rewards, features = mlp_network.forward(head, last, norm)
        v = by_rewards.double()
        (by_outputs,) = torch.autograd.grad((rewards.view(v.shape) * v).sum(), last)
    square = _squared_norms(features.detach().view(*v.shape, -1), v[..., None])
    for layer in reversed(range(len(hidden) // 2)):
        v = by_outputs.view(read[layer + 1].shape) * (read[layer + 1] > 0)
        square += _squared_norms(read[layer], v)
        by_outputs = v @ hidden[2 * layer].T
    return square.clamp_min(0).sqrt().cpu().numpy()


def _squared_norms(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return each pair's squared gradient by a layer; u: (pairs, 2, in), v: (pairs, 2, out)."""
    return ((u @ u.mT + 1) * (v @ v.mT)).sum(dim=(1, 2))


def means_by_decile(
    distance: np.ndarray,
    gradient_norm: np.ndarray,
    difference: np.ndarray,
    margin: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Return means over tenths of the pairs, nearest first: (10,) of each value, by name.

    distance, gradient_norm, difference, margin: (pairs,); difference is the predicted reward of the
    chosen minus the rejected response, and margin the golden one, None where people labelled. The
    values: distance, gradient norm, agreement with the annotation (a predicted tie is 1/2), and,
    where there are golden rewards, annotation error (a golden tie is 1/2) and size of the margin,
    in golden reward.
    """
    accuracy = 0.5 + 0.5 * np.sign(difference)
    values = {"distance": distance, "gradient_norm": gradient_norm, "accuracy": accuracy}
    if margin is not None:
        values |= {"annotation_error": 0.5 - 0.5 * np.sign(margin), "margin": np.abs(margin)}
    deciles = np.array_split(np.argsort(distance, kind="stable"), N_DECILES)
    return {
        name: np.array([of[decile].mean() for decile in deciles]) for name, of in values.items()
    }


def means_by_error(error: np.ndarray, of_pairs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return means over the pairs of like prediction error, by distance: (25,) of each value.

    error: (pairs,) in (0, 1). of_pairs: values (pairs,), `distance` among them. The fifths of (0,
    1) are the bins of the error; within each, its pairs are parted into fifths, nearest first. nan
    for a fifth without pairs.
    """
    error_bins = np.minimum((error * N_ERROR_BINS).astype(int), N_ERROR_BINS - 1)
    order = np.argsort(of_pairs["distance"], kind="stable")
    cells = [
        cell
        for i in range(N_ERROR_BINS)
        for cell in np.array_split(order[error_bins[order] == i], N_DISTANCE_BINS)
    ]
    return {
        name: np.array([values[cell].mean() if len(cell) else np.nan for cell in cells])
        for name, values in of_pairs.items()
    }


def correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return Pearson's correlation of two arrays (pairs,), None where either is constant."""
    x, y = x.astype(float), y.astype(float)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
