"""What Slurm is asked: which tasks there are, its limits; and to cancel, release or requeue."""

import functools
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rmsweep.errors import Unavailable

LIVE = frozenset(
    "PENDING CONFIGURING RUNNING COMPLETING SUSPENDED REQUEUED REQUEUE_HOLD REQUEUE_FED RESIZING "
    "SIGNALING STAGE_OUT STOPPED PREEMPTED SPECIAL_EXIT".split()
)
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
        """Return the task's id as Slurm's commands take it."""
        return self.job if self.is_single else f"{self.job}_{self.index}"

    @property
    def is_live(self) -> bool:
        """Return whether the task waits or runs."""
        return self.state in LIVE


def queued() -> list[Task]:
    """Return this user's tasks that have not ended, by one call of squeue."""
    text = _answer_to("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r|%j")
    lines = [line.split("|", 3) for line in text.splitlines()]  # a name may hold a |
    tasks = [_tasks_of_line(i, name, state, reason=why) for i, state, why, name in lines]
    return [task for some in tasks for task in some]


def accounted(jobs: Sequence[str]) -> list[Task]:
    """Return all tasks of these jobs, ended ones too, by one call of sacct, which needs accounting.

    A task whose step ran out of memory is OUT_OF_MEMORY, though Slurm calls the task FAILED.
    """
    columns = "--format=JobID,JobName,State,ExitCode"
    text = _answer_to("sacct", "--noheader", "--parsable2", columns, "-j", ",".join(jobs))
    lines = [line.split("|") for line in text.splitlines()]
    starved = {line[0].partition(".")[0] for line in lines if line[2] == "OUT_OF_MEMORY"}
    tasks = [task for line in lines if "." not in line[0] for task in _tasks_of_line(*line)]
    return [replace(t, state="OUT_OF_MEMORY") if t.id in starved else t for t in tasks]


def _tasks_of_line(
    job_id: str, name: str, state: str, exit_code: str = "", reason: str = ""
) -> list[Task]:
    """Return the tasks that a line of squeue or sacct states; they wait in 12_[0-3,7%4]."""
    from submitit.slurm.slurm import read_job_id  # here: whoever has no jobs starts without it

    tasks = []
    for job, *ends in read_job_id(job_id):
        numbers = range(int(ends[0]), int(ends[-1]) + 1) if ends else [0]
        state = state.split()[0]
        is_held = state == "PENDING" and "held" in reason.lower()  # JobHeldUser, ... requeued held
        tasks += [Task(job, i, name, state, exit_code, not ends, is_held) for i in numbers]
    return tasks


@functools.cache
def max_array_size() -> int:
    """Return the largest number of tasks in an array; Slurm is asked once."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", _answer_to("scontrol", "show", "config"))
    if match is None:
        raise Unavailable("scontrol show config does not name MaxArraySize")
    return int(match.group(1))


def require_commands() -> None:
    """Raise ValueError where Slurm's commands do not answer on this machine."""
    try:
        max_array_size()
    except Unavailable as error:
        raise ValueError(f"launcher=slurm needs Slurm's commands here: {error}") from None


def cancel(tasks: Sequence[Task]) -> None:
    """End the arrays of these tasks, running ones too."""
    if tasks:
        _answer_to("scancel", *sorted({task.job for task in tasks}))


def release(tasks: Sequence[Task]) -> None:
    """Let held tasks wait for their turn again."""
    if tasks:
        _answer_to("scontrol", "release", ",".join(task.id for task in tasks))


def requeue(job_id: str) -> None:
    """Let a job, or an array's task (JOB_INDEX), start again from its beginning."""
    _answer_to("scontrol", "requeue", job_id)


def _answer_to(*command: str) -> str:
    """Return what a command of Slurm's prints; Unavailable where it fails."""
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
