"""A small sweep that tests disturb: launched, watched, and compared with an undisturbed one."""

import subprocess
import time
from pathlib import Path

import pandas as pd
from helpers.commands import RMSWEEP

from rmsweep.results import schema

# 24 runs of some 50 ms each, in 12 packs and more
SWEEP = ["run", "-m", "loss=bt_mlp,clf_mlp", "seed=range(6)", "annotation.beta=1,10"]
SWEEP += ["loss.hidden=[16]", "launcher.workers=2", "launcher.pack_runs=2", "name=small"]
SHAPE = {"train_prompts": 60, "train_responses": 3, "test_prompts": 20, "test_responses": 6}
SWEEP += [f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()]
SWEEP += ["quantity=60", "training.max_epochs=20"]
PATIENCE_S = 600  # of a test, so that a busy machine fails none


def launch(root, before=(), **how):
    """Start the sweep in a session of its own, after the words `before`; how: as of Popen."""
    return subprocess.Popen(
        [*before, RMSWEEP, *SWEEP],
        cwd=root,
        stdout=-1,
        stderr=-1,
        text=True,
        start_new_session=True,
        **how,
    )


def dataset(root):
    """Return the key and metric columns of the first done row of each key, by key."""
    rows = pd.read_parquet(root / "outputs/small/runs")
    rows = rows[rows["status"] == "done"].sort_values("finished_at").drop_duplicates("key")
    columns = ["key", "spec_id", *schema.SCALARS, *schema.BY_PROMPT, "epochs", "bon_golden_by_n"]
    return rows.sort_values("key", ignore_index=True)[columns]


def finish(root, undisturbed, **how):
    """Launch once more, to the end: the dataset is the undisturbed one, bit for bit."""
    out, err = launch(root, **how).communicate(timeout=PATIENCE_S)
    assert "24 of 24 runs done" in out, out + err
    assert err == ""
    pd.testing.assert_frame_equal(dataset(root), undisturbed, check_exact=True)
    assert not (root / "outputs/small/.launch").exists()


def processes_of(session):
    """Return the ids of the living processes of a session, without zombies."""
    ids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            ids.append(int(stat.parent.name))
    return ids


def wait_until(holds, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def wait_for_a_part(root, process):
    """Wait until there is a new part, or the launch has ended."""
    n_before = len(parts(root))
    wait_until(lambda: process.poll() is not None or len(parts(root)) > n_before)


def parts(root):
    return list(root.glob("outputs/small/runs/part-*"))


def workers_of(launching):
    """Return the ids of the workers of a launch, the children of its forkserver."""
    ids = []
    for process in processes_of(launching):
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
            parent = int(stat.rpartition(")")[2].split()[1])
            command = Path(f"/proc/{parent}/cmdline").read_bytes()
        except OSError:
            continue
        if b"forkserver" in command:
            ids.append(process)
    return ids
