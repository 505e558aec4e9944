"""Many runs: axes become specs, configs become specs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rmsweep import machine
from rmsweep.config.compose import Axes, Config, expand
from rmsweep.config.parse import parse
from rmsweep.config.schema import from_mapping
from rmsweep.config.spec import NOT_IN_ID, NOT_IN_SPEC, RunSpec


@dataclass(frozen=True)
class CachedData:
    """The field `cache`."""

    root: str | None


def cache_root(values: dict[str, Any]) -> str | None:
    """Of a config: the folder of the cached embeddings."""
    return from_mapping(CachedData, values.get("cache"), "cache").root


def true_or_false(values: dict[str, Any], name: str) -> bool:
    """Of a config: `wait`, whether a launch on a cluster follows its jobs to the end; or
    `save_model`, whether reward models are kept.
    """
    if type(values.get(name)) is not bool:
        raise ValueError(f"{name} must be true or false, got {values.get(name)!r}")
    return values[name]


def config_spec(config: Config, on: str) -> RunSpec:
    """The spec of a config, its precision made concrete for the device `on`."""
    precision = machine.precision(config.values.get("precision"), on)
    return parse(config.values | {"precision": precision}, config.choices)


def distinct_specs(axes: Axes, config_dirs: Sequence[str], on: str) -> list[RunSpec]:
    """The sweep's distinct specs in order, for the device `on`; ValueError names field and run."""
    for name in axes.fields:
        if name.partition(".")[0] in NOT_IN_SPEC or name in NOT_IN_ID:
            raise ValueError(
                f"{name} cannot be swept: it is not part of a run's spec; give one value"
            )
    found: dict[str, RunSpec] = {}
    for config in expand(axes, config_dirs):
        try:
            spec = config_spec(config, on)
        except ValueError as error:
            where = " ".join(config.overrides) or "the base config"
            raise ValueError(f"{error} [in {where}]") from None
        found.setdefault(spec.spec_id, spec)
    if not found:
        raise ValueError("the sweep has no runs: an axis is empty or everything is excluded")
    return list(found.values())


def require_savable(specs: Sequence[RunSpec]) -> None:
    """ValueError, before any work, for reward models that have no format that is safe to read."""
    for spec in specs:
        if (why := spec.loss.options.why_unsaved) is not None:
            raise ValueError(
                f"save_model=true saves MLPs and LightGBM trees; loss={spec.loss.name} {why}: set "
                "save_model=false"
            )
