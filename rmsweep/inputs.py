"""What a spec reads: its cache, checked at the door, and whether that is large enough."""

import dataclasses
from pathlib import Path

from rmsweep import pairing
from rmsweep.cache.layout import Cache
from rmsweep.cache.open import open_cache
from rmsweep.spec import RunSpec


def cache_of(spec: RunSpec, root: str | None) -> Cache:
    """The cached embeddings that a spec reads; ValueError or FileNotFoundError where not sound."""
    if spec.dataset.synthetic is None and root is None:
        raise FileNotFoundError(
            f"cache.root must be the folder of the embeddings for dataset={spec.dataset.name}, "
            "got null; only dataset=synthetic needs none"
        )
    source = spec.dataset.synthetic
    synthetic = None if source is None else dataclasses.asdict(source)
    stems = (spec.base_llm.stem, spec.backbone.stem, spec.dataset.stem)
    return open_cache(Path(root or "."), *stems, synthetic)


def check(spec: RunSpec, cache: Cache) -> None:
    """ValueError where the cache is too small for the spec."""
    most = pairing.maximum(cache.train_prompts, cache.train_responses, spec.selection, spec.pairing)
    if spec.quantity > most:
        raise ValueError(
            f"quantity must be at most {most}, the distinct {spec.pairing} pairs of "
            f"{cache.train_prompts} prompts x {cache.train_responses} responses under "
            f"selection={spec.selection}; got {spec.quantity}"
        )
    if (spec.evaluation.n or 1) > cache.test_responses:
        raise ValueError(
            f"evaluation.n must be at most {cache.test_responses}, the responses cached per test "
            f"prompt; got {spec.evaluation.n}"
        )
