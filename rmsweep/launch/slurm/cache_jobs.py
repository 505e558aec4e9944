"""A build on Slurm: an array for each stage, a task for each shard, then a job that joins them."""

import datetime
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError

from rmsweep import errors
from rmsweep.config import launchers
from rmsweep.config.launchers import Place, Slurm
from rmsweep.errors import LaunchError, one_line
from rmsweep.launch import lock
from rmsweep.launch.slurm import arrays as jobs
from rmsweep.launch.slurm import scheduler
from rmsweep.launch.slurm import submit as slurm
from rmsweep.provenance import slurm_job

JOIN = "join"


def settle(values: dict[str, Any], device: str | None) -> tuple[Slurm, str]:
    """The launcher of a config, and what its tasks run models on; ValueError for another one."""
    launcher, on = launchers.settle(values, device)
    if not isinstance(launcher, Slurm):
        raise ValueError("a build takes launcher=slurm or one like it; without, it runs here")
    try:
        scheduler.max_array_size()
    except errors.Unavailable as error:
        raise ValueError(f"launcher=slurm needs Slurm's commands here: {error}") from None
    return launcher, on


def submit(
    root: Path,
    kinds: Sequence[str],
    shards: Sequence[tuple[int, int]],
    launcher: Slurm,
    device: str,
    run: slurm.Run,
) -> dict[str, str]:
    """Job ids by stage. A shard's task waits for that shard's task of the stage before.

    run(folder, array, task) is called on the node. ValueError while jobs of a build in root live;
    LaunchError, with nothing submitted, where sbatch refuses one.
    """
    if len(shards) > scheduler.max_array_size() - 1:
        raise ValueError(f"--shards must be below MaxArraySize, {scheduler.max_array_size()}")
    launch, made = secrets.token_hex(4), dict[str, str]()
    with lock.only_launch(root, runs=False):
        require_none_live(root)
        for kind in [*kinds, JOIN]:
            asked = launcher.for_gpu() if device != "cpu" and kind != JOIN else launcher
            asked = replace(asked, sbatch=asked.sbatch | _dependency(kind, [*made.values()]))
            names = [JOIN] if kind == JOIN else [f"{i}/{n}" for i, n in shards]
            array = _array(f"{launch}-{kind}", names, asked, "cpu" if kind == JOIN else device)
            try:
                made[kind] = slurm.sbatch(root, array, run)
            except FailedJobError as error:
                scheduler.cancel([scheduler.Task(job, 0, "", "PENDING") for job in made.values()])
                raise LaunchError(
                    f"sbatch refused a job: {one_line(error)}; nothing is submitted. "
                    "Fewer --shards are fewer tasks"
                ) from None
    return made


def _array(name: str, shards: list[str], asked: Slurm, on: str) -> jobs.Array:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    return jobs.Array(
        id=name,
        tasks=[[[shard]] for shard in shards],
        launched_at=now,
        place=Place(None, on, asked.cpus),
        workers=1,
        cwd=str(Path.cwd()),
        launcher=slurm.plain(asked),
        command=sys.argv[1:],
    )


def _dependency(kind: str, before: list[str]) -> dict[str, str]:
    """sbatch's options: a task after its counterpart; what can never start is cancelled."""
    if not before:
        return {}
    after = "afterok" if kind == JOIN else "aftercorr"
    return {"dependency": f"{after}:{before[-1]}", "kill_on_invalid_dep": "yes"}


def require_none_live(root: Path) -> None:
    """ValueError while Slurm has tasks of a build in root; where there is no Slurm, it has none."""
    arrays = jobs.submitted(root)
    try:
        found = jobs.of_sweep(root, arrays, scheduler.queued()) if arrays else []
    except errors.Unavailable as error:
        if shutil.which("squeue") is None:  # a cache that was copied from a cluster
            return
        raise ValueError(f"whether a build in {root} still runs cannot be told: {error}") from None
    if found:
        ids = sorted({task.job for _, task in found})
        raise ValueError(
            f"{len(found)} tasks of a build in {root} are queued or running: wait for them, or "
            f"scancel {' '.join(ids)}"
        )


def begin(folder: str, array: str, task: int) -> tuple[jobs.Array, str, str]:
    """On a node: the array, its kind and the task's shard; where it was launched, with its cores.

    At Slurm's warning before the time limit the task is queued again, and goes on from its parts.
    """
    import torch

    given = jobs.read(Path(folder), array)
    os.chdir(given.cwd)
    signal.signal(signal.SIGUSR2, _queue_again)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit lives through it
    torch.set_num_threads(given.place.threads)
    return given, array.partition("-")[2], given.tasks[task][0][0]


def _queue_again(signum: int, frame: object) -> None:
    print("the time limit is near: queued again, to go on from the parts that are done", flush=True)
    scheduler.requeue(str(slurm_job()))
    sys.exit()
