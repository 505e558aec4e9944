"""Common random numbers: every random need of a run has a stream of its own."""

import hashlib
import json
from typing import Any

import numpy as np

from rmsweep.config.columns import spec_columns
from rmsweep.config.spec import RunSpec

# A stream is seeded with a hash of its purpose and of the fields that it may depend on, so losses,
# backbones and noise levels meet the same annotations.
STREAMS = {
    "selection": ("base_llm.stem", "dataset.stem", "selection", "seed"),
    "held out": ("dataset.stem",),
    "annotator": ("base_llm.stem", "dataset.stem", "selection", "seed", "pairing"),
    "validation split": ("seed", "quantity", "training.protocol", "loss.member"),
    "batches": ("seed", "quantity", "training.protocol", "loss.member"),
    "weights": ("seed", "loss.member"),
}


def stream(spec: RunSpec, purpose: str, **also: Any) -> np.random.Generator:
    """Return the generator of one need in STREAMS. also: what it depends on beside the spec."""
    flat = spec_columns(spec)
    fields = {name: flat[name] for name in STREAMS[purpose]}
    if fields.get("loss.member", 0) is None:  # a run that is no member draws as before there were
        del fields["loss.member"]
    identity = {"purpose": purpose, **also, **fields}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest))))
