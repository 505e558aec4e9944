"""What the end-to-end tests share: the installed command, in a folder of its own, on tiny data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RMSWEEP = Path(sys.executable).with_name("rmsweep")


@pytest.fixture
def rmsweep(tmp_path):
    """rmsweep(arguments...): runs the installed command in tmp_path, expects an exit status."""

    def call(*arguments, status=0, timeout=300, **environment):
        found = subprocess.run(
            [RMSWEEP, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert found.returncode == status, found.stdout + found.stderr
        return found

    return call


@pytest.fixture
def tiny():
    """Overrides of a run that takes milliseconds."""
    shape = {"train_prompts": 40, "train_responses": 3, "test_prompts": 12, "test_responses": 6}
    shape |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
    source = [f"dataset.synthetic.{name}={value}" for name, value in shape.items()]
    return [*source, "quantity=30", "training.max_epochs=3"]
