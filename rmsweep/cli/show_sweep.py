"""What is printed of a launch: what it would do, how it ended, and what W&B was told."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rmsweep.cache import inputs
from rmsweep.config.loggers import Wandb
from rmsweep.launch.finish import Launched, RunsEnded
from rmsweep.launch.progress import say

if TYPE_CHECKING:  # it loads Hydra, which `rmsweep retry` does without
    from rmsweep.launch.run_sweep import SweepRequest

OUT = Console(highlight=False)


def print_plan(request: "SweepRequest", limit: int | None) -> None:
    """Print runs by axis, done and missing, then packs and hours, as the launcher plans them."""
    from rmsweep.launch.run_sweep import plan_launch, values_by_field

    specs = request.specs[:limit]
    print(f"sweep {request.axes.name}: {len(specs)} runs")
    if request.note is not None:
        print(request.note)
    table = Table("field", "values (runs)")
    for field, counts in values_by_field(request.axes, specs).items():
        table.add_row(field, ", ".join(f"{value} ({n})" for value, n in counts.items()))
    OUT.print(table)
    try:
        items = inputs.keyed_items(specs, request.cache_root)
    except FileNotFoundError as error:
        print(f"done: unknown, since keys need the data: {error}")
        print("hours and packs: unknown, since they need the data's shape")
        return
    n_missing, n_measured, lines = plan_launch(request, items)
    print(f"done: {len(items) - n_missing}, missing: {n_missing}")
    if not n_missing:
        return
    print(*lines, sep="\n")
    how = "the mean cost of runs like them in outputs/"
    if n_measured < n_missing:
        how += f" for {n_measured} runs, the arithmetic of the others"
    print(f"(from {how})")


def print_launched(launched: Launched) -> int:
    """Print how a launch ended, mirror the sweep where asked to; return the exit status."""
    name, ended = launched.sweep, launched.ended
    if ended is None:
        say(f"next: rmsweep status {name}")
    else:
        _print_ends(name, ended)
    print_mirrored(name, launched.logger)
    return int(ended is not None and ended.n_done < ended.n_runs)  # 0 where jobs go on


def _print_ends(name: str, ended: RunsEnded) -> None:
    say(f"{ended.n_done} of {ended.n_runs} runs done")
    if ended.n_done == ended.n_runs:
        say(f"next: rmsweep table {name}")
        return
    for alike in ended.failed:
        say(f"{alike.n} failed: {alike.error} (key {alike.key})")
        if alike.where:
            say("    " + alike.where.replace("\n", "\n    "))
    n_missing = ended.n_runs - ended.n_done - sum(alike.n for alike in ended.failed)
    if n_missing:
        say(f"{n_missing} missing: they did not run")
    say("the same command runs them again")


def print_mirrored(name: str, logger: Wandb | None, keys: Collection[str] | None = None) -> None:
    """Send done runs, all or of these keys, to W&B where a logger says so; print how that went."""
    if logger is None:
        return
    from rmsweep.tracking import mirror  # here: it loads the figures

    say("sending to W&B" if logger.mode == "online" else "writing for W&B")
    say(mirror.mirror(name, logger, keys))
