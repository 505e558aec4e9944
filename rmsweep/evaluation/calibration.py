"""Calibration of predicted preferences: does sigmoid(margin / temperature) mean a probability?"""

from typing import Any

import numpy as np
import scipy  # which loads scipy.optimize where it is used: most runs need none of it

N_BINS = 10
SHARPEST = 100.0  # of 1 / temperature, in units of 1 / rms margin


def temperature(margins: np.ndarray) -> float:
    """Return the t in (0, inf] that minimises mean log(1 + exp(-margin / t)).

    margins: (pairs,) predicted reward of the response labelled chosen minus that of the other, of
    pairs not trained on. inf where the order is no better than chance. Where every margin is
    positive the minimum is at 0; the least that is given is a hundredth of the margins' root mean
    square. nan without pairs or where all margins are 0. Guo et al. 2017, section 4.2.
    """
    scale = float(np.sqrt(np.mean(np.square(margins, dtype=float)))) if margins.size else 0.0
    if not scale > 0:
        return float("nan")
    unit = margins / scale

    def risk(sharpness: float) -> float:
        return float(np.logaddexp(0, -sharpness * unit).mean())

    if unit.mean() <= 0:  # the slope of the convex risk at 0 is -mean / 2
        return float("inf")
    minimum = scipy.optimize.minimize_scalar(
        risk, bounds=(0, SHARPEST), method="bounded", options={"xatol": 1e-6}
    )
    return scale / float(minimum.x)


def calibration_metrics(margins: np.ndarray, t: float) -> dict[str, Any]:
    """Return how calibrated sigmoid(margin / t) is, as the probability that chosen is preferred.

    margins: (pairs,) as above, of the pairs to judge. nll: mean -log p, in nats. brier: mean
    (1 - p)^2. ece: expected calibration error; the pairs are binned by their confidence
    max(p, 1 - p) in N_BINS bins of equal width in [1/2, 1], and |accuracy - mean confidence| is
    averaged with the bins' shares (Guo et al. 2017, eq. 3); a tie is half right here.
    reliability_*: (N_BINS,) mean confidence and accuracy, nan in an empty bin, and pairs by bin.
    """
    logits = margins.astype(float) / t
    p = scipy.special.expit(logits)
    confidence = np.maximum(p, 1 - p)
    right = 0.5 + 0.5 * np.sign(margins)
    bins = np.minimum(((confidence - 0.5) * 2 * N_BINS).astype(int), N_BINS - 1)
    n = np.bincount(bins, minlength=N_BINS)
    means = [
        np.divide(np.bincount(bins, v, N_BINS), n, out=np.full(N_BINS, np.nan), where=n > 0)
        for v in (confidence, right)
    ]
    return {
        "nll": float(np.logaddexp(0, -logits).mean()),
        "brier": float(np.square(1 - p).mean()),
        "ece": float(np.nansum(np.abs(means[1] - means[0]) * n) / n.sum()),
        "temperature": t,
        "reliability_confidence": means[0],
        "reliability_accuracy": means[1],
        "reliability_pairs": n,
    }
