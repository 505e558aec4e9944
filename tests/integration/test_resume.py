"""kill -9 at random moments: nothing is lost, nothing is left, and the same command resumes."""

import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.small_sweep import (
    PATIENCE_S,
    dataset,
    finish,
    launch,
    parts,
    processes_of,
    wait_for_a_part,
    wait_until,
    workers_of,
)

from rmsweep import provenance
from rmsweep.config import compose
from rmsweep.errors import LaunchError
from rmsweep.launch import run_sweep
from rmsweep.launch.lock import only_launch
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset as results


def test_kill_the_launch(tmp_path, undisturbed):
    rng = np.random.default_rng(0)
    n_done, n_killed = [], 0
    for after in (0.3, None, None):  # once while it plans, then while runs go on
        process = launch(tmp_path)
        if after is None:
            wait_for_a_part(tmp_path, process)
            after = 0.1 * rng.random()
        time.sleep(after)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        n_killed += process.returncode == -signal.SIGKILL
        wait_until(lambda p=process: not processes_of(p.pid))
        n_done.append(len(dataset(tmp_path)) if parts(tmp_path) else 0)
    assert n_done == sorted(n_done), f"a kill lost runs that were done: {n_done}"
    assert 0 < n_done[1] < 24 and n_killed >= 2, f"killed too late: {n_done}, {n_killed}"
    finish(tmp_path, undisturbed)


def test_kill_a_worker(tmp_path, undisturbed):
    rng = np.random.default_rng(1)
    n_failed = 0
    for _ in range(10):  # a sweep may end before the kill; then it starts again from nothing
        process = launch(tmp_path)
        wait_for_a_part(tmp_path, process)
        time.sleep(0.05 * rng.random())
        workers = workers_of(process.pid)
        if workers:
            os.kill(workers[rng.integers(len(workers))], signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE_S)
        if process.returncode:
            n_failed += 1
            assert process.returncode == 1 and "a worker process died" in err, out + err
            assert "The same command resumes" in err and "Traceback" not in err
        wait_until(lambda p=process: not processes_of(p.pid))
        if n_failed:
            break
        if not process.returncode:
            shutil.rmtree(tmp_path / "outputs")
    assert n_failed == 1
    finish(tmp_path, undisturbed)


def test_unfinished_files_are_not_read(tmp_path, undisturbed):
    runs = tmp_path / "outputs/small/runs"
    runs.mkdir(parents=True)
    (runs / ".part-0123456789abcdef.parquet.77").write_bytes(b"PAR1 half a")
    (tmp_path / "outputs/small/.specs.parquet.77").write_bytes(b"PAR1")
    (tmp_path / "outputs/small/.sweep.yaml.77").write_text("launches: [")
    finish(tmp_path, undisturbed)


def test_two_launches_at_once(tmp_path, undisturbed):
    both = [launch(tmp_path) for _ in range(2)]
    ended = [(*process.communicate(timeout=PATIENCE_S), process.returncode) for process in both]
    for _, err, status in ended:
        assert status == 0 or (status == 2 and "another launch of this sweep runs" in err)
    assert any(status == 0 for *_, status in ended), ended
    finish(tmp_path, undisturbed)
    n_wanted = len(pq.read_table(tmp_path / "outputs/small/specs.parquet"))
    assert n_wanted == 24, "two launches of one sweep want its runs once"


def write_lock(folder, pid, host=None):
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".launch"
    lock.write_text(json.dumps({"pid": pid, "host": host or platform.node()}))
    return lock


def test_a_live_lock_refuses(rmsweep, tiny, tmp_path):
    for pid, host in ((os.getpid(), None), (1, "another-machine")):
        lock = write_lock(tmp_path / "outputs/small", pid, host)
        before = lock.read_bytes()
        refused = rmsweep("run", "-m", "name=small", "seed=0,1", *tiny, status=2)
        assert str(pid) in refused.stderr and str(lock.relative_to(tmp_path)) in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert lock.read_bytes() == before, "the lock of another is left alone"
        assert not list(tmp_path.glob("outputs/small/runs/*"))


@contextlib.contextmanager
def full_disk():
    """No byte can be written to a file, not even pytest's own log: as short as can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def take_lock(folder):
    with only_launch(SweepFolder(folder)):
        pass


def test_what_a_full_disk_cuts_short_is_not_left(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "diff", lambda: b"a diff")
    axes = compose.Axes("small", compose.Config({}, {}, ()), [], {}, [], [])
    request = run_sweep.SweepRequest(axes, [], None, None, None, False, False, None, [], {})
    for write in (
        take_lock,
        lambda folder: run_sweep.record_launch(SweepFolder(folder), request),
        lambda folder: provenance.write_diff(SweepFolder(folder)),
        lambda folder: results.write_part(SweepFolder(folder), [{"key": "a", "status": "done"}]),
    ):
        with pytest.raises(OSError, match="too large"), full_disk():
            write(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == [".launch.lock"] and not files[0].stat().st_size


def test_a_lock_that_cannot_be_removed_hides_no_error(not_root):
    folder = Path("sweep")
    with pytest.raises(LaunchError, match="no space"), only_launch(SweepFolder(folder)):
        folder.chmod(0o555)
        raise LaunchError("no space")
    assert (folder / ".launch").exists()


@pytest.mark.soak
def test_forty_kills_at_random_moments(tmp_path, undisturbed):
    rng = np.random.default_rng(2)
    for _ in range(40):
        process = launch(tmp_path)
        time.sleep(6 * rng.random())
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        wait_until(lambda p=process: not processes_of(p.pid))
        for part in parts(tmp_path):
            part.unlink() if rng.random() < 0.1 else None  # so that there is always work left
    finish(tmp_path, undisturbed)
