"""Follow a launch to its end, and say how it ended: counts, failures by error, W&B."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rmsweep import errors
from rmsweep.config import loggers
from rmsweep.config.launchers import Local, Slurm
from rmsweep.config.spec import Item
from rmsweep.launch import progress, status
from rmsweep.launch.slurm import arrays as jobs
from rmsweep.launch.slurm import scheduler
from rmsweep.results import dataset
from rmsweep.results.failures import latest_failures

POLL_S = 5  # of a launch that waits for its jobs


def end(directory: Path, items: Sequence[Item], launcher: Local | Slurm, waits: bool) -> int:
    """How a launch ended; the exit status. One on a cluster may wait for that."""
    name = directory.name
    if isinstance(launcher, Slurm) and not waits:
        progress.say(f"next: rmsweep status {name}")
        return 0
    if isinstance(launcher, Slurm):
        _follow(directory, {item.key for item in items})
    return _print_end(name, items)


def _follow(directory: Path, keys: set[str]) -> None:
    """Until all runs have ended, or no job is left that could end them."""
    arrays, asked, is_over = jobs.submitted(directory), float("-inf"), False
    since = pd.Timestamp(max((array.launched_at for array in arrays), default="1970-01-01T00Z"))
    with progress.bar(len(keys)) as advance:
        while True:
            rows = dataset.read_rows(directory, ["key", "status", "finished_at"])
            done = keys & set(rows.loc[rows["status"] == "done", "key"])
            failed = keys & set(rows.loc[rows["finished_at"] >= since, "key"]) - done
            advance(len(done) + len(failed), len(failed))
            if is_over or done == keys:
                return
            all_ended = len(done) + len(failed) == len(keys)
            if all_ended or time.monotonic() - asked > status.CACHED_S:
                asked = time.monotonic()
                with contextlib.suppress(errors.Unavailable):  # it restarts; the jobs go on
                    live = jobs.of_sweep(directory, arrays, scheduler.queued())
                    is_over = not live
            if not is_over:
                time.sleep(POLL_S)


def _print_end(name: str, items: Sequence[Item]) -> int:
    """The counts of this launch, and its failures by error; the exit status."""
    done = set(dataset.load(name, ["key"])["key"])
    missing = {item.key for item in items} - done
    progress.say(f"{len(items) - len(missing)} of {len(items)} runs done")
    if not missing:
        progress.say(f"next: rmsweep table {name}")
        return 0
    failures = latest_failures(dataset.folder(name))
    failures = failures[failures["key"].isin(missing)]
    for error, group in failures.groupby("error"):
        progress.say(f"{len(group)} failed: {error} (key {group['key'].iloc[0]})")
        if isinstance(trace := group["traceback"].iloc[0], str):
            progress.say("    " + "\n    ".join(trace.strip().splitlines()[-3:-1]))
    if unknown := len(missing) - len(failures):
        progress.say(f"{unknown} missing: they did not run")
    progress.say("the same command runs them again")
    return 1


def mirror_done(name: str, logger: loggers.Wandb | None) -> None:
    """Send what is done to W&B, if that is asked for."""
    if logger is not None:
        from rmsweep.tracking import mirror

        progress.say(mirror.mirror(name, logger))
