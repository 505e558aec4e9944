"""Thurstone's objective: Bradley-Terry with a probit in place of the logistic function."""

import torch

from rmsweep.objectives.pair_batch import PairBatch, State


def thurstone(batch: PairBatch, state: State) -> tuple[torch.Tensor, State]:
    """Return the negative log-likelihood per pair in nats, -log Phi(chosen - rejected).

    Shape: (runs, batch). Phi is the standard normal distribution function: the difference of two
    responses' perceived quality has standard deviation 1, the unit of the predicted reward. For
    chosen - rejected far below 0 it grows with the square of the difference. The annotators of
    annotation.link=probit. Thurstone, 1927 (Case V); arXiv:2411.04991, Prop. 3.
    """
    return -torch.special.log_ndtr(batch.chosen - batch.rejected), state
