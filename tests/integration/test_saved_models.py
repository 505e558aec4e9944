"""Saved reward models predict what the sweep predicted, bit for bit, and are safe to read."""

import json
import shutil
import sys

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

import rmsweep
from rmsweep import machine
from rmsweep.cache.inputs import open_inputs
from rmsweep.cli import main
from rmsweep.config.launchers import Place
from rmsweep.config.spec import SEMANTICS, Item
from rmsweep.evaluation.best_of_n import best_of_n
from rmsweep.launch.reproduce import recorded_spec
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset
from rmsweep.training.fit import fit_runs
from rmsweep.training.predict import predict_rewards, prompt_blocks, stack_models

SWEEPS = {
    "mlp": ["loss=bt_mlp,normbt", "loss.hidden=[7,5]", "seed=0,1"],
    "linear": ["loss=bt_mlp", "loss.hidden=[]", f"precision={machine.precision(None, 'cpu')}"],
    "trees": ["loss=clf_lgb", "loss.rounds=5", "seed=0,1"],
    "pair_trees": ["loss=bt_lgb", "loss.rounds=5"],
    "ensemble": ["loss=clf_mlp", "loss.hidden=[4]", "loss.ensemble=3", "loss.pick=mean,min,1.0"],
    "forests": ["loss=clf_lgb", "loss.rounds=3", "loss.ensemble=2", "loss.pick=min"],
}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """A working directory with one sweep a kind, which kept its models."""
    root = tmp_path_factory.mktemp("saved")
    shape = {"train_prompts": 40, "train_responses": 3, "test_prompts": 30, "test_responses": 150}
    shape |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}  # two blocks of test prompts
    tiny = [f"dataset.synthetic.{name}={value}" for name, value in shape.items()]
    tiny += ["name=kept", "quantity=30", "training.max_epochs=3", "save_model=true"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for kind, overrides in SWEEPS.items():
            assert call("run", "-m", *tiny, f"name={kind}", *overrides) == 0
        yield root
    GlobalHydra.instance().clear()


def call(*arguments):
    """The command's exit status."""
    with pytest.raises(SystemExit) as stop:
        main.main([str(argument) for argument in arguments])
    return stop.value.code


def test_embeddings(row):
    """The test embeddings of a row's cache and their golden rewards."""
    cache = open_inputs(recorded_spec(row), None).scored
    return cache.read_test(0, cache.test_prompts), cache.test_golden


test_embeddings.__test__ = False


@pytest.mark.parametrize("kind", SWEEPS)
def test_predictions_are_those_of_the_sweep(kind, here, capsys):
    for row in dataset.load(kind).to_dict("records"):
        embeddings, golden = test_embeddings(row)
        np.save(here / "test.npy", embeddings)
        capsys.readouterr()
        assert call("score", kind, row["key"], "test.npy") == 0
        path = capsys.readouterr().out.strip()
        assert path == f"test.{row['key']}.npy"
        rewards = np.load(here / path, allow_pickle=False)
        assert rewards.shape == golden.shape
        np.testing.assert_array_equal(rewards, rmsweep.load(kind, row["key"]).predict(embeddings))
        parts = [slice(*block) for block in prompt_blocks(*golden.shape)]
        ns = list(row["bon_n"])
        by_n = np.concatenate([best_of_n(rewards[None, at], golden[at], ns)[0] for at in parts])
        np.testing.assert_array_equal(by_n.mean(axis=0), row["bon_golden_by_n"])
        np.testing.assert_array_equal(
            (by_n[:, -1] - by_n[:, 0]).astype(np.float32), row["improvement_by_prompt"]
        )


def test_predictions_are_those_of_a_model_never_saved():
    row = dataset.load("ensemble").iloc[0]
    spec = recorded_spec(row)
    place, cache = Place(None, "cpu", 1), open_inputs(spec, None)
    fitted = fit_runs([Item(row["key"], spec)], cache, place)
    x = test_embeddings(row)[0][:, :7].reshape(-1, cache.dim)
    expected = predict_rewards(stack_models(fitted), x, place)[0]
    model = rmsweep.load("ensemble", row["key"])
    np.testing.assert_array_equal(model.predict(x), expected)
    single = model.predict(x.astype(np.float64)[:1])
    np.testing.assert_allclose(single, expected[:1], rtol=1e-4, atol=1e-6)
    assert model.predict(x[:0]).shape == (0,) and model.spec == spec


def test_what_is_kept_is_no_part_of_the_key_and_can_be_made_later(here):
    overrides = ["run", "-m", "name=later", "loss.hidden=[4]", "quantity=30", "seed=0,1",
                 "training.max_epochs=2", "dataset.synthetic.train_prompts=20"]  # fmt: skip
    assert call(*overrides) == 0 and not dataset.saved_keys(SweepFolder.named("later"))
    before = dataset.load("later")
    assert call(*overrides, "save_model=true") == 0
    assert dataset.saved_keys(SweepFolder.named("later")) == set(before["key"])
    assert list(dataset.load("later")["finished_at"]) == list(before["finished_at"])
    folder = SweepFolder.named("later").model(before["key"][0])
    made = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert call(*overrides, "save_model=true") == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == made
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "spec.json"]
    about = json.loads((folder / "spec.json").read_text())
    assert about["spec"] == json.loads(before["canonical"][0]) and about["versions"]["torch"]


def test_one_run_keeps_its_model(here, capsys):
    run = ["run", "loss.hidden=[4]", "quantity=30", "training.max_epochs=2"]
    assert call(*run) == 0 and call(*run, "save_model=true") == 0
    (key,) = dataset.saved_keys(SweepFolder.named("single"))
    assert rmsweep.load("single", key[:5]).predict(np.zeros((2, 256), np.float32)).shape == (2,)


def refused(capsys, *arguments, words):
    capsys.readouterr()
    assert call(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_classifiers_are_refused_before_any_work(here, capsys):
    for how in (["run"], ["run", "-m", "name=none"]):
        refused(
            capsys, *how, "loss=clf_logistic", "save_model=true", words=["clf_logistic", "pickle"]
        )
    refused(capsys, "run", "save_model=3", words=["save_model must be true or false"])
    assert not SweepFolder.named("none").path.exists()


BAD = {
    "another D": (lambda: np.zeros((3, 5), np.float32), "(rows, 16)"),
    "one axis": (lambda: np.zeros(16, np.float32), "(rows, 16)"),
    "NaN": (lambda: np.full((3, 16), np.nan, np.float32), "NaN or inf at (0,)"),
    "integers": (lambda: np.zeros((3, 16), int), "must hold floats"),
    "objects": (lambda: np.array([{}, 1], object), "whole .npy file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_embeddings(kind, here, capsys):
    make, word = BAD[kind]
    np.save(here / "bad.npy", make(), allow_pickle=True)
    key = dataset.load("linear")["key"][0]
    refused(capsys, "score", "linear", key, "bad.npy", "--out", "o.npy", words=[word])
    assert not (here / "o.npy").exists()


def test_bad_models(here, capsys):
    refused(capsys, "score", "mlp", "zz", "bad.npy", words=["no run 'zz'", "save_model=true"])
    refused(capsys, "score", "linear", "", "absent.npy", words=["no embeddings at absent.npy"])
    key = dataset.load("mlp")["key"][0]
    folder = SweepFolder.named("mlp").model(key)
    for name in ("spec.json", "model.safetensors"):
        whole = (folder / name).read_bytes()
        for spoilt in (whole[:-9], b"", b"[]", whole.replace(b"e", b"f", 1)):
            (folder / name).write_bytes(spoilt)
            refused(capsys, "score", "mlp", key, "bad.npy", words=[key, "as it was written"])
        (folder / name).write_bytes(whole)
    text = (folder / "spec.json").read_text()
    (folder / "spec.json").write_text(text.replace(f'"semantics": {SEMANTICS}', '"semantics": 0'))
    refused(capsys, "score", "mlp", key, "bad.npy", words=["saved under SEMANTICS 0", "run the"])
    (folder / "spec.json").write_text(text)
    shutil.copytree(folder, folder.with_name("f" * 16))
    refused(capsys, "score", "mlp", "f" * 16, "bad.npy", words=["that of another model"])
    shutil.rmtree(folder.with_name("f" * 16))


def test_a_model_that_names_code_runs_none(here):
    """Reading a model imports no objective: its spec may name any."""
    key = dataset.load("mlp")["key"][0]
    folder = SweepFolder.named("mlp").model(key)
    text = (folder / "spec.json").read_text()
    (folder / "spec.json").write_text(text.replace("rmsweep.objectives", "antigravity"))
    try:
        with pytest.raises(ValueError, match="that of another model"):
            rmsweep.load("mlp", key)
    finally:
        (folder / "spec.json").write_text(text)
    assert "antigravity" not in sys.modules
