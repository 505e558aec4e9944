"""The frozen, typed configuration of one run, and its identity."""

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from rmsweep.config import losses
from rmsweep.config.schema import IF_SET

SEMANTICS = 2  # raised whenever the same spec would give other numbers
OPTION_GROUPS = ("base_llm", "backbone", "dataset", "selection", "pairing", "loss", "evaluation")
PROTOCOLS = ("pairs", "rbt_scripts")  # of training; the second for what trains in epochs
UNLABELLED = ("base_llm", "selection", "pairing")  # groups without an option where people labelled
# No number hangs on these fields of a config ...
NOT_IN_SPEC = {"name", "wait", "device", "cache", "launcher", "logger", "sweep", "save_model"}
NOT_IN_ID = {"loss.label", "evaluation.diagnostics"}  # ... nor on these, which a run needs


@dataclass(frozen=True)
class Source:
    """A base LLM or a backbone whose files are read; stem: its part of their names."""

    name: str
    stem: str


@dataclass(frozen=True)
class Synthetic:
    """The shape and statistics of generated data, which cache/synthetic.py makes.

    between_std, within_std: of the golden reward, over prompts and over responses to a prompt.
    variance_ratio: variance of the embeddings between prompts, over that within prompts.
    noise: share of the embeddings' variance, between and within, that is unstructured.
    The variance of an embedding coordinate is 1 on average.
    """

    seed: int
    train_prompts: int
    train_responses: int
    test_prompts: int
    test_responses: int
    dim: int
    n_clusters: int
    intrinsic_dim: int
    between_std: float
    within_std: float
    variance_ratio: float
    noise: float


@dataclass(frozen=True)
class Dataset:
    """The prompts, and the unit of golden rewards; synthetic: null where files are read."""

    name: str
    stem: str
    reward_scale: float | str | None
    synthetic: Synthetic | None


@dataclass(frozen=True)
class Annotation:
    """The source of the labels: people, or an annotator simulated with this beta and link."""

    source: str
    beta: float | None
    link: str | None
    flip_rate: float | None = field(metadata=IF_SET)


@dataclass(frozen=True)
class Training:
    """The settings of a fit; validation_share: of the pairs, held out to stop at the best epoch."""

    protocol: str
    batch_pairs: int
    learning_rate: float
    max_epochs: int
    patience: int | None
    validation_share: float
    weight_decay: float | None = field(metadata=IF_SET)  # of MLPs


@dataclass(frozen=True)
class Golden:
    """The file stems of the cache whose test split is scored, where labels are trained on."""

    base_llm: str
    dataset: str


@dataclass(frozen=True)
class Evaluation:
    """What fitted reward models are judged on: n of Best-of-N, and labelled pairs."""

    name: str
    n: int | None
    held_out: float | None = field(metadata=IF_SET)
    pairs: tuple[str, ...] | None = field(metadata=IF_SET)
    golden: Golden | None = field(metadata=IF_SET)
    diagnostics: bool = field(metadata={"in_id": False})  # records more, changes no metric


@dataclass(frozen=True)
class RunSpec:
    """The whole of what determines a run's numbers, but for the cached embeddings themselves."""

    base_llm: Source | None
    backbone: Source
    dataset: Dataset
    selection: str | None
    pairing: str | None
    annotation: Annotation
    loss: losses.Loss
    training: Training
    evaluation: Evaluation
    quantity: int
    seed: int
    precision: str

    @functools.cached_property
    def canonical(self) -> str:
        """The spec as JSON, of one form for one run, of which its ids are hashes."""
        return json.dumps(canonical_fields(self), sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def spec_id(self) -> str:
        """The identity of a spec, 16 hex digits, known before any data is there."""
        return _digest(f"{SEMANTICS}:{self.canonical}")

    def key(self, fingerprint: str) -> str:
        """Return the identity of a run's numbers, 16 hex digits: of spec, SEMANTICS and data."""
        return _digest(f"{SEMANTICS}:{self.canonical}:{fingerprint}")

    @property
    def n_validation(self) -> int:
        """The number of pairs held out for validation."""
        return round(self.quantity * self.training.validation_share)

    @property
    def n_members(self) -> int:
        """The number of reward models to fit."""
        return self.loss.ensemble or 1

    @property
    def members(self) -> list["RunSpec"]:
        """The runs that an ensemble consists of, the first as without one; else the run itself."""
        if self.loss.ensemble is None:
            return [self]
        alone = dataclasses.replace(self.loss, ensemble=None, pick=None)
        losses = [dataclasses.replace(alone, member=i or None) for i in range(self.loss.ensemble)]
        undiagnosed = dataclasses.replace(self.evaluation, diagnostics=False)
        return [dataclasses.replace(self, loss=loss, evaluation=undiagnosed) for loss in losses]


@dataclass(frozen=True)
class Shape:
    """The shape of a run's cache, as far as the run's cost depends on it."""

    dim: int
    test_responses: int  # of all test prompts and judged pairs


@dataclass(frozen=True)
class Item:
    """A spec with the key of its row; shape: where its cache was opened."""

    key: str
    spec: RunSpec
    shape: Shape | None = None


def canonical_fields(value: Any) -> Any:
    """Return a dataclass as nested dicts, without fields that are no part of a spec's identity."""
    if dataclasses.is_dataclass(value):
        kept = [f.name for f in dataclasses.fields(value) if _is_in_id(f, getattr(value, f.name))]
        return {name: canonical_fields(getattr(value, name)) for name in kept}
    return value


def _is_in_id(of: dataclasses.Field[Any], value: object) -> bool:
    return of.metadata.get("in_id", value is not None or not of.metadata.get("in_id_if_set"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
