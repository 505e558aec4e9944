"""Jobs that the code before the packages submitted, and that start only now: one clear message."""

import os
import subprocess
import sys

import pytest
from submitit.core.utils import DelayedSubmission

from rmsweep import cache_build, task

WAY_OUT = {
    "rmsweep.task": "`rmsweep cancel old`",
    "rmsweep.cache_build": "rmsweep cache build ... --out",
}


@pytest.mark.parametrize("module", [task, cache_build], ids=lambda module: module.__name__)
def test_an_older_job_ends_with_one_message(module, tmp_path):
    directory = tmp_path / "outputs/old"
    directory.mkdir(parents=True)
    job = DelayedSubmission(module.run_task, str(directory), "1a2b3c4d-0", 0)
    job.dump(directory / "7_submitted.pkl")
    pickled = (directory / "7_submitted.pkl").read_bytes()
    assert module.__name__.encode() in pickled and b"run_task" in pickled, "by name, as it was"
    ended = subprocess.run(
        [sys.executable, "-u", "-m", "submitit.core._submit", str(directory)],
        env=os.environ | {"SLURM_JOB_ID": "7", "SUBMITIT_EXECUTOR": "slurm"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1, "status shows it among the tasks that ended badly"
    (message,) = ended.stderr.splitlines()
    assert "submitted by an older rmsweep" in message and "Nothing is lost" in message
    assert WAY_OUT[module.__name__] in message
    assert all(line.startswith("submitit INFO") for line in ended.stdout.splitlines())
