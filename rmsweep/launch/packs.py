"""Runs that go together: items become packs."""

from collections.abc import Callable, Sequence
from typing import Any

from rmsweep.cache.inputs import input_files
from rmsweep.config.columns import loss_options
from rmsweep.config.launchers import Local
from rmsweep.config.spec import Item, RunSpec


def packs_of(items: Sequence[Item], most: Callable[[Sequence[Item]], int]) -> list[list[Item]]:
    """Runs that share cache, loss, quantity and training, together; slow kinds first.

    most: of runs that could all go together, how many may.
    """
    groups: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(_shared(item.spec), []).append(item)
    sized = [(runs, most(runs)) for runs in groups.values()]
    found = [runs[i : i + size] for runs, size in sized for i in range(0, len(runs), size)]
    return sorted(found, key=lambda p: (p[0].spec.loss.options.runs_on_gpu, -p[0].spec.quantity))


def local_packs(items: Sequence[Item], launcher: Local, device: str) -> list[list[Item]]:
    """At most pack_runs in a pack, of an ensemble its members, which stay together.

    On a CPU fewer where that keeps every worker in work to the end.
    """
    size = launcher.pack_runs
    if device == "cpu":
        size = max(1, min(size, len(items) // (8 * launcher.workers)))
    return packs_of(items, lambda runs: max(1, size // runs[0].spec.n_members))


def _shared(spec: RunSpec) -> tuple[Any, ...]:
    loss = (spec.loss.reward_model, loss_options(spec.loss), spec.loss.ensemble, spec.loss.pick)
    return (
        *input_files(spec),
        *loss,
        spec.quantity,
        spec.training,
        spec.evaluation,
        spec.precision,
    )
