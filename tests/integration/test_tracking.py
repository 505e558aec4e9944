"""W&B with its real client, offline: what it wrote is read back; nothing of it otherwise."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

import pandas as pd
import pytest
from helpers.commands import RMSWEEP
from hydra.core.global_hydra import GlobalHydra

from rmsweep import files
from rmsweep.cli import main
from rmsweep.config import loggers
from rmsweep.config.loggers import Wandb
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema
from rmsweep.tracking import mirror, wandb_client
from rmsweep.tracking.wandb_client import MirroredRun

OFFLINE = Wandb("demo", None, "offline", "sweep")
SHAPE = {"train_prompts": 40, "train_responses": 3, "test_prompts": 12, "test_responses": 6}
SHAPE |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
SWEEP = ["run", "-m", "name=small", "loss.hidden=[4]", "seed=0,1", "quantity=30"]
SWEEP += [f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()]
SWEEP += ["training.max_epochs=3", "logger=wandb", "logger.mode=offline"]
BLOCK = 1 << 15  # of LevelDB's log format, which a .wandb file has after 7 bytes


def records(path):
    """What W&B wrote, as its own messages."""
    from wandb.proto import wandb_internal_pb2

    data, at, part = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


def read_back(folder, patience_s=60):
    """Id, group, config, summary, history and tables of an offline run's folder, once they are
    written: the client's own process may lag behind.
    """
    end = time.monotonic() + patience_s
    while "id" not in (found := _read_back(folder)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _read_back(folder):
    (file,) = folder.glob("*.wandb")
    found = {"config": {}, "summary": {}, "history": [], "tables": {}}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "group": record.run.run_group}
            for update in record.run.config.update:
                found["config"][update.key] = json.loads(update.value_json)
        elif kind == "history":
            items = {item.key or "/".join(item.nested_key): item for item in record.history.item}
            found["history"].append({k: json.loads(v.value_json) for k, v in items.items()})
        elif kind == "summary":
            for update in record.summary.update:
                name = update.key or "/".join(update.nested_key)
                found["summary"][name] = json.loads(update.value_json)
    for path in folder.glob("files/media/table/*.json"):
        found["tables"][path.name.split("_")[0]] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A working directory whose sweep of two runs was mirrored offline by the command."""
    root = tmp_path_factory.mktemp("tracking")
    done = subprocess.run([RMSWEEP, *SWEEP], cwd=root, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0 and "W&B: 1 kept; `wandb sync" in done.stdout, done
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def offline_runs(root):
    return sorted(root.glob("outputs/small/wandb/offline-run-*"))


def test_a_sweep_is_one_run_and_stays_one(here):
    (folder,) = offline_runs(here)
    first = read_back(folder)
    rows = dataset.load("small")
    table = first["tables"]["rows"]
    keys = [row[table["columns"].index("key")] for row in table["data"]]
    assert sorted(keys) == sorted(rows["key"])
    improvement = table["columns"].index("improvement")
    assert [row[improvement] for row in table["data"]] == list(rows["improvement"])
    assert len(first["tables"]["claims"]["data"]) > 10
    assert first["config"]["sweep"] == "small" and "seed=0,1" in first["config"]["overrides"]
    assert first["summary"]["runs_done"] == 2 and first["summary"]["runs_wanted"] == 2
    assert list(folder.glob("files/media/images/*.png"))
    said = mirror.mirror("small", OFFLINE)
    (again,) = offline_runs(here)
    assert "1 kept" in said and again != folder and read_back(again)["id"] == first["id"]


IN_GOLDEN_REWARD = {"bon_golden", "base", "oracle", "improvement", "mean_margin"}


def test_golden_rewards_of_two_datasets_have_no_common_mean():
    metrics = dict.fromkeys(mirror.SENT_METRICS, [1.0, 3.0, 8.0]) | {"nll": [None] * 3}
    rows = pd.DataFrame(metrics | {"seed": range(3), "dataset": ["a", "a", "b"]})
    sent = set(mirror.SENT_METRICS) - {"nll"}
    assert mirror.mean_metrics(rows) == {f"mean_{name}": 4.0 for name in sent - IN_GOLDEN_REWARD}
    assert mirror.mean_metrics(rows[:2]) == {f"mean_{name}": 2.0 for name in sent}
    only_in_one = rows.assign(improvement=[1.0, 3.0, None])
    assert mirror.mean_metrics(only_in_one)["mean_improvement"] == 2.0


def test_a_run_each_has_its_losses_and_is_sent_once(here):
    per_run = Wandb("demo", None, "offline", "run")
    assert "2 kept" in mirror.mirror("small", per_run)
    rows = dataset.load("small").set_index("key")
    found = {path.name[-16:]: read_back(path) for path in offline_runs(here)}
    for key, row in rows.iterrows():
        run = found[key]
        assert run["id"] == key and run["group"] == "small" and run["config"]["seed"] == row["seed"]
        assert run["summary"]["improvement"] == row["improvement"]
        epochs = [step for step in run["history"] if "epoch" in step]
        assert [step["epoch"] for step in epochs] == list(range(1, row["epochs"] + 1))
        for curve in schema.CURVES:
            assert [step[curve] for step in epochs] == [float(value) for value in row[curve]]
    assert "0 kept" in mirror.mirror("small", per_run)


def test_a_failure_is_said_and_fails_nothing(tmp_path):
    run = MirroredRun("a", "a", None, {}, {})
    (tmp_path / "file").write_text("")
    n_sent, failure = wandb_client.send(OFFLINE, SweepFolder(tmp_path / "file"), [run])
    assert n_sent == 0 and "file" in failure.lower()
    bad = MirroredRun("b", "b", None, {}, {}, history=[{"epoch": 1}, 3])
    n_sent, failure = wandb_client.send(OFFLINE, SweepFolder(tmp_path), [run, bad, run])
    assert n_sent == 1 and "TypeError" in failure


def test_a_sweep_that_wandb_refuses_ends_with_0(here, capfd):
    rows = dataset.load("small")
    with pytest.raises(SystemExit) as ended:
        main.main([*SWEEP, "logger.per=run", "logger.project=no/such"])
    out, err = capfd.readouterr()
    assert ended.value.code == 0, out + err
    assert "2 of 2 runs done" in out and "Traceback" not in out + err
    assert "W&B: 0 of 2 sent (" in out and "'no/such'" in out
    assert dataset.load("small").equals(rows)


def test_one_run_mirrors_no_other(here, tiny, capsys, monkeypatch):
    """Also where one before it stands in the same folder, and asked for no copy."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for more in ([], ["seed=1", "logger=wandb", "logger.mode=offline"]):
        with pytest.raises(SystemExit) as stop:
            main.main(["run", "loss.hidden=[3]", *tiny, *more])
        assert stop.value.code == 0
    GlobalHydra.instance().clear()
    assert "W&B: 1 kept" in capsys.readouterr().out
    rows = dataset.load("single").set_index("seed")
    (folder,) = here.glob("outputs/single/wandb/offline-run-*")
    assert folder.name.endswith(rows.at[1, "key"])


@pytest.mark.parametrize("in_the_way", ["wandb.json", "figures", ".wandb.json"])
def test_what_cannot_be_written_is_said_and_fails_nothing(in_the_way, here, monkeypatch):
    """A folder where a file should be, a file where a folder should: as root, too."""
    shutil.copytree("outputs/small", "outputs/stopped", ignore=lambda *_: ["wandb", "figures"])
    stopped = SweepFolder.named("stopped").path
    if in_the_way == "figures":
        (stopped / in_the_way).write_text("")
    else:
        (stopped / "wandb.json").unlink()
        monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
        unfinished = f"{in_the_way}.{'0' * 8}.{files.writer(os.getpid())}"
        (stopped / (unfinished if in_the_way[0] == "." else in_the_way)).mkdir()
    said = mirror.mirror("stopped", OFFLINE)
    shutil.rmtree(stopped)
    assert said.startswith("W&B: not sent (") and "the results are in outputs/stopped" in said
    assert len(said.splitlines()) == 1


def test_a_server_that_does_not_answer_is_given_up(tmp_path, tiny):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"  # bound, and nobody listens
        command = [RMSWEEP, "run", "-m", "seed=0", "name=a", "loss.hidden=[3]", *tiny]
        environment = os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": 40 * "a"}
        done = subprocess.run([*command, "logger=wandb"], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done
    *_, first, last = done.stdout.splitlines()
    assert first == "sending to W&B" and last.startswith("W&B: 0 of 1 sent (CommError"), done
    assert f"giving up after {1 + wandb_client.RETRIES} attempt" in last


def test_what_makes_no_sense_is_refused():
    values = {"project": "a", "entity": None, "mode": "offline", "per": "run"}
    assert loggers.logger_of(None) is None and loggers.logger_of({}) is None
    assert loggers.logger_of(values) == Wandb(**values)
    assert loggers.logger_of(values | {"mode": "disabled"}) is None
    for name in ("mode", "per"):
        with pytest.raises(ValueError, match=f"logger.{name} 'often' is unknown"):
            loggers.logger_of(values | {name: "often"})
    with pytest.raises(ValueError, match="logger.projct is an unknown field"):
        loggers.logger_of(values | {"projct": "a"})


def test_nothing_of_wandb_is_imported_otherwise():
    code = "import sys; from rmsweep.launch import run_one, run_sweep, worker; "
    code += "import rmsweep.tracking.mirror; "
    code += "print([name for name in sys.modules if name.split('.')[0] == 'wandb'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
