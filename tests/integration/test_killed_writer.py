"""A process that is killed while it writes leaves the old file, and a name that says whose."""

import signal
import subprocess
import sys

import pytest

from rmsweep import files

KILLED = """
import os, signal, sys
from pathlib import Path
from rmsweep import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as unfinished:
    (unfinished / "a" if unfinished.is_dir() else unfinished).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["whole", "whole_folder"])
def test_a_kill_in_the_middle_leaves_what_was_there_and_a_hidden_name_that_says_whose(
    tmp_path, kind
):
    (tmp_path / "a").mkdir()
    command = [sys.executable, "-c", KILLED, kind, str(tmp_path / "a")]
    writer = subprocess.Popen(command)
    assert writer.wait(timeout=60) == -signal.SIGKILL
    left, kept = names(tmp_path)
    assert kept == "a" and not names(tmp_path / "a"), "the target is as it was before"
    assert left.startswith(".a.") and left.endswith(f".{files.writer(writer.pid)}")
    with files.whole_folder(tmp_path / "a") as unfinished:
        (unfinished / "inner").write_text("new")
    assert names(tmp_path / "a") == ["inner"], "what a killed writer left is in nobody's way"
