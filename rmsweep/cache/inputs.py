"""What a spec reads: cached embeddings or labelled pairs, checked at the door, and large enough."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmsweep.annotation import pairing
from rmsweep.cache.layout import Cache, LabelledPairs, open_files, open_pairs
from rmsweep.cache.open import open_cache
from rmsweep.config.random_streams import stream
from rmsweep.config.spec import RunSpec
from rmsweep.evaluation import rewardbench


@dataclass(frozen=True, eq=False)
class Judged:
    """Labelled pairs that reward models are judged on, in the order of their subsets.

    rows: (pairs,) positions in `labelled`. subsets: name and number of pairs of each, in order; the
    set's own name where it has no subsets.
    """

    name: str
    labelled: LabelledPairs
    rows: np.ndarray
    subsets: dict[str, int]


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


def read_by(spec: RunSpec, root: str | None) -> Inputs:
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
        found = [_judged(name, pairs, np.arange(pairs.n_pairs)) for name, pairs in judged]
        _require_apart(found)
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
    held_out = _held_out(spec, prompts)
    found = [_judged(spec.dataset.stem, trained, np.flatnonzero(held_out))] if e.held_out else []
    found += [_judged(name, pairs, np.arange(pairs.n_pairs)) for name, pairs in judged]
    _require_apart(found)
    for name, pairs in judged:
        _require_unseen(name, pairs, set(trained.table["prompt"][~held_out]))
    prints = [trained.fingerprint, *(pairs.fingerprint for _, pairs in judged)]
    prints += [] if scored is None else [scored.fingerprint]
    return Inputs(
        _together(prints), trained.dim, None, trained, np.flatnonzero(~held_out), prompts, scored,
        tuple(found),
    )  # fmt: skip


def cache_of(spec: RunSpec, root: str | None) -> Cache:
    """The cache that a spec's annotations are simulated from; errors as above."""
    source = spec.dataset.synthetic
    synthetic = None if source is None else dataclasses.asdict(source)
    assert spec.base_llm is not None, "only labelled pairs have none"
    stems = (spec.base_llm.stem, spec.backbone.stem, spec.dataset.stem)
    return open_cache(Path(root or "."), *stems, synthetic)


def check(spec: RunSpec, inputs: Inputs) -> None:
    """ValueError where what there is, is too small for the spec."""
    if inputs.golden is not None:
        cache, selection, met = inputs.golden, str(spec.selection), str(spec.pairing)
        most = pairing.maximum(cache.train_prompts, cache.train_responses, selection, met)
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


def _held_out(spec: RunSpec, prompts: np.ndarray) -> np.ndarray:
    """Which pairs are judged, not trained on; whole prompts, the same at every seed: (pairs,)."""
    share, n = spec.evaluation.held_out, len(prompts)
    if share is None:
        return np.zeros(n, bool)
    held_out = pairing.whole_prompts(prompts, round(share * n), stream(spec, "held out"))
    if not 0 < held_out.sum() <= n - 2:
        raise ValueError(
            f"evaluation.held_out={share} must hold out at least 1 of the {n} pairs of "
            f"{spec.dataset.stem} and leave 2, holds out {held_out.sum()}; choose another share"
        )
    return held_out


def _require_unseen(name: str, pairs: LabelledPairs, trained: set[str]) -> None:
    """ValueError where a set to judge has prompts that are trained on."""
    is_seen = pairs.table["prompt"].isin(trained)
    if is_seen.any():
        raise ValueError(
            f"evaluation.pairs: {is_seen.sum()} of the {len(is_seen)} pairs of {name} have prompts "
            "that are trained on, too; judge held-out pairs (evaluation.held_out), or another set"
        )


def _require_apart(judged: list[Judged]) -> None:
    """ValueError where two sets to judge have a subset in common, whose accuracy would be two."""
    names = [name for one in judged for name in one.subsets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"evaluation.pairs: subset {twice[0]} is in more than one of the sets to judge "
            f"({', '.join(one.name for one in judged)}); give one of them"
        )


def _judged(name: str, pairs: LabelledPairs, rows: np.ndarray) -> Judged:
    if "subset" not in pairs.table:
        return Judged(name, pairs, rows, {name: len(rows)})
    subset = pairs.table["subset"].iloc[rows].astype(str)
    rewardbench.check_subsets(subset.unique(), f"pairs_{name}.parquet")
    counts = subset.value_counts().sort_index()
    ordered = rows[np.argsort(subset.to_numpy(), kind="stable")]
    return Judged(name, pairs, ordered, {str(k): int(n) for k, n in counts.items()})


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
