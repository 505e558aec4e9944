"""Each command end to end, as a user types it, on tiny synthetic data."""

import os
import pty
import re
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.commands import RMSWEEP
from helpers.small_sweep import PATIENCE_S

import rmsweep as package
from rmsweep.results import schema

SWEEP = ["run", "-m", "loss=bt_mlp,clf_mlp", "seed=0,1", "loss.hidden=[16]", "name=small"]


def parts(root, name="small"):
    return {path.name for path in root.glob(f"outputs/{name}/runs/*")}


def metrics(root, name, by):
    """The metric columns of a sweep's done rows, in the order of the fields `by`."""
    rows = pd.read_parquet(root / "outputs" / name / "runs").sort_values(by, ignore_index=True)
    return rows[[*schema.SCALARS, *schema.BY_PROMPT, "epochs", "bon_golden_by_n"]]


def test_run_fits_once_and_prints_the_metrics(rmsweep, inside, tiny, tmp_path):
    first = rmsweep("run", "loss.hidden=[16]", *tiny).stdout
    for name in (*schema.SCALARS, "epochs", "key"):
        assert re.search(rf"^ *{name}  \S", first, re.MULTILINE), name
    (row,) = pd.read_parquet(tmp_path / "outputs/single/runs").to_dict("records")
    assert (row["status"], row["quantity"], row["loss"]) == ("done", 30, "bt_mlp")
    assert f"{row['improvement']:.4f}" in first and row["key"] in first
    kept = parts(tmp_path, "single")
    assert inside("run", "loss.hidden=[16]", *tiny).stdout == first
    assert parts(tmp_path, "single") == kept, "the same run was done again"
    assert sorted(os.listdir(tmp_path)) == ["outputs"]


def test_run_helps_and_shows_the_config(rmsweep, inside, tmp_path):
    text = rmsweep("run", "--help").stdout
    assert "normbt" in text and "annotation:" in text and "Powered by Hydra" not in text
    for arguments in (["loss=normbt", "--cfg", "job"], ["-c", "job", "--resolve", "loss=normbt"]):
        config = yaml.safe_load(inside("run", *arguments).stdout)
        assert config["loss"]["label"] == "NormBT" and config["annotation"]["beta"] == 1.0
    assert inside("run", "-m", "--help").stdout == text
    assert not list(tmp_path.iterdir())


def test_sweep_then_table_then_nothing_to_run(rmsweep, inside, tiny, tmp_path):
    first = rmsweep(*SWEEP, *tiny)
    assert "4 of 4 runs done" in first.stdout and first.stderr == ""
    kept = parts(tmp_path)
    tables = {
        name: inside("table", "small", "--format", name).stdout
        for name in ("text", "md", "latex", "csv", "html")
    }
    for name in ("text", "md", "latex", "html"):
        assert "[" in tables[name] and "fewer than 5 seeds" in tables[name], name
    assert "|" in tables["md"] and r"\toprule" in tables["latex"] and "<table" in tables["html"]
    (tmp_path / "table.csv").write_text(tables["csv"])
    cells = pd.read_csv(tmp_path / "table.csv")
    assert cells["loss"].tolist() == ["bt_mlp", "clf_mlp"] and (cells["n_runs"] == 2).all()
    means = package.load("small").groupby("loss")["improvement"].mean()
    np.testing.assert_allclose(cells["mean"], means)

    second = inside(*SWEEP, *tiny)
    assert "4 of 4 runs done" in second.stdout
    assert parts(tmp_path) == kept, "the same command ran something again"
    launches = yaml.safe_load((tmp_path / "outputs/small/sweep.yaml").read_text())["launches"]
    assert [launch["runs"] for launch in launches] == [4, 4]
    assert launches[0]["overrides"] == [*SWEEP[2:], *tiny]
    assert (
        launches[0]["axes"]["seed"] == ["seed=0", "seed=1"] and "torch" in launches[0]["versions"]
    )
    third = inside(*SWEEP, *tiny, "seed=range(3)")
    assert "6 of 6 runs done" in third.stdout and len(package.load("small")) == 6
    options = ["--rows", "loss", "--columns", "annotation.beta", "--metric", "spearman"]
    assert "spearman" in inside("table", "small", *options).stdout


def test_plan_runs_nothing_and_limit_some(inside, tiny, tmp_path):
    plan = inside(*SWEEP, *tiny, "--plan").stdout
    assert "sweep small: 4 runs" in plan and "bt_mlp (2), clf_mlp (2)" in plan
    assert "done: 0, missing: 4" in plan and not list(tmp_path.iterdir())
    unknown = inside("run", "-m", "sweeps=alpacaeval", "seed=0", "precision=fp32", "--plan").stdout
    assert "done: unknown" in unknown and "cache.root" in unknown
    limited = inside(*SWEEP, *tiny, "--limit", 1).stdout
    assert "1 of 1 runs done" in limited and "other 3 runs" in limited
    table = inside("table", "small", status=1).stdout  # what was not launched is still wanted
    assert "(1 of 2)" in table and "INCOMPLETE: 3 of 4" in table
    plan = inside(*SWEEP, *tiny, "--plan").stdout
    assert "done: 1, missing: 3" in plan and re.search(r"hours: \d", plan)
    assert len(package.load("small")) == 1
    refused = inside(*SWEEP, *tiny, "quantity=10000", "--plan", status=2)
    assert "quantity must be at most" in refused.stderr


def test_an_unnamed_sweep_resumes_by_the_same_command(inside, tiny, tmp_path):
    arguments = ["run", "-m", "loss.hidden=[16]", "seed=0,1", *tiny]
    name = re.match(r"sweep (\S+): 2 runs", inside(*arguments).stdout)[1]
    kept = parts(tmp_path, name)
    assert kept and name.startswith("seed-")
    inside(*arguments)
    assert parts(tmp_path, name) == kept and os.listdir(tmp_path / "outputs") == [name]


@pytest.mark.parametrize(
    ("command", "words", "status"),
    [
        ("table small", ["bt_mlp", "clf_mlp"], 0),
        ("figure small --figure bon_n", ["outputs/small/figures/bon_n.png"], 0),
        ("verify small --sample 1", ["1 of 1 runs match"], 0),
        ("reproduce small KEY", ["rmsweep run -m "], 0),
        ("retry small", ["24 of 24 runs done"], 0),
        ("score small KEY absent.npy", ["save_model=true"], 2),
        ("cache inspect absent", ["nothing is at absent"], 2),
        ("cache import-pairs absent.jsonl new", ["absent.jsonl"], 2),
        ("cache verify absent", ["absent"], 2),
        ("cache build --backbone absent --out new", ["give --train FILE"], 2),
    ],
)
def test_the_installed_command_starts(command, words, status, rmsweep, small):
    """Of each command; what it does is tested in this process, or on the wheel."""
    (key, *_) = package.load("small", columns=["key"])["key"]
    done = rmsweep(*command.replace("KEY", key).split(), status=status)
    said = done.stdout + done.stderr
    assert all(word in said for word in words) and "Traceback" not in said, said


def test_list(inside):
    groups = inside("list").stdout
    assert "loss:" in groups and "sweeps:" in groups and "rbt_full" in groups
    losses = inside("list", "loss").stdout
    assert losses.startswith("loss:") and "normbt" in losses and "rbt_full" not in losses
    assert "Bradley-Terry" in losses


def test_version_and_help(rmsweep, inside):
    assert rmsweep("--version").stdout == f"rmsweep {package.__version__}\n"
    text = inside("--help").stdout
    assert inside().stdout == text and "rmsweep demo" in text


def test_a_cache_on_disk_gives_what_memory_gives(rmsweep, inside, tiny, tmp_path):
    shape = [override for override in tiny if override.startswith("dataset")]
    written = rmsweep("cache", "synthesize", "data", *shape)
    assert written.stderr == "" and len(list((tmp_path / "data").iterdir())) == 4
    inside(*SWEEP, *tiny)
    files = ["dataset.synthetic=null", "cache.root=data", "name=files"]
    inside(*SWEEP[:-1], *tiny[-2:], *files)
    by = ["loss", "seed"]
    pd.testing.assert_frame_equal(metrics(tmp_path, "small", by), metrics(tmp_path, "files", by))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    files[1] = "cache.root=elsewhere"
    kept = parts(tmp_path, "files")
    inside(*SWEEP[:-1], *tiny[-2:], *files)
    assert parts(tmp_path, "files") == kept, "the path is not in the key"


def test_an_incomplete_sweep_is_shown_as_such(inside, tiny, tmp_path):
    inside(*SWEEP, *tiny)
    next(tmp_path.glob("outputs/small/runs/*")).unlink()
    table = inside("table", "small", status=1).stdout
    assert "(1 of 2)" in table and "1 of 4 runs are missing" in table
    inside(*SWEEP, *tiny)
    assert " of " not in inside("table", "small").stdout.partition("mean [95 %")[0]


def test_a_table_takes_the_learning_rate_that_the_validation_loss_chooses(inside, tiny, tmp_path):
    rates = ["run", "-m", "seed=0,1", "loss.hidden=[16]", "training.learning_rate=1e-6,0.01"]
    inside(*rates, "name=rates", *tiny)
    rows = pd.read_parquet(tmp_path / "outputs/rates/runs")
    rows["loss_at_end"] = rows["validation_loss_by_epoch"].map(lambda curve: curve[-1])
    best = rows.groupby("training.learning_rate")["loss_at_end"].mean().idxmin()
    of_best = rows[rows["training.learning_rate"] == best]["improvement"].mean()
    shown = inside("table", "rates", "--tune", "training.learning_rate", "--format", "csv").stdout
    assert float(shown.splitlines()[1].split(",")[1]) == pytest.approx(of_best, rel=1e-3)
    text = inside("table", "rates", "--tune", "training.learning_rate").stdout
    chosen = f"is tuned, in each cell by the validation loss: {best:g} for 1 of bt_mlp."
    assert f"training.learning_rate {chosen}" in text
    wrong = inside("table", "rates", "--tune", "training.learning_rat", status=2).stderr
    assert "training.learning_rate" in wrong and "Traceback" not in wrong
    none = inside("table", "rates", "--tune", "quantity", status=2).stderr
    assert "differ in quantity alone" in none and "Traceback" not in none


def test_a_failed_run_is_listed_and_its_mates_go_on(inside, tiny, tmp_path):
    shape = [override for override in tiny if override.startswith("dataset")]
    inside("cache", "synthesize", "data", *shape)
    path = tmp_path / "data" / "embd_synthetic_synthetic_synthetic_test.npy"
    whole = path.read_bytes()
    test = np.load(path)
    test[7, 2, 5] = np.nan
    np.save(path, test)
    arguments = [*SWEEP, *tiny[-2:], "dataset.synthetic=null", "cache.root=data"]
    ended = inside(*arguments, status=1).stdout
    assert "0 of 4 runs done" in ended and "4 failed" in ended
    assert "test embeddings hold NaN or inf at prompt 7, response 2" in ended
    rows = pd.read_parquet(tmp_path / "outputs/small/runs")
    assert set(rows["status"]) == {"failed"} and rows["traceback"].str.contains("Traceback").all()
    alone = inside("run", *arguments[-4:], status=1)
    assert "the run failed" in alone.stderr and "prompt 7, response 2" in alone.stderr

    path.write_bytes(whole)
    mixed = inside(*arguments, "training.learning_rate=0.001,1e38", status=1).stdout
    assert "4 of 8 runs done" in mixed and "4 failed: FloatingPointError" in mixed


LOSS = """
import torch

def hinge(batch, state, *, margin):
    return torch.relu(margin - (batch.chosen - batch.rejected)), state
"""
YAML = """# a loss of one's own
label: Hinge
objective: {_target_: my_losses.hinge, _partial_: true, margin: 1.0}
reward_model: mlp
hidden: [16]
"""


@pytest.mark.soak  # test_readme.py runs docs/add-a-loss.md
def test_a_loss_of_ones_own(rmsweep, tiny, here, tmp_path):
    (tmp_path / "groups/loss").mkdir(parents=True)
    (tmp_path / "groups/loss/hinge.yaml").write_text(YAML)
    (tmp_path / "my_losses.py").write_text(LOSS)
    mine = ["--config-dir", "groups"]
    assert "hinge" in rmsweep("list", "loss", *mine).stdout
    arguments = ["run", "-m", *mine, "loss=bt_mlp,hinge", "loss.hidden=[16]", "name=small", *tiny]
    rmsweep(*arguments)
    rmsweep("run", *mine, "loss=hinge", *tiny)
    rows = package.load("small").set_index("loss")
    single = package.load("single").set_index("loss")
    assert rows.at["hinge", "key"] == single.at["hinge", "key"]
    assert rows.at["hinge", "improvement"] == single.at["hinge", "improvement"]

    (tmp_path / "my_losses.py").write_text(LOSS + "# edited\n")
    rmsweep(*arguments)
    rows = package.load("small")
    assert rows["loss"].value_counts().to_dict() == {"bt_mlp": 1, "hinge": 2}
    assert rows["key"].is_unique and rows["loss.source_sha256"].nunique() == 2


def test_progress_is_for_terminals(tmp_path, tiny):
    main, terminal = pty.openpty()
    process = subprocess.Popen([RMSWEEP, *SWEEP, *tiny], cwd=tmp_path, stdout=-1, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(main)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and b"4 of 4 runs done" in out
    assert b"4/4" in shown and b"/min" in shown


@pytest.mark.soak  # make quickstart runs it
def test_demo(rmsweep, here, tmp_path):
    shown = rmsweep("demo")
    assert "60 of 60 runs done" in shown.stdout and shown.stderr == ""
    assert "clf_lgb" in shown.stdout and "seeds (5)" in shown.stdout
    assert os.listdir(tmp_path) == ["outputs"]
    assert len(package.load("demo")) == 60
    with pytest.raises(FileNotFoundError, match="no sweep 'absent'"):
        package.load("absent")


def test_single_runs_side_by_side_all_stand_in_the_table(inside, tiny, tmp_path):
    command = [RMSWEEP, "run", "loss.hidden=[16]", *tiny]
    launches = [
        subprocess.Popen([*command, f"seed={seed}"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        for seed in range(2)
    ]
    assert [launch.wait(timeout=PATIENCE_S) for launch in launches] == [0, 0]
    assert "seeds (2)" in inside("table", "single").stdout


def test_interrupt_ends_at_once_and_the_same_command_resumes(inside, tiny, tmp_path):
    slow = [*SWEEP, *tiny, "training.max_epochs=20000", "training.patience=null"]
    launch = subprocess.Popen(
        [RMSWEEP, *slow],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background job's is off
    )
    while not list(tmp_path.glob("outputs/small/specs.parquet")):
        assert launch.poll() is None
        time.sleep(0.05)
    time.sleep(1.5)
    launch.send_signal(signal.SIGINT)
    _, err = launch.communicate(timeout=PATIENCE_S)
    assert launch.returncode == 1 and "interrupted" in err
    assert "4 of 4 runs done" in inside(*SWEEP, *tiny).stdout


def test_a_plan_needs_no_native_precision(inside, tiny, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "4 runs" in inside(*SWEEP, *tiny, "precision=bf16", "--plan").stdout
