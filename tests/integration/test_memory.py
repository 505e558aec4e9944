"""Scoring streams the test file: memory does not grow with it."""

import re
import subprocess
import sys

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
    large, file_gb = gib_of_pack(300, tmp_path)
    assert file_gb > 0.6
    assert large < small + 0.2


@pytest.mark.soak
def test_four_gigabytes_are_scored_in_less_than_two(tmp_path):
    used, file_gb = gib_of_pack(2000, tmp_path)
    assert file_gb > 4 and used < 2
