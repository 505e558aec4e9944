"""`rmsweep status` without a cluster: pace, states, failures; a launch, watched and stopped."""

import datetime
import json
import signal
import subprocess
import time

import pandas as pd
import pytest
from helpers.commands import RMSWEEP

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


def test_a_local_launch_is_seen_and_cancelled(rmsweep, tiny, tmp_path):
    command = [RMSWEEP, "run", "-m", "seed=range(500)", "name=long", "launcher.pack_runs=1", *tiny]
    launch = subprocess.Popen(
        command, cwd=tmp_path, stdout=-1, stderr=-1, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + 60
    while not list(tmp_path.glob("outputs/long/runs/part-*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    report = json.loads(rmsweep("status", "long", "--json", status=1).stdout)
    assert report["launch"]["pid"] == launch.pid and report["jobs"] is None, report
    assert report["runs"]["running"] + report["runs"]["done"] == 500, report
    assert f"stopped the launch of process {launch.pid}" in rmsweep("cancel", "long").stdout
    assert "interrupted" in launch.communicate(timeout=30)[1]
    after = rmsweep("status", "long", "--watch", status=1).stdout
    assert "missing" in after and "running" not in after, after
    key = pd.read_parquet(tmp_path / "outputs/long/runs")["key"].iloc[0]
    assert f"run {key} of long: done" in rmsweep("status", "long", "--key", key[:12]).stdout
    assert "it begins 0" in rmsweep("status", "long", "--key", "zz", status=2).stderr
