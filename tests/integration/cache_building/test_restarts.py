"""A build that is killed, changed or repeated: nothing old passes for new, and little is redone."""

import json
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.small_builds import SMALL, files, read_stage, texts_file

from rmsweep.cache.building import assemble, records, stages
from rmsweep.cli import main

NAMES = {"base_llm": "x", "backbone": "backbone", "dataset": "t"}
EMBEDDINGS = "stages/embeddings-x-backbone-t-{}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny_models.make_three(root)
    texts_file(root / "t.parquet")
    (root / "p.jsonl").write_text("".join(json.dumps({"prompt": f"p {i}"}) + "\n" for i in "abcd"))
    return root


@pytest.fixture
def build(made, capsys, monkeypatch, tmp_path):
    """build(arguments..., status=0): `rmsweep cache build` into tmp_path/c; what it printed."""
    monkeypatch.chdir(made)

    def call(*arguments, status=0):
        given = ["--backbone", "backbone", "--precision", "fp32", "--out", tmp_path / "c"]
        with pytest.raises(SystemExit) as ended:
            main.main(["cache", "build", *map(str, [*given, *arguments])])
        found = capsys.readouterr()
        assert (ended.value.code or 0) == status, found
        return found.out + found.err

    return call


TEXTS = ["--train", "t.parquet", "--test-prompts", "3", "--base-llm-name", "x"]
TEXTS += ["--part-responses", "6"]
PROMPTS = ["--train", "p.jsonl", "--test-prompts", "1", "--base-llm", "llm"]
PROMPTS += ["--reward-model", "scorer", *SMALL[:-4], "--part-responses", "6"]


class Killed(BaseException):
    """As by a signal: nothing catches it."""


def joined(root):
    """Join the parts in a folder, as the last step of a build does."""
    by_folder = {stage.folder.name: stage for stage in records.stages_under(root).values()}
    embeddings, rewards = (
        {split: by_folder[form.format(split)] for split in ("train", "test")}
        for form in ("embeddings-x-backbone-t-{}", "rewards-x-t-{}")
    )
    return assemble.join_golden(root, NAMES, embeddings, rewards)


def test_a_kill_while_joining_leaves_no_old_file_beside_a_new_one(build, tmp_path, monkeypatch):
    build(*TEXTS)
    old = files(tmp_path / "c")
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / "c" / EMBEDDINGS.format(split))
    build(*TEXTS, "--pooling", "mean", "--until", "embeddings")
    assert files(tmp_path / "c") == old
    shutil.copytree(tmp_path / "c", tmp_path / "whole")
    joined(tmp_path / "whole")
    new, really = files(tmp_path / "whole"), os.replace
    changed = {name for name in new if new[name] != old[name]}
    assert changed == {f"embd_x_backbone_t_{split}.npy" for split in ("train", "test")}
    for n_before in range(20):
        root, n = tmp_path / f"k{n_before}", iter(range(n_before))
        shutil.copytree(tmp_path / "c", root)

        def until_killed(source, target, n=n):
            if next(n, None) is None:
                raise Killed
            really(source, target)

        monkeypatch.setattr(os, "replace", until_killed)
        try:
            joined(root)
            is_killed = False
        except Killed:
            is_killed = True
        monkeypatch.setattr(os, "replace", really)
        kinds = {files(root)[name] == new[name] for name in files(root).keys() & changed}
        assert len(kinds) < 2, f"old beside new, killed before replacement {n_before}"
        joined(root)
        assert files(root) == new, f"not mended, killed before replacement {n_before}"
        if not is_killed:
            break
    assert not is_killed and n_before > 5, "each of the replacements was the one killed before"


def test_another_number_of_responses_is_not_taken_for_this_one(build, tmp_path):
    """A disk without room for it is said before anything is written."""
    said = build(*PROMPTS, "--test-responses", 10**13, status=2)
    assert "GB free" in said and not list(tmp_path.rglob("manifest.json"))
    assert "test: 1 x 5 responses" in build(*PROMPTS, "--until", "responses")
    assert len(read_stage(tmp_path / "c", "responses-llm-p-test")) == 5
    shutil.rmtree(tmp_path / "c/stages/responses-llm-p-test")
    said = build(*PROMPTS, "--test-responses", 7, status=2)
    assert "prompts-llm-p-test was made with other settings: " in said
    assert "settings.responses was 5, now 7" in said


def test_parts_that_changed_are_refused_and_lost_ones_made_again(build, tmp_path):
    build(*TEXTS)
    before = files(tmp_path / "c")
    folder = tmp_path / "c" / EMBEDDINGS.format("train")
    for path in tmp_path.glob("c/embd*"):
        path.unlink()
    part = folder / "part-00001.npy"
    kept = part.read_bytes()
    np.save(part, -np.load(part))
    wanted = "part-00001.npy changed since it was written: remove it and repeat the build"
    assert wanted in build(*TEXTS, status=2)
    part.write_bytes(kept[:40])
    assert wanted in build(*TEXTS, status=2)
    part.unlink()
    assert "embeddings, train: done" in build(*TEXTS)
    assert files(tmp_path / "c") == before


def test_a_part_is_made_anew_where_its_input_is(build, tmp_path):
    """Other responses with the marks of the build: their rewards and embeddings follow."""
    build(*PROMPTS)
    folder = tmp_path / "c/stages/responses-llm-p-train"
    stage = stages.Stage(folder, 2, "")
    table = stage.read_table(0).to_pandas()
    table["response"] = "changed " + table["response"]
    before = files(tmp_path / "c")
    input_of = stage.mark(0)["input"]
    stage.write_table(0, stages.pa.Table.from_pandas(table, preserve_index=False), {})
    stages.write_json(folder / "part-00000.json", stage.mark(0) | {"input": input_of})
    said = build(*PROMPTS)
    assert "responses, train: all done before" in said and "rewards, test: all done before" in said
    assert "golden rewards, train: done" in said and "embeddings, train: done" in said
    assert read_stage(tmp_path / "c", "rewards-llm-p-train").response[0].startswith("changed ")
    after = files(tmp_path / "c")
    assert {name for name in after if after[name] != before[name]} == {
        f"{kind}_llm_backbone_p_train.npy" for kind in ("embd", "reward")
    }


def test_a_finished_build_needs_no_room(build, tmp_path, monkeypatch):
    build(*TEXTS)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert build(*TEXTS).count("all done before") == 2
    for path in tmp_path.glob("c/embd*.npy"):
        path.unlink()
    assert "has 0.0 GB free" in build(*TEXTS, status=2)


def test_what_a_killed_build_left_unfinished_is_removed(build, tmp_path):
    build(*TEXTS)
    before = files(tmp_path / "c")
    part = tmp_path / "c" / EMBEDDINGS.format("train") / "part-00000.npy"
    part.unlink()
    left = [tmp_path / "c/.embd_x_backbone_t_train.npy.77", part.with_name(f".{part.name}.0a")]
    for path in left:
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 7200,) * 2)
    build(*TEXTS)
    assert files(tmp_path / "c") == before and not any(path.exists() for path in left)


def test_what_another_process_is_writing_stays(tmp_path):
    young = tmp_path / ".a.npy.77"
    young.write_bytes(b"half")
    stages.remove_stale(tmp_path, "a.npy")
    stages.write_bytes(tmp_path / "a.npy", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "a.npy"]


SHARD = """
import sys
from pathlib import Path
import pyarrow as pa
from rmsweep.cache.building.stages import open_stage
folder = Path(sys.argv[1])
first = open_stage(folder / "a", {}, {"n_parts": 60})
second = open_stage(folder / "b", {}, {"n_parts": 60}, first)
for part in range(60):
    first.write_table(part, pa.table({"x": [part] * 100}), {})
    assert first.read_table(part)["x"][0].as_py() == part
    second.write_table(part, pa.table({"y": [part] * 100}), {})
assert not first.left() and not second.left()
"""


def test_shards_that_begin_together_write_the_same_texts_side_by_side(tmp_path):
    for attempt in range(2):
        command = [sys.executable, "-c", SHARD, str(tmp_path / str(attempt))]
        shards = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        said = [shard.communicate(timeout=120)[1] for shard in shards]
        assert not any(shard.returncode for shard in shards), said
        assert not list(tmp_path.rglob(".*"))


def test_stages_of_another_version_are_refused(build, tmp_path):
    build(*TEXTS)
    path = tmp_path / "c" / EMBEDDINGS.format("train") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["identity"]["format"] = 1
    path.write_text(json.dumps(manifest))
    assert "made by another version of rmsweep (its format is 1" in build(*TEXTS, status=2)
    with pytest.raises(SystemExit) as ended:
        main.main(["cache", "verify", str(tmp_path / "c")])
    assert ended.value.code == 2


def test_manifests_and_marks_say_what_made_the_numbers(build, tmp_path):
    build(*PROMPTS, "--prompt-tokenizer", "backbone", "--batch-tokens", 999)
    root = tmp_path / "c/stages"
    manifest = json.loads((root / "prompts-llm-p-train/manifest.json").read_text())
    assert manifest["prompt_tokenizer"]["id"] == "backbone"
    for stage in ("responses-llm-p-train", "rewards-llm-p-test", "embeddings-llm-backbone-p-test"):
        mark = json.loads((root / stage / "part-00000.json").read_text())
        assert mark["versions"]["torch"] and mark["device"] and mark["batch_tokens"] == 999
    assert pd.read_parquet(root / "prompts-llm-p-test/part-00000.parquet").shape == (1, 2)
