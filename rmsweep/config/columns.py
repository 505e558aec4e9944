"""A spec as flat columns, named as on the command line."""

import dataclasses
import functools
import json
import types
import typing
from typing import Any

from rmsweep.config import losses
from rmsweep.config.reward_models import Options
from rmsweep.config.spec import RunSpec, canonical_fields

# The fields of a loss that have no column of their own, and stand in loss.options:
IN_LOSS_OPTIONS = ("objective", "validation_objective", "rows")


def spec_columns(spec: RunSpec) -> dict[str, Any]:
    """Return a spec as flat columns, those of `column_types`, named as on the command line."""
    return {name: _at(spec, path) for name, path, _ in _leaves()}


def column_types() -> dict[str, type]:
    """Return the type (int, float or str) of each column of `spec_columns`, by name."""
    return {name: hint for name, _, hint in _leaves()}


def loss_options(loss: losses.Loss) -> str:
    """Return JSON of a loss's fields that shape its numbers, named as on the command line."""
    fields = canonical_fields(loss)
    kept = {name: fields[name] for name in IN_LOSS_OPTIONS}
    return json.dumps(kept | fields["options"], sort_keys=True)


@functools.cache
def _leaves() -> tuple[tuple[str, tuple[str, ...], type], ...]:
    """Return column name, attribute path and scalar type of each scalar field of a spec."""
    leaves: list[tuple[str, tuple[str, ...], type]] = []

    def walk(cls: type, path: tuple[str, ...]) -> None:
        for name, hint in typing.get_type_hints(cls).items():
            inner = (*path, name)
            options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            kind: Any = next(o for o in options if o is not types.NoneType)
            is_text = kind is Options or typing.get_origin(kind) is tuple or str in options
            if (cls is losses.Loss and name in IN_LOSS_OPTIONS) or kind is bool:
                continue  # the only bool is evaluation.diagnostics
            if not is_text and isinstance(kind, type) and dataclasses.is_dataclass(kind):
                walk(kind, inner)
            else:
                column = ".".join(path if name == "name" else inner)
                leaves.append((column, inner, str if is_text else kind))

    walk(RunSpec, ())
    return tuple(leaves)


def _at(spec: RunSpec, path: tuple[str, ...]) -> Any:
    value: Any = spec
    for name in path:
        value = None if value is None else getattr(value, name)
    if isinstance(value, Options):
        return loss_options(spec.loss)
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value) if path[-1] in ("reward_scale", "pick") and value is not None else value
