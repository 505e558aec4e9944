"""NormBT: a pairwise loss with each pair weighted by its inverse representation distance."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from rmsweep.objectives.pair_batch import PairBatch, State

SCALES = ("ema", "batch", "none")
DISTANCES = ("features", "embedding", "cosine", "mahalanobis")
RIDGE = 1e-3  # of the mean variance, added to a covariance so that it can be inverted


def normbt(
    batch: PairBatch,
    state: State,
    *,
    base: Callable[..., Any],
    decay: float,
    epsilon: float,
    scale: str,
    power: float,
    clip: float,
    distance: str,
) -> tuple[torch.Tensor, State]:
    """Return w * base per pair in nats, w = min((m / (d + epsilon)) ** power, clip).

    Shape: (runs, batch). base: the pairwise loss that is weighted, Bradley-Terry in the paper. d:
    the distance of the pair. w carries no gradient; it is 1 where d = 0, since such a pair moves no
    last layer whatever its weight (a large one would drown the others in rounding), and state
    counts these pairs. power: >= 0; 0 is the base. clip: > 0, the largest w; inf for none. epsilon:
    > 0, in units of d.

    m is one per run. `scale` says what it is: ema, the moving average of the batches before this
    one, m <- decay * m + (1 - decay) * (this batch's mean d), which begins with the first batch's;
    batch, this batch's mean d; none, 1. With scale=ema, clip=1 the weight is min(1, m / d): each
    pair's update of the last layer is clipped at that of a pair at the mean distance.

    `distance` says what d is: features, ||h_chosen - h_rejected|| of the penultimate features;
    embedding, the same of the cached embeddings; cosine, 1 - cos(h_chosen, h_rejected);
    mahalanobis, sqrt(x' S^-1 x) of x = h_chosen - h_rejected, S the covariance of the batch's
    features plus 0.001 of their mean variance.

    The weight, its moving average and decay = 0.9 are arXiv:2512.06343's. The first m and epsilon
    are assumed. The paper neither clips nor takes a power.
    """
    _check(decay, epsilon, scale, power, clip, distance)
    with torch.no_grad():
        d = _distances(batch, distance)
        mean = d.mean(dim=1)
        before = state.get("scale", mean)
        m = {"ema": before, "batch": mean, "none": torch.ones_like(mean)}[scale]
        weight = (m[:, None] / (d + epsilon)).pow(power).clamp_max(clip)
        weight = weight.masked_fill(d == 0, 1.0)
        n_zero = state.get("n_zero_distances", 0) + (d == 0).sum(dim=1)
        after = decay * before + (1 - decay) * mean
    loss, kept = base(batch, {})
    if kept:
        raise ValueError(f"base must keep no state from batch to batch, got {', '.join(kept)}")
    return weight * loss, {**state, "scale": after, "n_zero_distances": n_zero}


def _distances(batch: PairBatch, kind: str) -> torch.Tensor:
    """Return each pair's distance, (runs, batch), fp32."""
    chosen, rejected = batch.features_chosen, batch.features_rejected
    if kind == "embedding":
        assert batch.embeddings_chosen is not None and batch.embeddings_rejected is not None
        chosen, rejected = batch.embeddings_chosen, batch.embeddings_rejected
    chosen, rejected = chosen.float(), rejected.float()
    if kind == "cosine":
        return (1 - cosine_similarity(chosen, rejected, dim=-1)).clamp_min(0)
    apart = chosen - rejected
    if kind == "mahalanobis":
        apart = _whitened(apart, torch.cat([chosen, rejected], dim=1))
    return torch.linalg.vector_norm(apart, dim=-1)


def _whitened(x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Return x (runs, batch, H) in coordinates in which the features' covariance is the unit."""
    centred = features - features.mean(dim=1, keepdim=True)
    covariance = centred.mT @ centred / features.shape[1]
    variances = covariance.diagonal(dim1=1, dim2=2)
    ridge = (RIDGE * variances.mean(dim=1)).clamp_min(1e-30)  # where all features are equal
    variances += ridge[:, None]  # in place: it is a view
    root = torch.linalg.cholesky(covariance)
    return torch.linalg.solve_triangular(root, x.mT, upper=False).mT


def _check(
    decay: float, epsilon: float, scale: str, power: float, clip: float, distance: str
) -> None:
    for name, value, rule, holds in (
        ("decay", decay, "in [0, 1)", 0 <= decay < 1),
        ("epsilon", epsilon, "> 0", epsilon > 0),
        ("scale", scale, f"one of {', '.join(SCALES)}", scale in SCALES),
        ("power", power, ">= 0 and finite (0 = the base)", 0 <= power < float("inf")),
        ("clip", clip, "> 0 (inf = no clipping)", clip > 0),
        ("distance", distance, f"one of {', '.join(DISTANCES)}", distance in DISTANCES),
    ):
        if not holds:
            raise ValueError(f"{name} must be {rule}, got {value}")
