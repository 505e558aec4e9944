"""What a spec reads: cached embeddings or labelled pairs, checked at the door, and large enough."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmsweep.annotation import pairing
from rmsweep.cache.judged import Judged, held_out_pairs, judged_pairs, require_apart, require_unseen
from rmsweep.cache.layout import Cache, LabelledPairs, open_files, open_pairs
from rmsweep.cache.synthetic import SyntheticSource, synthetic_cache
from rmsweep.config.spec import Item, RunSpec, Shape, Synthetic


@dataclass(frozen=True, eq=False)
class Inputs:
    """All that a run reads.

    golden: what annotations are simulated from, or None; trained: labelled pairs to train on, or
    None, of which `trainable` (positions) are not held out; prompts: (pairs,) integers, equal where
    their prompts' texts are. scored: whose test split Best-of-N is scored on, or None.
    """

    fingerprint: str
    dim: int
    golden: Cache | None
    trained: LabelledPairs | None
    trainable: np.ndarray
    prompts: np.ndarray
    scored: Cache | None
    judged: tuple[Judged, ...]

    @property
    def n_test(self) -> int:
        """Responses whose reward is predicted."""
        of_pairs = sum(2 * len(judged.rows) for judged in self.judged)
        own = 0 if self.scored is None else self.scored.test_prompts * self.scored.test_responses
        return own + of_pairs

    def train_embeddings(self) -> np.ndarray:
        """(prompts, K, D), or of labelled pairs (pairs, 2, D), chosen first; a memory map."""
        if self.golden is not None:
            return self.golden.train_embeddings()
        assert self.trained is not None
        return self.trained.embeddings()


def open_inputs(spec: RunSpec, root: str | None) -> Inputs:
    """What a spec reads under root; ValueError or FileNotFoundError where it is not sound."""
    if spec.dataset.synthetic is None and root is None:
        raise FileNotFoundError(
            f"cache.root must be the folder of the embeddings for dataset={spec.dataset.name}, "
            "got null; only dataset=synthetic needs none"
        )
    folder, backbone, e = Path(root or "."), spec.backbone.stem, spec.evaluation
    judged = [(name, open_pairs(folder, name, backbone)) for name in e.pairs or ()]
    if spec.annotation.source == "simulated":
        golden = cache_of(spec, root)
        found = [judged_pairs(name, pairs, np.arange(pairs.n_pairs)) for name, pairs in judged]
        require_apart(found)
        prints = [golden.fingerprint, *(pairs.fingerprint for _, pairs in judged)]
        _check_dims(golden.dim, [pairs for _, pairs in judged])
        none = np.arange(0)
        return Inputs(_together(prints), golden.dim, golden, None, none, none, golden, tuple(found))
    trained = open_pairs(folder, spec.dataset.stem, backbone)
    _check_dims(trained.dim, [pairs for _, pairs in judged])
    scored = None
    if e.golden is not None:
        scored = open_files(folder, e.golden.base_llm, backbone, e.golden.dataset)
        if scored.dim != trained.dim:
            raise ValueError(
                f"evaluation.golden: D must be {trained.dim} as in {trained.path}, found "
                f"{scored.dim}; take embeddings of the same backbone"
            )
    prompts = trained.table["prompt"].astype("category").cat.codes.to_numpy()
    held_out = held_out_pairs(spec, prompts)
    found = (
        [judged_pairs(spec.dataset.stem, trained, np.flatnonzero(held_out))] if e.held_out else []
    )
    found += [judged_pairs(name, pairs, np.arange(pairs.n_pairs)) for name, pairs in judged]
    require_apart(found)
    for name, pairs in judged:
        require_unseen(name, pairs, set(trained.table["prompt"][~held_out]))
    prints = [trained.fingerprint, *(pairs.fingerprint for _, pairs in judged)]
    prints += [] if scored is None else [scored.fingerprint]
    return Inputs(
        _together(prints), trained.dim, None, trained, np.flatnonzero(~held_out), prompts, scored,
        tuple(found),
    )  # fmt: skip


def cache_of(spec: RunSpec, root: str | None) -> Cache:
    """The cache that a spec's annotations are simulated from; errors as above."""
    assert spec.base_llm is not None, "only labelled pairs have none"
    stems = (spec.base_llm.stem, spec.backbone.stem, spec.dataset.stem)
    return open_cache(Path(root or "."), *stems, spec.dataset.synthetic)


def require_enough(spec: RunSpec, inputs: Inputs) -> None:
    """ValueError where what there is, is too small for the spec."""
    if inputs.golden is not None:
        cache, selection, met = inputs.golden, str(spec.selection), str(spec.pairing)
        most = pairing.most_pairs(cache.train_prompts, cache.train_responses, selection, met)
        what = (
            f"the distinct {met} pairs of {cache.train_prompts} prompts x {cache.train_responses} "
            f"responses under selection={selection}"
        )
    else:
        most = len(inputs.trainable)
        what = f"the labelled pairs of {spec.dataset.stem} that are not held out"
    if spec.quantity > most:
        raise ValueError(f"quantity must be at most {most}, {what}; got {spec.quantity}")
    if inputs.scored is not None and (spec.evaluation.n or 1) > inputs.scored.test_responses:
        raise ValueError(
            f"evaluation.n must be at most {inputs.scored.test_responses}, the responses cached "
            f"per test prompt; got {spec.evaluation.n}"
        )
    if inputs.scored is None and spec.evaluation.n is not None:
        raise ValueError(
            "evaluation.n is for Best-of-N, which these labelled pairs have no golden rewards for: "
            "set evaluation.n=null or give evaluation.golden"
        )


def _check_dims(dim: int, others: list[LabelledPairs]) -> None:
    for pairs in others:
        if pairs.dim != dim:
            raise ValueError(
                f"{pairs.path}: D must be {dim} as of the embeddings trained on, found {pairs.dim};"
                " take embeddings of the same backbone"
            )


def _together(fingerprints: list[str]) -> str:
    """One fingerprint of several; of one, itself."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256(":".join(fingerprints).encode()).hexdigest()[: len(fingerprints[0])]


def keyed_items(specs: Sequence[RunSpec], root: str | None) -> list[Item]:
    """Specs with their keys; opens each cache once and checks that it is large enough."""
    read: dict[tuple[Any, ...], Inputs] = {}
    found = []
    for spec in specs:
        if (source := input_files(spec)) not in read:
            read[source] = open_inputs(spec, root)
        inputs = read[source]
        require_enough(spec, inputs)
        shape = Shape(inputs.dim, inputs.n_test)
        found.append(Item(spec.key(inputs.fingerprint), spec, shape))
    return found


def input_files(spec: RunSpec) -> tuple[Any, ...]:
    """Which files a spec reads."""
    e, base_llm = spec.evaluation, spec.base_llm and spec.base_llm.stem
    return base_llm, spec.backbone.stem, spec.dataset, e.held_out, e.pairs, e.golden


def open_cache(
    root: Path, base_llm: str, backbone: str, dataset: str, synthetic: Synthetic | None
) -> Cache:
    """Open the cache of these file stems, or generate it, where it is synthetic.

    ValueError or FileNotFoundError as in open_files, and ValueError where synthetic embeddings
    would be labelled with a model that had no part in them.
    """
    if synthetic is None:
        return open_files(root, base_llm, backbone, dataset)
    for field, stem in (("base_llm", base_llm), ("backbone", backbone)):
        if not stem.startswith("synthetic"):
            raise ValueError(
                f"{field} must start with 'synthetic' with synthetic dataset {dataset!r}, got "
                f"{stem!r}: no such model had a part in it; set {field}=synthetic"
            )
    parameters = dataclasses.asdict(synthetic)
    return synthetic_cache(
        SyntheticSource(base_llm=base_llm, backbone=backbone, dataset=dataset, **parameters)
    )
