"""What a sweep's tasks do, by one question to Slurm a half minute; and what their logs say."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rmsweep import files
from rmsweep.errors import Unavailable
from rmsweep.launch.slurm import scheduler
from rmsweep.launch.slurm.arrays import JobArray, submitted_arrays, tasks_of
from rmsweep.launch.slurm.scheduler import Task
from rmsweep.paths import LaunchFolder

CACHED_S = 30  # Slurm is not asked again before
RUNNING = {"RUNNING", "COMPLETING", "SIGNALING"}
KILLED_CODES = ("0:9", "9:0", "137:0")  # exit codes of a process that got SIGKILL
NOT_OURS = ("submitit ", "srun:", "slurmstepd")  # how their lines in a log begin


def live_tasks(folder: LaunchFolder) -> list[tuple[JobArray, Task]]:
    """Return a sweep's tasks that wait or run, with their arrays; Unavailable without an answer."""
    arrays = submitted_arrays(folder)
    return tasks_of(folder, arrays, scheduler.queued()) if arrays else []


def known_tasks(folder: LaunchFolder, arrays: Sequence[JobArray]) -> list[tuple[JobArray, Task]]:
    """Return Slurm's tasks of these arrays; ended ones, too, where the cluster keeps accounts."""
    numbers = sorted(array.job for array in arrays if array.job is not None)
    answer = _last_answer(folder)
    age_s = time.time() - answer.get("at", float("-inf"))
    if answer.get("numbers") != numbers or not 0 <= age_s < CACHED_S:  # < 0: a clock set back
        answer = _new_answer(numbers, answer.get("keeps_accounts", True))
        text = json.dumps(answer | {"tasks": [asdict(task) for task in answer["tasks"]]})
        with contextlib.suppress(OSError), files.whole(_answer_file(folder)) as unfinished:
            unfinished.write_text(text)  # who may not write to the sweep need not
    return tasks_of(folder, arrays, answer["tasks"])


def _last_answer(folder: LaunchFolder) -> dict[str, Any]:
    """Return what Slurm said last; empty where that is not there, or not whole."""
    try:
        answer: dict[str, Any] = json.loads(_answer_file(folder).read_text())
        tasks = [Task(**task) for task in answer["tasks"]]
        return answer | {"tasks": tasks, "at": answer["at"] + 0}  # TypeError for no number
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _new_answer(numbers: list[str], keeps_accounts: bool) -> dict[str, Any]:
    """Ask Slurm for the tasks of these jobs: its accounts if it keeps any, else its queue."""
    tasks = None
    if keeps_accounts and numbers:
        try:
            tasks = _with_held(scheduler.accounted(numbers))
        except Unavailable as error:
            keeps_accounts = "disabled" not in str(error)
    if tasks is None:
        tasks = scheduler.queued()
    kept = {"at": time.time(), "numbers": numbers, "keeps_accounts": keeps_accounts}
    return kept | {"tasks": tasks}


def _with_held(tasks: list[Task]) -> list[Task]:
    """Mark who is held, which accounts do not say; ask the queue where tasks wait and none runs."""
    states = {task.state for task in tasks}
    if "PENDING" not in states or states & RUNNING:
        return tasks
    held = {task.id for task in scheduler.queued() if task.is_held}
    return [replace(task, is_held=task.id in held) for task in tasks]


def _answer_file(folder: LaunchFolder) -> Path:
    return folder.jobs / ".scheduler.json"


def killed_tasks(folder: LaunchFolder, arrays: Sequence[JobArray]) -> list[tuple[JobArray, Task]]:
    """Return the tasks that the kernel or Slurm killed for what they took, oldest launch first."""
    _answer_file(folder).unlink(missing_ok=True)  # what happened in the last half minute counts
    return [
        (array, task)
        for array, task in known_tasks(folder, arrays)
        if task.state == "OUT_OF_MEMORY"
        or (task.state == "FAILED" and task.exit_code in KILLED_CODES)
    ]


def log_of(folder: LaunchFolder, array: JobArray, index: int) -> Path | None:
    """Return the file of a task's log; None before the task has started."""
    number = f"{array.job}_{index}" if len(array.tasks) > 1 else array.job
    path = folder.logs / f"{number}_0_log.out"
    return path if path.exists() else None


def end_of_log(folder: LaunchFolder, array: JobArray, index: int) -> str:
    """Return the path of a task's log and the last line that the task itself wrote."""
    path = log_of(folder, array, index)
    if path is None:
        return "no log: it never started"
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    ours = [line for line in lines if line and not line.startswith(NOT_OURS)]
    return f"{path}: {ours[-1] if ours else 'empty'}"
