"""Packs become arrays of tasks, as many as the cluster accepts, and these are submitted."""

import datetime
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import _make_sbatch_string

from rmsweep.cache import inputs
from rmsweep.config.launchers import Place, Slurm
from rmsweep.config.spec import Item
from rmsweep.errors import LaunchError, one_line
from rmsweep.launch import cost
from rmsweep.launch.packs import packs_of, shared_pack_runs
from rmsweep.launch.slurm import arrays
from rmsweep.launch.slurm.arrays import JobArray
from rmsweep.paths import LaunchFolder

Work = Callable[[str, str, int], None]  # of a task: the sweep's folder, array, the task's number
UNSENT = re.compile(r"[0-9a-f]{32}\.pkl|submission_file_[0-9a-f]{32}\.sh")  # submitit's, refused
# How sbatch says that this user has too many jobs in the queue, and not that a job is wrong.
FULL = re.compile(r"submit ?job|job submit limit|temporarily", re.IGNORECASE)


def plan_arrays(
    items: Sequence[Item], launcher: Slurm, place: Place, seconds: dict[str, float], most: int
) -> list[JobArray]:
    """Return arrays of at most `most` tasks of about target_minutes each, GPUs' and CPUs' apart.

    place: its device is that of MLPs. seconds: by key, as cost.estimated_seconds has them.
    """
    planned: list[JobArray] = []
    launch = secrets.token_hex(4)
    for on in sorted({cost.device_of(item, place.device) for item in items}):
        here = [item for item in items if cost.device_of(item, place.device) == on]
        fields = launcher if on == "cpu" else launcher.for_gpu()
        tasks = _tasks(here, fields, on, seconds)
        # A task on CPUs does as many packs at a time as it has cores, one on a GPU as many blocks
        its_place = replace(place, device=on, at_once=1 if on == "cpu" else fields.cpus)
        for first in range(0, len(tasks), most):
            some = tasks[first : first + most]
            planned.append(new_array(f"{launch}-{len(planned)}", some, fields, its_place))
    return planned


def new_array(id: str, tasks: list[list[list[str]]], fields: Slurm, place: Place) -> JobArray:
    """Return an array that this process launches now, from its working directory."""
    launched_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    workers = fields.cpus if place.device == "cpu" else 1
    cwd, command = str(Path.cwd()), sys.argv[1:]
    return JobArray(id, tasks, launched_at, place, workers, cwd, asdict(fields), command)


def _tasks(
    items: Sequence[Item], fields: Slurm, on: str, seconds: dict[str, float]
) -> list[list[list[str]]]:
    """Return tasks of packs, each pack at most half a task's work; those of one cache together.

    On CPUs no pack of a small sweep has more than a worker's part of the work.
    """
    n_packs_at_a_time = fields.cpus if on == "cpu" else 1
    limit_s = 60 * fields.target_minutes
    total_s = sum(seconds[item.key] for item in items)

    def most(runs: Sequence[Item]) -> int:
        mean_s = sum(seconds[item.key] for item in runs) / len(runs)
        n_runs = fields.most_in_pack(on) // runs[0].spec.n_members
        if on == "cpu":
            n_runs = shared_pack_runs(n_runs, total_s / mean_s, n_packs_at_a_time)
        return max(1, min(n_runs, int(limit_s / 2 / mean_s)))

    packs = packs_of(items, most)
    packs.sort(key=lambda pack: repr(inputs.input_files(pack[0].spec)))  # stable: slow ones first
    tasks: list[list[list[str]]] = []
    filled_s = float("inf")
    for pack in packs:
        keys = [item.key for item in pack]
        pack_s = sum(seconds[key] for key in keys)
        if filled_s + pack_s / 2 > limit_s * n_packs_at_a_time:
            tasks.append([])
            filled_s = 0.0
        tasks[-1].append(keys)
        filled_s += pack_s
    return tasks


def script_of(folder: LaunchFolder, array: JobArray) -> str:
    """Return the script that sbatch would get for an array."""
    text = _make_sbatch_string(
        command="python -m submitit.core._submit ...",
        folder=folder.logs.absolute(),
        map_count=len(array.tasks) if len(array.tasks) > 1 else None,
        **_parameters(folder, array),
    )
    return text.strip()


def _parameters(folder: LaunchFolder, array: JobArray) -> dict[str, Any]:
    """Return an array's resources, as submitit names them."""
    asked = array.launcher
    optional = {name: asked[name] for name in ("partition", "account", "qos", "gres", "constraint")}
    return {name: value for name, value in optional.items() if value is not None} | {
        "job_name": arrays.job_name(folder, array.id),
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": asked["cpus"],
        "mem": f"{int(asked['mem_gb'] * 1024)}M",
        "time": asked["time_min"],
        "array_parallelism": asked["max_parallel"],
        "signal_delay_s": min(90, 12 * asked["time_min"]),  # of the warning before the time limit
        "setup": list(asked["setup"]),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True} | asked["sbatch"],
        "srun_args": ["--cpus-per-task", str(asked["cpus"])],  # not inherited since Slurm 22.05
    }


def submit_arrays(
    folder: LaunchFolder, planned: Sequence[JobArray], work: Work
) -> tuple[list[str], int, str | None]:
    """Give arrays to Slurm; where it accepts no more jobs, as fewer tasks with more work each.

    Returns the ids of the jobs, how many tasks they have, and what sbatch said of more, if it did.
    Call it with the sweep's lock held. LaunchError, with sbatch's message, if it refuses a job for
    another reason than how many there are, or accepts none.
    """
    accepted, n_tasks, refusal = [], 0, None
    for array in sorted(planned, key=lambda array: len(array.tasks)):  # every kind gets a task
        left = array
        while True:
            try:
                accepted.append(submit_array(folder, left, work))
                break
            except FailedJobError as error:
                refusal = one_line(error)
                if not FULL.search(refusal) or len(left.tasks) == 1:
                    raise LaunchError(
                        f"sbatch refused a job: {refusal}; {n_tasks} tasks were submitted before "
                        "it. Nothing is lost: the same command submits what is missing"
                    ) from None
                left = _merged(left, 3 * len(left.tasks) // 4)
        n_tasks += len(left.tasks)
    return accepted, n_tasks, refusal


def _merged(array: JobArray, n_tasks: int) -> JobArray:
    """Return an array of the same packs in `n_tasks` tasks of about equal numbers."""
    packs = [pack for task in array.tasks for pack in task]
    edges = [len(packs) * i // n_tasks for i in range(n_tasks + 1)]
    return replace(array, tasks=[packs[a:b] for a, b in zip(edges, edges[1:], strict=False)])


def submit_array(folder: LaunchFolder, array: JobArray, work: Work) -> str:
    """Record and submit an array, and return its job id; FailedJobError where sbatch refuses it."""
    arrays.write_array(folder, array)
    executor = SlurmExecutor(folder.logs)
    executor.update_parameters(**_parameters(folder, array))
    n, path = len(array.tasks), str(folder.path.absolute())
    try:
        tasks = executor.map_array(work, [path] * n, [array.id] * n, range(n))
    except FailedJobError:
        arrays.remove_array(folder, array.id)
        for file in executor.folder.iterdir():
            if UNSENT.fullmatch(file.name):
                file.unlink()
        raise
    job = tasks[0].job_id.partition("_")[0]
    arrays.write_array(folder, replace(array, job=job))
    return job
