"""What Slurm is asked: which tasks there are, its limits; and to cancel or requeue."""

import functools
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rmsweep.errors import Unavailable

LIVE = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "PREEMPTED", "SPECIAL_EXIT",
}  # fmt: skip
TIMEOUT_S = 60


@dataclass(frozen=True)
class Task:
    """One task of an array, or a job that is none, as Slurm sees it."""

    job: str  # its array's job id
    index: int
    name: str
    state: str
    exit_code: str = ""
    is_single: bool = False  # a job, no array's task
    is_held: bool = False  # it waits until somebody releases it

    @property
    def id(self) -> str:
        return self.job if self.is_single else f"{self.job}_{self.index}"

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


def queued() -> list[Task]:
    """This user's tasks that have not ended: one squeue call."""
    text = _ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r|%j")
    lines = [line.split("|", 3) for line in text.splitlines()]  # a name may hold a |
    return [
        task
        for job_id, state, reason, name in lines
        for task in _tasks(job_id, name, state, reason=reason)
    ]


def accounted(jobs: Sequence[str]) -> list[Task]:
    """All tasks of these jobs, ended ones too: one sacct call. Needs Slurm's accounting.

    A task whose step ran out of memory is OUT_OF_MEMORY, though Slurm calls the task FAILED.
    """
    columns = "JobID,JobName,State,ExitCode"
    text = _ask("sacct", "--noheader", "--parsable2", f"--format={columns}", "-j", ",".join(jobs))
    lines = [line.split("|") for line in text.splitlines()]
    starved = {line[0].partition(".")[0] for line in lines if line[2] == "OUT_OF_MEMORY"}
    found = [task for line in lines if "." not in line[0] for task in _tasks(*line)]
    return [replace(t, state="OUT_OF_MEMORY") if t.id in starved else t for t in found]


def _tasks(job_id: str, name: str, state: str, exit_code: str = "", reason: str = "") -> list[Task]:
    """Of a line of squeue or sacct; tasks that wait share one: 12_[0-3,7%4]."""
    from submitit.slurm.slurm import read_job_id  # here: whoever has no jobs starts without it

    found = []
    for job, *ends in read_job_id(job_id):
        numbers = range(int(ends[0]), int(ends[-1]) + 1) if ends else [0]
        state = state.split()[0]
        is_held = state == "PENDING" and "held" in reason.lower()  # JobHeldUser, ... requeued held
        found += [Task(job, i, name, state, exit_code, not ends, is_held) for i in numbers]
    return found


@functools.cache
def max_array_size() -> int:
    """Most tasks in an array; asked once."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    if found is None:
        raise Unavailable("scontrol show config does not name MaxArraySize")
    return int(found.group(1))


def cancel(tasks: Sequence[Task]) -> None:
    """End the arrays of these tasks, running ones too."""
    if tasks:
        _ask("scancel", *sorted({task.job for task in tasks}))


def release(tasks: Sequence[Task]) -> None:
    """Let held tasks wait for their turn again."""
    if tasks:
        _ask("scontrol", "release", ",".join(task.id for task in tasks))


def requeue(job_id: str) -> None:
    """Let a job, or an array's task (JOB_INDEX), start again from its beginning."""
    _ask("scontrol", "requeue", job_id)


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except FileNotFoundError:
        raise Unavailable(f"there is no {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} gave no answer in {TIMEOUT_S} s") from None
    if done.returncode:
        message = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise Unavailable(f"{command[0]}: {message}")
    return done.stdout
