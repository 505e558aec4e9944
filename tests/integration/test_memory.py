"""Scoring and inspecting stream a file: memory does not grow with it."""

import re
import subprocess
import sys

import numpy as np
import pytest

from rmsweep.paths import CHECKOUT

BENCHMARK = CHECKOUT / "benchmarks/memory.py"


def gib_of_pack(prompts, tmp_path):
    """Peak resident set of a pack less what was resident before it, and the test file's size."""
    command = [
        sys.executable,
        BENCHMARK,
        "--prompts",
        str(prompts),
        "--runs",
        "2",
        "--dir",
        tmp_path,
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, before = map(float, re.search(r"peak RSS (\S+) GiB, (\S+) GiB", out).groups())
    return peak - before, float(re.search(r"test file (\S+) GB", out)[1])


def test_scoring_streams_the_test_file(tmp_path):
    small, _ = gib_of_pack(20, tmp_path)
    large, file_gb = gib_of_pack(150, tmp_path)
    assert file_gb > 0.3
    assert large < small + 0.1, "memory grows with the test file, in GiB"


@pytest.mark.soak
def test_four_gigabytes_are_scored_in_less_than_two(tmp_path):
    used, file_gb = gib_of_pack(2000, tmp_path)
    assert file_gb > 4 and used < 2


def test_inspecting_streams_the_file(tmp_path):
    """A file of 512 MiB, described in a process that may grow by half of that."""
    shape = (1024, 256, 1024)
    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
    with open(tmp_path / "embd_a_b_c_train.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * 1024 * 256 * 1024)
    golden = np.random.default_rng(0).normal(size=(*shape[:2], 1)).astype(np.float32)
    np.save(tmp_path / "reward_a_b_c_train.npy", golden)
    code = f"""
import resource
from pathlib import Path
from rmsweep.cache.inspecting import caches
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert caches.describe_cache(Path({str(tmp_path)!r}), "a_b_c")["cautions"]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300, "MiB for a file of 512 MiB: it was read as a whole"
