"""What must be the same in another process: ids of specs, bytes of synthetic caches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.synthetic_sources import LARGE, SOURCE, changed, digest
from pinned import keys

from rmsweep.paths import SHIPPED

TESTS = Path(keys.__file__).parents[1]


def test_spec_ids_are_the_same_in_another_process(tmp_path):
    code = "from pinned import keys; print(keys.keys(keys.SWEEPS[1:2]))"
    path = f"{TESTS}{os.pathsep}{SHIPPED}"
    env = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = keys.keys(keys.SWEEPS[1:2])
    assert len(expected) > 5 and set(expected) <= set(keys.read_keys()[1])
    assert done.stdout.strip() == str(expected)


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_same_parameters_same_bytes_in_another_process_with_other_threads(threads):
    code = (
        "from helpers.synthetic_sources import LARGE, SOURCE, digest;"
        "print(digest(LARGE), digest(SOURCE), SOURCE.fingerprint)"
    )
    variables = {f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL")}
    variables["PYTHONPATH"] = f"{TESTS}{os.pathsep}{SHIPPED}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [digest(LARGE), digest(SOURCE), SOURCE.fingerprint]
    assert digest(changed(seed=7)) != digest(SOURCE)
