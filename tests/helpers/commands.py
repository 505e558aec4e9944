"""The installed command, and the commands of the system that tests need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RMSWEEP = Path(sys.executable).with_name("rmsweep")
INSTALL = Path(__file__).with_name("install.sh")


def install(command, *packages):
    """Debian's command, installed first where it is absent and can be; else one reason to skip."""
    found = subprocess.run(
        [INSTALL, command, *packages], capture_output=True, text=True, timeout=600
    )
    if found.returncode:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"no {command} for this test: {found.stderr.strip()}")
