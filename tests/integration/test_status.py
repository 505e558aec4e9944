"""`rmsweep status` and `cancel` of a local launch, watched and stopped."""

import json
import signal
import subprocess
import time

import pandas as pd
from helpers.commands import RMSWEEP
from helpers.small_sweep import PATIENCE_S


def test_a_local_launch_is_seen_and_cancelled(rmsweep, inside, tiny, tmp_path):
    command = [RMSWEEP, "run", "-m", "seed=range(500)", "name=long", "launcher.pack_runs=1", *tiny]
    launch = subprocess.Popen(
        command, cwd=tmp_path, stdout=-1, stderr=-1, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob("outputs/long/runs/part-*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    report = json.loads(rmsweep("status", "long", "--json", status=1).stdout)
    assert report["launch"]["pid"] == launch.pid and report["jobs"] is None, report
    assert report["runs"]["running"] + report["runs"]["done"] == 500, report
    assert f"stopped the launch of process {launch.pid}" in rmsweep("cancel", "long").stdout
    assert "interrupted" in launch.communicate(timeout=PATIENCE_S)[1]
    after = inside("status", "long", "--watch", status=1).stdout
    assert "missing" in after and "running" not in after, after
    key = pd.read_parquet(tmp_path / "outputs/long/runs")["key"].iloc[0]
    assert f"run {key} of long: done" in inside("status", "long", "--key", key[:12]).stdout
    assert "it begins 0" in inside("status", "long", "--key", "zz", status=2).stderr
