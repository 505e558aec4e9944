"""A folder of results that someone sent runs no code that it names; one's own code still runs."""

import json
import shlex
import shutil
import sys

import pyarrow as pa
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from rmsweep import paths
from rmsweep.cli import main
from rmsweep.config import targets, trusted_code
from rmsweep.launch import launchers
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema, sweep_record

LOSS = "label: {1}\nobjective: {{_target_: {0}, _partial_: true}}\nreward_model: mlp\nhidden: [4]\n"
CODE = "def squared(batch, state):\n    return (1 - batch.chosen + batch.rejected) ** 2, state\n"
OURS = "rmsweep.objectives.bradley_terry.bradley_terry"
EVIL = "outputs.evil.mod.squared"  # as a module of the working directory
SENT = "sklearn.datasets._base.urlretrieve"  # what a library imports, too, can do harm
SETTINGS = {"launcher": {"cluster": "local", "workers": 1, "pack_runs": 1}}
SETTINGS |= {"device": "cpu", "cache_root": None}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """A working directory with a loss of its own, and a folder that was sent, in outputs/evil."""
    root = tmp_path_factory.mktemp("received")
    for folder, target in (("own", "my_squares.squared"), ("outputs/evil/groups", EVIL)):
        (root / folder / "loss").mkdir(parents=True)
        (root / folder / "loss/mine.yaml").write_text(LOSS.format(target, "MINE"))
    (root / "my_squares.py").write_text(CODE)
    (root / "outputs/evil/mod.py").write_text("open('owned', 'w').close()\n" + CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", list(sys.path))
        yield root
    GlobalHydra.instance().clear()


def call(*arguments):
    """The command in this process, as if typed; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "argv", ["rmsweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main.main()
    return stop.value.code


@pytest.fixture
def tiny_run(tiny):
    call("run", "loss.hidden=[3]", *tiny)
    return dataset.load("single").iloc[0]


def sent(row, target, command="rmsweep run", settings=SETTINGS):
    """Write outputs/evil: a done row, and a run that is missing, of code that the folder names."""
    canonical = row["canonical"].replace(OURS, target)
    canonical = canonical.replace('"name":"bt_mlp"', '"name":"mine"')
    kept = {"key": row["key"], "canonical": canonical, "command": command, "device": "cpu"}
    kept |= {name: row[name] for name in ("spec_id", "status", "finished_at", "semantics", "seed")}
    kept |= {name: row[name] for name in ("loss.label", "improvement", "versions", "loss")}
    directory = SweepFolder.named("evil").path
    shutil.rmtree(directory / "runs", ignore_errors=True)
    dataset.write_part(SweepFolder(directory), [kept])
    wanted = {"key": "f" * 16, "spec_id": "a", "canonical": canonical, "loss.label": "A"}
    parquet.write_table(
        pa.Table.from_pylist([wanted], schema=schema.WANTED), directory / "specs.parquet"
    )
    launch = {"at": "now", "overrides": [], "axes": {}, "runs": 2, "settings": settings}
    (directory / "sweep.yaml").write_text(yaml.safe_dump({"launches": [launch]}))
    return row["key"]


@pytest.mark.parametrize("target", [EVIL, SENT])
def test_no_command_runs_what_a_folder_names(target, tiny_run, here, capsys):
    folders = shlex.join(["--config-dir", "outputs/evil/groups", "-cd=outputs/evil/groups"])
    key = sent(tiny_run, target, f"rmsweep run {folders}")
    for command in (
        ["reproduce", "evil", key],
        ["verify", "evil"],
        ["retry", "evil"],
        ["score", "evil", key, "a.npy"],
        ["table", "evil"],
        ["claims", "evil"],
        ["report", "evil"],
        ["status", "evil"],
        ["status", "evil", "--key", key],
    ):
        capsys.readouterr()
        status = call(*command)
        out, err = capsys.readouterr()
        if command[0] in ("reproduce", "verify"):
            assert "loss=mine is no option here" in out + err
            assert "had '--config-dir outputs/evil/groups" in out + err
        if command[0] == "retry":
            assert status == 2 and f"{target!r}, which a data file names" in err
        assert "Traceback" not in out + err, command
    assert not (here / "owned").exists() and "outputs.evil.mod" not in sys.modules


BASE = '"base":{"_partial_":true,"_target_":"%s"}'


@pytest.mark.parametrize("target", [EVIL, SENT])
def test_no_command_runs_what_a_folder_names_within_a_loss(target, tiny, here, capsys):
    """The loss that is weighted is a function, too, and is one that nobody here has named."""
    call("run", "loss=normbt", "loss.hidden=[3]", *tiny)
    rows = dataset.load("single")
    row = rows[rows["loss"] == "normbt"].iloc[0]
    changed = row["canonical"].replace(BASE % OURS, BASE % target)
    assert changed != row["canonical"]
    key = sent({**row, "canonical": changed}, OURS)
    for command in (["reproduce", "evil", key], ["verify", "evil"], ["retry", "evil"]):
        capsys.readouterr()
        status = call(*command)
        out, err = capsys.readouterr()
        assert status in (1, 2) and target in out + err and "--config-dir" in out + err, command
        assert "Traceback" not in out + err, command
    assert not (here / "owned").exists() and "outputs.evil.mod" not in sys.modules


@pytest.mark.parametrize("field", ["estimator", "validation_objective"])
def test_every_function_within_a_spec_is_named_by_a_config_file(field, here, tiny_run):
    """As a saved model's reward model is trusted, or not, before it is loaded."""
    values = json.loads(tiny_run["canonical"])
    within = {"_target_": "sklearn.linear_model.LogisticRegression", "base": {"_target_": EVIL}}
    if field == "estimator":
        values["loss"] |= {"reward_model": "classifier", "options": {"estimator": within}}
        values["loss"]["objective"] = "binary"
    else:
        values["loss"][field] = within | {"_target_": OURS, "_partial_": True}
    spec = sweep_record.stored_spec(json.dumps(values), "A", False)
    with pytest.raises(ValueError, match=f"'{EVIL}', which a data file names"):
        trusted_code.require_trusted_loss(spec, ["own"])
    assert not (here / "owned").exists()


def test_folders_that_hold_results_name_no_code(tiny_run, here, capsys):
    """--config-dir . is the user's own, and reaches no group in outputs/."""
    key = sent(tiny_run, EVIL)
    for command in (["reproduce", "evil", key], ["verify", "evil"], ["retry", "evil"]):
        assert call(*command, "--config-dir", ".") in (1, 2)
    assert not (here / "owned").exists()


def slurm(**given):
    values = yaml.safe_load((paths.SHIPPED / "conf/launcher/slurm.yaml").read_text())
    return launchers.launcher_of(values | given, None)


def test_no_shell_that_a_folder_names(tmp_path):
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher/mine.yaml").write_text("setup: [touch a]\nsbatch: {exclude: node7}\n")
    mine, others = [str(tmp_path)], [str(tmp_path / "others")]
    own = slurm(setup=["touch a"], sbatch={"exclude": "node7"})
    slurm().require_trusted([])
    own.require_trusted(mine)
    for launcher, folders, field in (
        (own, others, "launcher.setup"),
        (slurm(setup=["touch b"]), mine, "launcher.setup"),
        (slurm(sbatch={"exclude": "node8"}), mine, "launcher.sbatch"),
        (slurm(sbatch={"export": "LD_PRELOAD=a.so"}), mine, "launcher.sbatch"),
    ):
        with pytest.raises(ValueError, match=field):
            launcher.require_trusted(folders)


@pytest.mark.parametrize(
    "given",
    [{"partition": "a\ntouch owned"}, {"gres": "a\rb"}, {"sbatch": {"a\nb": 1}},
     {"sbatch": {"a": "b\nc"}}, {"sbatch": {3: "a"}}, {"gpu_tasks": {"qos": "a\nb"}}],
)  # fmt: skip
def test_an_option_of_sbatch_is_one_line(given):
    if "gpu_tasks" in given:
        given = {"gpu_tasks": dict(vars(slurm().fields.gpu_tasks)) | given["gpu_tasks"]}
    with pytest.raises(ValueError, match="launcher"):
        slurm(**given)


@pytest.mark.parametrize(
    "changed",
    [{"launcher": []}, {"launcher": {"cluster": []}}, {"device": 3}, {"cache_root": [1]},
     {"logger": "wandb"}],
)  # fmt: skip
def test_settings_of_another_kind_are_refused(changed, tiny_run, capsys):
    sent(tiny_run, OURS, settings=SETTINGS | changed)
    capsys.readouterr()
    assert call("retry", "evil") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert next(iter(changed)) in line


def test_ones_own_loss_is_retried_verified_and_reproduced(here, tiny, capsys):
    own = ["--config-dir", "own"]
    run = ["run", "-m", *own, "loss=mine", "seed=0,1", "name=honest", *tiny]
    assert call(*run, "--limit", 1) == 0
    (key,) = dataset.load("honest")["key"]
    for command in (["retry", "honest"], ["verify", "honest"], ["reproduce", "honest", key]):
        capsys.readouterr()
        assert call(*command) == (1 if command[0] == "verify" else 2)
        out, err = capsys.readouterr()
        assert "--config-dir" in out + err
    assert call("retry", "honest", *own) == 0
    assert len(dataset.load("honest")) == 2
    assert call("verify", "honest", "--key", key, *own) == 0
    capsys.readouterr()
    assert call("reproduce", "honest", key, *own) == 0
    command = capsys.readouterr().out
    assert "--config-dir own" in command and "loss=mine" in command
    (here / "my_squares.py").write_text(CODE + "# edited\n")
    targets.source_sha256.cache_clear()
    (item,) = sweep_record.wanted_items(SweepFolder.named("honest"), {key}).values()
    with pytest.raises(ValueError, match="the source of loss=mine has changed"):
        trusted_code.require_trusted_loss(item.spec, ["own"])
