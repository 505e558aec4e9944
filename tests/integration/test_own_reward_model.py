"""A reward model of a user's own, one class and one yaml outside the repository."""

import itertools
import json
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

import rmsweep as package
from rmsweep.cache.inputs import open_inputs
from rmsweep.config import targets
from rmsweep.launch.reproduce import recorded_spec
from rmsweep.paths import CHECKOUT, SweepFolder
from rmsweep.results import dataset

PAGE = (CHECKOUT / "docs/add-a-reward-model.md").read_text()
OWN = ["--config-dir", "myconf"]


def block_of_the_page():
    """The class, the yaml and the commands that the page shows."""
    block = PAGE.partition("\nEvery option beside")[0]
    lines = [line[4:] for line in block.splitlines() if line.startswith("    ") or not line]
    commands = [line for line in lines if line.startswith("rmsweep ")]
    text = "\n".join(line for line in lines if line not in commands)
    code, yaml = re.search(
        r"# my_models.py\n(.*)# myconf/loss/ridge.yaml\n(.*)", text, re.S
    ).groups()
    return code, yaml, commands


CODE, YAML, COMMANDS = block_of_the_page()


NUMBER = itertools.count()


@pytest.fixture
def own(here):
    """A working directory with the page's class and yaml, in a module that no other test has."""
    own = SimpleNamespace(here=here, name=f"own_models_{next(NUMBER)}")
    own.module, own.code = here / f"{own.name}.py", CODE
    own.yaml = YAML.replace("my_models", own.name)
    (here / "myconf/loss").mkdir(parents=True)
    (here / "myconf/loss/ridge.yaml").write_text(own.yaml)
    own.module.write_text(CODE)
    return own


def test_the_page_as_written(own, rmsweep):
    own.module.rename("my_models.py")
    (own.here / "myconf/loss/ridge.yaml").write_text(YAML)
    said = [rmsweep(*shlex.split(command)[1:]).stdout for command in COMMANDS]
    assert len(COMMANDS) == 3 and "2 of 2 runs done" in said[0] and "improvement" in said[2]
    assert len(dataset.saved_keys(SweepFolder.named("ridge"))) == 2


def test_it_fits_scores_saves_and_loads(own, inside, tiny):
    run = ["run", "-m", *OWN, "loss=ridge", "name=ridge", "save_model=true", *tiny]
    run += ["annotation.beta=.inf", "training.validation_share=0.1"]
    inside(*run, "loss.reward_model.alpha=0.1,10", "seed=0,1")
    rows = dataset.load("ridge")
    assert len(rows) == 4 and set(rows["loss.reward_model"]) == {f"{own.name}.Ridge"}
    assert rows["improvement"].mean() > 0 and rows["order_consistency"].mean() > 0.5
    options = [json.loads(text)["reward_model"] for text in rows["loss.options"]]
    assert {option["alpha"] for option in options} == {0.1, 10.0}
    for row in rows.to_dict("records"):
        cache = open_inputs(recorded_spec(row), None).scored
        embeddings = cache.read_test(0, cache.test_prompts)
        np.save(own.here / "test.npy", embeddings)
        path = inside("score", "ridge", row["key"], "test.npy", *OWN).stdout.strip()
        rewards = np.load(own.here / path, allow_pickle=False)
        model = package.load("ridge", row["key"], config_dirs=["myconf"])
        np.testing.assert_array_equal(rewards, model.predict(embeddings))
        folder = SweepFolder.named("ridge").model(row["key"])
        weights = np.load(folder / "model-0/weights.npy")
        x = embeddings.reshape(-1, len(weights)).astype(np.float32)
        np.testing.assert_allclose(rewards.ravel(), x @ weights, rtol=1e-5)
        top = np.take_along_axis(cache.test_golden, rewards.argmax(axis=1)[:, None], axis=1)
        assert top.mean() == pytest.approx(row["bon_golden"])


def test_it_is_verified_and_reproduced_and_an_edited_class_is_another_run(
    own, inside, rmsweep, tiny
):
    run = ["run", "-m", *OWN, "loss=ridge", "name=ridge", *tiny, "loss.reward_model.alpha=3"]
    inside(*run)
    (key,) = dataset.load("ridge")["key"]
    assert "1 of 1 runs match" in inside("verify", "ridge", *OWN).stdout
    command = inside("reproduce", "ridge", key, *OWN).stdout
    assert "loss=ridge" in command and "loss.reward_model.alpha=3.0" in command
    inside("reproduce", "ridge", key, status=2)
    own.module.write_text(CODE + "# edited\n")
    rmsweep(*run)
    assert dataset.load("ridge")["loss.source_sha256"].nunique() == 2


def test_an_ensemble_and_a_whole_number_that_is_a_float(own, inside, tiny):
    run = ["run", *OWN, "loss=ridge", *tiny, "save_model=true", "loss.ensemble=3"]
    inside(*run, "loss.pick=min", "loss.reward_model.alpha=2")
    inside(*run, "loss.pick=min", "loss.reward_model.alpha=2.0")
    (key,) = dataset.load("single")["key"]
    folder = SweepFolder.named("single").model(key)
    assert sorted(path.name for path in folder.glob("model-*")) == [f"model-{i}" for i in range(3)]
    assert package.load("single", key, config_dirs=["myconf"]).predict(np.ones((2, 16))).shape == (
        2,
    )


def test_a_saved_model_runs_no_code_that_only_its_folder_names(own, inside, tiny, refused):
    inside("run", *OWN, "loss=ridge", "save_model=true", *tiny)
    (key,) = dataset.load("single")["key"]
    folder = SweepFolder.named("single").model(key)
    (own.here / "evil.py").write_text("open('owned', 'w').close()\n" + CODE)
    for target in (f"{own.name}.Ridge", "evil.Ridge"):
        text = (folder / "spec.json").read_text().replace(f"{own.name}.Ridge", target)
        (folder / "spec.json").write_text(text)
        refused(["score", "single", key, "a.npy"], f"runs '{target}'", "--config-dir")
    refused(["score", "single", key, "a.npy", *OWN], "runs 'evil.Ridge'")
    assert not (own.here / "owned").exists()


def test_a_saved_model_of_an_edited_class_or_with_a_changed_file_is_refused(
    own, inside, tiny, refused
):
    inside("run", *OWN, "loss=ridge", "save_model=true", *tiny)
    (key,) = dataset.load("single")["key"]
    weights = SweepFolder.named("single").model(key) / "model-0/weights.npy"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    refused(["score", "single", key, "a.npy", *OWN], "model-0/weights.npy has changed")
    weights.write_bytes(whole)
    own.module.write_text(CODE + "# edited\n")
    targets.source_sha256.cache_clear()
    refused(["score", "single", key, "a.npy", *OWN], "the source of loss=ridge has changed")


FIT = "    def fit(self, chosen, rejected, seed): pass\n"
PREDICT = "    def predict(self, x): return x.sum(axis=1)\n"
BAD = {
    "no predict": (FIT, "Bad has no predict"),
    "no fit": (PREDICT, "Bad has no fit"),
    "save alone": (FIT + PREDICT + "    def save(self, folder): pass\n", "Bad has no load"),
    "another shape": (FIT + "    def predict(self, x): return x\n", "Bad.predict must", "(20, 20)"),
    "no array": (FIT + "    def predict(self, x): return 'high'\n", "Bad.predict must", "got str"),
    "NaN": (FIT + "    def predict(self, x): return x[:, 0] / 0\n", "Bad.predict returned NaN"),
    "raises": (FIT + "    def predict(self, x): return self.w\n", "Bad fails", "AttributeError"),
    "another fit": ("    def fit(self, x): pass\n" + PREDICT, "Bad fails", "TypeError"),
    "an option": ("    def __init__(self, a): pass\n" + FIT + PREDICT, "Bad(...)", "'a'"),
}


@pytest.mark.parametrize("body", BAD)
def test_bad_classes_are_refused_in_one_message(body, own, refused):
    own.module.write_text("class Bad:\n" + BAD[body][0])
    (own.here / "myconf/loss/bad.yaml").write_text(own.yaml.replace("Ridge, alpha: 1.0", "Bad"))
    refused(["run", *OWN, "loss=bad"], "loss.reward_model", f"{own.name}.", *BAD[body][1:])


def test_what_is_no_reward_model_is_refused(own, refused):
    run = ["run", *OWN, "loss=ridge"]
    refused([*run, "loss.objective=binary"], "Ridge takes one of its own objectives (own)")
    refused([*run, "~loss.reward_model._target_"], "loss.reward_model must have _target_")
    refused([*run, "loss.reward_model._target_=my_models.No"], "my_models.No", "cannot be imported")
    refused([*run, "loss.reward_model.alpha=high"], "loss.reward_model.alpha must be float")
    refused([*run, "+loss.reward_model.rate=1"], f"{own.name}.Ridge(...)", "rate")
    refused([*run, "+loss.hidden=[3]"], "loss.hidden is an unknown field")
    refused([*run, "training.protocol=rbt_scripts"], "training.protocol=rbt_scripts")


def test_a_class_without_save_and_load_is_not_saved(own, refused):
    own.module.write_text(CODE.partition("    def save")[0])
    run = ["run", *OWN, "loss=ridge", "save_model=true"]
    refused(run, f"{own.name}.Ridge, without save and load: set save_model=false")


def test_a_reward_that_is_not_finite_fails_the_run_and_names_the_class(own, inside, tiny):
    code = CODE.replace(
        "x @ self.weights", "(x @ self.weights if len(x) == 20 else x[:, 0] * np.inf)"
    )
    own.module.write_text(code)
    failed = inside("run", *OWN, "loss=ridge", *tiny, status=1).stderr
    assert f"loss.reward_model: {own.name}.Ridge.predict returned NaN or inf" in failed
