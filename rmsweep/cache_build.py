"""A message for a build's jobs that an older rmsweep submitted; see task.py."""

import sys


def run_task(folder: str, array: str, task: int) -> None:
    """End a task of a build with status 1; say what happened and what to type."""
    sys.exit(
        "rmsweep: this job was submitted by an older rmsweep, whose code is not here any more, so "
        f"it did nothing. Nothing is lost: type the build's `rmsweep cache build ... --out {folder}"
        "` again, which names the jobs to cancel first, or goes on from the parts that are done"
    )
