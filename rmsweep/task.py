"""A message for a sweep's jobs that an older rmsweep submitted, whose code is not here any more.

submitit's pickle of such a job names `rmsweep.task.run_task`. Once none is queued, this module and
cache_build.py beside it can go.
"""

import sys
from pathlib import Path


def run_task(folder: str, array: str, task: int) -> None:
    """End a task of a sweep with status 1; say what happened and what to type."""
    directory = Path(folder)
    sys.exit(
        "rmsweep: this job was submitted by an older rmsweep, whose code is not here any more, so "
        f"it did nothing. Nothing is lost: type `rmsweep cancel {directory.name}` in "
        f"{directory.parent.parent}, then the launch's command again, which submits what is missing"
    )
