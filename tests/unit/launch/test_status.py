"""`rmsweep status` without a cluster: pace, states, failures; a launch, watched and stopped."""

import datetime
import json
import time

import pandas as pd
import pytest

from rmsweep import errors
from rmsweep.launch import status
from rmsweep.launch.slurm import arrays
from rmsweep.results import failures


def rows_at(*seconds_ago):
    now = pd.Timestamp(datetime.datetime.now(datetime.UTC))
    ended = [now - pd.Timedelta(seconds=s) for s in seconds_ago]
    return pd.DataFrame({"finished_at": pd.Series(ended, dtype="datetime64[us, UTC]")})


def test_pace_counts_from_the_first_part_on():
    assert status._per_hour(rows_at()) is None
    assert status._per_hour(rows_at(5, 5, 5)) is None, "one part says nothing of the pace"
    assert round(status._per_hour(rows_at(100, 100, 50, 50, 10))) == 3 * 36
    assert round(status._per_hour(rows_at(7200, 100, 50))) == 36, "older than an hour"


def test_a_clock_that_was_set_back_makes_no_negative_pace():
    assert status._per_hour(rows_at(-7200, -7100)) is None
    assert round(status._per_hour(rows_at(-7200, 100, 50))) == 36


def test_slurm_is_asked_again_after_a_clock_was_set_back(tmp_path, monkeypatch):
    arrays.folder(tmp_path).mkdir(parents=True)
    kept = {"at": time.time() + 3600, "numbers": [], "keeps_accounts": False, "tasks": []}
    (arrays.folder(tmp_path) / ".scheduler.json").write_text(json.dumps(kept))
    monkeypatch.setenv("PATH", "")  # so that Slurm cannot answer
    with pytest.raises(errors.Unavailable):
        status.asked(tmp_path, [])


def test_states_are_disjoint_and_exhaustive():
    rows = pd.DataFrame(
        {
            "key": ["a", "b", "c", "b"],
            "status": ["done", "failed", "failed", "done"],
            "finished_at": pd.to_datetime(["2026-01-01"] * 4, utc=True),
        }
    )
    here = status._by_state(rows, {"a", "b", "c", "d"}, [], [], False)
    assert here["done"] == {"a", "b"} and here["failed"] == {"c"} and here["missing"] == {"d"}
    runs = status._by_state(rows, {"a", "b", "c", "d"}, [], [], True)
    assert runs["running"] == {"d"} and not runs["missing"]


def test_the_innermost_frame_is_named():
    text = 'Traceback\n  File "/x/y/fit.py", line 3, in fit\n  File "/x/y/z.py", line 7, in f\nE'
    assert failures._raised_at(text) == "y/z.py:7 in f"
    assert failures._raised_at(None) == ""
