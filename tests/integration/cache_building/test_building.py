"""`rmsweep cache build` with tiny real models: what is computed, and what a restart changes."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from helpers import tiny_models
from helpers.commands import RMSWEEP
from helpers.small_builds import FP32, SMALL, files, one_by_one, read_stage, texts_file
from helpers.small_sweep import PATIENCE_S

from rmsweep.cache.building import embed, generate, hub, models
from rmsweep.cache.building.batching import Budget, in_batches
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.tokens import Cut, encode_pairs, join_texts
from rmsweep.cache.layout import open_files, open_pairs
from rmsweep.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft
os.environ["OMP_NUM_THREADS"] = "1"  # of commands, which then leave the other cores alone
SMALL += ["--max-prompt-tokens", "100", "--part-responses", "12", "--precision", "fp32"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of models: llm, scorer, backbone, adapter; and a file of prompts."""
    root = tmp_path_factory.mktemp("models")
    tiny_models.make_three(root, "Gemma")
    tiny_models.make_adapter(root / "adapter", str(root / "llm"))
    lines = [{"question": f"Name {'many ' * (i % 4)}birds, {i}."} for i in range(14)]
    lines += [lines[0], {"question": " "}, {"question": "long " * 200}]
    (root / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.fixture
def build(made, capsys):
    """build(arguments..., status=0): `rmsweep cache build`, in this process; what it printed."""

    def call(*arguments, status=0, command=("cache", "build")):
        with pytest.raises(SystemExit) as ended:
            main.main([*command, *map(str, arguments)])
        found = capsys.readouterr()
        assert (ended.value.code or 0) == status, found
        return found.out + found.err

    return call


def whole(made, out, *more):
    """Arguments of a build with all stages."""
    texts = ["--train", made / "prompts.jsonl", "--test-prompts", 4, "--columns", "prompt=question"]
    ids = ["--base-llm", made / "llm", "--reward-model", made / "scorer"]
    return [*texts, *ids, "--backbone", made / "backbone", "--out", out, *SMALL, *more]


@pytest.fixture(scope="module")
def built(made, tmp_path_factory):
    """A cache built in one go, and what its command printed."""
    out, printed, told = tmp_path_factory.mktemp("built"), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        with pytest.raises(SystemExit) as ended:
            main.main(["cache", "build", *map(str, whole(made, out))])
    assert not ended.value.code, told.getvalue()
    return out, printed.getvalue(), told.getvalue()


def test_the_cache_holds_what_the_models_say_of_each_text_alone(built, made):
    out, _, _ = built
    cache = open_files(out, "llm", "backbone", "prompts")
    assert cache.train_golden.shape == (10, 3) and cache.test_golden.shape == (4, 5)
    rows = read_stage(out, "rewards-llm-prompts-test")
    alone = one_by_one(made / "scorer", "AutoModelForSequenceClassification", rows.prompt,
                       rows.response)  # fmt: skip
    expected = np.array([float(each.logits[0, 0]) for each in alone])
    np.testing.assert_allclose(cache.test_golden.ravel(), expected, rtol=1e-4, atol=1e-5)
    alone = one_by_one(made / "backbone", "AutoModel", rows.prompt, rows.response)
    expected = np.stack([each.last_hidden_state[0, -1].numpy() for each in alone])
    found = cache.read_test(0, 4).reshape(-1, 16)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_a_run_on_it_with_the_command_that_is_printed(built, build, here):
    _, said, _ = built
    command = said.split("then: rmsweep ")[1].split()
    few = ["quantity=20", "training.max_epochs=2", "loss.hidden=[8]"]
    assert "improvement" in build(*command, *few, command=())


def test_prompts_are_unique_short_and_counted(built):
    out, said, told = built
    counts = "17 rows, 1 empty, 1 repeated, 0 in_other_split, 1 too_long"
    assert f"train: 10 x 3 responses ({counts})" in said and "tokens/s" in told
    prompts = {split: set(read_stage(out, f"prompts-llm-prompts-{split}").prompt)
               for split in ("train", "test")}  # fmt: skip
    assert len(prompts["train"] | prompts["test"]) == 14


def test_responses_do_not_depend_on_the_batch(built, build, made, tmp_path):
    out, _, _ = built
    build(*whole(made, tmp_path, "--batch-tokens", 1))
    for split in ("train", "test"):
        stage = f"responses-llm-prompts-{split}"
        pd.testing.assert_frame_equal(read_stage(out, stage), read_stage(tmp_path, stage))
    first = read_stage(out, "responses-llm-prompts-train").response
    assert first.nunique() > 25
    for name, data in files(tmp_path).items():
        difference = np.load(out / name).astype(float) - np.load(tmp_path / name)
        assert len(data) and abs(difference).max() < 4e-3


def test_the_same_command_does_nothing_more(built, build, made):
    out, _, _ = built
    before = {path: path.stat().st_mtime_ns for path in out.rglob("part-*")}
    said = build(*whole(made, out))
    assert said.count("all done before") == 6
    assert {path: path.stat().st_mtime_ns for path in out.rglob("part-*")} == before


def test_killed_and_resumed_is_uninterrupted(built, build, made, tmp_path):
    out, _, _ = built
    arguments = [RMSWEEP, "cache", "build", *map(str, whole(made, tmp_path))]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE_S
    while len(list(tmp_path.glob("stages/responses*/part-*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("*.npy"))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("part-*.parquet")}
    build(*whole(made, tmp_path))
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert files(tmp_path) == files(out)


def test_shards_join_to_the_same_cache(built, build, made, tmp_path):
    out, _, _ = built
    assert "this shard is done" in build(*whole(made, tmp_path, "--shard", "0/2"))
    said = build(*whole(made, tmp_path, "--shard", "1/2", "--until", "rewards"))
    assert "done until rewards" in said and "embeddings" not in said and not files(tmp_path)
    build(*whole(made, tmp_path))
    assert files(tmp_path) == files(out)


def test_a_full_disk_is_said_and_loses_nothing(built, build, made, tmp_path):
    out, _, _ = built
    limit = "import resource, signal, sys; from rmsweep.cli import main;"
    limit += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (5500, resource.RLIM_INFINITY));"
    command = [sys.executable, "-c", limit + "main.main(sys.argv[1:])", "cache", "build"]
    texts = pd.DataFrame({"prompt": np.repeat([f"p {i} " for i in range(9)], 30)})
    texts["response"] = [f"word {i * i}" for i in range(len(texts))]
    texts["golden_reward"] = np.arange(len(texts)) % 7.0
    texts.to_csv(tmp_path / "t.csv", index=False)
    given = ["--train", tmp_path / "t.csv", "--test-prompts", 2, "--backbone", made / "backbone"]
    given += ["--base-llm-name", "x", "--out", tmp_path / "c", "--part-responses", 60]
    given = [*map(str, given), "--precision", "fp32"]
    done = subprocess.run([*command, *given], capture_output=True, text=True)
    assert done.returncode == 2 and "make room and repeat the command" in done.stderr
    assert done.stderr.count("rmsweep:") == 1 and not list(tmp_path.rglob(".*"))
    n_kept = len(list(tmp_path.rglob("part-*.json")))
    assert n_kept and not list((tmp_path / "c").glob("embd*"))
    build(*given)
    assert open_files(tmp_path / "c", "x", "backbone", "t").train_golden.shape == (7, 30)


def test_other_settings_are_refused_by_name(built, build, made):
    out, _, _ = built
    said = build(*whole(made, out, "--temperature", 0.7), status=2)
    assert "sampling.temperature was 1.0, now 0.7" in said and said.count("\n") == 3
    said = build(*whole(made, out, "--pooling", "mean"), status=2)
    assert "pooling.mode was 'last', now 'mean'" in said


def test_another_backbone_reuses_responses_and_rewards(built, build, made, tmp_path):
    out, _, _ = built
    said = build(*whole(made, out, "--backbone", made / "llm", "--backbone-name", "other"))
    assert said.count("all done before") == 4
    names = ["backbone", "other"]
    first, second = (np.load(out / f"reward_llm_{name}_prompts_train.npy") for name in names)
    np.testing.assert_array_equal(first, second)
    for name in ("other",):  # the other tests compare all files
        for path in [*out.glob(f"*_{name}_*.npy"), *out.glob(f"stages/*_{name}_*.json")]:
            path.unlink()


@pytest.mark.parametrize("seed", range(3))
def test_draw_is_nucleus_sampling(seed):
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=12) * 2)
    uniform = torch.linspace(0, 1, 20001, dtype=torch.float64)[:-1]
    drawn = generate.draw_tokens(logits.expand(20000, 12), uniform, 1.5, 0.8)
    found = np.bincount(drawn.numpy(), minlength=12) / 20000
    probabilities = torch.softmax(logits / 1.5, 0).numpy()
    order = np.argsort(-probabilities)
    n_kept = int(np.searchsorted(probabilities[order].cumsum(), 0.8)) + 1
    expected = np.where(np.isin(np.arange(12), order[:n_kept]), probabilities, 0)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-4)
    assert (
        generate.draw_tokens(logits.expand(9, 12), uniform[::2300], 1.0, 1e-9) == order[0]
    ).all()


@pytest.mark.parametrize("with_adapter", [False, True])
def test_left_padded_batches_continue_each_prompt_as_it_would_alone(made, with_adapter):
    adapter = hub.locate_model(str(made / "adapter"), "adapter") if with_adapter else None
    located = hub.locate_model(str(made / "llm"), "base llm")
    loaded = models.load_transformer(located, "AutoModelForCausalLM", FP32, adapter)
    prompts = ["Name birds.", "x", "What is the tallest mountain? " * 3]
    greedy = generate.Sampling(2, 1.0, 1e-9, 10, 0)
    found, counts = generate.generate_responses(
        loaded, prompts, greedy, Budget(10**6), Progress("", 1, 1)
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(made / "llm")
    if with_adapter:
        import peft

        model = peft.PeftModel.from_pretrained(model, made / "adapter")
    words = transformers.AutoTokenizer.from_pretrained(made / "llm")
    for row, prompt in enumerate(prompts):
        ids = words(prompt, return_tensors="pt")
        alone = model.generate(**ids, max_new_tokens=10, do_sample=False)[0]
        new = words.decode(alone[ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert found.response[2 * row] == found.response[2 * row + 1] == new
    assert counts["tokens"] == found.n_tokens.sum()


def test_an_adapter_has_a_say(made):
    texts = []
    for adapter in (None, hub.locate_model(str(made / "adapter"), "adapter")):
        located = hub.locate_model(str(made / "llm"), "base llm")
        loaded = models.load_transformer(located, "AutoModelForCausalLM", FP32, adapter)
        sampling = generate.Sampling(4, 1.0, 0.95, 12, 0)
        progress = Progress("", 1, 1)
        texts.append(
            generate.generate_responses(loaded, ["Birds"], sampling, Budget(999), progress)[0]
        )
    assert (texts[0].response != texts[1].response).any()


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "Gemma"])
@pytest.mark.parametrize("mode", ["last", "mean", "cls"])
@pytest.mark.parametrize("pad", [True, False])
def test_padding_does_not_reach_the_embeddings(tmp_path, kind, mode, pad):
    folder = tiny_models.make(tmp_path / "m", kind, "ForCausalLM", pad=pad)
    loaded = models.load_transformer(hub.locate_model(folder, "backbone"), "AutoModel", FP32)
    prompts, responses = ["Name three birds.", "x", "Why? " * 9], ["A robin.", "", "Because."]
    cut, pooling = Cut(256, None, "last"), embed.Pooling(mode, False)
    found, _ = embed.embed_texts(
        loaded, (prompts, responses), pooling, cut, Budget(10**6), Progress("", 1, 1)
    )
    alone = one_by_one(folder, "AutoModel", prompts, responses)
    for row, each in enumerate(alone):
        states = each.last_hidden_state[0]
        expected = {"last": states[-1], "mean": states.mean(0), "cls": states[0]}[mode]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "cut, expected",
    [
        (Cut(100, None, "last"), "01234567|\nVWXY"),
        (Cut(11, None, "last"), "34567|\nVWXY"),
        (Cut(11, None, "first"), "01234|\nVWXY"),
        (Cut(100, 3, "first"), "012|\nVWXY"),
        (Cut(100, 3, "last"), "567|\nVWXY"),
        (Cut(6, 3, "first"), "012|\nV"),
        (Cut(4, None, "last"), "|\nVW"),
    ],
)
def test_what_is_cut_of_a_text_that_is_too_long(cut, expected):
    words = tiny_models.tokenizer(bos_token="<s>", eos_token="</s>")
    (ids,), n_cut = encode_pairs(words, ["01234567"], ["\nVWXY"], cut)  # a token a character
    text = words.decode(ids, skip_special_tokens=True)
    assert text == expected.replace("|", "") and ids[0] == words.bos_token_id
    assert len(ids) == 1 + len(text) and n_cut == (len(text) < 13)


def test_words_stay_apart_where_prompt_and_response_meet():
    assert join_texts("Why?", "Because.") == ("Why? Because.", 4)
    assert join_texts("Assistant:", " Yes") == ("Assistant: Yes", 10)
    assert join_texts("Why?\n", "Yes") == ("Why?\nYes", 5) and join_texts("Why?", "") == ("Why?", 4)


def test_a_batch_that_is_too_large_for_memory_is_halved():
    budget, seen = Budget(800), []

    def run(rows):
        if len(rows) > 3:
            torch.empty(1 << 50, dtype=torch.uint8)  # the allocator itself refuses
        seen.append(list(rows))

    in_batches([100] * 8 + [50], budget, run)
    assert sorted(sum(seen, [])) == list(range(9)) and budget.tokens == 200
    with pytest.raises(ValueError, match="one text of 7 tokens does not fit"):
        in_batches([7], budget, lambda rows: torch.empty(1 << 50, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="size"):
        in_batches([7], budget, lambda rows: torch.ones(2) @ torch.ones(3))


def test_sentence_transformers_folders_say_how_they_pool(made, tmp_path):
    folder = Path(tiny_models.make(tmp_path / "m", "Gemma", "Model"))
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in
               ("Transformer", "Pooling", "Normalize")]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64}')
    assert models.sentence_pooling(folder) == ("mean", True, 64)
    assert models.sentence_pooling(made / "backbone") is None


def test_texts_with_golden_rewards_need_only_embeddings(build, made, tmp_path):
    rows = texts_file(tmp_path / "train.parquet")
    texts_file(tmp_path / "test.parquet", prompt=np.repeat([f"Other {i}?" for i in range(8)], 3))
    given = ["--train", tmp_path / "train.parquet", "--test", tmp_path / "test.parquet"]
    given += ["--backbone", made / "backbone", "--base-llm-name", "people", "--out", tmp_path]
    build(*given, "--dataset", "q", "--dtype", "float32", "--precision", "fp32")
    cache = open_files(tmp_path, "people", "backbone", "q")
    golden = rows["golden_reward"].to_numpy(np.float32).reshape(8, 3)
    np.testing.assert_array_equal(cache.train_golden, golden)
    alone = one_by_one(made / "backbone", "AutoModel", rows.prompt, rows.response)
    expected = np.stack([each.last_hidden_state[0, -1].numpy() for each in alone])
    found = cache.train_embeddings().reshape(24, 16)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_response_is_scored_and_embedded_up_to_the_next_turn(build, made, tmp_path):
    responses = ["yes\n\nHuman: and?" if i % 2 else "yes" for i in range(24)]
    texts_file(tmp_path / "t.parquet", golden=False, response=responses)
    given = ["--train", tmp_path / "t.parquet", "--test-prompts", 3, "--out", tmp_path]
    given += ["--reward-model", made / "scorer", "--backbone", made / "backbone"]
    build(*given, "--base-llm-name", "x", "--precision", "fp32")
    assert set(read_stage(tmp_path, "rewards-x-t-train").response) == {"yes"}
    golden = np.load(tmp_path / "reward_x_backbone_t_train.npy")
    np.testing.assert_allclose(golden, np.broadcast_to(golden[:, :1], golden.shape), atol=1e-6)


def test_empty_and_unequal_responses_are_a_choice(build, made, tmp_path):
    rows = texts_file(tmp_path / "t.parquet", response=[""] + ["a"] * 23)
    given = ["--test-prompts", 2, "--base-llm-name", "x", "--backbone", made / "backbone"]
    texts = ["--train", tmp_path / "t.parquet", "--out", tmp_path / "c", "--precision", "fp32"]
    said = build(*texts, *given, status=2)
    assert "1 of 24 responses are empty, the first in row 0" in said and said.count("\n") == 1
    assert "train: 6 x 3" in build(*texts, *given, "--empty", "keep", "--dataset", "k")
    assert "train: 5 x 3" in build(*texts, *given, "--empty", "drop", "--dataset", "d")
    more = pd.DataFrame({"prompt": ["Question 1?"], "response": "b", "golden_reward": 0.5})
    uneven = pd.concat([rows[1:], more], ignore_index=True)
    uneven.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    texts[1] = tmp_path / "t.jsonl"
    said = build(*texts, *given, status=2)
    assert "6 of 8 prompts have 3, 2 have from 2 to 4: --unequal drop" in said
    assert "train: 5 x 3" in build(*texts, *given, "--unequal", "drop", "--dataset", "u")


def test_labelled_pairs(build, made, tmp_path):
    rows = pd.DataFrame({"prompt": ["Why?"] * 6, "subset": ["llmbar-natural"] * 6})
    rows["chosen"], rows["rejected"] = [f"good {i}" for i in range(6)], ["bad"] * 6
    rows.to_csv(tmp_path / "mine.csv", index=False)
    given = ["--pairs", tmp_path / "mine.csv", "--out", tmp_path, "--precision", "fp32"]
    build(*given, "--backbone", made / "backbone", "--part-responses", 4)
    pairs = open_pairs(tmp_path, "mine", "backbone")
    pd.testing.assert_frame_equal(
        pairs.table.astype(object), rows[pairs.table.columns].astype(object)
    )
    for side, name in enumerate(("chosen", "rejected")):
        alone = one_by_one(made / "backbone", "AutoModel", rows.prompt, rows[name])
        expected = np.stack([each.last_hidden_state[0, -1].numpy() for each in alone])
        np.testing.assert_allclose(pairs.embeddings()[:, side], expected, rtol=2e-3, atol=2e-3)
    build(*given, "--backbone", made / "llm", "--part-responses", 4)
    assert open_pairs(tmp_path, "mine", "llm").n_pairs == 6


def test_a_run_on_built_pairs_with_the_command_that_is_printed(build, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"prompt": [f"Why {i // 2}?" for i in range(40)]})
    rows["chosen"], rows["rejected"] = [f"good {i}" for i in range(40)], ["bad"] * 39 + ["good 39"]
    rows.to_json("mine.jsonl", orient="records", lines=True)
    given = ["--pairs", "mine.jsonl", "--out", "cache", "--backbone", made / "backbone"]
    said = build(*given, "--precision", "fp32")
    assert "1 equal" in said
    command = said.split("then: rmsweep ")[1].splitlines()[0].split()
    assert "dataset=mine_pairs" in command and "quantity=31" in command
    said = build(*command, "loss.hidden=[8]", "training.max_epochs=2", command=())
    assert "accuracy" in said


def test_transcripts_of_hh(build, made, tmp_path):
    talk = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why {}?\n\nAssistant:"
    lines = [{"chosen": talk.format(i) + " Because.", "rejected": talk.format(i) + " No."}
             for i in range(6)]  # fmt: skip
    lines.append({"chosen": talk.format(1) + " A.", "rejected": talk.format(2) + " B."})
    (tmp_path / "hh.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = ["--backbone", made / "backbone", "--out", tmp_path, "--precision", "fp32"]
    said = build("--pairs", tmp_path / "hh.jsonl", *given)
    assert "1 parted_before_the_last_turn" in said
    table = pq.read_table(tmp_path / "pairs_hh.parquet").to_pylist()
    assert len(table) == 6
    assert table[3] == {"prompt": talk.format(3), "chosen": " Because.", "rejected": " No."}
    ids = ["--base-llm", made / "llm", "--reward-model", made / "scorer"]
    said = build("--train", tmp_path / "hh.jsonl", "--test-prompts", 2, *ids, *given, *SMALL)
    assert "test: 2 x 5" in said and "1 repeated" in said


def test_ultrafeedback_and_helpsteer_columns(build, made, tmp_path):
    completions = [{"response": f"r {k}", "overall_score": k} for k in range(3)]
    rows = [{"instruction": f"do {i}", "completions": completions} for i in range(5)]
    pd.DataFrame(rows).to_parquet(tmp_path / "uf.parquet")
    given = ["--test-prompts", 2, "--base-llm-name", "x", "--backbone", made / "backbone",
             "--out", tmp_path, "--precision", "fp32"]  # fmt: skip
    assert "train: 3 x 3" in build("--train", tmp_path / "uf.parquet", *given)
    np.testing.assert_array_equal(
        np.load(tmp_path / "reward_x_backbone_uf_test.npy")[:, :, 0], [[0, 1, 2]] * 2
    )
    rows = texts_file(tmp_path / "hs.parquet", golden=False, helpfulness=[4, 2, 1] * 8)
    said = build("--train", tmp_path / "hs.parquet", *given, "--columns",
                 "golden_reward=helpfulness")  # fmt: skip
    assert "train: 6 x 3" in said and len(rows) == 24
