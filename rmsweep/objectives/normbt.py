"""NormBT: Bradley-Terry with each pair weighted by its inverse representation distance."""

import torch

from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.pair_batch import PairBatch, State

SCALES = ("ema", "batch", "constant")
DISTANCES = ("features", "embedding")


def normbt(
    batch: PairBatch,
    state: State,
    *,
    decay: float,
    epsilon: float,
    scale: str,
    power: float,
    clip: float,
    distance: str,
) -> tuple[torch.Tensor, State]:
    """Return w * BT per pair in nats, w = min((m / max(d, epsilon)) ** power, clip).

    Shape: (runs, batch). d = ||h_chosen - h_rejected||: `distance` takes for h the penultimate
    features or the cached embedding. w carries no gradient; it is 1 where d = 0, since such a pair
    moves no last layer whatever its weight (a large one would drown the others in rounding), and
    state counts them. m is the mean d, one per run, so that w does not change when h is scaled: the
    batch's own (scale=batch), the first batch's (constant), or an exponential moving average with
    `decay` that begins with the first batch's and is updated before weighting (ema).
    power: >= 0; 0 is Bradley-Terry. clip: > 0, the largest w; inf for none. epsilon: > 0, the
    smallest d, in units of h. The weighting is arXiv:2512.06343's, at the last layer's output; m,
    epsilon, power and clip are assumed, since the paper leaves them open.
    """
    _check(decay, epsilon, scale, power, clip, distance)
    with torch.no_grad():
        h = (batch.features_chosen, batch.features_rejected)
        if distance == "embedding":
            assert batch.embeddings_chosen is not None and batch.embeddings_rejected is not None
            h = (batch.embeddings_chosen, batch.embeddings_rejected)
        d = torch.linalg.vector_norm(h[0].float() - h[1].float(), dim=-1)
        m = d.mean(dim=1)
        if "scale" in state and scale != "batch":
            m = decay * state["scale"] + (1 - decay) * m if scale == "ema" else state["scale"]
        weight = (m[:, None] / d.clamp_min(epsilon)).pow(power).clamp_max(clip)
        weight = weight.masked_fill(d == 0, 1.0)
        n_zero = state.get("n_zero_distances", 0) + (d == 0).sum(dim=1)
    loss, _ = bradley_terry(batch, {})
    return weight * loss, {**state, "scale": m, "n_zero_distances": n_zero}


def _check(
    decay: float, epsilon: float, scale: str, power: float, clip: float, distance: str
) -> None:
    for name, value, rule, holds in (
        ("decay", decay, "in [0, 1)", 0 <= decay < 1),
        ("epsilon", epsilon, "> 0", epsilon > 0),
        ("scale", scale, f"one of {', '.join(SCALES)}", scale in SCALES),
        ("power", power, ">= 0 and finite (0 = Bradley-Terry)", 0 <= power < float("inf")),
        ("clip", clip, "> 0 (inf = no clipping)", clip > 0),
        ("distance", distance, f"one of {', '.join(DISTANCES)}", distance in DISTANCES),
    ):
        if not holds:
            raise ValueError(f"{name} must be {rule}, got {value}")
