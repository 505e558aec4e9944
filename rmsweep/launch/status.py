"""How a sweep goes: its runs by state, its failures, its pace, and its jobs, from one question."""

import contextlib
import datetime
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rmsweep import errors, files
from rmsweep.launch import lock
from rmsweep.launch.slurm import arrays as jobs
from rmsweep.launch.slurm import scheduler
from rmsweep.launch.slurm.arrays import Array
from rmsweep.launch.slurm.scheduler import Task
from rmsweep.results import dataset, sweep_record
from rmsweep.results.failures import failures_by_kind

CACHED_S = 30  # Slurm is not asked again before
PACE = pd.Timedelta(hours=1)  # what runs per hour are counted over
RUNNING = {"RUNNING", "COMPLETING", "SIGNALING"}
KILLED = ("0:9", "9:0", "137:0")  # exit codes of a process that got SIGKILL
NOT_OURS = ("submitit ", "srun:", "slurmstepd")  # how their lines in a log begin
STATES = ("done", "failed", "running", "queued", "missing")


def of_sweep(name: str) -> dict[str, Any]:
    """What `rmsweep status` shows, as plain values.

    runs: count by state. failures: by kind of error and place. per_hour, hours_left: null where
    nothing moves. jobs: tasks by Slurm's state, or null and `jobs_unknown`. held: of these, those
    that wait for somebody to release them. launch: who launches.
    """
    dataset.require_sweep(name)
    directory = dataset.folder(name)
    arrays = jobs.submitted(directory)
    known, unknown = None, None
    if arrays:
        try:
            known = asked(directory, arrays)
        except errors.Unavailable as error:
            unknown = str(error)
    holder = lock.holder(directory)
    rows = dataset.read_rows(
        directory, ["key", "status", "finished_at"]
    )  # last: what ended has one
    wanted = sweep_record.wanted_keys(name)
    runs_here = holder is not None and holder["runs"]
    state = _by_state(rows, wanted, arrays, known or [], runs_here)
    counts = {name: len(state[name]) for name in STATES}
    per_hour = _per_hour(rows[(rows["status"] == "done") & rows["key"].isin(wanted)])
    to_come = counts["running"] + counts["queued"]
    return {
        "sweep": name,
        "wanted": len(wanted),
        "runs": counts,
        "failures": failures_by_kind(directory, state["failed"]),
        "per_hour": per_hour,
        "hours_left": to_come / per_hour if per_hour and to_come else None,
        "jobs": None if known is None else dict(Counter(task.state for _, task in known)),
        "jobs_unknown": unknown,
        "held": sum(task.is_held for _, task in known or []),
        "ended_badly": _ended_badly(directory, known or []),
        "launch": None if holder is None else {k: holder[k] for k in ("pid", "host", "since")},
    }


def asked(directory: Path, arrays: Sequence[Array]) -> list[tuple[Array, Task]]:
    """Slurm's tasks of these arrays, by one call at most every CACHED_S seconds.

    Ended tasks are known where the cluster keeps accounts; else only those in the queue.
    """
    path = jobs.folder(directory) / ".scheduler.json"
    before: dict[str, Any] = {}
    try:
        before = json.loads(path.read_text())
        kept = [Task(**task) for task in before["tasks"]]
        is_fresh = 0 <= time.time() - before["at"] < CACHED_S  # < 0: the clock was set back
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
        before = {}
    numbers = sorted(array.job for array in arrays if array.job is not None)
    if before.get("numbers") == numbers and is_fresh:
        tasks = kept
    else:
        keeps_accounts = before.get("keeps_accounts", True)
        tasks, keeps_accounts = _ask(numbers, keeps_accounts)
        said = {"at": time.time(), "numbers": numbers, "keeps_accounts": keeps_accounts}
        _keep(path, said | {"tasks": [asdict(task) for task in tasks]})
    return jobs.of_sweep(directory, arrays, tasks)


def _ask(numbers: list[str], keeps_accounts: bool) -> tuple[list[Task], bool]:
    if keeps_accounts and numbers:
        try:
            return _with_held(scheduler.accounted(numbers)), True
        except errors.Unavailable as error:
            return scheduler.queued(), "disabled" not in str(error)
    return scheduler.queued(), keeps_accounts


def _with_held(tasks: list[Task]) -> list[Task]:
    """Accounting does not know who is held: where tasks wait and none runs, the queue is asked."""
    states = {task.state for task in tasks}
    if "PENDING" not in states or states & RUNNING:
        return tasks
    held = {task.id for task in scheduler.queued() if task.is_held}
    return [replace(task, is_held=task.id in held) for task in tasks]


def _keep(path: Path, said: dict[str, Any]) -> None:
    """For the next question; a reader of someone else's sweep cannot, and need not."""
    with contextlib.suppress(OSError), files.whole(path) as unfinished:
        unfinished.write_text(json.dumps(said))


def _by_state(
    rows: pd.DataFrame,
    wanted: set[str],
    arrays: Sequence[Array],
    known: Sequence[tuple[Array, Task]],
    runs_here: bool,
) -> dict[str, set[str]]:
    """Keys by state: each in one; what is to run again is not failed."""
    done = wanted & set(rows.loc[rows["status"] == "done", "key"])
    left = wanted - done
    running = jobs.keys_of([(a, t) for a, t in known if t.is_live and t.state in RUNNING]) & left
    queued = jobs.keys_of([(a, t) for a, t in known if t.is_live]) & left - running
    failed = left & set(rows.loc[rows["status"] == "failed", "key"])
    since = {array.id: pd.Timestamp(array.launched_at) for array in arrays}
    newest = max(since.values(), default=None)
    if newest is not None:  # a run that failed in this launch has failed, though its task runs on
        again = rows["finished_at"] >= newest
        failed_now = left & set(rows.loc[(rows["status"] == "failed") & again, "key"])
        running, queued = running - failed_now, queued - failed_now
    failed -= running | queued
    if runs_here:  # what has not ended is in the launch's hands
        running = running | (left - failed - queued)
    missing = left - failed - running - queued
    return {
        "done": done, "failed": failed, "running": running, "queued": queued, "missing": missing,
    }  # fmt: skip


def _per_hour(done: pd.DataFrame) -> float | None:
    """Runs that ended in the last hour, or since the first ones did, which are not counted."""
    now = pd.Timestamp(datetime.datetime.now(datetime.UTC))
    is_recent = done["finished_at"].between(now - PACE, now)  # later: the clock was set back
    ended = done.loc[is_recent, "finished_at"]
    first = ended.min()
    later = ended[ended > first + pd.Timedelta(seconds=1)]  # rows of a part have one time
    return float(len(later) / ((now - first) / PACE)) if len(later) else None


def killed(directory: Path, arrays: Sequence[Array]) -> list[tuple[Array, Task]]:
    """Tasks that were killed by the kernel or by Slurm for what they took; oldest launch first."""
    path = jobs.folder(directory) / ".scheduler.json"
    path.unlink(missing_ok=True)  # what happened in the last half minute counts
    return [
        (array, task)
        for array, task in asked(directory, arrays)
        if task.state == "OUT_OF_MEMORY" or (task.state == "FAILED" and task.exit_code in KILLED)
    ]


def _ended_badly(directory: Path, known: Sequence[tuple[Array, Task]]) -> list[dict[str, Any]]:
    """Tasks by a state that is neither live nor COMPLETED, with the end of one's log."""
    found: dict[tuple[str, str], list[tuple[Array, Task]]] = {}
    for array, task in known:
        if not task.is_live and task.state != "COMPLETED":
            found.setdefault((task.state, task.exit_code), []).append((array, task))
    return [
        {"n": len(tasks), "state": state, "exit_code": code, "log": log_tail(directory, *tasks[0])}
        for (state, code), tasks in sorted(found.items())
    ]


def log_of(directory: Path, array: Array, index: int) -> Path | None:
    """A task's log; None before it has started."""
    number = f"{array.job}_{index}" if len(array.tasks) > 1 else f"{array.job}"
    path = jobs.logs(directory) / f"{number}_0_log.out"
    return path if path.exists() else None


def log_tail(directory: Path, array: Array, task: Task) -> str:
    """Path and last line of a task's log."""
    path = log_of(directory, array, task.index)
    if path is None:
        return "no log: it never started"
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    ours = [line for line in lines if line and not line.startswith(NOT_OURS)]
    return f"{path}: {ours[-1] if ours else 'empty'}"
