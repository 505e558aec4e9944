"""Composing with Hydra: overrides and sweep files become plain configs."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from rmsweep import files
from rmsweep.config.spec import NOT_IN_SPEC
from rmsweep.errors import one_line
from rmsweep.paths import SHIPPED


@dataclass(frozen=True)
class Config:
    """A composed config, plain and resolved, with the option chosen of each group."""

    values: dict[str, Any]
    choices: dict[str, str]
    overrides: tuple[str, ...]  # the axes' part of them


@dataclass(frozen=True)
class Axes:
    """A sweep before expansion: what it shares, and the overrides of each swept field."""

    name: str
    base: Config  # without the axes
    fixed: list[str]
    fields: dict[str, list[str]]  # field: ["field=value", ...]
    zipped: list[list[str]]  # fields that advance together
    exclude: list[dict[str, Any]]


@contextlib.contextmanager
def hydra_at_conf() -> Iterator[None]:
    """Initialise Hydra on conf/, for `compose_one`, `read_axes` and `expand`."""
    with initialize_config_dir(str(SHIPPED / "conf"), job_name="rmsweep", version_base="1.3"):
        yield


def search_path(config_dirs: Sequence[str]) -> str:
    """Return the override with which Hydra finds sweeps/ and the user's own groups."""
    folders = [SHIPPED, *(Path(d).resolve() for d in config_dirs)]
    quoted = [QuotedString(f"file://{folder}", Quote.single).with_quotes() for folder in folders]
    return f"hydra.searchpath=[{','.join(quoted)}]"


def compose_one(overrides: Sequence[str]) -> Config:
    """Return the config that Hydra composes of these overrides, interpolations left as they are."""
    cfg = compose("config", list(overrides), return_hydra_config=True)
    return as_config(cfg, dict(cfg.hydra.runtime.choices))


def as_config(cfg: DictConfig, choices: dict[str, str]) -> Config:
    """Return Hydra's config as plain containers, interpolations left as they are."""
    with flag_override(cfg, ["struct", "readonly"], False):
        cfg.pop("hydra", None)
    values: Any = OmegaConf.to_container(cfg, resolve=False)
    return Config(values, choices, ())


def interpolated(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with each interpolation replaced by what it stands for."""
    if "${" not in json.dumps(values):
        return values
    resolved: Any = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    return resolved


def read_axes(overrides: Sequence[str], config_dirs: Sequence[str]) -> Axes:
    """Return the sweep that command line and sweep file ask for; the command line wins.

    `field=value` fixes a field that the file sweeps. ValueError names what is wrong.
    """
    parsed = overrides_parser().parse_overrides(list(overrides))
    swept = {o.get_key_element(): _values(o) for o in parsed if o.is_sweep_override()}
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    if "sweeps" in swept:
        raise ValueError("sweeps cannot be swept: a launch takes one file of sweeps/")
    first_options = [
        values[0]
        for name, values in swept.items()
        if values and any(map(Path.is_dir, folders_of(name, config_dirs)))
    ]  # to which fixed fields belong
    try:
        base = compose_one([*fixed, *first_options, search_path(config_dirs)])
    except (HydraException, OmegaConfBaseException) as error:
        if not first_options:
            raise
        raise ValueError(f"{one_line(error)} [in {' '.join(first_options)}]") from None
    sweep = base.values.get("sweep") or {}
    if not isinstance(sweep, dict):
        raise ValueError(f"sweep must be a mapping, got {sweep!r}")
    _require_kinds(sweep)
    overridden = {o.get_key_element() for o in parsed}
    fields = {
        name: _values(overrides_parser().parse_override(f"{name}={_text(value)}"))
        for name, value in (sweep.get("axes") or {}).items()
        if name not in overridden
    } | swept
    if empty := [name for name, values in fields.items() if not values]:
        raise ValueError(f"{empty[0]} has no values to sweep; give at least one")
    zipped = _zipped_fields(sweep.get("zip") or [], fields)
    name = base.values.get("name") or sweep.get("name") or _name_of(fields, fixed)
    if not files.is_name(name):
        raise ValueError(f"name must be {files.RULE}; got {name!r}")
    return Axes(name, base, fixed, fields, zipped, sweep.get("exclude") or [])


def _zipped_fields(groups: list[list[str]], fields: dict[str, list[str]]) -> list[list[str]]:
    """Return the swept fields of each group that advances together; ValueError if none can."""
    zipped = [[name for name in group if name in fields] for group in groups]
    for names, group in zip(zipped, groups, strict=True):
        lengths = {name: len(fields[name]) for name in names}
        if len(set(lengths.values())) > 1 or 0 < len(names) < len(group):
            raise ValueError(
                f"sweep.zip: fields that advance together need as many values each, got {lengths}"
                f" of {group}"
            )
    return zipped


def _require_kinds(sweep: dict[str, Any]) -> None:
    """Raise ValueError where a field of `sweep` is unknown or of another kind."""
    if unknown := sweep.keys() - {"name", "axes", "zip", "exclude"}:
        raise ValueError(
            f"sweep.{min(unknown)} is an unknown field; valid: name, axes, zip, exclude"
        )

    def is_list(value: Any, kind: type) -> bool:
        return isinstance(value, list) and all(isinstance(item, kind) for item in value)

    groups = sweep.get("zip") or []
    is_groups = is_list(groups, list) and all(is_list(group, str) for group in groups)
    for name, rule, holds in (
        ("axes", "a mapping", isinstance(sweep.get("axes") or {}, dict)),
        ("zip", "a list of lists of fields", is_groups),
        ("exclude", "a list of mappings", is_list(sweep.get("exclude") or [], dict)),
    ):
        if not holds:
            raise ValueError(f"sweep.{name} must be {rule}, got {sweep[name]!r}")


def overrides_parser() -> OverridesParser:
    """Return Hydra's parser of overrides, which knows the groups."""
    return OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _text(value: Any) -> str:
    """Return an axis in Hydra's syntax; a YAML list is a choice between its items."""
    items = value if isinstance(value, list) else [value]
    return ",".join(
        v if isinstance(v, str) else repr(v) if isinstance(v, float) else json.dumps(v)
        for v in items
    )


def folders_of(group: str, config_dirs: Sequence[str]) -> list[Path]:
    """Return the folders in which the options of a group may be."""
    return [folder / group for folder in (SHIPPED / "conf", SHIPPED, *map(Path, config_dirs))]


def _name_of(fields: dict[str, list[str]], fixed: Sequence[str]) -> str:
    """Return the name of an unnamed sweep: its axes and a hash, so that its command resumes it."""
    kept = sorted(o for o in fixed if o.partition("=")[0].partition(".")[0] not in NOT_IN_SPEC)
    text = json.dumps([fields, kept])
    short = "-".join(name.rpartition(".")[2] for name in fields) or "sweep"
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _comment(file: Path) -> str:
    """Return the comment that a file begins with, after a `# @package` line."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("# @")]
    return lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""


def options_by_group(config_dirs: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the comment that each option's file begins with, by group and option."""
    options: dict[str, dict[str, str]] = {}
    for folder in [SHIPPED / "conf", *map(Path, config_dirs), SHIPPED]:
        groups = [SHIPPED / "sweeps"] if folder == SHIPPED else sorted(folder.glob("*/"))
        for group in groups:
            for file in sorted(group.glob("*.yaml")):
                options.setdefault(group.name, {})[file.stem] = _comment(file)
    return options
