"""`rmsweep cache inspect`: against brute force, on soft spots put there, in bounded memory."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from rmsweep.cache.inspecting import caches, embeddings, rewards
from rmsweep.cache.layout import open_files, open_pairs

SHAPES = {"train": (30, 4, 24), "test": (12, 6, 24)}


def golden_of(shape, seed):
    rng = np.random.default_rng(seed)
    golden = rng.normal(size=(shape[0], 1)) * 2 + rng.normal(size=shape[:2])
    return golden[:, :, np.newaxis].astype(np.float32)


def write(root, change=lambda split, embedded, golden: None, dtype=np.float16):
    for seed, (split, shape) in enumerate(SHAPES.items()):
        rng = np.random.default_rng(10 + seed)
        embedded = rng.normal(size=shape) + 2 * rng.normal(size=(shape[0], 1, shape[2])) + 5
        embedded, golden = embedded.astype(dtype), golden_of(shape, seed)
        change(split, embedded, golden)
        np.save(root / f"embd_a_b_c_{split}.npy", embedded)
        np.save(root / f"reward_a_b_c_{split}.npy", golden)


def write_pairs(root, n=40, **columns):
    embedded = np.random.default_rng(0).normal(size=(n, 2, 24)).astype(np.float32)
    texts = {name: [f"{name} {i} " + "x" * (i % 2) for i in range(n)] for name in ("prompt",)}
    texts |= {"chosen": ["abc"] * n, "rejected": ["defg", "h"] * (n // 2)}
    pd.DataFrame(texts | columns).to_parquet(root / "pairs_my_hh.parquet")
    np.save(root / "embd_pairs_my_hh_back_bone.npy", embedded)
    return embedded


@pytest.mark.parametrize("seed", range(5))
def test_reward_statistics_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    golden = rng.integers(-3, 3, size=(5, 4)).astype(float)
    found = rewards.reward_statistics(golden)
    places = list(itertools.product(range(5), range(4)))
    same = [(p, q) for p, q in itertools.combinations(places, 2) if p[0] == q[0]]
    cross = [(p, q) for p, q in itertools.combinations(places, 2) if p[0] != q[0]]
    for name, pairs in (("same", same), ("cross", cross)):
        differences = [abs(golden[p] - golden[q]) for p, q in pairs]
        assert found[f"mean_difference_{name}_prompt"] == pytest.approx(np.mean(differences))
    ties = np.mean([golden[p] == golden[q] for p, q in same])
    assert found["share_tied_same_prompt"] == pytest.approx(ties)
    assert found["share_at_floor"] == (golden == golden.min()).mean()
    assert found["share_at_ceiling"] == (golden == golden.max()).mean()
    assert found["within_std"] == pytest.approx(golden.std(axis=1).mean())
    assert sum(found["histogram"]["counts"]) == golden.size


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_embedding_statistics_do_not_depend_on_the_blocks(tmp_path, dtype):
    write(tmp_path, dtype=dtype)
    whole = np.load(tmp_path / "embd_a_b_c_train.npy")
    found, hashes = embeddings.embedding_statistics([whole[:7], whole[7:8], whole[8:]])
    exact = whole.astype(float)
    assert found["within_variance"] == pytest.approx(exact.var(axis=1).sum(axis=1).mean(), rel=1e-5)
    assert found["between_variance"] == pytest.approx(exact.mean(axis=1).var(axis=0).sum(), 1e-5)
    assert found["norm_mean"] == pytest.approx(np.linalg.norm(exact, axis=2).mean(), rel=1e-5)
    assert hashes.shape == whole.shape[:2] and len(np.unique(hashes)) == hashes.size
    np.testing.assert_array_equal(hashes, embeddings.embedding_statistics([whole])[1])


def test_a_sound_cache_is_described_as_a_run_would_read_it(inside, tmp_path):
    write(tmp_path)
    (report,) = json.loads(inside("cache", "inspect", tmp_path, "--json").stdout)
    assert report["cautions"] == [] and report["name"] == "a_b_c"
    assert report["fingerprint"] == open_files(tmp_path, "a", "b", "c").fingerprint
    test = report["splits"]["test"]
    assert (test["prompts"], test["responses"], test["dim"]) == SHAPES["test"]
    assert (test["dtype"], test["reward_dtype"]) == ("float16", "float32")
    text = inside("cache", "inspect", "embd_a_b_c_test.npy", "--picture", "p.png").stdout
    assert report["fingerprint"] in text and "nothing to warn of" in text
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"


def spoil(split, embedded, golden):
    if split == "train":
        golden[:, 1:] = -16
        embedded[3, 1] = embedded[3, 0]
        embedded[4, 1] = embedded[4, 2] = 0
        embedded[5, 2, 3] = np.nan
    else:
        embedded[0] = 3


def test_soft_spots_are_told(tmp_path):
    write(tmp_path, spoil)
    test = np.load(tmp_path / "embd_a_b_c_test.npy")
    test[2, 0] = np.load(tmp_path / "embd_a_b_c_train.npy")[0, 0]
    np.save(tmp_path / "embd_a_b_c_test.npy", test)
    report = caches.describe_cache(tmp_path, "a_b_c")
    told = "\n".join(report["cautions"])
    for text in (
        "75% of golden rewards are tied at -16", "50% of same-prompt pairs", "1 embeddings hold",
        "2 embeddings are all zeros", "1.7% of embeddings repeat",
        "1.39% of test embeddings are in train",
    ):  # fmt: skip
        assert text in told, text
    json.dumps(report, allow_nan=False)


def test_dimensions_that_do_not_vary_are_told(tmp_path):
    def change(split, embedded, golden):
        embedded[:, :, 7] = 1

    write(tmp_path, change)
    expected = [f"{split}: 1 dimensions hardly vary" for split in SHAPES]
    assert caches.describe_cache(tmp_path, "a_b_c")["cautions"] == expected


def test_one_split_alone(tmp_path):
    write(tmp_path)
    (tmp_path / "embd_a_b_c_test.npy").unlink()
    report = caches.describe_cache(tmp_path, "a_b_c")
    assert report["fingerprint"] is None and "no test split" in report["cautions"][0]


def test_labelled_pairs(inside, tmp_path):
    embedded = write_pairs(tmp_path, subset=["s 1"] * 38 + ["t"] * 2)
    (report,) = json.loads(inside("cache", "inspect", tmp_path, "--json").stdout)
    assert report["fingerprint"] == open_pairs(tmp_path, "my_hh", "back_bone").fingerprint
    distances = np.linalg.norm(embedded[:, 0] - embedded[:, 1], axis=1)
    assert report["embeddings"]["distance_mean"] == pytest.approx(distances.mean())
    assert report["texts"]["subsets"] == {"s 1": 38, "t": 2}
    assert report["texts"]["share_chosen_longer"] == 0.5
    assert report["cautions"] == ["fewer than 30 pairs in t: wide intervals"]
    text = inside("cache", "inspect", tmp_path, "--picture", "p.svg").stdout
    assert "subset s 1" in text and (tmp_path / "p.svg").exists()


def test_equal_pairs_and_lengths_are_told(tmp_path):
    embedded = write_pairs(tmp_path, rejected=[""] * 40)
    embedded[0, 1] = embedded[0, 0]
    np.save(tmp_path / "embd_pairs_my_hh_back_bone.npy", embedded)
    told = "\n".join(caches.describe_cache(tmp_path, "pairs_my_hh_back_bone")["cautions"])
    for text in ("2.5% of pairs have equal", "40 responses are empty", "longer in 100% of pairs"):
        assert text in told


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nothing is at nowhere"),
        (["."], "holds no embd_"),
        (["x.npy"], "must be named embd_"),
        (["embd_a_b.npy"], "must end in _train.npy or _test.npy"),
        (["embd_a_b_c_train.npy"], "no golden rewards at"),
        (["embd_pairs_x_y.npy"], "no table pairs_DATASET.parquet"),
        ([".", "--picture", "p.gif"], "must end in .png, .pdf, .svg"),
        ([".", "--picture", "no/p.png"], "there is no folder no"),
    ],
)
def test_bad_input_is_one_line(inside, tmp_path, arguments, message):
    if arguments[0].endswith(".npy"):
        np.save(tmp_path / arguments[0], np.zeros((3, 2, 4), np.float16))
    error = inside("cache", "inspect", *arguments, status=2).stderr
    assert message in error and error.count("\n") == 1
