"""How a sweep goes: its runs by state, its failures, its pace and its jobs; and one run of it."""

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rmsweep.errors import Unavailable
from rmsweep.launch import lock
from rmsweep.launch.slurm.arrays import JobArray, keys_in, submitted_arrays
from rmsweep.launch.slurm.scheduler import Task
from rmsweep.launch.slurm.task_states import RUNNING, end_of_log, known_tasks, log_of
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, sweep_record
from rmsweep.results.disagreements import disagreeing_runs
from rmsweep.results.failures import failures_by_kind

PACE = pd.Timedelta(hours=1)  # what runs per hour are counted over
Tasks = Sequence[tuple[JobArray, Task]]  # of a sweep, with their arrays
STATES = ("done", "failed", "running", "queued", "missing")


def sweep_status(name: str) -> dict[str, Any]:
    """Return what `rmsweep status` shows, as plain values.

    runs: count by state. failures: by kind of error and place. disagreeing: keys whose done rows
    have not the same numbers. per_hour, hours_left: null where nothing moves. jobs: tasks by
    Slurm's state, or null and `jobs_unknown`. held: of these, those that wait for somebody to
    release them. launch: who launches.
    """
    dataset.require_sweep(name)
    folder = SweepFolder.named(name)
    arrays = submitted_arrays(folder)
    tasks, unknown = None, None
    try:
        tasks = known_tasks(folder, arrays) if arrays else None
    except Unavailable as error:
        unknown = str(error)
    holder = lock.holder(folder)
    rows = dataset.read_rows(folder, ["key", "status", "finished_at"])  # last: what ended has a row
    wanted = sweep_record.wanted_keys(name)
    runs_here = holder is not None and holder["runs"]
    keys = keys_by_state(rows, wanted, arrays, tasks or [], runs_here)
    counts = {state: len(keys[state]) for state in STATES}
    done = rows[rows["status"] == "done"]
    repeated = set(done.loc[done["key"].duplicated(), "key"])
    per_hour = runs_per_hour(done[done["key"].isin(wanted)])
    to_come = counts["running"] + counts["queued"]
    return {
        "sweep": name,
        "wanted": len(wanted),
        "runs": counts,
        "failures": failures_by_kind(folder, keys["failed"]),
        "disagreeing": list(disagreeing_runs([name], repeated)),
        "per_hour": per_hour,
        "hours_left": to_come / per_hour if per_hour and to_come else None,
        "jobs": None if tasks is None else dict(Counter(task.state for _, task in tasks)),
        "jobs_unknown": unknown,
        "held": sum(task.is_held for _, task in tasks or []),
        "ended_badly": _ended_badly(folder, tasks or []),
        "launch": None if holder is None else {k: holder[k] for k in ("pid", "host", "since")},
    }


def keys_by_state(
    rows: pd.DataFrame, wanted: set[str], arrays: Sequence[JobArray], tasks: Tasks, runs_here: bool
) -> dict[str, set[str]]:
    """Return the keys by state, each in one; what is to run again is not failed.

    rows: key, status and finished_at of all parts. runs_here: whether a local launch goes on.
    """
    done = wanted & set(rows.loc[rows["status"] == "done", "key"])
    left = wanted - done
    live = [(array, task) for array, task in tasks if task.is_live]
    running = keys_in([(a, task) for a, task in live if task.state in RUNNING]) & left
    queued = keys_in(live) & left - running
    has_failed = rows["status"] == "failed"
    failed = left & set(rows.loc[has_failed, "key"])
    if arrays:  # a run that failed in this launch has failed, though its task runs on
        newest = max(pd.Timestamp(array.launched_at) for array in arrays)
        failed_now = left & set(rows.loc[has_failed & (rows["finished_at"] >= newest), "key"])
        running, queued = running - failed_now, queued - failed_now
    failed -= running | queued
    if runs_here:  # what has not ended is in the launch's hands
        running |= left - failed - queued
    missing = left - failed - running - queued
    return dict(zip(STATES, (done, failed, running, queued, missing), strict=True))


def runs_per_hour(done: pd.DataFrame) -> float | None:
    """Return the pace of a sweep, over the last hour or since its first runs; None if unknown.

    done: finished_at of its done runs. The first ones are not counted.
    """
    now = pd.Timestamp(datetime.datetime.now(datetime.UTC))
    is_recent = done["finished_at"].between(now - PACE, now)  # later: the clock was set back
    ended = done.loc[is_recent, "finished_at"]
    first = ended.min()
    later = ended[ended > first + pd.Timedelta(seconds=1)]  # rows of a part have one time
    return float(len(later) / ((now - first) / PACE)) if len(later) else None


def _ended_badly(folder: SweepFolder, tasks: Tasks) -> list[dict[str, Any]]:
    """Return the tasks by a state that is neither live nor COMPLETED, with the end of one's log."""
    groups: dict[tuple[str, str], list[tuple[JobArray, Task]]] = {}
    for array, task in tasks:
        if not task.is_live and task.state != "COMPLETED":
            groups.setdefault((task.state, task.exit_code), []).append((array, task))
    reports = []
    for (state, exit_code), some in sorted(groups.items()):
        log = end_of_log(folder, some[0][0], some[0][1].index)
        reports.append({"n": len(some), "state": state, "exit_code": exit_code, "log": log})
    return reports


@dataclass(frozen=True)
class RunStatus:
    """All that is known of one run."""

    key: str
    spec: dict[str, Any] | None  # as it was launched
    row: pd.Series | None  # the first done one, else the latest; None where it has not ended
    logs: list[tuple[str, Path | None]]  # of its tasks, with their ids; None before one has started


def run_status(name: str, start: str) -> RunStatus:
    """Return what is known of the run whose key begins with `start`; ValueError if none does."""
    dataset.require_sweep(name)
    folder = SweepFolder.named(name)
    rows = dataset.read_rows(folder)
    keys = sorted(set(rows["key"]) | sweep_record.wanted_keys(name))

    def refusal(n: int) -> ValueError:
        rule = f"must be one of the {len(keys)} keys of {name}, or begin just one"
        return ValueError(f"--key {start} {rule}; it begins {n}")

    key = dataset.only_key(start, keys, refusal)
    mine = rows[rows["key"] == key].sort_values("finished_at")
    done = mine[mine["status"] == "done"]
    row = (done.iloc[0] if len(done) else mine.iloc[-1]) if len(mine) else None
    item = sweep_record.wanted_items(folder, {key}).get(key)
    spec = None if item is None else json.loads(item.spec.canonical)
    logs = [
        (f"{array.job}_{index}", log_of(folder, array, index))
        for array in submitted_arrays(folder)
        for index in range(len(array.tasks))
        if key in array.keys_of_task(index)
    ]
    return RunStatus(key, spec, row, logs)
