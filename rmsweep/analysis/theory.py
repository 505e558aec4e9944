"""What arXiv:2411.04991 (RBT) proves about annotation, order and convergence, as numbers.

Example 1, the bounds of Proposition 9 and the rate of Theorem 20 are the paper's; Proposition 10
and Theorem 11 are proved here for more than the paper asks. What is derived or assumed here says so
(docs/papers/theory-figures.md has the list). Rewards are in the annotator's unit (beta times margin
over reward_scale is a logit) unless said otherwise; `xi` is the probability of the right label as a
function of |margin|.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import scipy
from scipy import fft, special

Xi = Callable[[np.ndarray], np.ndarray]
Cdf = Callable[[np.ndarray], np.ndarray]

_ROOT2, _ROOT3 = np.sqrt(2), np.sqrt(3)


def _laplace_cdf(score: np.ndarray) -> np.ndarray:
    """Return the probability of a score below, for a Laplace variable of variance 1."""
    half = 0.5 * np.exp(-_ROOT2 * np.abs(score))
    return np.where(score > 0, 1 - half, half)


FAMILIES: Mapping[str, Cdf] = MappingProxyType(
    {
        "Gaussian": special.ndtr,
        "Laplace": _laplace_cdf,
        "logistic": lambda score: special.expit(score * (np.pi / _ROOT3)),
        "uniform": lambda score: np.clip(0.5 + score / (2 * _ROOT3), 0, 1),
        "Student t, 5 df": lambda score: special.stdtr(5, score / np.sqrt(0.6)),
    }
)  # cumulative distributions of location-scale families: symmetric, unimodal, mean 0, variance 1


def gaussian_quality(xi: Xi, sigma: float) -> float:
    """Return the mean annotation quality of two responses whose scores are N(mu, sigma^2).

    It is E xi(sqrt(2) sigma |Z|), Example 1 of RBT. sigma >= 0 is the standard deviation of one
    response's score, so that the margin has variance 2 sigma^2. The published values .6749, .7251,
    .7781 and .8428 at beta^2 sigma^2 = 1, 2, 4 and 10 come out with a margin of variance sigma^2:
    they are gaussian_quality(sigmoid, sqrt(1/2)) and so on. Probit xi has the closed form 1/2 +
    arctan(sqrt(2) beta sigma) / pi. Quadrature over quantiles; 1/2 at sigma = 0.
    """
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma must be >= 0 and finite, got {sigma}")

    def at_quantile(u: float) -> float:
        return float(xi(np.asarray(_ROOT2 * sigma * special.ndtri((1 + u) / 2))))

    return scipy.integrate.quad(at_quantile, 0, 1, limit=200)[0]  # loaded here: no run needs it


def gaussian_quality_density(quality: np.ndarray, beta: float, sigma: float) -> np.ndarray:
    """Return the density of sigmoid(beta |r1 - r2|) over pairs whose scores are N(mu, sigma^2).

    Change of variables from the folded normal: 2 phi(logit(q) / s) / (s q (1 - q)) with
    s = sqrt(2) beta sigma > 0. quality: (n,); 0 outside [1/2, 1). RBT, Example 1.
    """
    spread = np.sqrt(2) * beta * sigma
    if not 0 < spread < np.inf:
        raise ValueError(f"beta * sigma must be > 0 and finite, got {beta * sigma}")
    quality = np.asarray(quality, dtype=float)
    inside = (quality >= 0.5) & (quality < 1)
    q = np.where(inside, quality, 0.5)
    normal = np.exp(-((special.logit(q) / spread) ** 2) / 2) / np.sqrt(2 * np.pi)
    density = 2 * normal / (spread * q * (1 - q))
    return np.where(inside, density, 0.0)


def cell_masses(
    locations: np.ndarray, scales: np.ndarray, family: Cdf, edges: np.ndarray
) -> np.ndarray:
    """Return each prompt's score distribution on a grid: (prompts, cells), rows sum to 1.

    Prompt x has scores locations[x] + scales[x] * e with e of `family` (one of FAMILIES); both
    (prompts,), scales > 0. edges: (cells + 1,) evenly spaced. Mass beyond the grid is put in
    proportion onto the cells; AssertionError above 1 % of it.
    """
    at = (edges - np.reshape(locations, (-1, 1))) / np.reshape(scales, (-1, 1))
    masses = np.diff(family(at), axis=1)
    inside = masses.sum(axis=1, keepdims=True)
    assert (inside > 0.99).all(), "the grid is too narrow for the scores"
    return masses / inside


def same_and_cross(masses: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the means of value(|r1 - r2|) for responses to one prompt, and to two random prompts.

    masses: (prompts, cells), each row the distribution of a prompt's scores on an even grid;
    values: (..., cells) at the distances 0, 1, 2, ... cells. Returns (2, ...), same and cross. The
    draws are independent (two responses may coincide, and so may two prompts), which makes the
    inequality exact for every population:

    For values that are concave and nondecreasing, same <= cross, whatever the distributions.
    Proof: bounded, c - value(|t|) with c the limit is even, convex and falling to 0 on t >= 0,
    hence a positive definite function (Polya), so for scores X, Y of two prompts
    2 E value|X - Y| >= E value|X - X'| + E value|Y - Y'|; average over prompts. Unbounded value
    is a limit of min(value, c). value = |.| is Proposition 10 of RBT (there it is the energy
    distance's inequality), value = xi Theorem 11, which RBT states for symmetric unimodal
    location-scale families. The annotator's sigmoid and probit are concave for |margin| >= 0; for
    an xi that is not, the inequality can fail.
    """
    n_cells = masses.shape[1]
    assert values.shape[-1] == n_cells, (masses.shape, values.shape)
    size = fft.next_fast_len(2 * n_cells - 1, real=True)
    transforms = fft.rfft(masses, size)
    powers = (np.abs(transforms) ** 2).mean(axis=0), np.abs(transforms.mean(axis=0)) ** 2
    counts = fft.irfft(powers, size)[:, :n_cells]  # P(r1 - r2 = k) for k >= 0
    counts[:, 1:] *= 2
    return counts @ values.T


def order_consistency_range(
    agreement: np.ndarray, annotation_error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds, lower and upper, on the agreement with the golden order.

    agreement: share of pairs that the reward model orders as they are labelled (order_consistency).
    annotation_error: share of labels against the golden order. Both in [0, 1], any one shape.
    lower = max(0, c - e), upper = min(1, c + e), on the same pairs exactly and whatever the noise:
    wrong order means disagreement with the label or a wrong label. For annotators right more often
    than not (xi >= 1/2), 2c - 1 <= c - e too, a bound that needs no e.

    Derived here. RBT's Proposition 9 bounds the same from below by conditional_order_bound.
    """
    lower = np.maximum(np.subtract(agreement, annotation_error), 0.0)
    return lower, np.minimum(np.add(agreement, annotation_error), 1.0)


def conditional_order_bound(quality: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
    """Return RBT's Proposition 9 for pairs of one margin: (1 - epsilon) xi^2 + epsilon (1 - xi)^2.

    The least probability that a model orders such a pair as the oracle does. quality: xi, the
    probability of the right label, in [1/2, 1]. epsilon: the most probable disagreement of the
    model's order with the label, in [0, 1]. Any shapes that broadcast.

    Whatever the model, xi - epsilon is a lower bound, too, and for epsilon <= xi / 2 the higher
    one: the difference is (1 - xi)(xi - 2 epsilon). For larger epsilon the published bound can fail
    where the model's mistakes depend on the label. (Derived here.)
    """
    return (1 - epsilon) * np.square(quality) + epsilon * np.square(np.subtract(1, quality))


def sufficient_quality(epsilon: np.ndarray) -> np.ndarray:
    """Return the quality from which on conditional_order_bound is at least 1 - 4 epsilon.

    epsilon + sqrt(1 - 5 epsilon + epsilon^2) below 3/16, and 1/2, the least quality there is, from
    there on. Assumed to be the threshold of Proposition 9's kappa, which is not known: it is the
    lowest one with which overall_order_bound follows from the conditional bound.
    """
    root = np.sqrt(np.maximum(1 - 5 * epsilon + np.square(epsilon), 0))
    return np.where(np.less(epsilon, 3 / 16), epsilon + root, 0.5)


def overall_order_bound(epsilon: np.ndarray, kappa: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Return RBT's Proposition 9 for all pairs: 1 - 4 epsilon - kappa - delta.

    The least probability that a model orders a pair as the oracle does. delta: the share of pairs
    whose conditional disagreement is above epsilon. kappa: the share whose quality is below
    sufficient_quality(epsilon). Negative where it tells nothing.
    """
    return 1 - 4 * epsilon - kappa - delta


def best_overall_bound(agreement: np.ndarray, annotation_error: np.ndarray) -> np.ndarray:
    """Return the highest overall_order_bound that a run's two rates allow, or 0: (runs,).

    agreement, annotation_error: (runs,), c and e as in order_consistency_range. Markov's inequality
    gives delta <= (1 - c) / epsilon and kappa <= e / (1 - sufficient_quality). From epsilon = 3/16
    on no quality is below 1/2, the sufficient one, so kappa = 0 there, whatever e. The best epsilon
    in (0, 1/4) is taken. Derived here.
    """
    epsilon = np.arange(1, 400) / 1600  # 3/16 is one of them, exactly
    delta = np.subtract(1, agreement)[:, None] / epsilon
    kappa = np.reshape(annotation_error, (-1, 1)) / (1 - sufficient_quality(epsilon))
    kappa[:, epsilon >= 3 / 16] = 0
    bounds = overall_order_bound(epsilon, np.minimum(kappa, 1), np.minimum(delta, 1))
    return np.maximum(bounds.max(axis=1), 0)


def weighted_order_consistency(agreement: np.ndarray, annotation_error: np.ndarray) -> np.ndarray:
    """Return order consistency with pairs weighted by 2 xi(|margin|) - 1: (c - e) / (1 - 2e).

    In expectation over labels c = E[a xi + (1 - a)(1 - xi)] with a = 1 where the order is right,
    and e = E[1 - xi], so c - e = E[a (2 xi - 1)] and 1 - 2e = E[2 xi - 1]. Where the error does not
    depend on the margin it is plain order consistency. Sampling can carry it beyond [0, 1]. nan
    for e >= 1/2, which tells nothing. Derived here.
    """
    agreement, error = np.broadcast_arrays(np.asarray(agreement, float), annotation_error)
    known = 1 - 2 * error
    return np.divide(agreement - error, known, out=np.full(known.shape, np.nan), where=known > 0)


def classification_reward(rewards: np.ndarray, opponents: np.ndarray) -> np.ndarray:
    """Return the logit of winning against a random opponent: logit E_j sigmoid(r - r_j).

    What CLF learns in the limit of data: the log-odds of `chosen` for a response of reward r whose
    opponents have rewards r_j. rewards: (n,). opponents: (m,), equally likely. Returns (n,).

    RBT's Proposition 24 ties it to r; how exactly is not known, so what is claimed is what is
    proved here: the logit minus r falls in r from log E exp(-r_j) to -log E exp(r_j), its limits
    at -inf and inf (`offset_limits`), so s >= r - log E exp(r_j) by Jensen's inequality, and s
    rises in r with slope E[sigmoid'] / (p (1 - p)) in (0, 1]: same order, shrunk margins.
    """
    margins = np.reshape(rewards, (-1, 1)) - np.reshape(opponents, (1, -1))
    wins = special.logsumexp(special.log_expit(margins), axis=1)
    return wins - special.logsumexp(special.log_expit(-margins), axis=1)


def offset_limits(opponents: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest that classification_reward can differ from the reward.

    They are -log E exp(r_j) and log E exp(-r_j), over opponents (m,) of equal weight; for opponents
    N(m, tau^2) they are -m - tau^2 / 2 and -m + tau^2 / 2.
    """
    n = np.log(np.size(opponents))
    low, high = n - special.logsumexp(opponents), special.logsumexp(np.negative(opponents)) - n
    return float(low), float(high)


def convergence_rate(n_pairs: np.ndarray, smoothness: float, alpha: float, dim: int) -> np.ndarray:
    """Return the rate phi_n of RBT's Theorem 20, which bounds the truncated KL risk.

    phi_n = 2^(((1 + alpha) b + (3 + alpha) d) / ((1 + alpha) b + d)) n^-((1 + alpha) b / ((1 +
    alpha) b + d)), with b the Hoelder smoothness of the reward, d the dimension of one response's
    embedding (of one, not of the two of a pair) and alpha >= 0 the small-value bound (how rarely
    preferences are near 0 or 1). Further factors of the bound are not in it. It is an upper bound:
    smooth rewards can converge faster.
    """
    smooth = (1 + alpha) * smoothness
    constant = 2 ** ((smooth + (3 + alpha) * dim) / (smooth + dim))
    return constant * np.asarray(n_pairs, dtype=float) ** (-smooth / (smooth + dim))
