"""The frozen, typed configuration of one run: parsing, identity and columns."""

import dataclasses
import functools
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from rmsweep.config import losses, rules
from rmsweep.config.schema import build, nearest

SEMANTICS = 1  # raised whenever the same spec would give other numbers
GROUPS = ("base_llm", "backbone", "dataset", "selection", "pairing", "loss", "evaluation")
UNLABELLED = ("base_llm", "selection", "pairing")  # groups without an option where people labelled
STRUCTURES = ("annotation", "training")
# No number hangs on these fields of a config ...
NOT_IN_SPEC = {"name", "wait", "device", "cache", "launcher", "logger", "sweep", "save_model"}
NOT_IN_ID = {"loss.label", "evaluation.diagnostics"}  # ... nor on these, which a run needs


@dataclass(frozen=True)
class Source:
    """Whose files are read: a base LLM or a backbone."""

    name: str
    stem: str


@dataclass(frozen=True)
class Synthetic:
    """Shape and statistics of generated data; cache/synthetic.py says what each does."""

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
    name: str
    stem: str
    reward_scale: float | str | None
    synthetic: Synthetic | None


@dataclass(frozen=True)
class Annotation:
    source: str
    beta: float | None
    link: str | None
    flip_rate: float | None = field(metadata=losses.IF_SET)


@dataclass(frozen=True)
class Training:
    protocol: str
    batch_pairs: int
    learning_rate: float
    max_epochs: int
    patience: int | None
    validation_share: float


@dataclass(frozen=True)
class Golden:
    """File stems of the cache whose test split is scored, where labels are trained on."""

    base_llm: str
    dataset: str


@dataclass(frozen=True)
class Evaluation:
    name: str
    n: int | None
    held_out: float | None = field(metadata=losses.IF_SET)
    pairs: tuple[str, ...] | None = field(metadata=losses.IF_SET)
    golden: Golden | None = field(metadata=losses.IF_SET)
    diagnostics: bool = field(metadata={"in_id": False})  # records more, changes no metric


@dataclass(frozen=True)
class RunSpec:
    """All that determines a run's numbers, but for the cached embeddings themselves."""

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
        return json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def spec_id(self) -> str:
        """16 hex digits; known before any data is there."""
        return _digest(f"{SEMANTICS}:{self.canonical}")

    def key(self, fingerprint: str) -> str:
        """Identity of the numbers: spec, SEMANTICS and the data's fingerprint; 16 hex digits."""
        return _digest(f"{SEMANTICS}:{self.canonical}:{fingerprint}")

    @property
    def n_validation(self) -> int:
        """Pairs held out."""
        return round(self.quantity * self.training.validation_share)

    @property
    def n_members(self) -> int:
        """Reward models to fit."""
        return self.loss.ensemble or 1

    @property
    def members(self) -> list["RunSpec"]:
        """The runs that an ensemble consists of, the first as without one; else itself.

        They record no diagnostics, which would not be those of the ensemble.
        """
        if self.loss.ensemble is None:
            return [self]
        alone = dataclasses.replace(self.loss, ensemble=None, pick=None)
        plain = dataclasses.replace(self.evaluation, diagnostics=False)
        return [
            dataclasses.replace(
                self, loss=dataclasses.replace(alone, member=i or None), evaluation=plain
            )
            for i in range(self.loss.ensemble)
        ]


@dataclass(frozen=True)
class Shape:
    """What a run's cost depends on, of its cache."""

    dim: int
    test_responses: int  # of all test prompts and judged pairs


@dataclass(frozen=True)
class Item:
    """A spec with the key of its row; shape: where its cache was opened."""

    key: str
    spec: RunSpec
    shape: Shape | None = None


def parse(cfg: dict[str, Any], choices: dict[str, str]) -> RunSpec:
    """The spec of a composed, resolved config and its group choices; ValueError names the field."""
    known = {f.name for f in dataclasses.fields(RunSpec)} | NOT_IN_SPEC
    for name in sorted(cfg.keys() - known):
        raise ValueError(f"{name} is an unknown field; {nearest(name, known)}")
    annotation = cfg.get("annotation")
    source = annotation.get("source") if isinstance(annotation, dict) else None
    needed = [group for group in GROUPS if source != "labels" or group not in UNLABELLED]
    if absent := [group for group in needed if choices.get(group) is None]:
        raise ValueError(f"{absent[0]} has no option; give {absent[0]}=OPTION")
    parts = {
        group: _part(group, choices[group], json.dumps(cfg.get(group) or {}))
        for group in GROUPS
        if choices.get(group) is not None
    }
    parts = dict.fromkeys(UNLABELLED) | parts
    parts |= {name: _part(name, None, json.dumps(cfg.get(name))) for name in STRUCTURES}
    scalars = {name: cfg.get(name) for name in ("quantity", "seed", "precision")}
    spec = build(RunSpec, parts | scalars)
    rules.check(spec, columns(spec))
    return spec


@functools.lru_cache(maxsize=4096)  # a sweep's specs share most of their parts
def _part(group: str, name: str | None, values_json: str) -> Any:
    values = json.loads(values_json)
    if name is not None:
        if "name" in values:
            raise ValueError(f"{group}.name is an unknown field: the name is that of the option")
        values = {"name": name, **values}
    if group in ("selection", "pairing"):
        if unknown := values.keys() - {"name"}:
            raise ValueError(f"{group}.{min(unknown)} is an unknown field; valid: none")
        return values["name"]
    if group == "loss":
        values = losses.fields_of(values)
    hint = typing.get_type_hints(RunSpec)[group]
    return build(next(iter(typing.get_args(hint)), hint), values, group)


def from_canonical(text: str, label: str, diagnostics: bool) -> RunSpec:
    """The spec back from its canonical JSON and the two fields that are no part of that."""
    values = json.loads(text)
    model = values["loss"]["reward_model"]
    options = losses.REWARD_MODELS[model]
    values["loss"]["options"] = build(options, _unset(options) | values["loss"]["options"])
    values["loss"]["label"] = label
    values["evaluation"]["diagnostics"] = diagnostics
    for name, cls in (
        ("loss", losses.Loss),
        ("annotation", Annotation),
        ("evaluation", Evaluation),
    ):
        values[name] = _unset(cls) | values[name]
    return build(RunSpec, values)


def _unset(cls: Any) -> dict[str, None]:
    """Null for each field that is in an id only where it is set."""
    fields = dataclasses.fields(cls)
    return {f.name: None for f in fields if f.metadata.get("in_id_if_set")}


def columns(spec: RunSpec) -> dict[str, Any]:
    """The spec as flat columns, named as on the command line; a loss's own fields are one JSON."""
    return {name: _at(spec, path) for name, path, _ in _leaves()}


def column_types() -> dict[str, type]:
    """Name and type (int, float, str) of each of `columns`."""
    return {name: hint for name, _, hint in _leaves()}


def loss_options(loss: losses.Loss) -> str:
    """JSON of the loss's fields that shape its numbers, named as on the command line."""
    plain = _plain(loss)
    kept = {k: plain[k] for k in ("objective", "validation_objective", "rows")}
    return json.dumps(kept | plain["options"], sort_keys=True)


@functools.cache
def _leaves() -> tuple[tuple[str, tuple[str, ...], type], ...]:
    """Column name, attribute path and scalar type of each scalar field of a spec."""
    found = []

    def walk(cls: type, path: tuple[str, ...]) -> None:
        for name, hint in typing.get_type_hints(cls).items():
            here = (*path, name)
            options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            kind: Any = next(o for o in options if o is not types.NoneType)
            column = ".".join(path if name == "name" else here)
            if cls is losses.Loss and name in ("objective", "validation_objective", "rows"):
                continue  # in loss.options
            if kind is bool:
                continue  # evaluation.diagnostics
            if kind is losses.Mlp:
                found.append((column, here, str))
            elif typing.get_origin(kind) is tuple:
                found.append((column, here, str))
            elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
                walk(kind, here)
            else:
                found.append((column, here, str if len(options) > 1 and str in options else kind))

    walk(RunSpec, ())
    return tuple(found)


def _at(spec: RunSpec, path: tuple[str, ...]) -> Any:
    value: Any = spec
    for name in path:
        value = None if value is None else getattr(value, name)
    if isinstance(value, losses.Options):
        return loss_options(spec.loss)
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value) if path[-1] in ("reward_scale", "pick") and value is not None else value


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, without the fields that are not part of the spec's identity."""
    if dataclasses.is_dataclass(value):
        kept = [f.name for f in dataclasses.fields(value) if _is_in_id(f, getattr(value, f.name))]
        return {name: _plain(getattr(value, name)) for name in kept}
    return value


def _is_in_id(of: dataclasses.Field[Any], value: Any) -> bool:
    if of.metadata.get("in_id_if_set"):
        return value is not None
    return of.metadata.get("in_id", True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
