"""SyntheticSource caches of a middle size, and a digest of what one holds."""

import dataclasses
import hashlib

from rmsweep.cache.synthetic import SyntheticSource, synthetic_cache

STEMS = {"base_llm": "synthetic", "backbone": "synthetic", "dataset": "synthetic"}


PARAMETERS = {
    "seed": 0,
    "train_prompts": 400,
    "train_responses": 10,
    "test_prompts": 150,
    "test_responses": 20,
    "dim": 64,
    "n_clusters": 8,
    "intrinsic_dim": 8,
    "between_std": 4.0,
    "within_std": 2.3,
    "variance_ratio": 6.8,
    "noise": 0.5,
}


SOURCE = SyntheticSource(**STEMS, **PARAMETERS)


def changed(**fields) -> SyntheticSource:
    """Return SOURCE with other parameters."""
    return dataclasses.replace(SOURCE, **fields)


LARGE = changed(train_prompts=20, test_prompts=20, test_responses=500, dim=2048)


def digest(source: SyntheticSource) -> str:
    """Return the SHA-256 of all arrays of a source's cache."""
    cache = synthetic_cache(source)
    parts = (cache.train_embeddings(), cache.read_test(0, cache.test_prompts), cache.train_golden)
    return hashlib.sha256(b"".join(p.tobytes() for p in (*parts, cache.test_golden))).hexdigest()
