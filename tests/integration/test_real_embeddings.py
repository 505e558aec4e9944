"""all-MiniLM-L6-v2, whose weights come in a package: what `cache build` makes of real texts."""

import numpy as np
import pandas as pd
import pytest
from helpers.shared_data import SHARED, needs

from rmsweep import machine
from rmsweep.cache.building import embed, hub, models
from rmsweep.cache.building.batching import Budget
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.tokens import Cut
from rmsweep.results import dataset

DATA = SHARED / "alpacaeval"
NAME = "alpaca-weak"
PRECISION = "bf16" if machine.has_native_bf16("cpu") else "fp32"
CUT = Cut(256, 96, "first")  # as shared/data/README.md says these were


def embedded(prompts, responses):
    """(n, D) by MiniLM as it says itself how it pools."""
    located = hub.locate_model("minilm", "backbone")
    mode, normalize, _ = models.sentence_pooling(located.folder)
    loaded = models.load_transformer(located, "AutoModel", models.Engine("cpu", PRECISION, False))
    pooling = embed.Pooling(mode, normalize)
    return embed.embed_texts(
        loaded, (prompts, responses), pooling, CUT, Budget(4096), Progress("", 1, 1)
    )[0]  # fmt: skip


def test_what_is_alike_is_near():
    found = embedded(
        ["How do I bake bread?"] * 3,
        ["Knead flour and water, then bake.", "Mix a dough; put it in the oven.", "Owls hunt."],
    )
    assert found.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    near, far = found[0] @ found[1], found[0] @ found[2]
    assert near > far + 0.1


@needs("alpacaeval")
def test_a_sample_of_embeddings_that_other_code_made():
    rows = pd.read_parquet(DATA / f"texts_{NAME}_alpacaeval_test.parquet")
    stored = np.load(DATA / f"embd_{NAME}_minilm_alpacaeval_test.npy", mmap_mode="r")
    at = np.random.default_rng(0).permutation(len(rows))[:40]
    found = embedded(rows.prompt.iloc[at].to_list(), rows.response.iloc[at].to_list())
    expected = stored.reshape(len(rows), -1)[at].astype(np.float32)
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1)
    assert (cosine / np.linalg.norm(expected, axis=1)).min() >= 0.999


@needs("alpacaeval")
@pytest.mark.soak
def test_a_whole_base_llm_again_and_a_sweep_on_it(rmsweep, tmp_path, monkeypatch):
    """All 9,075 embeddings, and runs on them that differ from the original's by less than noise."""
    texts = [DATA / f"texts_{NAME}_alpacaeval_{split}.parquet" for split in ("train", "test")]
    given = ["--train", texts[0], "--test", texts[1], "--base-llm-name", NAME]
    given += ["--backbone", "minilm", "--dataset", "alpacaeval", "--out", "cache"]
    given += ["--embed-prompt-tokens", 96, "--embed-prompt-keep", "first", "--empty", "keep"]
    rmsweep("cache", "build", *given, "--precision", PRECISION, timeout=1800)
    for split in ("train", "test"):
        file = f"embd_{NAME}_minilm_alpacaeval_{split}.npy"
        a, b = (np.load(folder / file).astype(float) for folder in (DATA, tmp_path / "cache"))
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        assert cosine.min() >= 0.999
    axes = ["loss=bt_mlp,clf_mlp", "quantity=600", "seed=range(5)", "annotation.beta=3"]
    axes += ["dataset=alpacaeval", "base_llm=alpaca_weak", "backbone=minilm"]
    for name, root in (("original", DATA), ("rebuilt", "cache")):
        rmsweep("run", "-m", *axes, f"cache.root={root}", f"precision={PRECISION}", f"name={name}")
    monkeypatch.chdir(tmp_path)
    by = ["loss", "seed"]
    first, second = (dataset.load(name, [*by, "improvement"]).set_index(by)["improvement"]
                     for name in ("original", "rebuilt"))  # fmt: skip
    difference = (first - second).groupby("loss").mean().abs()
    spread = first.groupby("loss").std()
    assert (difference < spread).all(), (difference, spread)
