"""The data that a spec reads, opened and checked: golden rewards or labelled pairs."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rmsweep.annotation import pairing
from rmsweep.cache.judged import (
    Judged,
    held_out_pairs,
    judged_pairs,
    require_distinct_subsets,
    require_unseen,
)
from rmsweep.cache.layout import Cache, LabelledPairs, open_files, open_pairs
from rmsweep.cache.synthetic import SyntheticSource, synthetic_cache
from rmsweep.config.spec import Item, RunSpec, Shape, Synthetic

NamedPairs = list[tuple[str, LabelledPairs]]  # sets to judge, one of which may be named twice


@dataclass(frozen=True, eq=False)
class Inputs:
    """The data that a run reads.

    trained: labelled pairs to train on, if any, of which `trainable` (positions) are not held out.
    prompts: (pairs,) integers, equal where the texts of their prompts are.
    """

    fingerprint: str
    dim: int
    judged: tuple[Judged, ...]
    scored: Cache | None  # its test split is what Best-of-N is scored on
    golden: Cache | None = None  # what annotations are simulated from
    trained: LabelledPairs | None = None
    trainable: np.ndarray = field(default_factory=partial(np.arange, 0))
    prompts: np.ndarray = field(default_factory=partial(np.arange, 0))

    @property
    def n_test(self) -> int:
        """The number of responses whose reward is predicted."""
        of_pairs = sum(2 * len(judged.rows) for judged in self.judged)
        own = 0 if self.scored is None else self.scored.test_prompts * self.scored.test_responses
        return own + of_pairs

    def train_embeddings(self) -> np.ndarray:
        """Return a memory map to train on: (prompts, K, D), or (pairs, 2, D) with chosen first."""
        if self.golden is not None:
            return self.golden.train_embeddings()
        assert self.trained is not None
        return self.trained.embeddings()


def open_inputs(spec: RunSpec, root: str | None) -> Inputs:
    """Return what a spec reads under root; ValueError or FileNotFoundError if it is not sound.

    root: the folder of the cache; null will do where all is synthetic.
    """
    if spec.dataset.synthetic is None and root is None:
        raise FileNotFoundError(
            f"cache.root must be the folder of the embeddings for dataset={spec.dataset.name}, "
            "got null; only dataset=synthetic needs none"
        )
    folder, backbone = Path(root or "."), spec.backbone.stem
    sets = [(name, open_pairs(folder, name, backbone)) for name in spec.evaluation.pairs or ()]
    if spec.annotation.source == "simulated":
        return _golden_inputs(spec, folder, sets)
    return _labelled_inputs(spec, folder, sets)


def _golden_inputs(spec: RunSpec, folder: Path, sets: NamedPairs) -> Inputs:
    """Return a cache whose golden rewards are annotated, and sets of labelled pairs to judge."""
    assert spec.base_llm is not None, "only labelled pairs have none"
    stems = (spec.base_llm.stem, spec.backbone.stem, spec.dataset.stem)
    cache = open_cache(folder, *stems, spec.dataset.synthetic)
    judged = [judged_pairs(name, pairs, np.arange(pairs.n_pairs)) for name, pairs in sets]
    require_distinct_subsets(judged)
    _require_dim(cache.dim, sets)
    fingerprint = _joint_fingerprint([cache, *(pairs for _, pairs in sets)])
    return Inputs(fingerprint, cache.dim, tuple(judged), scored=cache, golden=cache)


def _labelled_inputs(spec: RunSpec, folder: Path, sets: NamedPairs) -> Inputs:
    """Return labelled pairs to train on, and what is judged: held-out ones, others, Best-of-N."""
    trained = open_pairs(folder, spec.dataset.stem, spec.backbone.stem)
    _require_dim(trained.dim, sets)
    scored = _scored_cache(spec, folder, trained)
    prompts = trained.table["prompt"].astype("category").cat.codes.to_numpy()
    held_out = held_out_pairs(spec, prompts)
    judged = [judged_pairs(name, pairs, np.arange(pairs.n_pairs)) for name, pairs in sets]
    if spec.evaluation.held_out:
        judged.insert(0, judged_pairs(spec.dataset.stem, trained, np.flatnonzero(held_out)))
    require_distinct_subsets(judged)
    for name, pairs in sets:
        require_unseen(name, pairs, set(trained.table["prompt"][~held_out]))
    others = [] if scored is None else [scored]
    return Inputs(
        fingerprint=_joint_fingerprint([trained, *(pairs for _, pairs in sets), *others]),
        dim=trained.dim,
        judged=tuple(judged),
        scored=scored,
        trained=trained,
        trainable=np.flatnonzero(~held_out),
        prompts=prompts,
    )


def _scored_cache(spec: RunSpec, folder: Path, trained: LabelledPairs) -> Cache | None:
    """Return the cache of evaluation.golden, on which Best-of-N is scored; None without."""
    golden = spec.evaluation.golden
    if golden is None:
        return None
    cache = open_files(folder, golden.base_llm, spec.backbone.stem, golden.dataset)
    if cache.dim != trained.dim:
        raise ValueError(
            f"evaluation.golden: D must be {trained.dim} as in {trained.path}, found "
            f"{cache.dim}; take embeddings of the same backbone"
        )
    return cache


def require_enough(spec: RunSpec, inputs: Inputs) -> None:
    """Raise ValueError where the data of a spec are fewer than it asks for."""
    if inputs.golden is not None:
        cache, selection, kind = inputs.golden, str(spec.selection), str(spec.pairing)
        most = pairing.most_pairs(cache.train_prompts, cache.train_responses, selection, kind)
        what = (
            f"the distinct {kind} pairs of {cache.train_prompts} prompts x {cache.train_responses} "
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


def _require_dim(dim: int, sets: NamedPairs) -> None:
    for _, pairs in sets:
        if pairs.dim != dim:
            raise ValueError(
                f"{pairs.path}: D must be {dim} as of the embeddings trained on, found {pairs.dim};"
                " take embeddings of the same backbone"
            )


def _joint_fingerprint(sources: Sequence[Cache | LabelledPairs]) -> str:
    """Return one fingerprint of several sources, in this order; of one, its own."""
    prints = [source.fingerprint for source in sources]
    if len(prints) == 1:
        return prints[0]
    return hashlib.sha256(":".join(prints).encode()).hexdigest()[: len(prints[0])]


def keyed_items(specs: Sequence[RunSpec], root: str | None) -> list[Item]:
    """Return specs with their keys; each cache is opened once, and must be large enough."""
    opened: dict[tuple[Any, ...], Inputs] = {}
    items = []
    for spec in specs:
        if (files := input_files(spec)) not in opened:
            opened[files] = open_inputs(spec, root)
        require_enough(spec, inputs := opened[files])
        items.append(Item(spec.key(inputs.fingerprint), spec, Shape(inputs.dim, inputs.n_test)))
    return items


def input_files(spec: RunSpec) -> tuple[Any, ...]:
    """Return what tells apart specs that read different files, or parts of files."""
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
    for group, stem in (("base_llm", base_llm), ("backbone", backbone)):
        if not stem.startswith("synthetic"):
            raise ValueError(
                f"{group} must start with 'synthetic' with synthetic dataset {dataset!r}, got "
                f"{stem!r}: no such model had a part in it; set {group}=synthetic"
            )
    rest = dataclasses.asdict(synthetic)
    source = SyntheticSource(base_llm=base_llm, backbone=backbone, dataset=dataset, **rest)
    return synthetic_cache(source)
