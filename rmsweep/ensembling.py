"""One predicted reward from those of an ensemble's members."""

from collections.abc import Callable
from typing import Any

import numpy as np

PICKS: dict[str, Callable[..., Any]] = {"mean": np.mean, "min": np.min}


def combine(rewards: np.ndarray, pick: str | float) -> np.ndarray:
    """The ensemble's predicted rewards, (..., rows), from its members', (..., members, rows).

    pick: mean; min, the most pessimistic member's (worst-case optimisation of arXiv:2310.02743);
    or a number k > 0, a lower confidence bound: the mean minus k standard deviations (ddof 0) of
    the members. min and k compare members, whose rewards must have a common zero point.
    """
    if isinstance(pick, str):
        return PICKS[pick](rewards, axis=-2)
    return rewards.mean(axis=-2) - pick * rewards.std(axis=-2)
