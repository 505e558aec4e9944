"""Annotated pairs of a spec, and which of them are held out for validation."""

import numpy as np

from rmsweep.annotation import pairing, preferences, splits
from rmsweep.cache.inputs import Inputs
from rmsweep.cache.layout import Cache
from rmsweep.config.random_streams import stream
from rmsweep.config.spec import RunSpec


def annotate_pairs(spec: RunSpec, inputs: Inputs) -> tuple[np.ndarray, dict[str, float]]:
    """Annotate pairs: (quantity, 2) response indices, chosen first; and facts for the row."""
    if inputs.golden is None:
        return _labelled(spec, inputs), {}
    golden, a = inputs.golden.train_golden, spec.annotation
    assert spec.selection and spec.pairing and a.beta is not None and a.link
    pairs = pairing.pairs_to_annotate(
        golden, spec.selection, spec.pairing, spec.quantity, stream(spec, "selection")
    )
    margin = np.subtract(*golden.reshape(-1)[pairs].T)
    probability = preferences.preference_probability(
        margin / reward_scale(spec, inputs.golden), a.beta, a.link
    )
    uniforms = stream(spec, "annotator").random(spec.quantity)
    first = preferences.prefers_first(probability, uniforms)
    facts = {
        "annotation_error": preferences.error_rate(margin, first),
        "mean_margin": float(np.abs(margin).mean()),
    }
    return np.where(first[:, None], pairs, pairs[:, ::-1]), facts


def _labelled(spec: RunSpec, inputs: Inputs) -> np.ndarray:
    """Take labelled pairs as annotated; turn some labels, the more the larger flip_rate is."""
    flip_rate = spec.annotation.flip_rate
    assert flip_rate is not None
    order = stream(spec, "selection").permutation(len(inputs.trainable))
    chosen = 2 * inputs.trainable[order[: spec.quantity]]
    pairs = np.stack([chosen, chosen + 1], axis=1)
    is_flipped = stream(spec, "annotator").random(spec.quantity) < flip_rate
    return np.where(is_flipped[:, None], pairs[:, ::-1], pairs)


def reward_scale(spec: RunSpec, cache: Cache) -> float:
    """Return what a margin is divided by before beta multiplies it."""
    scale = spec.dataset.reward_scale
    assert scale is not None, "annotations are simulated"
    return float(cache.train_golden.std()) if isinstance(scale, str) else scale


def split_pairs(spec: RunSpec, pairs: np.ndarray, inputs: Inputs) -> splits.Split:
    """Split annotated pairs (quantity, 2): by prompts where people labelled, else by protocol."""
    rngs = stream(spec, "validation split"), stream(spec, "batches")
    t = spec.training
    if inputs.trained is not None:
        prompts = inputs.prompts[pairs[:, 0] // 2]
        return splits.split_by_prompts(pairs, prompts, spec.n_validation, t.batch_pairs, *rngs)
    if t.protocol == "pairs":
        return splits.split_by_pairs(pairs, spec.n_validation, t.batch_pairs, *rngs)
    return splits.split_like_rbt_scripts(pairs, spec.loss.rows, t.validation_share, *rngs)
