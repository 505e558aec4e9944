"""Runs that can share a fit and a pass over the test file become packs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from rmsweep.cache.inputs import input_files
from rmsweep.config.columns import loss_options
from rmsweep.config.launchers import Local
from rmsweep.config.spec import Item, RunSpec

PACKS_A_WORKER = 8  # on this machine, so that at the end no worker waits long for another


def packs_of(items: Sequence[Item], most: Callable[[Sequence[Item]], int]) -> list[list[Item]]:
    """Return packs of at most most(runs) runs of one cache, loss and training; slow kinds first."""
    groups: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(_shared(item.spec), []).append(item)
    sized = [(runs, most(runs)) for runs in groups.values()]
    packs = [runs[i : i + size] for runs, size in sized for i in range(0, len(runs), size)]
    return sorted(packs, key=lambda p: (p[0].spec.loss.options.runs_on_gpu, -p[0].spec.quantity))


def local_packs(items: Sequence[Item], launcher: Local, device: str) -> list[list[Item]]:
    """Return packs of at most pack_runs runs; an ensemble counts as its members, in one pack.

    On a CPU packs are smaller where that keeps every worker in work to the end.
    """
    size = launcher.pack_runs
    if device == "cpu":
        size = shared_pack_runs(size, len(items), PACKS_A_WORKER * launcher.workers)
    return packs_of(items, lambda runs: max(1, size // runs[0].spec.n_members))


def shared_pack_runs(most: int, n_runs: float, n_packs: int) -> int:
    """Return how many runs a pack has, at most `most`, where n_runs are shared out to n_packs.

    More packs than keep every worker in work only read the test file more often.
    """
    return max(1, min(most, math.ceil(round(n_runs / n_packs, 6))))


def _shared(spec: RunSpec) -> tuple[Any, ...]:
    loss = spec.loss
    fit = (loss.reward_model, loss_options(loss), loss.ensemble, loss.pick, spec.training)
    return (*input_files(spec), *fit, spec.quantity, spec.evaluation, spec.precision)
