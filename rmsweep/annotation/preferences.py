"""Simulated annotators: preference labels of pairs from golden rewards."""

import numpy as np
import scipy  # which loads scipy.special where it is used; the names of LINKS need none of it

LINKS = {"logistic": "expit", "probit": "ndtr"}  # the functions of scipy.special


def preference_probability(
    golden_margin: np.ndarray, beta: float, link: str = "logistic"
) -> np.ndarray:
    """Return the probability that an annotator prefers the first response: link(beta * margin).

    golden_margin: (pairs,) golden reward of first minus second response, divided by the dataset's
    reward_scale. beta: >= 0; 0 is a coin flip, inf never errs. link: logistic (Bradley-Terry) or
    probit (Thurstone; arXiv:2411.04991, Prop. 3). Returns (pairs,) in [0, 1]; a tie gives 1/2 for
    every beta.
    """
    if not beta >= 0:  # nan fails too
        raise ValueError(f"beta must be >= 0 (0 = coin flip, inf = noise-free), got {beta}")
    logits = np.zeros(np.shape(golden_margin))  # inf * 0 is nan, so ties are left at 0
    np.multiply(beta, golden_margin, out=logits, where=np.not_equal(golden_margin, 0))
    return getattr(scipy.special, LINKS[link])(logits)


def prefers_first(probability: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw labels, (pairs,) bool; with the same uniforms a larger beta only mends errors."""
    return uniforms < probability


def error_rate(golden_margin: np.ndarray, prefers_first: np.ndarray) -> float:
    """Return the share of pairs labelled against the golden reward; a golden tie counts 1/2."""
    return float(np.where(golden_margin == 0, 0.5, prefers_first != (golden_margin > 0)).mean())
