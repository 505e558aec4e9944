"""What is printed of a sweep that was launched: how it ended, and what W&B was told."""

from collections.abc import Collection

from rmsweep.config.loggers import Wandb
from rmsweep.launch.finish import Launched, RunsEnded
from rmsweep.launch.progress import say


def print_launched(launched: Launched) -> int:
    """Print how a launch ended, and mirror the sweep where that is asked for.

    Returns the exit status: 0 if all runs are done, or are jobs' that go on, else 1.
    """
    name, ended = launched.sweep, launched.ended
    if ended is None:
        say(f"next: rmsweep status {name}")
    else:
        _print_ends(name, ended)
    print_mirrored(name, launched.logger)
    return int(ended is not None and ended.n_done < ended.n_runs)


def _print_ends(name: str, ended: RunsEnded) -> None:
    """Print the counts of a launch, and its failures by error."""
    say(f"{ended.n_done} of {ended.n_runs} runs done")
    if ended.n_done == ended.n_runs:
        say(f"next: rmsweep table {name}")
        return
    for alike in ended.failed:
        say(f"{alike.n} failed: {alike.error} (key {alike.key})")
        if alike.where:
            say("    " + alike.where.replace("\n", "\n    "))
    if ended.n_missing:
        say(f"{ended.n_missing} missing: they did not run")
    say("the same command runs them again")


def print_mirrored(name: str, logger: Wandb | None, keys: Collection[str] | None = None) -> None:
    """Send the done runs of a sweep to W&B where a logger says so, and print what became of it.

    keys: of the runs to send; None sends all.
    """
    if logger is None:
        return
    from rmsweep.tracking import mirror  # here: it loads the figures

    say("sending to W&B" if logger.mode == "online" else "writing for W&B")
    say(mirror.mirror(name, logger, keys))
