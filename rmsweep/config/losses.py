"""The `loss` of a spec: an objective, the reward model it is fitted on, an ensemble of these."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rmsweep.config import targets
from rmsweep.config.reward_models import BUILT_IN_KINDS, Options, Own
from rmsweep.config.schema import IF_SET, Rule
from rmsweep.errors import nearest


@dataclass(frozen=True)
class Loss:
    """An objective and the reward model that is fitted by it, or an ensemble of such."""

    name: str
    label: str = field(metadata={"in_id": False})  # for figures: the same run under any label
    objective: dict[str, Any] | str
    validation_objective: dict[str, Any] | None
    rows: str
    reward_model: str  # mlp, trees, classifier, or the `_target_` of a user's own
    options: Options
    source_sha256: str | None  # of the user's module that the objective comes from
    ensemble: int | None = field(metadata=IF_SET)  # its members, 0 to ensemble - 1
    pick: float | str | None = field(metadata=IF_SET)  # of an ensemble: predict.combine_members
    member: int | None = field(metadata=IF_SET)  # fit this one of an ensemble's members; 0 is null


def fields_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Loss` from the flat ones of its yaml; ValueError for unsound ones."""
    model: Any = values.get("reward_model")
    is_own = isinstance(model, dict)
    if not is_own and (not isinstance(model, str) or model not in BUILT_IN_KINDS):
        raise ValueError(
            f"loss.reward_model {model!r} is unknown; {nearest(model, BUILT_IN_KINDS)}"
        )
    name = str(model.get("_target_")) if is_own else model
    kind = Own if is_own else BUILT_IN_KINDS[model]
    _check_objectives(values, name, kind.objectives)
    if values.get("ensemble") is not None and values.get("pick") is None:
        values["pick"] = "mean"
    general = {f.name for f in dataclasses.fields(Loss)} - {"options", "source_sha256"}
    own = {field: value for field, value in values.items() if field not in general}
    options = kind.from_yaml(own | {"reward_model": model} if is_own else own)
    values["reward_model"] = name
    fields = {field: value for field, value in values.items() if field in general}
    code = [values.get("objective"), values.get("validation_objective"), *options.code]
    return fields | {"options": options, "source_sha256": _source(_targets(code))}


def _check_objectives(values: dict[str, Any], model: str, own: tuple[str, ...]) -> None:
    """Raise ValueError unless the objectives suit the model, whose own are `own`; type options."""
    objective = values.get("objective")
    if own and objective not in own:
        raise ValueError(
            f"loss.objective: reward_model={model} takes one of its own objectives "
            f"({', '.join(own)}), not one on predicted rewards; got {objective}"
        )
    if not own and not isinstance(objective, dict):
        raise ValueError(
            f"loss.objective: reward_model={model} takes a _target_, got {objective!r}"
        )
    for name in ("objective", "validation_objective"):
        if isinstance(values.get(name), dict):
            path = f"loss.{name}"
            targets.import_objective(values[name], path)
            values[name] = targets.typed_options(values[name], path)
            function = targets.import_objective(values[name], path)
            targets.try_objective(function, path, values.get("rows") == "responses")


def source_hash_of(loss: Loss) -> str | None:
    """Return the hash of the user's source files that a loss comes from, as they are now."""
    return _source(targets_of(loss))


def targets_of(loss: Loss) -> list[str]:
    """Return every `_target_` of a loss: of its objectives, its options, and within these."""
    return _targets([loss.objective, loss.validation_objective, *loss.options.code])


def _targets(objectives: list[Any]) -> list[str]:
    mappings = [objective for objective in objectives if isinstance(objective, dict)]
    return [target for mapping in mappings for target in targets.all_targets(mapping)]


def _source(names: list[str]) -> str | None:
    hashes = [targets.source_sha256(name) for name in names]
    together = hashlib.sha256(str(hashes).encode()).hexdigest()[:16]
    return together if any(hashes) else None


def reads_margin(loss: Loss) -> bool:
    """Tell whether the loss's objectives read golden margins."""
    mappings = [o for o in (loss.objective, loss.validation_objective) if isinstance(o, dict)]
    return any(targets.reads_margins(targets.import_objective(o, "loss")) for o in mappings)


def rules_of(loss: Loss) -> list[Rule]:
    """Return the rules that a loss's values obey, beyond their types."""
    e, pick, member = loss.ensemble, loss.pick, loss.member
    count = ">= 1 or null"
    is_pick = pick in PICKS if isinstance(pick, str) else pick is None or is_positive(pick)
    return [
        *loss.options.rules(),
        ("loss.ensemble", e, count, e is None or e >= 1),
        ("loss.member", member, count, member is None or member >= 1),
        ("loss.pick", pick, f"{', '.join(PICKS)} or > 0", is_pick),
        ("loss.pick", pick, "null where loss.ensemble is", (pick is None) == (e is None)),
        ("loss.member", member, "null where loss.ensemble is not", e is None or member is None),
    ]


def is_positive(value: object) -> bool:
    """Tell whether a value is a finite float above 0."""
    return isinstance(value, float) and 0 < value < float("inf")


PICKS: dict[str, Callable[..., Any]] = {"mean": np.mean, "min": np.min}
