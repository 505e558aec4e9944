"""Margin-out: Bradley-Terry with each pair weighted by its golden margin."""

import torch

from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.pair_batch import PairBatch, State, needs_margin


@needs_margin
def margin_out(batch: PairBatch, state: State) -> tuple[torch.Tensor, State]:
    """Return |golden margin| * -log sigmoid(chosen - rejected) per pair, in nats: (runs, batch).

    The margin is in units of reward_scale. Its absolute value, since it stands for an annotator's
    rating of how far apart two responses are. Only for simulated annotations. A baseline of
    arXiv:2512.06343, there with the margins that annotators gave.
    """
    assert batch.margin is not None  # rules.py refuses runs without golden rewards
    loss, _ = bradley_terry(batch, {})
    return batch.margin.abs() * loss, state
