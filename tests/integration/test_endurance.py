"""make soak: a large dataset, many runs, and disturbances; docs/reliability.md has the figures."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from helpers.commands import RMSWEEP
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

from rmsweep.cache import inputs
from rmsweep.config import compose, sweep_specs
from rmsweep.config.launchers import Place
from rmsweep.launch.worker import run_row
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset as results
from rmsweep.results import schema, sweep_record

pytestmark = pytest.mark.soak
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, and drops capabilities")
# A root whom permissions bind
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
TINY = {"train_prompts": 40, "train_responses": 3, "test_prompts": 8, "test_responses": 6}
TINY |= {"dim": 8, "n_clusters": 2, "intrinsic_dim": 4}
TINY_RUN = [f"dataset.synthetic.{name}={value}" for name, value in TINY.items()]
TINY_RUN += ["precision=fp32"]


# ---- load


# In a small process of its own: a child's peak of memory is at least that of who starts it.
MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, ended, usage = os.wait4(process.pid, 0)
found = [os.waitstatus_to_exitcode(ended), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]
open(sys.argv[1], "w").write(json.dumps(found))
"""


def measured(root, *arguments, most_gib, most_core_s, status=0):
    """Run a command, print seconds, seconds of a core and peak memory; its output.

    most_gib, most_core_s: bounds, generous, on what it and the workers that it waited for took.
    """
    began, found = time.perf_counter(), root / "measured.json"
    command = [sys.executable, "-c", MEASURE, found, RMSWEEP, *arguments]
    out = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    ended, core_s, kib = json.loads(found.read_text())
    gib = kib / 2**20
    print(
        f"{' '.join(arguments[:3])}: {time.perf_counter() - began:.1f} s, "
        f"{core_s:.1f} s of a core, {gib:.2f} GiB"
    )
    assert ended == status, out
    assert gib <= most_gib and core_s <= most_core_s, (gib, core_s)
    return out


def write_large_dataset(directory, items, n_prompts, runs_a_part):
    """Parts as workers write them, whose numbers are noise."""
    rng, place = np.random.default_rng(0), Place(None, "cpu", 1)
    for start in range(0, len(items), runs_a_part):
        rows = []
        for item in items[start : start + runs_a_part]:
            found = dict(zip(schema.SCALARS, rng.normal(size=len(schema.SCALARS)), strict=True))
            by_prompt = rng.normal(size=(len(schema.BY_PROMPT), n_prompts)).astype(np.float32)
            found |= dict(zip(schema.BY_PROMPT, by_prompt, strict=True))
            found |= {"epochs": 3, "wall_s": 0.01, "dim": TINY["dim"], "test_responses": 48}
            rows.append(run_row(item, place, "done", found))
        results.write_part(SweepFolder(directory), rows)


def test_100000_rows(tmp_path):
    runs = ["loss=bt_mlp,clf_mlp", "annotation.beta=range(10)", "quantity=range(20,40,2)"]
    runs += ["seed=range(500)", "name=large", *TINY_RUN]
    with compose.hydra_at_conf():
        specs = sweep_specs.distinct_specs(compose.read_axes(runs, []), [], "cpu")
    items = inputs.keyed_items(specs, None)
    assert len(items) == 100_000
    directory = tmp_path / "outputs/large"
    sweep_record.add_wanted(SweepFolder(directory), items)
    write_large_dataset(directory, items, n_prompts=100, runs_a_part=16)
    parts = results.part_paths(SweepFolder(directory))
    n_bytes = sum(part.stat().st_size for part in parts)
    print(f"\n100,000 rows: {n_bytes / 1e9:.2f} GB in {len(parts)} parts")
    out = measured(tmp_path, "status", "large", most_gib=1, most_core_s=150)
    assert "100000 of 100000 runs done" in out
    table = ["table", "large", "--format", "csv"]  # as text the names wrap
    assert "bt_mlp" in measured(tmp_path, *table, most_gib=4, most_core_s=200)
    parts[0].unlink()
    out = measured(tmp_path, "status", "large", most_gib=1, most_core_s=150, status=1)
    assert "99984 of 100000 runs done" in out
    out = measured(tmp_path, "run", "-m", *runs, most_gib=6, most_core_s=900)
    assert "16 runs" in out
    assert "100000 of 100000 runs done" in out


def test_12960_runs_in_one_go(tmp_path):
    runs = ["seed=range(3240)", "annotation.beta=0.3,1,3,10", "loss.hidden=[]", "quantity=20"]
    runs += ["training.max_epochs=1", "name=trivial", *TINY_RUN]
    began = time.perf_counter()
    out = measured(tmp_path, "run", "-m", *runs, most_gib=3, most_core_s=1800)
    wall_s = time.perf_counter() - began
    assert "12960 of 12960 runs done" in out, out
    rows = pd.read_parquet(tmp_path / "outputs/trivial/runs", columns=["key", "status", "wall_s"])
    assert len(rows) == rows["key"].nunique() == 12_960 and (rows["status"] == "done").all()
    said = re.search(
        r"12960 runs in (\S+) s: .* on (\d+) workers; fit (\S+) s and score (\S+) s", out
    )
    packs_s, workers, fit_s, score_s = map(float, said.groups())
    print(
        f"12,960 runs: {wall_s:.0f} s, of which {wall_s - packs_s:.0f} s plan and start; "
        f"{1000 * packs_s / 12_960:.1f} ms a run on {workers:.0f} workers, of their time "
        f"{1000 * (workers * packs_s - fit_s - score_s) / 12_960:.1f} ms besides fit and score"
    )


# ---- disturbances


def interrupted(root, disturb, **how):
    """Launch until `disturb(process)` was called while runs went on; the launch."""
    while True:
        process = launch(root, **how)
        wait_for_a_part(root, process)
        if process.poll() is None:
            disturb(process)
            return process
        shutil.rmtree(root / "outputs/small")  # it was over before


def assert_none_doubled(root):
    rows = pd.read_parquet(root / "outputs/small/runs", columns=["key", "status"])
    assert not rows.loc[rows["status"] == "done", "key"].duplicated().any()


def refused(root, *words, status=(1, 2), **how):
    """Launch once: it ends with a line on stderr that has the words."""
    process = launch(root, **how)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in status, out + err
    assert len(err.splitlines()) == 1 and all(word in err for word in words), err


def status_of(root, **how):
    out = subprocess.run([RMSWEEP, "status", "small"], cwd=root, capture_output=True, text=True)
    assert out.returncode == 1 and "Traceback" not in out.stderr, out
    return out.stdout


def test_a_stopped_launch_goes_on(tmp_path, undisturbed):
    process = interrupted(tmp_path, lambda p: os.killpg(p.pid, signal.SIGSTOP))
    before = parts(tmp_path)
    time.sleep(3)
    assert parts(tmp_path) == before and 0 < len(before) < 12
    assert f"process {process.pid}" in status_of(tmp_path)
    refused(tmp_path, "another launch of this sweep runs", str(process.pid), status=(2,))
    os.killpg(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "24 of 24 runs done" in out and err == "", out + err
    assert_none_doubled(tmp_path)
    finish(tmp_path, undisturbed)


def test_a_worker_that_is_stopped_and_one_whose_launch_is_killed_meanwhile(tmp_path, undisturbed):
    stopped = []

    def stop(process):
        stopped.extend(workers_of(process.pid)[:1])
        for worker in stopped:
            os.kill(worker, signal.SIGSTOP)

    process = interrupted(tmp_path, stop)
    time.sleep(1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=PATIENCE_S)  # its pipes stay open: the stopped worker has them too
    finish(tmp_path, undisturbed)  # while it is stopped still
    n_parts = len(parts(tmp_path))
    for worker in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
    process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: not processes_of(process.pid))
    assert len(parts(tmp_path)) <= n_parts + 1, "at most what it was about to write"
    finish(tmp_path, undisturbed)


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead_s(void) {
    char text[32] = {0};
    int file = open(getenv("CLOCK_AHEAD"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
        close(file);
    }
    return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += ahead_s();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec, now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return at ? (*at = now.tv_sec) : now.tv_sec;
}
"""


@pytest.mark.parametrize("jumps", [(-400, 3650), (3650, -3650)], ids=["back", "ahead"])
def test_a_clock_that_jumps(jumps, tmp_path, undisturbed):
    (tmp_path / "clock.c").write_text(CLOCK)
    library, ahead = tmp_path / "clock.so", tmp_path / "ahead"
    gcc = ["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"]
    subprocess.run(gcc, check=True)

    def jump(days):
        unfinished = tmp_path / "unfinished"
        unfinished.write_text(str(days * 86_400))
        os.replace(unfinished, ahead)

    how = {"env": os.environ | {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(ahead)}}

    def jump_twice(process):
        for days in jumps:
            jump(days)
            wait_for_a_part(tmp_path, process)

    jump(0)
    process = interrupted(tmp_path, jump_twice, **how)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "24 of 24 runs done" in out and err == "", out + err
    rows = pd.read_parquet(tmp_path / "outputs/small/runs", columns=["finished_at"])
    ended = pd.to_datetime(rows["finished_at"])
    assert (ended.max() - ended.min()).days >= 399, "the clock did jump"
    assert_none_doubled(tmp_path)
    done = subprocess.run([RMSWEEP, "status", "small"], cwd=tmp_path, capture_output=True, **how)
    assert done.returncode == 0 and b"-" not in done.stdout, done
    jump(-20_000)  # a machine without a battery starts in 1970
    parts(tmp_path)[0].unlink()
    finish(tmp_path, undisturbed, **how)
    assert_none_doubled(tmp_path)


@pytest.fixture
def disk(tmp_path):
    """disk(options): mounts tmp_path/outputs, a disk of its own, or mounts it anew."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)

    def again(options):
        command = ["mount", "-o", f"remount,{options}", folder]
        wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0)

    yield again
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder, left):
    """Leave so many bytes free."""
    space = os.statvfs(folder)
    with open(folder / "filler", "wb") as filler:
        filler.write(bytes(max(0, space.f_bavail * space.f_frsize - left)))


@needs_root
@pytest.mark.parametrize("left", [0, 8192, 100_000, 300_000], ids="{}_bytes_left".format)
def test_a_full_disk(left, tmp_path, disk, undisturbed):
    disk("size=4m")
    fill(tmp_path / "outputs", left)
    for _ in range(2):
        refused(tmp_path, "No space left")
    kept = parts(tmp_path)
    assert (left > 8192 or not kept) and (left < 300_000 or 0 < len(kept) < 12)
    if kept:
        assert f"{len(dataset(tmp_path))} of 24 runs done" in status_of(tmp_path)
    assert not [p for p in (tmp_path / "outputs/small").rglob(".*") if p.is_file()]
    (tmp_path / "outputs/filler").unlink()
    finish(tmp_path, undisturbed)
    assert set(kept) <= set(parts(tmp_path))
    assert_none_doubled(tmp_path)


@needs_root
def test_a_folder_that_becomes_read_only(tmp_path, disk, undisturbed):
    process = interrupted(tmp_path, lambda _: disk("ro"))
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "Read-only file system" in err, out + err
    assert "the same command resumes" in err and len(err.splitlines()) == 1
    kept = parts(tmp_path)
    refused(tmp_path, "results cannot be written", "Read-only file system", status=(2,))
    assert f"{len(dataset(tmp_path))} of 24 runs done" in status_of(tmp_path)
    disk("rw")
    finish(tmp_path, undisturbed)
    assert set(kept) <= set(parts(tmp_path))
    assert_none_doubled(tmp_path)


@needs_root
@pytest.mark.parametrize("mode", [0o555, 0o333, 0], ids=["no_writing", "no_listing", "nothing"])
def test_permissions_that_change(mode, tmp_path, undisturbed):
    root, user = tmp_path, {"before": BOUND}
    runs = root / "outputs/small/runs"
    process = interrupted(root, lambda _: runs.chmod(mode), **user)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (1, 2) and "Permission denied" in err, out + err
    assert len(err.splitlines()) == 1, err
    refused(root, "Permission denied", status=(2,), **user)
    runs.chmod(0o755)
    kept = parts(root)
    kept[0].chmod(0)
    refused(root, kept[0].name, "cannot be read", "Permission denied", status=(2,), **user)
    kept[0].chmod(0o644)
    finish(root, undisturbed, **user)
    assert set(kept) <= set(parts(root))
    assert_none_doubled(root)


def test_many_disturbances_at_random(tmp_path, undisturbed):
    rng, n_killed = np.random.default_rng(3), 0
    for _ in range(20):
        process = launch(tmp_path)
        wait_for_a_part(tmp_path, process)
        for _ in range(3):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGSTOP)
                time.sleep(0.2 * rng.random())
                os.killpg(process.pid, signal.SIGCONT)
                time.sleep(0.1 * rng.random())
        targets = [process.pid, *workers_of(process.pid)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(targets[rng.integers(len(targets))], signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        n_killed += process.returncode != 0
        wait_until(lambda p=process: not processes_of(p.pid))
        for part in parts(tmp_path):
            part.unlink() if rng.random() < 0.3 else None  # so that there is always work left
    finish(tmp_path, undisturbed)
    assert_none_doubled(tmp_path)
    print(f"{n_killed} of 20 launches killed after three stops each")
