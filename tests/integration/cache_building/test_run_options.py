"""What the options of `rmsweep cache build` change, by its own command on tiny real models."""

import argparse
import json
import shlex

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.made_up_pairs import write_pairs
from helpers.small_builds import SMALL, one_by_one, read_stage, texts_file
from helpers.tiny_runs import SHAPE

from rmsweep.cache import write_synthetic
from rmsweep.cache.building import run_options
from rmsweep.cache.synthetic import SyntheticSource
from rmsweep.cli import cache_build, main

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft
TEXTS = ["--train", "t.parquet", "--test-prompts", "3", "--base-llm-name", "x"]
PROMPTS = ["--train", "p.jsonl", "--test-prompts", "2", "--base-llm", "llm"]
PROMPTS += ["--reward-model", "scorer", *SMALL[:-2], "--until", "responses"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny_models.make(root / "llm", "Llama", "ForCausalLM", 0)
    tiny_models.make(root / "scorer", "GPT2", "ForSequenceClassification", 1, num_labels=1)
    tiny_models.make_adapter(root / "adapter", str(root / "llm"))
    texts_file(root / "t.parquet")
    texts_file(root / "bare.parquet", golden=False, response=["yes STOP no", "yes", "no"] * 8)
    lines = [json.dumps({"prompt": f"Name bird {i}."}) + "\n" for i in range(8)]
    (root / "p.jsonl").write_text("".join(lines))
    (root / "pairs.csv").write_text("prompt,chosen,rejected\n" + "Why?,a,b\nHow?,c,d\nWho?,e,f\n")
    return root


@pytest.fixture
def build(made, capsys, monkeypatch):
    """build(out, arguments...): `rmsweep cache build`; what it printed."""
    monkeypatch.chdir(made)

    def call(out, *arguments):
        given = ["--backbone", "llm", "--precision", "fp32", "--out", out, *arguments]
        with pytest.raises(SystemExit) as ended:
            main.main(["cache", "build", *map(str, given)])
        found = capsys.readouterr()
        assert not ended.value.code, found
        return found.out

    return call


def test_the_seed_draws_responses_and_test_prompts(build, tmp_path):
    responses, tests = {}, {}
    for name, more in (("unset", []), ("0", ["--seed", "0"]), ("1", ["--seed", "1"])):
        build(tmp_path / name, *PROMPTS, *more)
        rows = read_stage(tmp_path / name, "responses-llm-p-train")
        responses[name] = rows.groupby("prompt")["response"].apply(list)
        build(tmp_path / name, *TEXTS, *more)
        tests[name] = read_stage(tmp_path / name, "rewards-x-t-test")["prompt"].to_list()
    assert responses["unset"].equals(responses["0"]) and tests["unset"] == tests["0"]
    shared = responses["0"].index.intersection(responses["1"].index)
    assert len(shared) >= 4 and (responses["0"][shared] != responses["1"][shared]).all()
    assert tests["0"] != tests["1"]


def test_an_adapter_writes_other_responses(build, made, tmp_path):
    build(tmp_path, *PROMPTS)
    build(tmp_path, *PROMPTS, "--adapter", "adapter")
    plain, adapted = (read_stage(tmp_path, f"responses-llm{end}-p-train") for end in ("", "-sft"))
    assert (plain["prompt"] == adapted["prompt"]).all()
    assert (plain["response"] != adapted["response"]).mean() > 0.5
    manifest = json.loads((tmp_path / "stages/responses-llm-sft-p-train/manifest.json").read_text())
    assert manifest["adapter"] == "adapter" and manifest["adapter_revision"].startswith("sha256:")


def test_a_response_ends_at_stop(build, tmp_path):
    given = [*TEXTS[2:], "--train", "bare.parquet", "--reward-model", "scorer"]
    build(tmp_path, *given, "--stop", " STOP")
    assert set(read_stage(tmp_path, "rewards-x-bare-train")["response"]) == {"yes", "no"}


def test_embeddings_of_length_1(build, tmp_path):
    for name, more in (("plain", []), ("normal", ["--normalize"])):
        build(tmp_path / name, *TEXTS, "--dtype", "float32", *more)
    plain, normal = (np.load(tmp_path / name / "embd_x_llm_t_train.npy")
                     for name in ("plain", "normal"))  # fmt: skip
    lengths = np.linalg.norm(plain, axis=-1, keepdims=True)
    assert abs(lengths - 1).min() > 0.01
    np.testing.assert_allclose(normal, plain / lengths, rtol=1e-5)


def test_prompts_get_their_format_wherever_they_enter(build, made, tmp_path):
    form, given = r"\nHuman: {prompt}\nBot:", ["--dtype", "float32", "--prompt-format"]
    build(tmp_path, *TEXTS, *given, form)
    rows = read_stage(tmp_path, "rewards-x-t-train")
    assert rows["prompt"].str.fullmatch(r"\nHuman: Question \d\?\nBot:").all()
    alone = one_by_one(made / "llm", "AutoModel", rows["prompt"], rows["response"])
    expected = np.stack([each.last_hidden_state[0, -1].numpy() for each in alone])
    found = np.load(tmp_path / "embd_x_llm_t_train.npy").reshape(len(rows), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    build(tmp_path, "--pairs", "pairs.csv", *given, form)
    table = pd.read_parquet(tmp_path / "pairs_pairs.parquet")
    assert table["prompt"].tolist() == [f"\nHuman: {word}?\nBot:" for word in ("Why", "How", "Who")]


def test_prompts_of_a_test_file_are_not_trained_on(build, made, tmp_path):
    texts_file(tmp_path / "test.parquet", prompt=np.repeat([f"Question {i}?" for i in range(5, 13)],
                                                           3))  # fmt: skip
    given = ["--train", "t.parquet", "--test", tmp_path / "test.parquet", "--base-llm-name", "x"]
    assert "3 in_other_split" in build(tmp_path / "c", *given)
    prompts = {split: set(read_stage(tmp_path / "c", f"rewards-x-t-{split}")["prompt"])
               for split in ("train", "test")}  # fmt: skip
    assert len(prompts["train"]) == 5 and len(prompts["test"]) == 8
    assert not prompts["train"] & prompts["test"]


def test_the_command_that_is_printed_can_be_typed(build, capsys, tmp_path):
    said = build(tmp_path / "it's (mine), 1", *TEXTS)
    (line,) = [line for line in said.splitlines() if line.startswith("then: rmsweep ")]
    command = shlex.split(line.removeprefix("then: rmsweep "))
    with pytest.raises(SystemExit) as ended:
        main.main([*command, "quantity=10", "loss.hidden=[4]", "training.max_epochs=1"])
    assert not ended.value.code and "improvement" in capsys.readouterr().out


@pytest.mark.parametrize(
    "source, name",
    [
        ("my.data/t.v2.parquet", "t"),
        ("org/name:data/train.jsonl.gz", "train"),
        ("org/name@v1.0", "name"),
        ("org/name@refs/convert/parquet", "name"),
        ("org/llama3.1-data", "llama3.1-data"),
    ],
)
def test_a_dataset_is_named_after_its_file_or_its_place_on_the_hub(source, name):
    given = argparse.Namespace(
        backbone="b", backbone_name=None, dataset=None, base_llm_name="x", base_llm=None
    )
    assert cache_build.names_in_files(given, {"train": source})["dataset"] == name


def test_options_of_other_files_are_not_taken_for_ours(tmp_path):
    """conf/dataset/helpsteer.yaml is of files called Helpsteer; minilm is what it says."""
    names = {"base_llm": "x", "backbone": "minilm", "dataset": "helpsteer"}
    write_synthetic.write_cache(
        tmp_path, SyntheticSource(**names, **SHAPE), "float32", lambda n: None
    )
    words = shlex.split(run_options.write_options_and_command(tmp_path, names))
    assert "dataset=helpsteer_built" in words and "backbone=minilm" in words
    write_pairs(tmp_path / "pairs", "my.own_pairs", 20)
    names = {"backbone": "minilm", "dataset": "my.own_pairs"}
    assert "dataset=my_own_pairs" in shlex.split(
        run_options.write_options_and_command(tmp_path / "pairs", names)
    )
