"""What Slurm is asked: which tasks there are, its limits; and to cancel or requeue."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from submitit.slurm.slurm import read_job_id

LIVE = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "PREEMPTED", "SPECIAL_EXIT",
}  # fmt: skip
TIMEOUT_S = 60


class Unavailable(RuntimeError):
    """Slurm does not answer here; the message is its own."""


@dataclass(frozen=True)
class Task:
    """One task of an array, as Slurm sees it."""

    job: str  # its array's job id
    index: int
    name: str
    state: str
    exit_code: str = ""

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


def queued() -> list[Task]:
    """This user's tasks that have not ended: one squeue call."""
    text = _ask("squeue", "--me", "--noheader", "--array", "--format=%i|%j|%T")
    return [task for line in text.splitlines() for task in _tasks(*line.split("|"))]


def accounted(jobs: Sequence[str]) -> list[Task]:
    """All tasks of these jobs, ended ones too: one sacct call. Needs Slurm's accounting."""
    columns = "JobID,JobName,State,ExitCode"
    text = _ask(
        "sacct", "-X", "--noheader", "--parsable2", f"--format={columns}", "-j", ",".join(jobs)
    )
    return [task for line in text.splitlines() for task in _tasks(*line.split("|"))]


def _tasks(job_id: str, name: str, state: str, exit_code: str = "") -> list[Task]:
    """Of a line of squeue or sacct; tasks that wait share one: 12_[0-3,7%4]."""
    found = []
    for parts in read_job_id(job_id):
        job, *ends = parts
        numbers = [int(end) for end in ends] or [0]
        for index in range(numbers[0], numbers[-1] + 1):
            found.append(Task(job, index, name, state.split()[0], exit_code))
    return found


def max_array_size() -> int:
    """Most tasks in an array."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    if found is None:
        raise Unavailable("scontrol show config does not name MaxArraySize")
    return int(found.group(1))


def cancel(tasks: Sequence[Task]) -> None:
    """End the arrays of these tasks, running ones too."""
    if tasks:
        _ask("scancel", *sorted({task.job for task in tasks}))


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
