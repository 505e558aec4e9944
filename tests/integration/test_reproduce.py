"""Where a row comes from, and the command that makes it again."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from rmsweep import machine, provenance
from rmsweep.cli import main
from rmsweep.config import compose, sweep_specs
from rmsweep.config.spec import SEMANTICS
from rmsweep.launch import reproduce
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema

MINE = """\
label: MINE
objective: {_target_: my_loss.squared, _partial_: true, power: 2.0}
reward_model: mlp
hidden: [4]
"""
OBJECTIVES = "rmsweep.objectives"
RUNS = {
    "mlp": ["loss=bt_mlp", "loss.hidden=[]", "annotation.beta=.inf", "seed=3"],
    "trees": ["loss=clf_lgb", "loss.rounds=3", "pairing=cross_prompt", "training.patience=null"],
    "options": [
        "loss=normbt",
        "loss.objective.decay=0.5",
        "loss.objective.clip=2",
        "loss.hidden=[4]",
    ],
    "another base": [
        "loss=normbt",
        f"loss.objective.base._target_={OBJECTIVES}.margin_out.margin_out",
    ],
    "an option of its base": ["loss=normbt_smoothed", "loss.objective.base.smoothing=0.2"],
    "a base with an option": [
        "loss=normbt",
        f"loss.objective.base._target_={OBJECTIVES}.label_smoothing.label_smoothing",
        "+loss.objective.base.smoothing=0.3",
    ],
    "a base without its option": [
        "loss=normbt_smoothed",
        f"loss.objective.base._target_={OBJECTIVES}.margin_out.margin_out",
        "~loss.objective.base.smoothing",
    ],
    "classifier": ["loss=clf_logistic", "loss.estimator.C=0.5", "+loss.estimator.tol=1e-3"],
}
REPEATED = {  # in a fresh sweep
    "another base": [*RUNS["another base"], "loss.hidden=[4]", "seed=5"],
    "members": ["loss.ensemble=2", "loss.pick=0.5", "loss.hidden=[4]", "selection=similar"],
    "mine": ["--config-dir", "groups", "loss=mine", "loss.objective.power=3.0", "seed=4"],
}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """An empty working directory with a loss of its own."""
    root = tmp_path_factory.mktemp("here")
    (root / "groups/loss").mkdir(parents=True)
    (root / "groups/loss/mine.yaml").write_text(MINE)
    (root / "my_loss.py").write_text(
        "def squared(batch, state, power):\n"
        "    return (1 - batch.chosen + batch.rejected).abs() ** power, state\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", [str(root), *sys.path])
        yield root
    GlobalHydra.instance().clear()


def call(*arguments, status=0):
    """The command in this process, as if typed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rmsweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main.main()
    assert stop.value.code == status


@pytest.fixture
def origin(tiny):
    """Key of a run that is there."""

    def keys():
        rows = dataset.read_done(SweepFolder.named("single"), ["loss.options"])
        return list(
            rows.loc[rows["loss.options"].str.contains('"hidden": [3]', regex=False), "key"]
        )

    if not keys():  # the first test that asks
        call("run", "loss.hidden=[3]", *tiny)
    return keys()[0]


def same_numbers(row, other):
    """Whether two rows agree bit for bit in every number of a run."""
    for name in schema.NUMBERS:
        np.testing.assert_array_equal(row[name], other[name], err_msg=name, strict=True)


@pytest.fixture
def printed(capsys, tiny):
    """printed(overrides): one run's row, and the command that `reproduce` prints for it."""

    def command(overrides):
        exists = SweepFolder.named("single").path.is_dir()
        before = set(dataset.load("single")["key"]) if exists else set()
        call("run", *overrides, *tiny)
        (key,) = set(dataset.load("single")["key"]) - before
        capsys.readouterr()
        call("reproduce", "single", key, *overrides[: 2 * (overrides[0] == "--config-dir")])
        (line,) = capsys.readouterr().out.splitlines()
        return dataset.done_row("single", key), shlex.split(line)[1:]

    return command


@pytest.mark.parametrize("kind", RUNS)
def test_the_command_has_the_runs_spec(kind, printed):
    row, command = printed(RUNS[kind])
    overrides = [word for word in command if "=" in word or word[0] == "~"]
    with compose.hydra_at_conf():
        axes = compose.read_axes(overrides, [])
        (spec,) = sweep_specs.distinct_specs(axes, [], "cpu")
    assert spec.spec_id == row["spec_id"] and axes.name == f"reproduced-{row['key']}"


@pytest.mark.parametrize("kind", REPEATED)
def test_the_command_repeats_the_run(kind, printed):
    row, command = printed(REPEATED[kind])
    call(*command)
    again = dataset.load(f"reproduced-{row['key']}")
    assert list(again["key"]) == [row["key"]]
    same_numbers(row, again.iloc[0])


def test_a_row_says_where_it_comes_from(tiny):
    typed = ["run", "-m", "name=of_sweep", "loss.hidden=[4]", *tiny]
    call(*typed)  # in a worker process
    row = dataset.load("of_sweep").iloc[0]
    assert shlex.split(row["command"]) == ["rmsweep", *typed]
    assert row["semantics"] == SEMANTICS and row["cpu"] == machine.cpu() and not row.isna()["host"]
    assert json.loads(row["versions"]).keys() == {"python", *provenance.PACKAGES}
    assert len(row["fingerprint"]) == 32 and row["threads"] >= 1 and row["device"] == "cpu"
    if isinstance(row["git_diff"], str):
        kept = SweepFolder.named("of_sweep").diffs / f"{row['git_diff']}.diff"
        assert hashlib.sha256(kept.read_bytes()).hexdigest() == row["git_diff"]
    assert row["command"] in dataset.done_row("of_sweep", row["key"][:6])["command"]


def test_provenance_costs_a_run_less_than_a_millisecond():
    provenance.provenance()
    began = time.perf_counter()
    for _ in range(1000):
        provenance.provenance()
    assert time.perf_counter() - began < 1


OF_ANOTHER_CHECKOUT = """
import json, pathlib, sys
from rmsweep import provenance
from rmsweep.paths import SweepFolder
provenance.CHECKOUT = pathlib.Path(sys.argv[1])
print(json.dumps(provenance.provenance()))
for _ in range(2):
    provenance.write_diff(SweepFolder(provenance.CHECKOUT / "sweep"))
"""


def test_the_diff_makes_the_changes_again(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a", *words],
                       check=True, capture_output=True)  # fmt: skip

    files = {"rmsweep/a.py": b"one\n", "b.bin": bytes(range(256)), "conf/c.yaml": b"x: 1\n"}
    changes = {
        "rmsweep/a.py": b"two\n",
        "b.bin": bytes(range(255, -1, -1)),
        "rmsweep/new é.py": b"3",
    }
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    git("init")
    git("add", ".")
    git("commit", "-m", "first")

    def provenance_in_a_new_process():
        """Which asks git once, and keeps the answer."""
        command = [sys.executable, "-c", OF_ANOTHER_CHECKOUT, tmp_path]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    assert provenance_in_a_new_process()["git_diff"] is None
    for path, content in changes.items():
        (tmp_path / path).write_bytes(content)
    origin = provenance_in_a_new_process()
    assert origin["git_dirty"] and len(origin["git_commit"]) == 40
    (kept,) = (tmp_path / "sweep/diffs").iterdir()
    assert kept.name == f"{origin['git_diff']}.diff"
    git("stash", "--include-untracked", "--", *changes)
    git("apply", kept)
    assert {path: (tmp_path / path).read_bytes() for path in changes} == changes


def test_a_lock_file_has_the_versions_of_the_row(origin, capsys):
    key = origin
    capsys.readouterr()
    call("reproduce", "single", key, "--lock")
    printed = capsys.readouterr().out
    for package, version in provenance.versions().items():
        if package not in ("python", "rmsweep"):
            assert f"\n{package}=={version}\n" in printed
    assert re.search(rf"^# run {key}: Python [\d.]+, rmsweep ", printed)


def rewritten(key, target, /, **changes):
    """A copy of a run's row with some columns changed, as a sweep of its own."""
    row = dataset.done_row("single", key).to_dict() | changes
    row = {k: v for k, v in row.items() if isinstance(v, np.ndarray | list) or v == v}
    (SweepFolder.named(target).runs).mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([row], schema=schema.SCHEMA)
    parquet.write_table(table, SweepFolder.named(target).runs / "part-0.parquet")
    return row["key"]


def test_what_is_not_as_it_was_is_said(origin, capsys):
    old = json.dumps(provenance.versions() | {"torch": "1.0"})
    key = rewritten(origin, "elsewhere", versions=old, cpu="abacus", git_commit="0" * 40)
    capsys.readouterr()
    call("reproduce", "elsewhere", key)
    notes = capsys.readouterr().err
    assert "note: torch 1.0 then" in notes and "note: CPU abacus then" in notes
    assert f"note: commit {'0' * 40} then" in notes


def refused(capsys, *arguments, words):
    capsys.readouterr()
    call(*arguments, status=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_what_cannot_be_repeated_is_refused(origin, capsys):
    refused(capsys, "reproduce", "absent", "12", words=["no sweep 'absent'"])
    refused(capsys, "reproduce", "single", "xyz", words=["'xyz'", "has it"])
    key = rewritten(origin, "older", canonical=None)
    refused(capsys, "reproduce", "older", key, words=["older than the column"])
    rewritten(origin, "other", semantics=SEMANTICS + 1)
    refused(capsys, "reproduce", "other", key, words=["SEMANTICS"])


@pytest.mark.parametrize(
    "column, value, words",
    [("versions", "3", ["versions of run", "'3'"]), ("versions", "{", ["versions of run"]),
     ("versions", '{"torch": "1\\n-r b"}', ["versions of run"]), ("versions", "", ["versions of"]),
     ("device", None, ["device of run", "None"]), ("device", "${seed}", ["device of run"]),
     ("command", "rmsweep 'run", ["command of run"]), ("git_diff", "`a`", ["git_diff of run"]),
     ("git_commit", "a b", ["git_commit of run"]), ("key", "a\n-r b", ["key of run"])],
)  # fmt: skip
def test_a_damaged_origin_is_named(column, value, words, origin, capsys):
    key = rewritten(origin, "damaged", **{column: value})
    refused(capsys, "reproduce", "damaged", key, words=words)
    refused(capsys, "reproduce", "damaged", key, "--lock", words=words)


def test_an_older_row_is_reproduced_without_its_versions(origin, capsys):
    for versions in (None, "{}"):
        key = rewritten(origin, "before", versions=versions)
        refused(capsys, "reproduce", "before", key, "--lock", words=["no python", "older"])
        call("reproduce", "before", key)
        out, err = capsys.readouterr()
        assert out.startswith("rmsweep run -m ") and "note: torch not recorded then" in err


def test_a_lock_file_installs_nothing_else(origin, capsys):
    more = json.dumps(provenance.versions() | {"evil": "1.0"})
    key = rewritten(origin, "more", versions=more)
    refused(capsys, "reproduce", "more", key, "--lock", words=["evil", "does not record"])


def test_a_row_names_no_code_and_no_file(origin, capsys, here):
    canonical = dataset.done_row("single", origin)["canonical"]
    (here / "evil.py").write_text("open('owned', 'w')\ndef evil(batch, state): return 0, state\n")
    (here / "evil.yaml").write_text(MINE.replace("my_loss.squared", "evil.evil"))
    ours = "rmsweep.objectives.bradley_terry.bradley_terry"
    key = rewritten(origin, "evil", canonical=canonical.replace(ours, "evil.evil"))
    refused(capsys, "reproduce", "evil", key, words=["evil.evil", "--config-dir"])
    named = canonical.replace('"name":"bt_mlp"', f'"name":"../../../..{here}/evil"')
    assert named != canonical
    rewritten(origin, "evil", canonical=named)
    refused(capsys, "reproduce", "evil", key, words=["no option here"])
    assert not (here / "owned").exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.1, 1e-07, float("inf"), "a b", "it's", "true", "a\\'b", "x,y=[1]",
              [1, "two"], {"a": 1, "b": "c d"}, "", "ünï", "1", "$x", "${y}", "a\\\\${y}'",
              "${oc.env:HOME}", ["${y}"], "a\\", "\\'"],
)  # fmt: skip
def test_a_value_is_written_as_hydra_reads_it(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    read = parser.parse_override(f"a={reproduce.hydra_value(value)}").value()
    config = OmegaConf.create({"a": read, "y": "interpolated"})
    assert OmegaConf.to_container(config, resolve=True)["a"] == value
