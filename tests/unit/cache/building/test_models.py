"""Models of a build as they are found: whole, the right one, and read where a text ends."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from helpers import tiny_models
from helpers.small_builds import FP32, one_by_one

from rmsweep.cache.building import embed, hub, models, score
from rmsweep.cache.building.batching import Budget
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.tokens import Cut
from rmsweep.paths import CHECKOUT

SCORER = "AutoModelForSequenceClassification"
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft


def edit(folder, file, change):
    """The weights in a file, by name, changed."""
    path = Path(folder) / file
    weights = safetensors.torch.load_file(path)
    change(weights)
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.slow
def test_a_pooler_may_lack_its_weights_only_where_it_is_not_used(tmp_path):
    folder = tiny_models.make(tmp_path / "m", "Bert", "ForSequenceClassification", num_labels=1)

    def drop(weights):
        for name in [name for name in weights if "pooler" in name]:
            del weights[name]

    edit(folder, "model.safetensors", drop)
    located = hub.locate_model(folder, "reward model")
    with pytest.raises(ValueError, match="lack bert.pooler.dense.bias, .*which would be random"):
        models.load_transformer(located, SCORER, FP32)
    assert models.load_transformer(located, "AutoModel", FP32).most == 256


@pytest.mark.parametrize("wrong", ["lacks", "does not know"])
def test_an_adapter_that_does_not_apply_is_refused(tmp_path, wrong):
    base = tiny_models.make(tmp_path / "llm", "Llama", "ForCausalLM")
    adapter = tiny_models.make_adapter(tmp_path / "adapter", base)

    def change(weights):
        name = next(name for name in weights if "layers.1" in name)
        weights[name.replace("layers.1", "layers.7")] = weights[name].clone()
        if wrong == "lacks":
            del weights[name]

    edit(adapter, "adapter_model.safetensors", change)
    found = hub.locate_model(base, "base llm"), hub.locate_model(adapter, "adapter")
    n_missing = int(wrong == "lacks")
    message = f"1 of its {9 - n_missing} weights have no place there, and {n_missing} are missing"
    with pytest.raises(ValueError, match=f"adapter .* does not fit the base LLM: {message}"):
        models.load_transformer(found[0], "AutoModelForCausalLM", FP32, found[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GPT2", "Llama", "Gemma"])
@pytest.mark.parametrize("pad", [True, False])
def test_a_golden_reward_is_that_of_the_last_token_whatever_it_is(tmp_path, kind, pad):
    """Texts may end with the very token that fills batches."""
    folder = tiny_models.make(
        tmp_path / "m", kind, "ForSequenceClassification", pad=pad, num_labels=1
    )
    loaded = models.load_transformer(hub.locate_model(folder, "reward model"), SCORER, FP32)
    responses = ["A robin.", "A robin.</s>", "A robin.<pad>", "A robin.</s></s>", "No" * 20]
    given = ((["Birds?"] * 5, responses), 0, Cut(256, None, "last"))
    together, _ = score.score_texts(loaded, *given, Budget(10**6), Progress("", 1, 1))
    apart, _ = score.score_texts(loaded, *given, Budget(1), Progress("", 1, 1))
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
    assert len(np.unique(together.round(4))) == 5
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.config.pad_token_id = 255  # of no text here
    words = loaded.tokenizer
    for golden, response in zip(together, responses, strict=True):
        with torch.inference_mode():
            alone = model(**words(f"Birds? {response}", return_tensors="pt")).logits
        np.testing.assert_allclose(golden, float(alone[0, 0]), rtol=1e-4, atol=1e-5)


def test_the_longest_text_of_models_that_number_positions_after_the_pad_token(tmp_path):
    folder = tiny_models.make(tmp_path / "m", "Roberta", "Model", max_position_embeddings=66)
    loaded = models.load_transformer(hub.locate_model(folder, "backbone"), "AutoModel", FP32)
    assert loaded.most == 65  # its pad token is 0; RoBERTa's own is 1
    texts = ["Name three birds. " * 9, "Why?"], ["A robin, a wren and an owl." * 4, "x"]
    given = (texts, embed.Pooling("mean", False), Cut(loaded.most, None, "last"))
    found, counts = embed.embed_texts(loaded, *given, Budget(10**6), Progress("", 1, 1))
    assert counts["truncated"] == 1
    (alone,) = one_by_one(folder, "AutoModel", ["Why?"], ["x"])
    np.testing.assert_allclose(found[1], alone.last_hidden_state[0].mean(0), rtol=1e-4, atol=1e-5)


def test_a_tokenizer_needs_no_weights(tmp_path):
    folder = Path(tiny_models.make(tmp_path / "m", "Llama", "ForCausalLM"))
    whole = hub.locate_tokenizer(str(folder))
    (folder / "model.safetensors").unlink()
    located = hub.locate_tokenizer(str(folder))
    assert located == whole and models.load_tokenizer(located, False)("a")["input_ids"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no tokenizer\.json and no tokenizer_config\.json"):
        hub.locate_tokenizer(str(tmp_path / "empty"))


def test_the_revision_of_a_folder_is_that_of_its_code_too(tmp_path):
    folder = tiny_models.make(tmp_path / "m", "Llama", "Model")
    code = tmp_path / "m/modeling.py"
    revisions = [hub.locate_model(folder, "backbone").revision]
    for text in ("x = 1\n", "x = 2\n"):
        code.write_text(text)
        revisions.append(hub.locate_model(folder, "backbone").revision)
    assert len(set(revisions)) == 3


def test_the_computed_table_is_that_of_its_script(capsys):
    root = CHECKOUT
    runpy.run_path(str(root / "benchmarks/building.py"), run_name="__main__")
    assert capsys.readouterr().out in (root / "docs/build-a-cache.md").read_text()


def snapshot(cache, repository, source, names):
    """Files as the hub's library leaves them in its cache."""
    folder = cache / repository
    target = folder / "snapshots" / ("0" * 40)
    target.mkdir(parents=True)
    for name in names:
        shutil.copy(source / name, target / name)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0" * 40)


def test_what_is_not_here_is_said_as_what_it_is(tmp_path, monkeypatch):
    """Offline: a data set, a model of which the hub's cache holds no weights, a tokenizer."""
    from huggingface_hub import constants

    source = Path(tiny_models.make(tmp_path / "m", "Llama", "Model"))
    names = [path.name for path in source.glob("*.json")]
    snapshot(tmp_path / "hub", "models--org--model", source, names)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError) as found:
        hub.dataset_file("org/set@v1", "a.jsonl")
    command = "`hf download org/set a.jsonl --repo-type dataset --revision v1`"
    assert command in str(found.value) and "safetensors" not in str(found.value)
    with pytest.raises(FileNotFoundError) as found:
        hub.locate_model("org/model", "backbone")
    assert r"its *.safetensors weights are not on this machine" in str(found.value)
    assert "`hf download org/model`" in str(found.value) and "pickled" not in str(found.value)
    assert json.loads((hub.locate_tokenizer("org/model").folder / names[0]).read_text())
