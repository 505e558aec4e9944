"""The installed command, and the programs of the system that tests need."""

import os
import shutil
import sys
from pathlib import Path

import pytest

RMSWEEP = Path(sys.executable).with_name("rmsweep")


def go_without(reason):
    """Skip the test for this reason, or fail it where CI=true."""
    give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    give_up(reason)


def need(program):
    """Return the path of a program that tests/helpers/install.sh installs, or go without."""
    path = shutil.which(program)
    return path or go_without(f"no {program} here; tests/helpers/install.sh installs it")
