"""Runs made again are compared with their rows: match, differ, or cannot be compared."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.core.global_hydra import GlobalHydra

from rmsweep import provenance
from rmsweep.cli import main
from rmsweep.config.spec import SEMANTICS
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A working directory with one sweep of MLPs, an ensemble of them, and trees."""
    root = tmp_path_factory.mktemp("verify")
    shape = {"train_prompts": 40, "train_responses": 3, "test_prompts": 12, "test_responses": 6}
    shape |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
    tiny = [f"dataset.synthetic.{name}={value}" for name, value in shape.items()]
    tiny += ["name=small", "quantity=30", "training.max_epochs=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        ensemble = ["loss.hidden=[4]", "loss.ensemble=2"]
        diagnosed = ["loss.hidden=[4]", "seed=0,1", "evaluation.diagnostics=true"]
        for more in (diagnosed, ["loss=clf_lgb", "loss.rounds=3"], ensemble):
            assert call("run", "-m", *more, *tiny) == 0
        yield root
    GlobalHydra.instance().clear()


def call(*arguments):
    """The command's exit status."""
    with pytest.raises(SystemExit) as stop:
        main.main([str(argument) for argument in arguments])
    return stop.value.code


def verified(capsys, *arguments, status):
    capsys.readouterr()
    assert call("verify", *arguments) == status
    return capsys.readouterr().out.splitlines()


def rewrite(name, **changes):
    """The sweep small, its one row of seed 1 changed, as another; the row's key."""
    row = dataset.load("small").set_index("seed", drop=False).loc[1].to_dict()
    row |= {column: change(row[column]) for column, change in changes.items()}
    kept = {k: v for k, v in row.items() if isinstance(v, list | np.ndarray) or v == v}
    (SweepFolder.named(name).runs).mkdir(parents=True)
    table = pa.Table.from_pylist([kept], schema=schema.SCHEMA)
    pq.write_table(table, SweepFolder.named(name).runs / "part-0.parquet")
    return row["key"]


def test_every_run_matches(sweep, capsys):
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    lines = verified(capsys, "small", status=0)
    assert "4 of 4 done runs, drawn with --seed " in lines[0]
    assert sorted(lines[1:-1]) == sorted(f"{key}  match" for key in dataset.load("small")["key"])
    assert lines[-1] == "4 of 4 runs match, 0 differ, 0 cannot be compared"
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()} == before


def test_a_changed_number_is_found(sweep, capsys):
    """The least change there is, in a scalar and in one of a list."""

    def nudged(values):
        values = values.copy()
        values[3] = np.nextafter(values[3], np.float32(9))
        return values

    key = rewrite(
        "nudged", spearman=lambda s: np.nextafter(s, 2), improvement_by_prompt=nudged, cpu=str
    )
    (line, total) = verified(capsys, "nudged", "--key", key, status=1)
    assert line.startswith(f"{key}  differs: spearman ") and "improvement_by_prompt[3] " in line
    assert "(alone)" in line and "(in another pack)" in line and "then" in line and "now" in line
    assert total == "0 of 1 runs match, 1 differ, 0 cannot be compared"


def test_what_may_differ_cannot_be_compared(sweep, capsys):
    old = json.dumps(provenance.versions() | {"torch": "1.0"})
    changes = {"versions": lambda _: old, "cpu": lambda _: "abacus"}
    key = rewrite("elsewhere", spearman=lambda s: s + 0.5, **changes)
    (line, total) = verified(capsys, "elsewhere", "--key", key[:7], status=1)
    assert line.startswith(f"{key}  cannot be compared: torch 1.0 then, ")
    assert "CPU abacus then" in line and "spearman" in line and "off by 0.5" in line
    assert total == "0 of 1 runs match, 0 differ, 1 cannot be compared"
    key = rewrite("same", **changes)
    assert verified(capsys, "same", "--key", key, status=0)[0] == f"{key}  match"


BEFORE = {
    "of another SEMANTICS": ("semantics", lambda _: SEMANTICS + 1, "SEMANTICS"),
    "older": ("canonical", lambda _: None, "older than the column"),
    "of other data": ("key", lambda _: "f" * 16, "the embeddings are others now"),
    "of lost data": (
        "canonical",
        lambda text: json.dumps(json.loads(text) | {"dataset": {"name": "hh_helpful", "stem": "a",
                                "reward_scale": "std", "synthetic": None}}),
        "cache.root",
    ),
    "without versions": ("versions", lambda _: "{}", "match"),
    "of absent versions": ("versions", lambda _: None, "match"),
    "of versions that are a number": ("versions", lambda _: "3", "versions of run"),
    "of versions that are a list": ("versions", lambda _: "[]", "versions of run"),
    "of versions that are none": ("versions", lambda _: '{"torch": 3}', "versions of run"),
    "of no device": ("device", lambda _: None, "device of run"),
    "of another device": ("device", lambda _: "cpu,cuda", "device of run"),
    "of an open quote": ("command", lambda _: "rmsweep 'run", "command of run"),
    "of no commit": ("git_commit", lambda _: "\x1b[31m", "git_commit of run"),
    "of another diff": ("git_diff", lambda _: "../a; touch owned", "git_diff of run"),
    "of no key": ("key", lambda _: "a\n--index-url=b", "key of run"),
    "of a GPU": ("device", lambda _: "cuda", "device=cuda"),
    "of code that a row names": (
        "canonical", lambda text: text.replace("rmsweep.objectives", "evil"), "no config file"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEFORE)
def test_what_cannot_run_here(kind, sweep, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    column, change, word = BEFORE[kind]
    name = kind.replace(" ", "_")
    rewrite(name, **{column: change})
    if word == "match":
        assert verified(capsys, name, status=0)[1].endswith("  match")
        return
    _, *lines, _ = verified(capsys, name, status=1)
    line = "\n".join(lines)
    assert "cannot be compared: " in line and word in line
    assert "evil" not in sys.modules


def test_the_same_seed_draws_the_same_runs(sweep, capsys):
    first, again = (verified(capsys, "small", "--sample", 2, "--seed", 7, status=0) for _ in "ab")
    assert "2 of 4 done runs, drawn with --seed 7" in first[0]
    assert first == again and len({line.split()[0] for line in first[1:-1]}) == 2


@pytest.mark.parametrize(
    "arguments, word",
    [(["absent"], "no sweep 'absent'"), (["small", "--key", "zz"], "none of 4"),
     (["small", "--sample", "0"], "--sample must be >= 1"), (["empty"], "no done runs")],
)  # fmt: skip
def test_bad_input(arguments, word, sweep, capsys):
    (sweep / "outputs/empty/runs").mkdir(parents=True, exist_ok=True)
    capsys.readouterr()
    assert call("verify", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
