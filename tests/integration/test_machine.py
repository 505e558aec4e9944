"""What a process asks of its machine."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from rmsweep import machine
{}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytes([1]) * (48 * 2**20)
before = faults()
for _ in range(5):
    bytes([1]) * (48 * 2**20)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_is_freed_is_kept_so_that_having_it_again_costs_no_page_faults():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS.format(first)], check=True,
                           capture_output=True, text=True).stdout)
        for first in ("machine.keep_freed_memory()", "")
    )  # fmt: skip
    pages = 48 * 2**20 // 4096
    assert kept < pages < given_back
