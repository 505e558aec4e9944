"""Bad input of every kind: one line on stderr says what to do, exit status 2, nothing is left."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.report_data import write_sweep

from rmsweep.cli import main
from rmsweep.paths import SweepFolder

FROM_FILES = ["dataset=alpacaeval", "base_llm=synthetic", "backbone=synthetic", "quantity=30"]


@pytest.fixture
def cache(here):
    """The folder of a sound cache of 20 x 3 and 8 x 4 responses, 6-dimensional."""
    rng = np.random.default_rng(0)
    root = here / "cache"
    root.mkdir()
    for split, shape in (("train", (20, 3)), ("test", (8, 4))):
        for kind, width in (("embd", 6), ("reward", 1)):
            array = rng.normal(size=(*shape, width)).astype(np.float32)
            np.save(root / f"{kind}_synthetic_synthetic_alpacaeval_{split}.npy", array)
    return root


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def edit(change):
    """A file made anew from its array."""
    return lambda path: np.save(path, change(np.load(path)))


def with_nan(array):
    array[3, 1] = np.nan
    return array


BAD_FILES = {
    "truncated": ("embd", "train", truncate, "size"),
    "truncated rewards": ("reward", "test", truncate, "size"),
    "not an array": ("embd", "test", lambda path: path.write_text("hello"), "header"),
    "empty": ("embd", "test", lambda path: path.write_bytes(b""), "header"),
    "objects": ("embd", "train", edit(lambda a: a.astype(object)), "pickled objects"),
    "Fortran order": ("embd", "train", edit(np.asfortranarray), "Fortran"),
    "integers": ("embd", "train", edit(lambda a: a.astype(np.int32)), "dtype"),
    "another D in test": ("embd", "test", edit(lambda a: a[..., :5].copy()), "axis 2 (D)"),
    "K = 1": ("embd", "train", edit(lambda a: a[:, :1].copy()), "at least 2"),
    "two axes": ("embd", "train", edit(lambda a: a[0]), "shape"),
    "shapes that disagree": ("reward", "train", edit(lambda a: a[:-1]), "shape"),
    "rewards without an axis": ("reward", "train", edit(lambda a: a[..., 0].copy()), "shape"),
    "constant reward": ("reward", "train", edit(np.ones_like), "more than one value"),
    "NaN reward": ("reward", "test", edit(with_nan), "prompt 3, response 1"),
    "no file": ("reward", "test", Path.unlink, "no golden rewards"),
    "a folder": ("embd", "test", lambda path: (path.unlink(), path.mkdir()), "kind"),
}


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_cache_files(refused, cache, kind, multirun):
    name, split, spoil, word = BAD_FILES[kind]
    path = cache / f"{name}_synthetic_synthetic_alpacaeval_{split}.npy"
    spoil(path)
    refused(["run", *multirun, *FROM_FILES, f"cache.root={cache}"], path.name, word)


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
def test_cache_root(refused, cache, multirun):
    run = ["run", *multirun, *FROM_FILES]
    refused(run, "cache.root", "null")
    refused([*run, "cache.root=absent"], "absent", "set cache.root")
    file = next(cache.iterdir())
    refused([*run, f"cache.root={file}"], file.name, "set cache.root")


BAD_OVERRIDES = {
    "negative beta": ("annotation.beta=-1", "annotation.beta", ">= 0"),
    "beta is NaN": ("annotation.beta=nan", "annotation.beta", ">= 0"),
    "beta as text": ("annotation.beta=much", "annotation.beta must be float"),
    "unknown group": ("losses=bt_mlp", "losses"),
    "unknown option": ("loss=bt_mpl", "bt_mpl", "bt_mlp"),
    "unknown field": ("temperature=3", "temperature"),
    "added field": ("+temperature=3", "temperature", "unknown field"),
    "misspelt field": ("annotation.bta=3", "annotation.bta"),
    "misspelt added field": ("+annotation.bta=3", "annotation.bta", "did you mean beta?"),
    "another loss's field": ("+loss.rounds=3", "loss.rounds is an unknown field"),
    "quantity above the maximum": ("quantity=100000", "quantity must be at most 45000"),
    "quantity 0": ("quantity=0", "quantity must be >= 2"),
    "quantity 1": ("quantity=1", "quantity must be >= 2"),
    "quantity as a fraction": ("quantity=100.5", "quantity must be int", "100.5"),
    "quantity null": ("quantity=null", "quantity must be int", "None"),
    "seed as text": ("seed=first", "seed must be int", "'first'"),
    "seed as a Boolean": ("seed=true", "seed must be int", "True"),
    "negative seed": ("seed=-1", "seed must be >= 0"),
    "n above M": ("evaluation.n=51", "evaluation.n must be at most 50"),
    "n 0": ("evaluation.n=0", "evaluation.n must be >= 1"),
    "patience 0": ("training.patience=0", "training.patience must be >= 1"),
    "nothing left to train": ("training.validation_share=1.0", "training.validation_share"),
    "nothing held out": ("training.validation_share=0", "training.validation_share"),
    "learning rate 0": ("training.learning_rate=0", "training.learning_rate must be > 0"),
    "no batch": ("training.batch_pairs=0", "training.batch_pairs must be >= 1"),
    "unknown protocol": ("training.protocol=scripts", "training.protocol", "rbt_scripts"),
    "unknown link": ("annotation.link=logit", "annotation.link", "logistic"),
    "unknown source": ("annotation.source=people", "annotation.source", "simulated"),
    "trees by the scripts": ("loss=clf_lgb training.protocol=rbt_scripts", "training.protocol"),
    "NormBT with trees": ("loss=normbt loss.reward_model=trees", "loss.objective", "binary"),
    "unknown reward model": ("loss.reward_model=svm", "loss.reward_model", "mlp, trees"),
    "width 0": ("loss.hidden=[16,0]", "loss.hidden must be >= 1"),
    "width as text": ("loss.hidden=[16,wide]", "loss.hidden[1] must be int"),
    "no such module": ("loss.objective._target_=absent.loss", "absent.loss", "PYTHONPATH"),
    "no such function": ("loss.objective._target_=math.loss", "math.loss", "cannot be imported"),
    "not a function": ("loss.objective._target_=math.pi", "math.pi", "is not a function"),
    "unknown objective option": ("+loss.objective.tau=2", "loss.objective", "'tau'"),
    "flip rate 1/2": ("loss=bt_flip_robust loss.objective.flip_rate=0.5", "flip_rate", "[0, 0.5)"),
    "smoothing": ("loss=bt_smoothed loss.objective.smoothing=0.7", "smoothing", "[0, 0.5)", "0.7"),
    "NormBT's scale": ("loss=normbt loss.objective.scale=mean", "scale", "ema, batch, none"),
    "no members": ("loss.ensemble=0", "loss.ensemble must be >= 1 or null"),
    "a pick without members": ("loss.pick=min", "loss.pick", "null where loss.ensemble is"),
    "unknown pick": ("loss.ensemble=2 loss.pick=max", "loss.pick must be mean, min or > 0"),
    "not a classifier": (
        "loss=clf_hgb loss.estimator={_target_:sklearn.svm.SVR}",
        "loss.estimator",
        "sklearn.svm.SVR",
    ),
    "a classifier's option": ("loss=clf_logistic loss.estimator.C=-1", "loss.estimator", "'C'"),
    "unknown precision": ("precision=fp8", "precision 'fp8'", "bf16, fp32"),
    "unknown device": ("device=tpu", "device must be cpu, cuda or cuda:N", "'tpu'"),
    "device as a number": ("device=0", "device must be cpu, cuda or cuda:N", "0"),
    "too many workers": ("launcher.workers=4096", "launcher.workers", "cores"),
    "no workers": ("launcher.workers=0", "launcher.workers must be >= 1, got 0"),
    "unknown launcher field": ("+launcher.wrokers=2", "launcher.wrokers", "workers"),
    "unknown launcher": ("launcher=lsf", "lsf", "local"),
    "a model that had no part": ("base_llm=gemma2b", "base_llm", "synthetic"),
    "a synthetic shape": ("dataset.synthetic.train_responses=1", "train_responses", ">= 2"),
    "reward scale 0": ("dataset.reward_scale=0.0", "dataset.reward_scale must be std or > 0"),
    "no value": ("quantity=???", "quantity"),
    "no cache": ("cache=null", "cache must be a mapping"),
    "a root that is a number": ("cache.root=3", "cache.root must be str or null", "3"),
    "a misspelt root": ("+cache.rot=there", "cache.rot is an unknown field", "root"),
    "a broken interpolation": ("quantity=${nothing}", "nothing"),
    "not an override": ("seed", "seed"),
    "unbalanced": ("loss.hidden=[16", "[16"),
}


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
@pytest.mark.parametrize("kind", BAD_OVERRIDES)
def test_overrides(refused, kind, multirun):
    overrides, *words = BAD_OVERRIDES[kind]
    refused(["run", *multirun, *overrides.split()], *words)


def test_one_run_is_not_several(refused):
    refused(["run", "hydra.mode=MULTIRUN", "seed=1,2"], "hydra.mode", "rmsweep run -m")
    refused(["run", "seed=1,2"], "seed=1,2", "--multirun")


BAD_SLURM = {
    "precision not given": ("", "precision must be given", "precision=bf16"),
    "a device that is not the launcher's": ("precision=fp32 device=cuda", "device=cuda", "gpu"),
    "a limit that is too short": ("precision=fp32 launcher.time_min=1", "launcher.time_min", "2"),
    "such a limit of GPU tasks": ("precision=fp32 launcher.gpu_tasks.time_min=1", "time_min", "2"),
    "no memory": ("precision=fp32 launcher.mem_gb=0", "launcher.mem_gb must be > 0"),
    "no work": ("precision=fp32 launcher.target_minutes=0", "launcher.target_minutes must be > 0"),
    "no packs": ("precision=fp32 launcher.pack_runs=0", "launcher.pack_runs must be >= 1"),
    "setup as text": ("precision=fp32 launcher.setup=module", "launcher.setup must be list"),
    "setup of numbers": ("precision=fp32 launcher.setup=[3]", "launcher.setup", "3"),
    "an option that is a list": (
        "precision=fp32 +launcher.sbatch.nice=[1]",
        "launcher.sbatch.nice",
    ),
    "an option that rmsweep sets": (
        "precision=fp32 +launcher.sbatch.job-name=mine",
        "launcher.sbatch.job-name cannot be given",
    ),
    "an option that is off": (
        "precision=fp32 +launcher.sbatch.exclusive=false",
        "exclusive",
        "a flag",
    ),
    "endless memory": ("precision=fp32 launcher.mem_gb=.inf", "launcher.mem_gb must be", "finite"),
    "endless work": ("precision=fp32 launcher.target_minutes=.inf", "launcher.target_minutes"),
    "memory of a few bytes": ("precision=fp32 launcher.mem_gb=0.0001", "launcher.mem_gb must be"),
    "unknown field": ("precision=fp32 +launcher.memory=3", "launcher.memory is an unknown field"),
    "another cluster": ("precision=fp32 launcher.cluster=pbs", "launcher.cluster 'pbs'", "slurm"),
    "wait as a number": ("precision=fp32 wait=3", "wait must be true or false, got 3"),
}


@pytest.mark.parametrize("kind", BAD_SLURM)
def test_slurm(refused, kind):
    overrides, *words = BAD_SLURM[kind]
    refused(["run", "-m", "launcher=slurm", "seed=0,1", *overrides.split()], *words)


def test_slurm_is_for_sweeps(refused):
    refused(["run", "launcher=slurm", "precision=fp32"], "launcher=slurm is for sweeps", "-m")


def test_slurm_without_its_commands(refused, monkeypatch, here):
    monkeypatch.setenv("PATH", "")
    refused(["run", "-m", "launcher=slurm", "seed=0,1", "precision=fp32"], "scontrol")


@pytest.mark.parametrize("command", ["status", "retry", "cancel"])
def test_no_such_sweep(refused, command):
    refused([command, "absent"], "no sweep 'absent'")


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
def test_bf16_where_it_is_not_native(refused, monkeypatch, multirun):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    refused(["run", *multirun, "device=cpu", "precision=bf16"], "precision", "set precision=fp32")


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
def test_no_gpu(refused, monkeypatch, multirun):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refused(["run", *multirun, "device=cuda"], "device=cuda", "set device=cpu")


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
def test_results_that_cannot_be_written(refused, here, multirun):
    (here / "outputs").write_text("in the way")
    refused(["run", *multirun], "outputs", "cannot be written", "run where you may write")


BAD_SWEEPS = {
    "one bad value of many": (["seed=0,-1"], "seed must be >= 0", "[in seed=-1]"),
    "one bad option of many": (["loss=bt_mlp,btmlp"], "btmlp", "clf_mlp"),
    "an unknown field": (["temperature=1,2"], "temperature"),
    "an empty range": (["seed=range(0)"], "seed"),
    "a name with a slash": (["name=a/b"], "name", "'a/b'"),
    "a hidden name": (["name=.a"], "name", "'.a'"),
    "limit 0": (["--limit", "0"], "--limit must be >= 1"),
    "limit as text": (["--limit", "few"], "--limit", "'few'"),
    "unknown flag": (["--dry-run"], "--dry-run", "--plan"),
    "unknown sweep": (["sweeps=rbt_fig99"], "rbt_fig99", "rbt_fig1"),
    "unknown field of sweep": (["+sweep.axis={seed: '1,2'}"], "sweep.axis", "axes"),
    "zip of unlike lengths": (
        ["seed=0,1", "quantity=100,200,300", "sweep.zip=[[seed,quantity]]"],
        "sweep.zip",
        "as many values",
    ),
    "exclude of an unknown field": (["sweep.exclude=[{sede: 1}]"], "sweep.exclude", "sede"),
    "all excluded": (["sweep.exclude=[{seed: 0}]"], "no runs"),
}


@pytest.mark.parametrize("kind", BAD_SWEEPS)
def test_sweeps(refused, kind):
    overrides, *words = BAD_SWEEPS[kind]
    refused(["run", "-m", *overrides], *words)


BAD_COMMANDS = {
    "unknown command": ("rnu", "rnu", "table"),
    "plan of one run": ("run --plan", "--plan", "run -m"),
    "limit of one run": ("run --limit 3", "--limit", "run -m"),
    "sweep file of one run": ("run sweeps=demo", "run -m sweeps=NAME"),
    "values of one run": ("run seed=0,1", "seed", "--multirun"),
    "unknown flag": ("run --dry-run", "--dry-run"),
    "no folder of groups": ("run --config-dir mine", "mine", "folder"),
    "no folder of groups in a sweep": ("run -m --config-dir mine", "mine", "folder"),
    "no folder of groups to list": ("list --config-dir mine", "mine", "folder"),
    "list of an unknown group": ("list losses", "losses", "loss"),
    "table of nothing": ("table absent", "no sweep 'absent'", "there: none"),
    "table of a path": ("table ../absent", "../absent"),
    "table without a name": ("table", "NAME"),
    "unknown format": ("table absent --format pdf", "pdf", "latex"),
    "unknown field of synthetic": ("cache synthesize new dataset.synthetic.size=3", "size"),
    "unknown dtype": ("cache synthesize new --dtype int8", "int8", "float16"),
    "bad shape": ("cache synthesize new dataset.synthetic.dim=2", "dim", ">= 6"),
}


@pytest.mark.parametrize("kind", BAD_COMMANDS)
def test_commands(refused, kind):
    arguments, *words = BAD_COMMANDS[kind]
    refused(arguments.split(), *words)


def test_synthesize_overwrites_nothing(refused, here):
    shape = [f"dataset.synthetic.{name}_prompts=4" for name in ("train", "test")]
    with pytest.raises(SystemExit) as stop:
        main.main(["cache", "synthesize", "new", *shape])
    assert stop.value.code == 0 and len(list(here.glob("new/*.npy"))) == 4
    refused(["cache", "synthesize", "new", *shape], "new", "remove them")


USERS_FILES = {
    "yaml that is none": ("label: [", "mine.yaml", "line"),
    "a list": ("- label", "loss/mine"),
    "no objective": ("reward_model: mlp\nhidden: [4]", "loss.objective"),
    "no label": ("reward_model: trees\nobjective: binary\nrounds: 3", "loss.label is missing"),
    "no _partial_": (
        "label: A\nreward_model: mlp\nhidden: [4]\nobjective: {_target_: math.sqrt}",
        "loss.objective",
        "_partial_: true",
    ),
    "a module with an error": (
        "label: A\nreward_model: mlp\nhidden: [4]\n"
        "objective: {_target_: broken_loss.mine, _partial_: true}",
        "broken_loss",
        "line 1",
    ),
    "a module that raises": (
        "label: A\nreward_model: mlp\nhidden: [4]\n"
        "objective: {_target_: raising_loss.mine, _partial_: true}",
        "raising_loss",
        "ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "sweep"])
@pytest.mark.parametrize("kind", USERS_FILES)
def test_files_of_the_user(refused, here, monkeypatch, kind, multirun):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text, *words = USERS_FILES[kind]
    (here / "groups" / "loss").mkdir(parents=True)
    (here / "groups" / "loss" / "mine.yaml").write_text(text)
    (here / "broken_loss.py").write_text("def mine(batch, state)\n")
    (here / "raising_loss.py").write_text("1 / 0\n")
    refused(["run", *multirun, "--config-dir", "groups", "loss=mine"], *words)


def test_fields_of_tables(refused, here):
    write_sweep(SweepFolder.named("small").path)
    for names in (["--rows", "los"], ["--columns", "los"], ["--columns", "loss,los"]):
        refused(["table", "small", *names], "unknown field 'los'; did you mean loss?")
    for name in ("status", "key", "spec_id", "improvement"):  # columns of rows, not of specs
        refused(["table", "small", "--rows", name], f"unknown field '{name}'")
        refused(["table", "small", "--columns", name], f"unknown field '{name}'")


@pytest.fixture
def sweep(here, tiny):
    """The name of a sweep of two runs, done."""
    with pytest.raises(SystemExit) as stop:
        main.main(["run", "-m", "name=small", "seed=0,1", "loss.hidden=[4]", *tiny])
    assert stop.value.code == 0
    return "small"


def test_tables(refused, here, sweep, tiny, capfd):
    capfd.readouterr()
    refused(["table", sweep, "--metric", "accurate"], "accurate", "did you mean accuracy?")
    refused(["table", sweep, "--metric", "accuracy"], "no done run has accuracy", "improvement")
    refused(["table", sweep, "--rows", "lsos"], "lsos", "did you mean loss?")
    refused(["table", sweep, "--columns", "size"], "size", "quantity")
    refused(["table", sweep, "--rows", "loss", "--columns", "loss"], "once in rows and columns")
    refused(["table", sweep, "absent"], "absent")
    run = ["run", "-m", "name=small", "seed=0,1", "loss.hidden=[4]", *tiny]
    specs = here / "outputs" / "small" / "specs.parquet"
    part = next(here.glob("outputs/small/runs/*.parquet"))
    for path in (part, specs):
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        refused(["table", sweep], path.name, "delete it")
        refused(run, path.name, "delete it")
        path.write_bytes(whole)
    pd.DataFrame({"key": ["a"]}).to_parquet(part)
    refused(["table", sweep], part.name)
    refused(run, part.name)
