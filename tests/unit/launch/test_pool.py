"""What a launch says when a pack cannot be run: that a write failed only where one did."""

import pytest
from helpers.tiny_runs import TINY, items_of, spec_of

from rmsweep import machine
from rmsweep.config.launchers import Place
from rmsweep.errors import LaunchError
from rmsweep.launch import pool
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset

HERE = Place(None, "cpu:0", 1)  # as a GPU's packs are run: in this process


def run(folder):
    pool.run_packs([items_of([spec_of(*TINY)])], HERE, 1, SweepFolder(folder), lambda outcome: None)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda on: 2**33)
    monkeypatch.setattr(machine, "gpu", lambda on: "none")


@pytest.mark.parametrize("error", [OSError("no space"), ValueError("no such column")])
def test_results_that_cannot_be_written_are_called_so(error, tmp_path, monkeypatch):
    def write(folder, rows):
        raise error

    monkeypatch.setattr(dataset, "write_part", write)
    with pytest.raises(LaunchError, match=f"^results cannot be written: {error}; the same command"):
        run(tmp_path)


@pytest.mark.parametrize("error", [OSError("no malloc"), ValueError("no malloc")])
def test_another_error_of_a_pack_is_not_called_a_failed_write(error, tmp_path, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(machine, "keep_freed_memory", fail)
    with pytest.raises(LaunchError, match="no malloc; the same command resumes") as raised:
        run(tmp_path)
    assert "written" not in str(raised.value) and type(error).__name__ in str(raised.value)
