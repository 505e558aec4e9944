"""Frozen dataclasses from plain mappings, with errors that name the field."""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any

from rmsweep.errors import nearest

IF_SET = {"in_id_if_set": True}  # a null field is not in the canonical JSON: newer than some ids
Rule = tuple[str, object, str, bool]  # field, its value, the rule in words, whether it holds


def from_mapping(cls: type, values: Any, path: str = "") -> Any:
    """Return an instance of cls from a mapping of exactly its fields, checked by their type hints.

    Nested dataclasses, unions with None, and tuple[KIND, ...] are understood; only an int becomes a
    float. ValueError names a field at `path` that is unknown, missing or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{path} must be a mapping, got {values!r}")
    hints = _hints(cls)
    prefix = f"{path}." if path else ""
    for name in values:
        if name not in hints:
            raise ValueError(f"{prefix}{name} is an unknown field; {nearest(name, hints)}")
    for name in hints:
        if name not in values:
            raise ValueError(f"{prefix}{name} is missing")
    return cls(**{name: convert(values[name], hint, prefix + name) for name, hint in hints.items()})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def require_rules(rules: Iterable[Rule]) -> None:
    """Raise ValueError for the first rule that does not hold."""
    for name, value, rule, holds in rules:
        if not holds:
            raise ValueError(f"{name} must be {rule}, got {value}")


def convert(value: Any, hint: Any, path: str) -> Any:
    """Return a value as its type hint says; ValueError names the field at `path`."""
    option: Any
    if value == "???":
        raise ValueError(f"{path} has no value yet; give {path}=VALUE")
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            if isinstance(value, option):
                return value
            if isinstance(value, dict):
                return from_mapping(option, value, path)
        elif option is float and value in (".inf", "inf"):
            return float("inf")
        elif option is float and type(value) in (int, float):
            return float(value)  # beta=1 and beta=1.0 are one run
        elif typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            kind = typing.get_args(option)[0]
            return tuple(convert(v, kind, f"{path}[{i}]") for i, v in enumerate(value))
        elif type(value) is (typing.get_origin(option) or option):  # dict[str, Any] is any dict
            return value
    raise ValueError(f"{path} must be {' or '.join(map(_type_name, options))}, got {value!r}")


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a list of {typing.get_args(hint)[0].__name__}"
    hint = typing.get_origin(hint) or hint
    named = {types.NoneType: "null", dict: "a mapping"}
    return named.get(hint, "a mapping" if dataclasses.is_dataclass(hint) else hint.__name__)
