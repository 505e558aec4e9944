"""A sweep is stopped: its launch on this machine, and its jobs; what is done is kept."""

import os
import signal
import time

from rmsweep.launch import lock
from rmsweep.launch.launchers import LAUNCHERS
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset

PATIENCE_S = 15  # for a launch to end at Ctrl-C


def stop_launch(name: str) -> int | None:
    """End a sweep's launch, if it has one; return its process; ValueError for another machine's."""
    dataset.require_sweep(name)
    folder = SweepFolder.named(name)
    holder = lock.holder(folder)
    if holder is None:
        return None
    if not lock.is_here(holder):
        raise ValueError(
            f"process {holder['pid']} on {holder['host']} launches this sweep; cancel it there"
        )
    pid: int = holder["pid"]
    os.kill(pid, signal.SIGINT)
    end = time.monotonic() + PATIENCE_S
    while lock.holder(folder) is not None:
        if time.monotonic() > end:  # it was started by a script, and ignores SIGINT
            os.kill(pid, signal.SIGTERM)
            break
        time.sleep(0.1)
    return pid


def cancel_jobs(name: str) -> int:
    """End the jobs of a sweep, of every launcher; return how many tasks that were."""
    dataset.require_sweep(name)
    folder = SweepFolder.named(name)
    return sum(kind.cancel(folder) for kind in LAUNCHERS.values())
