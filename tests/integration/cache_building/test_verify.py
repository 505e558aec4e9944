"""`rmsweep cache verify`: sound caches pass; whatever changed or went missing is named."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.small_builds import texts_file

from rmsweep.cache.building import records
from rmsweep.cache.building.stages import file_digest
from rmsweep.cli import main


def call(capsys, *arguments, status=0):
    with pytest.raises(SystemExit) as ended:
        main.main(["cache", *map(str, arguments)])
    found = capsys.readouterr()
    assert ended.value.code == status, found
    return found.out + found.err


@pytest.fixture
def cache(tmp_path, capsys):
    """A cache of texts with golden rewards and one of pairs, in one folder."""
    root = tmp_path / "cache"
    backbone = tiny_models.make(tmp_path / "backbone", "Llama", "Model", 3)
    texts_file(tmp_path / "t.parquet")
    rows = {"prompt": ["q"] * 5, "chosen": list("abcde"), "rejected": list("fghij")}
    pd.DataFrame(rows).to_csv(tmp_path / "p.csv", index=False)
    given = ["--backbone", backbone, "--out", root, "--part-responses", 6]
    texts = ["--train", tmp_path / "t.parquet", "--test-prompts", 2, "--base-llm-name", "x"]
    call(capsys, "build", *texts, *given)
    call(capsys, "build", "--pairs", tmp_path / "p.csv", *given)
    return root


def test_a_sound_cache(cache, capsys):
    said = call(capsys, "verify", cache)
    assert "WRONG" not in said and said.count("texts embedded again: smallest cosine") == 3
    for file, n in (("x_backbone_t_train", 18), ("x_backbone_t_test", 6), ("pairs_p_backbone", 10)):
        assert f"embd_{file}.npy, {n} texts embedded again" in said
    assert "cosine" not in call(capsys, "verify", cache, "--sample", 0)


def test_inspect_tells_how_many_texts_were_cut(cache, capsys, tmp_path):
    texts_file(tmp_path / "u.parquet")
    given = ["--train", tmp_path / "u.parquet", "--test-prompts", 2, "--base-llm-name", "x"]
    given += ["--backbone", tmp_path / "backbone", "--out", cache, "--embed-tokens", 4]
    call(capsys, "build", *given)
    reports = json.loads(call(capsys, "inspect", cache, "--json"))
    cut = {report["name"]: report for report in reports}
    assert cut["x_backbone_t"]["splits"]["train"]["built"]["share_cut"] == 0
    assert cut["x_backbone_u"]["splits"]["train"]["built"]["share_cut"] == 1
    assert cut["pairs_p_backbone"]["built"]["revision"].startswith("sha256:")
    assert any("100% of texts were cut" in text for text in cut["x_backbone_u"]["cautions"])


def test_what_changed_is_named(cache, capsys):
    train = cache / "embd_x_backbone_t_train.npy"
    np.save(train, -np.load(train))
    (part,) = cache.glob("stages/rewards-x-t-test/part-00000.parquet")
    part.write_bytes(part.read_bytes()[:-1] + b"X")
    (mark,) = cache.glob("stages/embeddings-p-backbone-pairs/part-00001.json")
    mark.unlink()
    (cache / "reward_x_backbone_t_test.npy").unlink()
    (cache / "pairs_p.parquet").unlink()
    np.save(cache / "embd_other.npy", np.zeros((2, 2, 2)))
    said = call(capsys, "verify", cache, "--sample", 0, status=1)
    for text in (
        "WRONG embd_x_backbone_t_train.npy: changed since it was written",
        "WRONG stages/rewards-x-t-test: part-00000.parquet changed",
        "WRONG stages/embeddings-p-backbone-pairs: 1 of 2 parts are missing",
        "WRONG reward_x_backbone_t_test.npy: is missing",
        "WRONG pairs_p.parquet: is missing",
        "ok    embd_other.npy: not built here",
    ):
        assert text in said, said
    assert said.count("WRONG") == 5


def test_a_cache_that_was_not_joined(cache, capsys):
    """As where the job that joins failed: all parts are there."""
    for path in [*cache.glob("*.npy"), *cache.glob("stages/*.json")]:
        path.unlink()
    said = call(capsys, "verify", cache, "--sample", 0, status=1)
    for name in ("embd_x_backbone_t_train", "reward_x_backbone_t_test", "embd_pairs_p_backbone"):
        assert f"WRONG {name}.npy: is missing or not whole: repeat the build" in said


def test_parts_of_another_input_and_files_of_other_parts(cache, capsys):
    stages = {stage.folder.name: stage for stage in records.stages_under(cache).values()}
    rewards = stages["rewards-x-t-train"]
    rewards.write_table(0, rewards.read_table(0).slice(1), {})
    embeddings = stages["embeddings-p-backbone-pairs"]
    array = embeddings.read_array(0)
    embeddings.write_array(0, -array, embeddings.mark(0)["counts"])
    said = call(capsys, "verify", cache, "--sample", 0, status=1)
    for text in (
        "stages/embeddings-x-backbone-t-train: 1 of 3 parts were made of another input",
        "embd_pairs_p_backbone.npy: holds parts that are made anew since",
        "reward_x_backbone_t_train.npy: holds parts that are made anew since",
    ):
        assert f"WRONG {text}" in said, said


def test_inspect_while_parts_are_missing(cache, capsys):
    for path in cache.glob("stages/embeddings-x-backbone-t-train/part-*"):
        path.unlink()
    (report,) = json.loads(call(capsys, "inspect", cache / "embd_x_backbone_t_train.npy", "--json"))
    assert report["splits"]["train"]["built"]["share_cut"] is None
    assert report["splits"]["test"]["built"]["share_cut"] == 0


def test_a_manifest_that_was_changed(cache, capsys):
    """Alone, and with the file's record made to agree."""
    path = cache / "stages/embeddings-p-backbone-pairs/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["identity"]["pooling"] = {"by": "hand"}
    path.write_text(json.dumps(manifest))
    said = call(capsys, "verify", cache, status=1)
    assert "WRONG embd_pairs_p_backbone.npy: no manifest in stages/ is of what made it" in said
    (stage,) = (s for s in records.stages_under(cache).values() if s.folder == path.parent)
    for record in [cache / "stages/embd_pairs_p_backbone.json", *path.parent.glob("part-*.json")]:
        noted = json.loads(record.read_text())
        record.write_text(json.dumps(noted | {"stage": stage.identity}))
    said = call(capsys, "verify", cache, status=2)
    assert "identity.pooling or identity.cut is not what this version writes" in said
    assert "build the cache anew" in said


def test_embeddings_of_other_texts_are_found_out(cache, capsys):
    """Signs flipped, and the record made to agree: only the model can tell."""
    path = cache / "embd_x_backbone_t_test.npy"
    np.save(path, -np.load(path))
    record = cache / "stages/embd_x_backbone_t_test.json"
    noted = json.loads(record.read_text()) | {"sha256": file_digest(path)}
    record.write_text(json.dumps(noted))
    said = call(capsys, "verify", cache, status=1)
    assert said.count("WRONG") == 1 and "smallest cosine -1.0" in said


def test_another_model_in_the_same_folder(cache, tmp_path, capsys):
    shutil.rmtree(tmp_path / "backbone")
    tiny_models.make(tmp_path / "backbone", "Llama", "Model", 4)
    said = call(capsys, "verify", cache, status=2)
    assert "the cache's is sha256:" in said


def test_a_folder_that_was_not_built(tmp_path, capsys):
    said = call(capsys, "verify", tmp_path, status=2)
    assert "removed, or nothing was built here" in said and "rmsweep cache inspect" in said
