import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.shared_data import SHARED

from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.fingerprint import BLOCK_BYTES, N_BLOCKS
from rmsweep.cache.inputs import open_cache
from rmsweep.cache.layout import (
    embeddings_path,
    open_files,
    open_pairs,
    pair_embeddings_path,
    pair_table_path,
    rewards_path,
)

REAL = SHARED
STEMS = ("Gemma2b-sft", "Gemma2b", "Harmless")
SHAPES = {"train": (6, 3, 8), "test": (4, 5, 8)}


def write_cache(root: Path, stems=STEMS, shapes=None, dtype=np.float16) -> None:
    rng = np.random.default_rng(0)
    for split, shape in (shapes or SHAPES).items():
        np.save(embeddings_path(root, *stems, split), rng.normal(size=shape).astype(dtype))
        rewards = rng.normal(size=(*shape[:2], 1)).astype(np.float32)
        np.save(rewards_path(root, *stems, split), rewards)


def write_pairs(root: Path, dataset="hh", backbone="minilm", n_pairs=5, **columns) -> None:
    embeddings = np.random.default_rng(0).normal(size=(n_pairs, 2, 4)).astype(np.float16)
    np.save(pair_embeddings_path(root, dataset, backbone), embeddings)
    texts = {name: [f"{name} {i}" for i in range(n_pairs)] for name in ("prompt", "chosen")}
    texts["rejected"] = [""] * n_pairs
    pd.DataFrame(texts | columns).to_parquet(pair_table_path(root, dataset))


@pytest.fixture
def root(tmp_path):
    write_cache(tmp_path)
    return tmp_path


def embd(root, split="train"):
    return embeddings_path(root, *STEMS, split)


def reward(root, split="train"):
    return rewards_path(root, *STEMS, split)


def overwrite(path: Path, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_paths_are_those_of_the_release(tmp_path):
    assert embd(tmp_path).name == "embd_Gemma2b-sft_Gemma2b_Harmless_train.npy"
    assert reward(tmp_path, "test").name == "reward_Gemma2b-sft_Gemma2b_Harmless_test.npy"
    assert pair_embeddings_path(tmp_path, "hh", "minilm").name == "embd_pairs_hh_minilm.npy"
    assert pair_table_path(tmp_path, "hh").name == "pairs_hh.parquet"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_open_files_gives_what_the_files_hold(tmp_path, dtype):
    write_cache(tmp_path, dtype=dtype)
    cache = open_cache(tmp_path, *STEMS, None)
    assert (cache.train_prompts, cache.train_responses, cache.dim) == SHAPES["train"]
    assert (cache.test_prompts, cache.test_responses, cache.dim) == SHAPES["test"]
    train = cache.train_embeddings()
    assert isinstance(train, np.memmap) and train.dtype == dtype
    np.testing.assert_array_equal(train, np.load(embd(tmp_path)))
    for split, golden in (("train", cache.train_golden), ("test", cache.test_golden)):
        assert golden.dtype == np.float64 and not golden.flags.writeable
        np.testing.assert_array_equal(golden, np.load(reward(tmp_path, split))[:, :, 0])
    pickled = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(pickled.read_test(1, 3), cache.read_test(1, 3))


@pytest.mark.parametrize("first", range(4))
def test_read_test_equals_the_file(root, first):
    cache, stored = open_files(root, *STEMS), np.load(embd(root, "test"))
    for last in range(first + 1, 5):
        block = cache.read_test(first, last)
        assert block.dtype == stored.dtype and not isinstance(block, np.memmap)
        np.testing.assert_array_equal(block, stored[first:last])


def test_read_test_of_a_file_cut_while_in_use(root):
    cache = open_files(root, *STEMS)
    path = embd(root, "test")
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.read_test(0, 3).shape == (3, 5, 8)
    with pytest.raises(ValueError, match="prompt 3 must be in the file.*changed while in use"):
        cache.read_test(2, 4)


def test_version_2_headers_are_read(root):
    embeddings = np.load(embd(root))
    with open(embd(root), "wb") as file:
        np.lib.format.write_array(file, embeddings, version=(2, 0))
    np.testing.assert_array_equal(open_files(root, *STEMS).train_embeddings(), embeddings)


def test_missing_files_say_what_and_where(root):
    embd(root, "test").unlink()
    message = f"no embeddings of Harmless by Gemma2b at {embd(root, 'test')}; put the file there"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        open_files(root, *STEMS)
    reward(root).unlink()
    with pytest.raises(FileNotFoundError, match="no golden rewards of Harmless for Gemma2b-sft"):
        open_files(root, *STEMS)
    embd(root).unlink()
    embd(root).mkdir()
    with pytest.raises(ValueError, match="kind must be a file, found a folder"):
        open_files(root, *STEMS)


def save_header(path, shape, descr="<f2"):
    with open(path, "wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)


def save_rewards(root, split, change):
    rewards = np.load(reward(root, split))
    change(rewards)
    np.save(reward(root, split), rewards)


BROKEN = {
    "truncated": (
        lambda root: embd(root).write_bytes(embd(root).read_bytes()[:-1]),
        r"train.npy: size must be 416 bytes for shape \(6, 3, 8\), found 415 bytes; .*truncated",
    ),
    "too long": (
        lambda root: embd(root).write_bytes(embd(root).read_bytes() + b"\0"),
        "found 417 bytes; the file has bytes after its array",
    ),
    "object array": (
        lambda root: np.save(embd(root), np.full((6, 3, 8), None), allow_pickle=True),
        "dtype must be float16 .* found pickled objects; save plain numbers",
    ),
    "Fortran order": (
        lambda root: np.save(embd(root), np.asfortranarray(np.load(embd(root)))),
        r"order must be C \(row-major\), found Fortran",
    ),
    "float64": (
        lambda root: np.save(embd(root), np.load(embd(root)).astype(np.float64)),
        "dtype must be float16 .<f2. or float32 .<f4., found <f8; convert it to float16",
    ),
    "big endian": (
        lambda root: np.save(embd(root), np.load(embd(root)).astype(">f4")),
        "dtype must be .*, found >f4",
    ),
    "float16 rewards": (
        lambda root: np.save(reward(root), np.load(reward(root)).astype(np.float16)),
        "reward.*dtype must be float32 .* or float64 .*, found <f2",
    ),
    "two axes": (
        lambda root: np.save(embd(root), np.zeros((6, 8), np.float16)),
        r"shape must be \(prompts, responses, width\), none empty, found \(6, 8\)",
    ),
    "empty axis": (
        lambda root: np.save(embd(root), np.zeros((0, 3, 8), np.float16)),
        r"none empty, found \(0, 3, 8\)",
    ),
    "10^15 rows": (
        lambda root: save_header(embd(root), (10**15, 10, 2048)),
        r"size must be 40960000000000000128 bytes for shape .* found 128 bytes",
    ),
    "negative axis": (lambda root: save_header(embd(root), (-6, -3, 8)), "none empty, found"),
    "K = 1": (
        lambda root: write_cache(root, shapes={"train": (6, 1, 8)}),
        r"axis 1 \(responses to a prompt\) must be at least 2, found 1",
    ),
    "rewards of another shape": (
        lambda root: np.save(reward(root), np.load(reward(root))[:-1]),
        r"reward.*shape must be \(6, 3, 1\), found \(5, 3, 1\); .*\(6, 3, 8\)",
    ),
    "rewards with a wide last axis": (
        lambda root: np.save(reward(root), np.zeros((6, 3, 2), np.float32)),
        r"shape must be \(6, 3, 1\), found \(6, 3, 2\)",
    ),
    "D differs": (
        lambda root: write_cache(root, shapes={"test": (4, 5, 9)}),
        r"test.npy: axis 2 \(D\) must be 8 as in embd.*train.npy, found 9",
    ),
    "reward NaN": (
        lambda root: save_rewards(root, "test", lambda rewards: rewards.put([7, 9], np.nan)),
        "golden rewards must be finite, found nan at prompt 1, response 2; 2 of 20 are not",
    ),
    "reward inf": (
        lambda root: save_rewards(root, "train", lambda rewards: rewards.put(0, -np.inf)),
        "golden rewards must be finite, found -inf at prompt 0, response 0",
    ),
    "reward constant": (
        lambda root: save_rewards(root, "train", lambda rewards: rewards.fill(2.5)),
        "golden rewards must be more than one value, found 2.5 for all 18",
    ),
    "not a npy": (
        lambda root: embd(root).write_text("<!DOCTYPE html> 404"),
        "header must be that of a .npy file, version 1 or 2, found ValueError",
    ),
    "empty file": (lambda root: embd(root).write_bytes(b""), "header must be that of a .npy file"),
    "unknown version": (lambda root: overwrite(embd(root), 6, b"\7"), "header must be"),
    "garbled header": (lambda root: overwrite(embd(root), 10, b"{{[(" * 8), "header must be"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_sound_is_refused(root, case):
    change, message = BROKEN[case]
    change(root)
    with pytest.raises(ValueError, match=message) as refused:
        open_files(root, *STEMS)
    assert str(root) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("seed", range(300))
def test_a_garbled_header_is_an_error_that_names_the_file_or_is_harmless(root, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(embd(root).read_bytes())
    for at in rng.integers(0, 80, size=rng.integers(1, 6)):
        data[at] = rng.choice(list(b"\0({['<f2,:0 \xff"))
    embd(root).write_bytes(data)
    try:
        assert open_files(root, *STEMS).train_prompts == 6
    except ValueError as error:
        assert str(embd(root)) in str(error) or embd(root).name in str(error)


def test_fingerprint_is_of_the_data_not_of_the_path(root, tmp_path):
    other = tmp_path / "copy"
    other.mkdir()
    for path in root.glob("*.npy"):
        renamed = path.name.replace("Gemma2b-sft", "other")
        shutil.copyfile(path, other / renamed)
    copied = open_files(other, "other", *STEMS[1:]).fingerprint
    assert copied == open_files(root, *STEMS).fingerprint
    assert re.fullmatch("[0-9a-f]{32}", copied)


@pytest.mark.parametrize("kind", [embd, reward])
@pytest.mark.parametrize("split", ["train", "test"])
def test_fingerprint_changes_with_any_of_the_four_files(root, kind, split):
    before = open_files(root, *STEMS).fingerprint
    path = kind(root, split)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert open_files(root, *STEMS).fingerprint != before


def test_fingerprint_samples_large_embeddings_evenly(tmp_path):
    write_cache(tmp_path, shapes={"train": (200, 25, 1024), "test": (4, 5, 1024)})
    path, last = embd(tmp_path), 200 * 25 * 1024 * 2 - 1
    gap = (last + 1 - BLOCK_BYTES) // (N_BLOCKS - 1)
    before = open_files(tmp_path, *STEMS).fingerprint
    for at, is_seen in ((0, 1), (last, 1), (5 * gap + 9, 1), (5 * gap + BLOCK_BYTES + 99, 0)):
        old = path.read_bytes()[128 + at]
        overwrite(path, 128 + at, bytes([old ^ 1]))
        assert (open_files(tmp_path, *STEMS).fingerprint != before) == is_seen, at
        overwrite(path, 128 + at, bytes([old]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_first_nonfinite_finds_the_first_and_nothing_else(dtype, bad):
    limit = np.finfo(dtype)
    block = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(dtype)
    block[0, 0, :3] = limit.max, limit.min, -0.0
    assert first_nonfinite(block) is None
    assert first_nonfinite(-np.abs(block)) is None
    block[2, 3, 4] = block[3, 0, 0] = bad
    assert first_nonfinite(block) == (2, 3)


def test_open_pairs_gives_what_the_files_hold(tmp_path):
    write_pairs(tmp_path, subset=pd.Categorical(list("aabba")), category=range(5))
    pairs = pickle.loads(pickle.dumps(open_pairs(tmp_path, "hh", "minilm")))
    assert (pairs.n_pairs, pairs.dim, pairs.embeddings().shape) == (5, 4, (5, 2, 4))
    assert list(pairs.table) == ["prompt", "chosen", "rejected", "subset"]
    assert list(pairs.table["subset"]) == list("aabba")
    before = pairs.fingerprint
    write_pairs(tmp_path)
    assert list(open_pairs(tmp_path, "hh", "minilm").table) == ["prompt", "chosen", "rejected"]
    assert open_pairs(tmp_path, "hh", "minilm").fingerprint != before


BROKEN_PAIRS = {
    "no column": (
        lambda root: pd.DataFrame({"prompt": ["a"] * 5}).to_parquet(root / "pairs_hh.parquet"),
        r"columns \['chosen', 'rejected'\] must be there, found \['prompt'\]",
    ),
    "null": (
        lambda root: write_pairs(root, chosen=["a", "b", None, "c", None]),
        "chosen must have no nulls, found 2, the first in row 2",
    ),
    "null subset": (lambda root: write_pairs(root, subset=[*"abcd", None]), "subset must have no"),
    "numbers": (lambda root: write_pairs(root, chosen=range(5)), "chosen must be text, found int"),
    "rows": (
        lambda root: np.save(root / "embd_pairs_hh_minilm.npy", np.zeros((6, 2, 4), np.float16)),
        "rows must be 6, the pairs in embd_pairs_hh_minilm.npy, found 5",
    ),
    "three responses": (
        lambda root: np.save(root / "embd_pairs_hh_minilm.npy", np.zeros((5, 3, 4), np.float16)),
        r"axis 1 must be 2 \(chosen, rejected\), found 3",
    ),
    "no pairs": (lambda root: write_pairs(root, n_pairs=0), "none empty, found"),
    "float64": (
        lambda root: np.save(root / "embd_pairs_hh_minilm.npy", np.zeros((5, 2, 4))),
        "dtype must be float16",
    ),
    "not Parquet": (
        lambda root: (root / "pairs_hh.parquet").write_text("prompt,chosen,rejected"),
        "must be a Parquet file, found",
    ),
    "empty file": (lambda root: (root / "pairs_hh.parquet").write_text(""), "a Parquet file"),
}


@pytest.mark.parametrize("case", BROKEN_PAIRS)
def test_pairs_that_are_not_sound_are_refused(tmp_path, case):
    write_pairs(tmp_path)
    change, message = BROKEN_PAIRS[case]
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as refused:
        open_pairs(tmp_path, "hh", "minilm")
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["embd_pairs_hh_minilm.npy", "pairs_hh.parquet"])
def test_missing_pair_files_say_where(tmp_path, name):
    write_pairs(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"of hh.* at .*{name}; put the file there"):
        open_pairs(tmp_path, "hh", "minilm")


def test_every_real_cache_opens(tmp_path):
    """On ../shared/data where it is there, on a small written cache where it is not."""
    root = REAL if REAL.is_dir() else tmp_path
    if root is tmp_path:
        for folder in ("alpacaeval", "pairs"):
            (root / folder).mkdir()
        write_cache(root / "alpacaeval", stems=("alpaca-mid", "minilm", "alpacaeval"))
        write_pairs(root / "pairs")
    train_files = list((root / "alpacaeval").glob("embd_*_train.npy"))
    pair_files = list((root / "pairs").glob("embd_pairs_*.npy"))
    assert train_files and pair_files
    for path in train_files:
        cache = open_files(path.parent, *path.stem.split("_")[1:4])
        assert cache.train_golden.shape == cache.train_embeddings().shape[:2]
        assert first_nonfinite(cache.train_embeddings()) is None
        assert first_nonfinite(cache.read_test(0, cache.test_prompts)) is None
    for path in pair_files:
        pairs = open_pairs(path.parent, *path.stem.split("_")[2:4])
        assert len(pairs.table) == len(pairs.embeddings()) == pairs.n_pairs
