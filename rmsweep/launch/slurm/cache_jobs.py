"""A build on Slurm: an array for each stage, a task for each shard, then a job that joins them."""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from submitit.core.utils import FailedJobError

from rmsweep.config.launchers import Place
from rmsweep.errors import LaunchError, Unavailable, one_line
from rmsweep.launch import lock
from rmsweep.launch.slurm import arrays, scheduler, submit, task_states
from rmsweep.launch.slurm.launcher import SlurmLauncher
from rmsweep.paths import LaunchFolder
from rmsweep.provenance import slurm_job

JOIN = "join"


def submit_stages(
    folder: LaunchFolder,
    kinds: Sequence[str],
    shards: Sequence[tuple[int, int]],
    cluster: SlurmLauncher,
    work: submit.Work,
) -> dict[str, str]:
    """Submit an array for each stage and a job that joins the parts; return job ids by stage.

    A shard's task waits for that shard's task of the stage before. work(folder, array, task) is
    called on the node. ValueError while jobs of a build there live; LaunchError, with nothing
    submitted, where sbatch refuses one.
    """
    if len(shards) > scheduler.max_array_size() - 1:
        raise ValueError(f"--shards must be below MaxArraySize, {scheduler.max_array_size()}")
    launch, jobs = token_hex(4), dict[str, str]()
    with lock.only_launch(folder, runs=False, what="build of this cache"):
        require_none_live(folder)
        for kind in [*kinds, JOIN]:
            on = "cpu" if kind == JOIN else cluster.device
            fields = cluster.fields if on == "cpu" else cluster.fields.for_gpu()
            if jobs:
                after = "afterok" if kind == JOIN else "aftercorr"
                before = [*jobs.values()][-1]
                waits = {"dependency": f"{after}:{before}", "kill_on_invalid_dep": "yes"}
                fields = replace(fields, sbatch=fields.sbatch | waits)
            names = [JOIN] if kind == JOIN else [f"{i}/{n}" for i, n in shards]
            place = Place(None, on, fields.cpus)
            array = submit.new_array(f"{launch}-{kind}", [[[n]] for n in names], fields, place)
            try:
                jobs[kind] = submit.submit_array(folder, replace(array, workers=1), work)
            except FailedJobError as error:
                scheduler.cancel([scheduler.Task(job, 0, "", "PENDING") for job in jobs.values()])
                raise LaunchError(
                    f"sbatch refused a job: {one_line(error)}; nothing is submitted. "
                    "Fewer --shards are fewer tasks"
                ) from None
    return jobs


def require_none_live(folder: LaunchFolder) -> None:
    """Raise ValueError while Slurm has tasks of a build there; without a Slurm it has none."""
    try:
        live = task_states.live_tasks(folder)
    except Unavailable as error:
        if shutil.which("squeue") is None:  # a cache that was copied from a cluster
            return
        what = f"whether a build in {folder} still runs cannot be told: {error}"
        raise ValueError(what) from None
    if live:
        ids = sorted({task.job for _, task in live})
        raise ValueError(
            f"{len(live)} tasks of a build in {folder} are queued or running: wait for them, or "
            f"scancel {' '.join(ids)}"
        )


def begin_task(folder: str, array: str, task: int) -> tuple[arrays.JobArray, str, str]:
    """Prepare this process of a node for a task of a build; return array, stage and shard.

    At Slurm's warning before the time limit it is queued again, and goes on from its parts.
    """
    import torch

    record = arrays.read_array(LaunchFolder(Path(folder)), array)
    os.chdir(record.cwd)
    signal.signal(signal.SIGUSR2, _queue_again)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit lives through it
    torch.set_num_threads(record.place.threads)
    return record, array.partition("-")[2], record.tasks[task][0][0]


def _queue_again(signum: int, frame: object) -> None:
    print("the time limit is near: queued again, to go on from the parts that are done", flush=True)
    scheduler.requeue(str(slurm_job()))
    sys.exit()
