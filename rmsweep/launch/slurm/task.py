"""What a task of an array does on its node: it runs its packs, and ends in time."""

import sys
from pathlib import Path
from signal import SIGUSR2
from typing import TYPE_CHECKING

import pandas as pd

from rmsweep import errors
from rmsweep.config.spec import Item
from rmsweep.launch import pool, signals
from rmsweep.launch.slurm import arrays, scheduler
from rmsweep.paths import SweepFolder
from rmsweep.provenance import slurm_job
from rmsweep.results import dataset, sweep_record

if TYPE_CHECKING:  # torch, which the pool imports meanwhile
    from rmsweep.launch.worker import Outcome

KILLED = 137  # the exit status of what the kernel kills, most often for memory


def run_task(folder: str, array: str, task: int) -> None:
    """Run the packs of one task of an array and write their rows; submitit calls it on a node.

    Told that the time limit is near (SIGUSR2), it writes what is fitted and has itself queued
    again: then it starts from here, with what is left. SIGTERM (scancel, preemption) ends it.
    """
    sweep = SweepFolder(Path(folder))
    record = arrays.read_array(sweep, array)
    sys.path.insert(0, record.cwd)
    sys.argv[1:] = record.command  # which rows say made them
    signals.ignore_stops()
    pool.warm_up()
    signals.listen_for_stops()
    left = _packs_left(sweep, record, task)
    print(f"{sum(map(len, left))} runs in {len(left)} packs are left", flush=True)
    try:
        pool.run_packs(left, record.place, record.workers, sweep, _tell, listens=True)
    except errors.WorkerDied as error:
        print(error, flush=True)
        sys.exit(KILLED)
    if signals.stop_asked(SIGUSR2) and _packs_left(sweep, record, task):
        job = slurm_job()
        assert job is not None
        print("the time limit is near: queued again, to go on with what is left", flush=True)
        scheduler.requeue(job)
    elif signals.stop_asked():
        print("told to end: what was fitted is written", flush=True)
    signals.ignore_stops()  # Python would die of a signal while it ends, its work done


def _tell(outcome: "Outcome") -> None:
    text = f"{outcome.done} runs done, {outcome.failed} failed, in {outcome.wall_s:.1f} s"
    print(f"{text} (fit {outcome.fit_s:.1f} s, score {outcome.score_s:.1f} s)", flush=True)


def _packs_left(folder: SweepFolder, record: arrays.JobArray, task: int) -> list[list[Item]]:
    """Return a task's packs without the runs that are done, or that failed since the launch."""
    rows = dataset.read_rows(folder, ["key", "status", "finished_at"])
    ended = (rows["status"] == "done") | (rows["finished_at"] >= pd.Timestamp(record.launched_at))
    over = set(rows.loc[ended, "key"])
    if record.place.save_models:  # what was done without has to be done again
        over -= set(rows.loc[rows["status"] == "done", "key"]) - dataset.saved_keys(folder)
    packs = [[key for key in pack if key not in over] for pack in record.tasks[task]]
    items = sweep_record.wanted_items(folder, {key for pack in packs for key in pack})
    return [[items[key] for key in pack] for pack in packs if pack]
