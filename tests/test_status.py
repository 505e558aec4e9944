"""What `rmsweep status` computes from rows alone: pace, states, failures."""

import datetime

import pandas as pd

from rmsweep import status


def rows_at(*seconds_ago):
    now = pd.Timestamp(datetime.datetime.now(datetime.UTC))
    ended = [now - pd.Timedelta(seconds=s) for s in seconds_ago]
    return pd.DataFrame({"finished_at": pd.Series(ended, dtype="datetime64[us, UTC]")})


def test_pace_counts_from_the_first_part_on():
    assert status._per_hour(rows_at()) is None
    assert status._per_hour(rows_at(5, 5, 5)) is None, "one part says nothing of the pace"
    assert round(status._per_hour(rows_at(100, 100, 50, 50, 10))) == 3 * 36
    assert round(status._per_hour(rows_at(7200, 100, 50))) == 36, "older than an hour"


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
    assert status._raised_at(text) == "y/z.py:7 in f"
    assert status._raised_at(None) == ""
