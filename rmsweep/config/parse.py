"""Parsing: a composed config becomes a spec, and so does a spec that a data file holds."""

import dataclasses
import functools
import json
import typing
from typing import Any

from rmsweep.config import losses, reward_models, rules
from rmsweep.config.schema import from_mapping
from rmsweep.config.spec import NOT_IN_SPEC, OPTION_GROUPS, UNLABELLED, RunSpec
from rmsweep.errors import nearest


def parse(cfg: dict[str, Any], choices: dict[str, str]) -> RunSpec:
    """Return the spec of a composed, interpolated config; ValueError names the field at fault."""
    known = {f.name for f in dataclasses.fields(RunSpec)} | NOT_IN_SPEC
    for name in sorted(cfg.keys() - known):
        raise ValueError(f"{name} is an unknown field; {nearest(name, known)}")
    annotation = cfg.get("annotation")
    source = annotation.get("source") if isinstance(annotation, dict) else None
    needed = [group for group in OPTION_GROUPS if source != "labels" or group not in UNLABELLED]
    if absent := [group for group in needed if choices.get(group) is None]:
        raise ValueError(f"{absent[0]} has no option; give {absent[0]}=OPTION")
    parts = {
        group: spec_part(group, choices[group], json.dumps(cfg.get(group) or {}))
        for group in OPTION_GROUPS
        if choices.get(group) is not None
    }
    parts = dict.fromkeys(UNLABELLED) | parts
    for name in ("annotation", "training"):
        parts[name] = spec_part(name, None, json.dumps(cfg.get(name)))
    scalars = {name: cfg.get(name) for name in ("quantity", "seed", "precision")}
    spec = from_mapping(RunSpec, parts | scalars)
    rules.require_sound(spec)
    return spec


@functools.lru_cache(maxsize=4096)  # a sweep's specs share most of their parts
def spec_part(group: str, name: str | None, values_json: str) -> Any:
    """Return one part of a spec from its values as JSON; name: the option, null for a structure."""
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
    return from_mapping(_class_of(group), values, group)


def _class_of(part: str) -> Any:
    hint = typing.get_type_hints(RunSpec)[part]
    return next(iter(typing.get_args(hint)), hint)


def from_canonical(text: str, label: str, diagnostics: bool) -> RunSpec:
    """Return the spec that has a canonical JSON text, and the two fields that are no part of it.

    Raises whatever a text that is no such JSON makes it raise; sweep_record.stored_spec tells it.
    """
    values = json.loads(text)
    kind = reward_models.kind_of(values["loss"]["reward_model"])
    values["loss"]["options"] = from_mapping(kind, _unset(kind) | values["loss"]["options"])
    values["loss"]["label"] = label
    values["evaluation"]["diagnostics"] = diagnostics
    for name in ("loss", "annotation", "training", "evaluation"):
        values[name] = _unset(_class_of(name)) | values[name]
    return from_mapping(RunSpec, values)


def _unset(cls: Any) -> dict[str, None]:
    """Return null for each field of a dataclass that is in an id only where it is set."""
    fields = dataclasses.fields(cls)
    return {f.name: None for f in fields if f.metadata.get("in_id_if_set")}
