"""Risks of predicted margins on unseen pairs (Theorem 20 and Corollary 7 of arXiv:2411.04991)."""

import numpy as np
from scipy import special

from rmsweep.config.spec import Annotation

TRUNCATION = 2.0  # B of the KL risk; the least for which the risk bounds the Hellinger distance


def truncated_kl_risk(true_logit: np.ndarray, predicted_logit: np.ndarray) -> np.ndarray:
    """Return terms of R_B, B = TRUNCATION: over both labels sum p0 * min(B, log(p0 / p)), in nats.

    p0 = sigmoid(true_logit), p = sigmoid(predicted_logit). Their mean over pairs is the truncated
    KL risk of RBT's Theorem 20, after Bos & Schmidt-Hieber (2022). Any one shape. At most the KL
    divergence, equal to it where no ratio passes exp(B); 0 where the logits agree. At least
    (sqrt p0 - sqrt p)^2 + (sqrt(1 - p0) - sqrt(1 - p))^2, because min(B, -2 log x) >= 2 (1 - x)
    for B >= 2.
    """
    risk = np.zeros(np.broadcast_shapes(np.shape(true_logit), np.shape(predicted_logit)))
    for sign in (1.0, -1.0):
        true = special.log_expit(np.multiply(sign, true_logit))
        ratio = true - special.log_expit(np.multiply(sign, predicted_logit))
        risk += np.exp(true) * np.minimum(TRUNCATION, ratio)
    return np.maximum(risk, 0.0)  # a rounding error below


def risks_by_prompt(
    predicted: np.ndarray, golden: np.ndarray, annotation: Annotation
) -> np.ndarray:
    """Return each prompt's mean truncated KL risk and |true - predicted margin|: (prompts, 2).

    Theorem 20 and Corollary 7 of arXiv:2411.04991 on unseen same-prompt pairs: a prompt's first and
    second response as cached, its third and fourth, and so on. predicted: (prompts, M). golden:
    (prompts, M) in units of reward_scale; a true margin is beta times theirs, the logit of the
    annotator's preference. nan where that is no finite logit (beta = inf), not a logit (probit),
    or where no annotator is simulated.
    """
    if annotation.beta is None or annotation.link != "logistic" or np.isinf(annotation.beta):
        return np.full((len(golden), 2), np.nan)
    even = golden.shape[1] // 2 * 2
    first, second = slice(0, even, 2), slice(1, even, 2)
    true = annotation.beta * (golden[:, first] - golden[:, second])
    estimate = predicted[:, first].astype(float) - predicted[:, second]
    terms = truncated_kl_risk(true, estimate), np.abs(true - estimate)
    return np.stack(terms, axis=-1).mean(axis=1)
