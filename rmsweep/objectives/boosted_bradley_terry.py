"""Bradley-Terry for gradient boosting, which asks for derivatives by response."""

import numpy as np
from scipy.special import expit


def boosted_bradley_terry(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second derivatives of the summed Bradley-Terry loss by each reward.

    rewards: (2 * pairs,), first those of all chosen responses, then of all rejected ones, in the
    order of the pairs. Returns the gradient, -p of a chosen and +p of a rejected response, where p
    = sigmoid(rejected - chosen), and the Hessian's diagonal p (1 - p): (2 * pairs,) each, in nats
    per unit of reward and per its square. The Hessian's other entries, -p (1 - p) between the two
    of a pair, have no place in boosting. Bradley & Terry, 1952; trees as in arXiv:2411.04991.
    """
    chosen, rejected = np.split(np.asarray(rewards), 2)
    p = expit(rejected - chosen)
    return np.concatenate([-p, p]), np.tile(p * (1 - p), 2)
