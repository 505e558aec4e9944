"""Packs become arrays of tasks, as many as the cluster accepts, and these are submitted."""

import datetime
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import _make_sbatch_string

from rmsweep.cache import inputs
from rmsweep.config import launchers
from rmsweep.config.launchers import Place, Slurm
from rmsweep.config.spec import Item
from rmsweep.errors import LaunchError, one_line
from rmsweep.launch import cost
from rmsweep.launch.packs import packs_of
from rmsweep.launch.slurm import arrays as jobs

Run = Callable[[str, str, int], None]  # what a task does: the sweep's folder, array, its number
# How sbatch says that this user has too many jobs in the queue, and not that a job is wrong.
UNSENT = re.compile(r"[0-9a-f]{32}\.pkl|submission_file_[0-9a-f]{32}\.sh")  # submitit's, refused
FULL = re.compile(r"submit ?job|job submit limit|temporarily", re.IGNORECASE)


@dataclass(frozen=True)
class Submitted:
    """What became of arrays."""

    jobs: list[str]
    n_tasks: int
    refusal: str | None  # what sbatch said of more tasks, if it did


def plan(
    items: Sequence[Item],
    launcher: Slurm,
    device: str,
    seconds: dict[str, float],
    cache_root: str | None,
    max_array_size: int,
    save_models: bool = False,
) -> list[jobs.Array]:
    """Arrays of tasks of about target_minutes each: MLPs on GPUs and all on CPUs apart.

    seconds: of each key, as cost.seconds has them.
    """
    launch, number, found = secrets.token_hex(4), count(), []
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    for on in sorted({cost.device_of(item, device) for item in items}):
        here = [item for item in items if cost.device_of(item, device) == on]
        asked = launcher if on == "cpu" else launcher.for_gpu()
        tasks = _tasks(here, asked, on, seconds)
        threads = asked.threads if on == "cpu" else asked.cpus
        for first in range(0, len(tasks), max_array_size):
            found.append(
                jobs.Array(
                    id=f"{launch}-{next(number)}",
                    tasks=tasks[first : first + max_array_size],
                    launched_at=now,
                    place=Place(cache_root, on, threads, save_models),
                    workers=asked.workers if on == "cpu" else 1,  # threads are all it has
                    cwd=str(Path.cwd()),
                    launcher=plain(asked),
                    command=sys.argv[1:],
                )
            )
    return found


def plain(launcher: Slurm) -> dict[str, Any]:
    return vars(launcher) | {"gpu_tasks": vars(launcher.gpu_tasks)}


def _tasks(
    items: Sequence[Item], asked: Slurm, on: str, seconds: dict[str, float]
) -> list[list[list[str]]]:
    """Packs of at most half a task's work, those of one cache together in tasks."""
    at_once = asked.workers if on == "cpu" else 1
    limit_s = 60 * asked.target_minutes * (asked.threads if on == "cpu" else 1)

    def most(runs: Sequence[Item]) -> int:
        mean_s = sum(seconds[item.key] for item in runs) / len(runs)
        n_runs = launchers.pack_runs(asked, on) // runs[0].spec.n_members
        return max(1, min(n_runs, int(limit_s / 2 / mean_s)))

    packs = packs_of(items, most)
    packs.sort(key=lambda pack: repr(inputs.input_files(pack[0].spec)))  # stable: slow ones first
    tasks: list[list[list[str]]] = []
    filled_s = float("inf")
    for pack in packs:
        keys = [item.key for item in pack]
        pack_s = sum(seconds[key] for key in keys)
        if filled_s + pack_s / 2 > limit_s * at_once:
            tasks.append([])
            filled_s = 0.0
        tasks[-1].append(keys)
        filled_s += pack_s
    return tasks


def header(directory: Path, array: jobs.Array) -> str:
    """The script that sbatch gets for an array, without running it."""
    executor_text = _make_sbatch_string(
        command="python -m submitit.core._submit ...",
        folder=jobs.logs(directory).absolute(),
        map_count=len(array.tasks) if len(array.tasks) > 1 else None,
        **_parameters(directory, array),
    )
    return executor_text.strip()


def _parameters(directory: Path, array: jobs.Array) -> dict[str, Any]:
    """An array's resources, as submitit names them."""
    asked = array.launcher
    given = {name: asked[name] for name in ("partition", "account", "qos", "gres", "constraint")}
    return {name: value for name, value in given.items() if value is not None} | {
        "job_name": jobs.job_name(directory, array.id),
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": asked["cpus"],
        "mem": f"{int(asked['mem_gb'] * 1024)}M",
        "time": asked["time_min"],
        "array_parallelism": asked["max_parallel"],
        "signal_delay_s": signal_delay_s(asked["time_min"]),
        "setup": list(asked["setup"]),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True} | asked["sbatch"],
        "srun_args": ["--cpus-per-task", str(asked["cpus"])],  # not inherited since Slurm 22.05
    }


def signal_delay_s(time_min: int) -> int:
    """Seconds before the time limit at which a task is told to write what it has."""
    return min(90, 12 * time_min)


def submit(directory: Path, arrays: Sequence[jobs.Array], run: Run) -> Submitted:
    """Give arrays to Slurm; where it accepts no more jobs, as fewer tasks with more work each.

    Call it with the sweep's lock held. LaunchError, with sbatch's message, if it refuses a job for
    another reason than how many there are, or accepts none.
    """
    accepted, n_tasks, refusal = [], 0, None
    for array in sorted(arrays, key=lambda array: len(array.tasks)):  # every kind gets a task
        left = array
        while True:
            try:
                accepted.append(sbatch(directory, left, run))
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
    return Submitted(accepted, n_tasks, refusal)


def _merged(array: jobs.Array, n_tasks: int) -> jobs.Array:
    """The same packs in so many tasks, of as many packs each as can be."""
    packs = [pack for task in array.tasks for pack in task]
    edges = [len(packs) * i // n_tasks for i in range(n_tasks + 1)]
    return replace(array, tasks=[packs[a:b] for a, b in zip(edges, edges[1:], strict=False)])


def sbatch(directory: Path, array: jobs.Array, run: Run) -> str:
    """Submit one array, recorded before Slurm knows of it; its job id."""
    jobs.write(directory, array)
    executor = SlurmExecutor(jobs.logs(directory))
    executor.update_parameters(**_parameters(directory, array))
    n = len(array.tasks)
    try:
        done = executor.map_array(run, [str(directory.absolute())] * n, [array.id] * n, range(n))
    except FailedJobError:
        jobs.remove(directory, array.id)
        for path in executor.folder.iterdir():
            if UNSENT.fullmatch(path.name):
                path.unlink()
        raise
    job = done[0].job_id.partition("_")[0]
    jobs.write(directory, replace(array, job=job))
    return job
