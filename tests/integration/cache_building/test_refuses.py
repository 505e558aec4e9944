"""What `rmsweep cache build` refuses: in a line, before it works; no foreign code runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models
from helpers.commands import RMSWEEP
from helpers.small_builds import SMALL, texts_file

from rmsweep.cache.building import hub, models, sources, tokens
from rmsweep.cache.building.models import Engine
from rmsweep.cli import main

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny_models.make(root / "llm", "Llama", "ForCausalLM", 0)
    tiny_models.make(root / "scorer", "GPT2", "ForSequenceClassification", 1, num_labels=1)
    tiny_models.make(root / "two", "Llama", "ForSequenceClassification", 1, num_labels=2)
    texts_file(root / "t.parquet")
    (root / "p.jsonl").write_text("".join(json.dumps({"prompt": f"p {i}"}) + "\n" for i in "abcd"))
    (root / "pairs.csv").write_text("prompt,chosen,rejected\nq,a,b\nr,c,\n")
    (root / "equal.csv").write_text("prompt,chosen,rejected\nq,a,a\n")
    (root / "other.csv").write_text("prompt,chosen,rejected,subset\nq,a,b,mine\n")
    return root


@pytest.fixture
def refused(made, capsys, monkeypatch, tmp_path):
    """refused(arguments): the one line that it says, having written nothing but folders."""

    def call(*arguments):
        monkeypatch.chdir(made)
        given = [] if "--backbone" in arguments else ["--backbone", "llm"]
        with pytest.raises(SystemExit) as ended:
            main.main(["cache", "build", "--out", str(tmp_path / "out"), *given, *arguments])
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.count("\n") == 1, error
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        return error

    return call


TEXTS = ["--train", "t.parquet", "--test-prompts", "2", "--base-llm-name", "x"]
SAME = ["--train", "t.parquet", "--test", "t.parquet", "--base-llm-name", "x"]
PROMPTS = ["--train", "p.jsonl", "--test-prompts", "1", "--base-llm", "llm"]
PROMPTS += ["--reward-model", "scorer", *SMALL]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --train FILE (with --test FILE or --test-prompts N), or --pairs FILE"),
        (["--train", "no.jsonl", *TEXTS[2:]], "no file no.jsonl"),
        (["--train", "llm/model.safetensors", *TEXTS[2:]], "must be one of .jsonl"),
        ([*TEXTS, "--columns", "prompt=question"], "has no column 'question'; it has prompt, res"),
        ([*TEXTS, "--columns", "text=prompt"], "--columns takes OURS=YOURS"),
        (["--train", "p.jsonl", *TEXTS[2:]], "has no column 'response'"),
        (TEXTS[:4], "--base-llm-name NAME must say who wrote the responses"),
        ([*TEXTS[:2], *TEXTS[4:]], "--test FILE or --test-prompts N must say"),
        ([*TEXTS, "--test-prompts", "8"], "what the 8 prompts are tested on, got N = 8"),
        ([*TEXTS, "--base-llm-name", "a/b"], "base_llm 'a/b' names files"),
        ([*TEXTS, "--backbone", "nothing"], "there is no such folder"),
        ([*TEXTS, "--embed-tokens", "999"], "--embed-tokens must be at most 256"),
        ([*TEXTS, "--shard", "3"], "--shard must be I/N"),
        ([*TEXTS, "--shard", "3/2"], "--shard must be I/N with 0 <= I < N"),
        ([*TEXTS, "--until", "rewards"], "--until must be one of this build's stages, embeddings"),
        ([*TEXTS, "--shards", "2"], "--shards is for launcher=slurm"),
        ([*TEXTS, "launcher=slurm"], "with a Slurm launcher --precision must be given"),
        ([*TEXTS, "--precision", "fp32", "loss=bt_mlp"], "only launcher=... and launcher.FIELD"),
        ([*TEXTS, "--precision", "fp32", "launcher=local"], "a build takes launcher=slurm"),
        ([*TEXTS, "--device", "tpu"], "device must be cpu, cuda or cuda:N"),
        ([*TEXTS, "--batch-tokens", "0"], "--batch-tokens must be >= 1"),
        ([*TEXTS, "--reward-model", "llm"], "reward model llm has no classification head"),
        ([*TEXTS, "--reward-model", "two"], "has 2 outputs (0 LABEL_0, 1 LABEL_1)"),
        ([*TEXTS, "--reward-model", "two", "--reward-output", "2"], "must be in [0, 1]"),
        ([*PROMPTS, "--temperature", "0"], "--temperature must be > 0"),
        ([*PROMPTS, "--top-p", "1.5"], "--top-p must be in (0, 1]"),
        ([*PROMPTS, "--train-responses", "1"], "responses to a prompt must be >= 2"),
        ([*PROMPTS, "--max-prompt-tokens", "255"], "base LLM llm takes 256 tokens"),
        ([*PROMPTS, "--prompt-format", "x"], "--prompt-format must hold {prompt}"),
        ([*PROMPTS, "--max-prompt-tokens", "1"], "no prompts are left of 4"),
        ([*PROMPTS, "--adapter", "llm"], "adapter llm has no adapter_config.json"),
        ([*TEXTS, "--adapter", "llm"], "--adapter needs --base-llm"),
        (["--train", "p.jsonl", "--base-llm", "llm"], "--base-llm needs --reward-model"),
        (["--pairs", "pairs.csv"], "1 of 2 pairs have an empty response, the first in row 1"),
        (["--pairs", "equal.csv"], "equal.csv: no pairs are left"),
        (["--pairs", "other.csv"], "subset 'mine' is none of RewardBench's"),
        (["--pairs", "t.parquet"], "has no column 'chosen'"),
        (["--pairs", "pairs.csv", "--base-llm", "llm"], "--base-llm has nothing to do for --pairs"),
        (["--pairs", "pairs.csv", "--train-prompts", "2"], "--train-prompts has nothing to do for"),
        ([*TEXTS, "--train-prompts", "0"], "--train-prompts must be >= 1, got 0"),
        ([*TEXTS, "--test-prompts", "-3"], "--test-prompts must be >= 1, got -3"),
        ([*TEXTS, "--embed-tokens", "1"], "--embed-tokens must be above 1, the tokens that llm"),
        ([*TEXTS, "--temperature", "1"], "--temperature needs --base-llm, which writes responses"),
        ([*TEXTS, "--train-responses", "3"], "--train-responses needs --base-llm"),
        ([*TEXTS, "--stop", "x"], "--stop needs --reward-model, which scores responses"),
        ([*PROMPTS, "--empty", "keep"], "--empty has nothing to do where --base-llm responds"),
        ([*SAME, "--seed", "0"], "--seed has nothing to do: neither responses nor test prompts"),
        (SAME, "no train prompts are left: all 8 are test prompts, too"),
    ],
)
def test_bad_input(refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.jsonl", '{"prompt": "x"}\n{"prompt', "cannot be read as .jsonl"),
        ("a.jsonl", '{"prompt": 3, "response": "x"}\n', "prompt must be text, got 3 in row 0"),
        ("a.jsonl", "", "has no rows"),
        ("a.parquet", "PAR1", "cannot be read as .parquet"),
        ("a.csv", "prompt,response,golden_reward\nq,a,1\nq,b,nan\n", "got 'nan' in row 1; 1 of 2"),
    ],
)
def test_damaged_files(refused, tmp_path_factory, name, text, message):
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_text(text)
    assert message in refused("--train", str(path), *TEXTS[2:])


def test_existing_files_are_not_overwritten(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(made)
    np.save(tmp_path / "embd_x_llm_t_train.npy", np.zeros((2, 2, 2)))
    with pytest.raises(SystemExit):
        main.main(["cache", "build", *TEXTS, "--backbone", "llm", "--out", str(tmp_path)])
    assert "is there, and no build that left its stages in" in capsys.readouterr().err


def test_pickled_weights_are_never_read(made, tmp_path):
    """A .bin that would leave a file behind if it was unpickled."""
    folder = shutil.copytree(made / "llm", tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    trap = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (trap,))

    torch.save({"weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no \*.safetensors weights"):
        hub.locate_model(str(folder), "backbone")
    assert not trap.exists()


def remote(folder, trap):
    """Make a model's configuration point to Python code in its folder."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "foreign.ForeignConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "foreign.py").write_text(
        "from pathlib import Path\nfrom transformers import LlamaConfig\n"
        f"Path({str(trap)!r}).touch()\n"
        "class ForeignConfig(LlamaConfig):\n    model_type = 'foreign'\n"
    )


def test_remote_code_runs_only_when_asked_for(made, tmp_path, monkeypatch):
    folder, trap = shutil.copytree(made / "llm", tmp_path / "foreign"), tmp_path / "ran"
    remote(folder, trap)
    located = hub.locate_model(str(folder), "backbone")
    with pytest.raises(ValueError, match="--trust-remote-code"):
        models.model_config(located, remote_code=False)
    assert not trap.exists()
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    assert models.model_config(located, remote_code=True).model_type == "foreign"
    assert trap.exists()


def test_weights_that_are_missing_are_not_made_up(made, tmp_path):
    folder = shutil.copytree(made / "llm", tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "num_labels": 1}
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "r"}}))
    located = hub.locate_model(str(folder), "reward model")
    assert models.require_head(located, None, False) == 0
    with pytest.raises(ValueError, match="its weights lack score.weight, which would be random"):
        models.load_transformer(
            located, "AutoModelForSequenceClassification", Engine("cpu", "fp32", False)
        )


def test_the_token_to_pad_with():
    words = tiny_models.tokenizer(pad_token="<pad>", eos_token="</s>")
    assert tokens.pad_id(words, 300, "m") == 0
    words = tiny_models.tokenizer(eos_token="</s>")
    assert tokens.pad_id(words, 300, "m") == 2
    words.add_special_tokens({"pad_token": "<new>"})  # in the vocabulary, not in the model
    assert words.pad_token_id >= len(words) - 1 and tokens.pad_id(words, len(words) - 1, "m") == 2
    with pytest.raises(ValueError, match="has no token to pad with"):
        tokens.pad_id(tiny_models.tokenizer(), 300, "m")


def call(arguments, cwd, **environment):
    return subprocess.run(
        [RMSWEEP, "cache", "build", *arguments], cwd=cwd, capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip


def test_a_hub_that_cannot_be_reached(made, tmp_path):
    where = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    given = [*TEXTS, "--backbone", "org/model", "--out", str(tmp_path / "out")]
    done = call(given, made, **where)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "hub cannot be reached; on one that can, run `hf download org/model`" in done.stderr


def test_what_the_hub_gave_is_pinned_and_tokens_stay_secret(made, tmp_path):
    """As its library leaves a model and a data set in its cache; read offline."""
    for kind, files in (("models--org--model", made / "llm"), ("datasets--org--set", None)):
        folder = tmp_path / "hub" / kind
        snapshot = folder / "snapshots" / COMMIT
        if files:
            shutil.copytree(files, snapshot)
        else:
            snapshot.mkdir(parents=True)
            shutil.copy(made / "t.parquet", snapshot / "t.parquet")
        (folder / "refs").mkdir()
        (folder / "refs/main").write_text(COMMIT)
    secret = "hf_SecretSecretSecretSecretSecretSecr"
    given = ["--train", "org/set:t.parquet", *TEXTS[2:], "--backbone", "org/model@main"]
    given += ["--out", str(tmp_path / "out"), "--precision", "fp32"]
    done = call(given, tmp_path, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1", HF_TOKEN=secret)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/embd_x_model_t_train.npy").exists()
    (path,) = tmp_path.glob("out/stages/embeddings-x-model-t-train/manifest.json")
    manifest = json.loads(path.read_text())
    assert (manifest["model"], manifest["revision"]) == ("org/model", COMMIT)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert secret not in done.stdout + done.stderr
    assert not any(secret.encode() in path.read_bytes() for path in written)


def test_a_data_set_of_one_file_needs_no_file_name(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "datasets--org--set/snapshots" / COMMIT
    (snapshot / "data").mkdir(parents=True)
    refs = tmp_path / "datasets--org--set/refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    for name in ("README.md", "dataset_infos.json"):
        (snapshot / name).write_text("{}")
    with pytest.raises(ValueError, match="org/set has 0 files of data.*there: none"):
        sources.locate_file("org/set")
    (snapshot / "data/only.jsonl").write_text('{"prompt": "a"}')
    assert sources.locate_file("org/set") == snapshot / "data/only.jsonl"
    (snapshot / "data/more.parquet").touch()
    with pytest.raises(ValueError, match="org/set:FILE; there: data/more.parquet, data/only.jso"):
        sources.locate_file("org/set")
    with pytest.raises(FileNotFoundError, match="org/other is not on this machine and the hub"):
        sources.locate_file("org/other")
    with pytest.raises(FileNotFoundError, match="no file org/prompts.jsonl; give"):
        sources.locate_file("org/prompts.jsonl")


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, rmsweep.cli.main; from rmsweep.cache.building import sources, stages, texts;"
    )
    code += "print({'torch', 'transformers', 'peft', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_unequal_k_keeps_the_commonest(made):
    from rmsweep.cache.building.texts import prepare_responses

    rows = pd.DataFrame({"prompt": list("aabbbccc"), "response": list("12345678")})
    rows["prompt_id"] = [7, 7, 3, 3, 3, 5, 5, 5]
    entered = prepare_responses(rows, "refuse", "drop", "t")
    assert entered.table["response"].tolist() == list("345678")
    assert entered.table["response_id"].tolist() == [0, 1, 2] * 2
    assert entered.counts["unequal_prompts"] == 1 and entered.n_prompts == 2
