"""A real Slurm for the tests of this folder; else one reason to skip, or CI fails."""

import contextlib
import fcntl
import subprocess
from pathlib import Path

import pytest
from helpers import slurm_cluster
from helpers.commands import go_without


@pytest.fixture(scope="module")
def slurm_runs():
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(Path("/tmp/rmsweep_slurm_tests.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)  # a machine has one Slurm: processes take turns
            reason = slurm_cluster.start()
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        if reason is not None:
            go_without(f"no Slurm for tests/slurm: {reason}")
        yield


@pytest.fixture
def cluster(slurm_runs):
    """The helpers of slurm_cluster.py, on a Slurm of default settings, with no job and no limit."""
    problem = slurm_cluster.start()
    assert problem is None, problem
    slurm_cluster.settle()
    yield slurm_cluster
    slurm_cluster.settle()
