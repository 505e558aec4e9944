"""The `loss` of a spec: an objective, the reward model it is fitted on, an ensemble of these."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rmsweep.config.schema import convert, from_mapping
from rmsweep.config.targets import (
    import_objective,
    judges_responses,
    make_estimator,
    needs_margin,
    option_types,
    refuse_unsound,
    source_sha256,
)
from rmsweep.errors import nearest, one_line

# Objectives by name of the reward models that bring their own; the others take a function.
OWN_OBJECTIVES = {"trees": ("binary", "bradley_terry"), "classifier": ("binary",)}
OWN_BINS = "run"  # null in a spec
IF_SET = {"in_id_if_set": True}  # a null field is not in the canonical JSON: newer than some ids


@dataclass(frozen=True)
class Mlp:
    hidden: tuple[int, ...]


@dataclass(frozen=True)
class Trees:
    rounds: int
    bins: str | None = field(metadata=IF_SET)  # whose: null, the run's own rows', or cache


@dataclass(frozen=True)
class Classifier:
    estimator: dict[str, Any]


Options = Mlp | Trees | Classifier


@dataclass(frozen=True)
class Loss:
    name: str
    label: str = field(metadata={"in_id": False})  # for figures: the same run under any label
    objective: dict[str, Any] | str
    validation_objective: dict[str, Any] | None
    rows: str
    reward_model: str
    options: Options
    source_sha256: str | None  # of the user's module that the objective comes from
    ensemble: int | None = field(metadata=IF_SET)  # its members, 0 to ensemble - 1
    pick: float | str | None = field(metadata=IF_SET)  # of an ensemble: ensembling.combine
    member: int | None = field(metadata=IF_SET)  # fit this one of an ensemble's members; 0 is null


REWARD_MODELS = {"mlp": Mlp, "trees": Trees, "classifier": Classifier}


def fields_of(values: dict[str, Any]) -> dict[str, Any]:
    """The flat fields of a loss's yaml, the reward model's own ones gathered under `options`."""
    model, objective = values.get("reward_model"), values.get("objective")
    if model not in REWARD_MODELS:
        raise ValueError(f"loss.reward_model {model!r} is unknown; {nearest(model, REWARD_MODELS)}")
    if model in OWN_OBJECTIVES and objective not in OWN_OBJECTIVES[model]:
        raise ValueError(
            f"loss.objective: reward_model={model} takes one of its own objectives "
            f"({', '.join(OWN_OBJECTIVES[model])}), not one on predicted rewards; got {objective}"
        )
    if model == "mlp" and not isinstance(objective, dict):
        raise ValueError(f"loss.objective: reward_model=mlp takes a _target_, got {objective!r}")
    for name in ("objective", "validation_objective"):
        if isinstance(values.get(name), dict):
            values[name] = _typed_options(values[name], f"loss.{name}")
            function = import_objective(values[name], f"loss.{name}")
            refuse_unsound(function, f"loss.{name}")
            if values.get("rows") == "responses" and not judges_responses(function):
                raise ValueError(
                    f"loss.rows=responses needs an objective with a term for each response; "
                    f"loss.{name} is constant where the other half of a pair is absent"
                )
    if values.get("ensemble") is not None and values.get("pick") is None:
        values["pick"] = "mean"
    validation = values.get("validation_objective")
    general = {f.name for f in dataclasses.fields(Loss)} - {"options", "source_sha256"}
    own = {name: value for name, value in values.items() if name not in general}
    if model == "trees" and own.get("bins", OWN_BINS) == OWN_BINS:  # older yamls have no bins
        own["bins"] = None
    options = from_mapping(REWARD_MODELS[model], own, "loss")
    if isinstance(options, Classifier):
        _check_estimator(options.estimator)
    return {
        **{name: value for name, value in values.items() if name in general},
        "options": options,
        "source_sha256": _source([objective, validation, own.get("estimator")]),
    }


def _typed_options(objective: dict[str, Any], path: str) -> dict[str, Any]:
    """The objective with its options of the types that its function states: 1 and 1.0 are one."""
    kinds = option_types(import_objective(objective, path))
    return {
        name: convert(value, kinds[name], f"{path}.{name}") if name in kinds else value
        for name, value in objective.items()
    }


def _check_estimator(estimator: dict[str, Any]) -> None:
    """ValueError unless it is a classifier that fits a few rows, which shows its options sound."""
    found: Any = make_estimator(estimator, "loss.estimator")
    if not (
        {"fit", "get_params"} <= set(dir(found))
        and {"decision_function", "predict_proba"} & set(dir(found))
    ):
        raise ValueError(
            "loss.estimator must be a scikit-learn classifier with decision_function or "
            f"predict_proba; {estimator['_target_']} is none"
        )
    is_chosen = np.arange(20) % 2 == 0
    try:
        with warnings.catch_warnings(action="ignore"):
            found.fit(np.eye(20), is_chosen)
    except ValueError as error:
        raise ValueError(f"loss.estimator: {one_line(error)}") from None


def source_of(loss: Loss) -> str | None:
    """Hash of the user's source files that a loss comes from, as they are now."""
    estimator = loss.options.estimator if isinstance(loss.options, Classifier) else None
    return _source([loss.objective, loss.validation_objective, estimator])


def _source(objectives: list[Any]) -> str | None:
    hashes = [source_sha256(o["_target_"]) for o in objectives if isinstance(o, dict)]
    together = hashlib.sha256(str(hashes).encode()).hexdigest()[:16]
    return together if any(hashes) else None


def reads_margin(loss: Loss) -> bool:
    """Whether the loss's objectives read golden margins."""
    objectives = (loss.objective, loss.validation_objective)
    return any(needs_margin(import_objective(o, "loss")) for o in objectives if isinstance(o, dict))


def check(loss: Loss) -> None:
    """ValueError where values make no sense; types are known to be right."""
    options, e, pick, member = loss.options, loss.ensemble, loss.pick, loss.member
    sizes = options.hidden if isinstance(options, Mlp) else ()
    sizes = (options.rounds,) if isinstance(options, Trees) else sizes
    count = ">= 1 or null"
    bins = options.bins if isinstance(options, Trees) else None
    is_pick = pick in PICKS if isinstance(pick, str) else pick is None or is_positive(pick)
    rules: list[tuple[str, object, str, bool]] = [
        (next(iter(vars(options))), sizes, ">= 1", min(sizes, default=1) >= 1),
        ("bins", bins, f"{OWN_BINS} or cache", bins in (None, "cache")),
        ("ensemble", e, count, e is None or e >= 1),
        ("member", member, count, member is None or member >= 1),
        ("pick", pick, f"{', '.join(PICKS)} or > 0", is_pick),
        ("pick", pick, "null where loss.ensemble is", (pick is None) == (e is None)),
        ("member", member, "null where loss.ensemble is not", e is None or member is None),
    ]
    for name, shown, rule, holds in rules:
        if not holds:
            raise ValueError(f"loss.{name} must be {rule}, got {shown}")


def is_positive(value: object) -> bool:
    return isinstance(value, float) and 0 < value < float("inf")


PICKS: dict[str, Callable[..., Any]] = {"mean": np.mean, "min": np.min}
