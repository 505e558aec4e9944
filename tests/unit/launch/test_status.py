"""What `rmsweep status` shows without a cluster: pace and states."""

import datetime
import shutil

import pyarrow as pa
import pytest

from rmsweep.launch import lock, status
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return sweep(keys, *rows): it writes a sweep of wanted keys and some rows; its status.

    A row is (key, status, seconds since it ended).
    """
    monkeypatch.chdir(tmp_path)

    def write(keys, *rows):
        directory = SweepFolder.named("made_up").path
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "runs").mkdir(parents=True)
        wanted = [{"key": key, "spec_id": key} for key in keys]
        wanted = pa.Table.from_pylist(wanted, schema=schema.WANTED)
        parquet.write_table(wanted, directory / "specs.parquet")
        now = datetime.datetime.now(datetime.UTC)
        names = ("key", "status", "finished_at", "error")
        ended = [(k, s, now - datetime.timedelta(seconds=ago), "E: bad") for k, s, ago in rows]
        if rows:
            dataset.write_part(
                SweepFolder(directory), [dict(zip(names, row, strict=True)) for row in ended]
            )
        return status.sweep_status("made_up")

    return write


@pytest.fixture
def pace(sweep):
    """Return pace(*seconds): the runs an hour of a sweep whose runs ended so many seconds ago."""

    def per_hour(*seconds):
        keys = [f"{i:x}" for i in range(len(seconds))]
        rows = [(key, "done", ago) for key, ago in zip(keys, seconds, strict=True)]
        return sweep([*keys, "missing"], *rows)["per_hour"]

    return per_hour


def test_pace_counts_from_the_first_part_on(pace):
    assert pace() is None
    assert pace(5, 5, 5) is None, "one part says nothing of the pace"
    assert pace(1000, 1000, 500, 500, 100) == pytest.approx(3 * 3.6, rel=0.02)
    assert pace(7200, 1000, 500) == pytest.approx(3.6, rel=0.02), "older than an hour"


def test_a_clock_that_was_set_back_makes_no_negative_pace(pace):
    assert pace(-7200, -7100) is None
    assert pace(-7200, 1000, 500) == pytest.approx(3.6, rel=0.02)


def test_states_are_disjoint_and_exhaustive(sweep, monkeypatch):
    rows = [("a", "done", 9), ("b", "failed", 8), ("c", "failed", 7), ("b", "done", 6)]
    counts = sweep("abcd", *rows)["runs"]
    expected = {"done": 2, "failed": 1, "running": 0, "queued": 0, "missing": 1}
    assert counts == expected, "b failed once and is done; c has failed; d never ran"
    holder = {"pid": 1, "host": "here", "since": None, "runs": True}
    monkeypatch.setattr(lock, "holder", lambda directory: holder)
    counts = status.sweep_status("made_up")["runs"]
    assert counts == expected | {"running": 1, "missing": 0}, "d is in the hands of the launch"
