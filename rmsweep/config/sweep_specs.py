"""The specs of a sweep, and the settings of a launch that are no part of a spec."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rmsweep import machine
from rmsweep.config.compose import Axes, Config
from rmsweep.config.expand import expand
from rmsweep.config.parse import parse
from rmsweep.config.reward_models import kind_of
from rmsweep.config.schema import from_mapping
from rmsweep.config.spec import NOT_IN_ID, NOT_IN_SPEC, PROTOCOLS, RunSpec


@dataclass(frozen=True)
class CachedData:
    """The config's field `cache`."""

    root: str | None


def cache_root(values: dict[str, Any]) -> str | None:
    """Return the folder of the cached embeddings that a config names, or None."""
    return from_mapping(CachedData, values.get("cache"), "cache").root


def true_or_false(values: dict[str, Any], name: str) -> bool:
    """Return a field of a config that is true or false, such as `wait`; else ValueError."""
    if type(values.get(name)) is not bool:
        raise ValueError(f"{name} must be true or false, got {values.get(name)!r}")
    return values[name]


def config_spec(config: Config, on: str) -> RunSpec:
    """Return the spec of a config, its precision decided for the device `on`."""
    precision = machine.precision(config.values.get("precision"), on)
    return parse(config.values | {"precision": precision}, config.choices)


def distinct_specs(axes: Axes, config_dirs: Sequence[str], on: str) -> list[RunSpec]:
    """Return a sweep's distinct specs for device `on`; ValueError names field and run at fault.

    A reward model that does not train in epochs knows no protocol but `pairs`, and gets it beside
    others that know the one asked for.
    """
    for name in axes.fields:
        if name.partition(".")[0] in NOT_IN_SPEC or name in NOT_IN_ID:
            raise ValueError(
                f"{name} cannot be swept: it is not part of a run's spec; give one value"
            )
    specs: dict[str, RunSpec] = {}
    changed: list[Config] = []
    for config in expand(axes, config_dirs):
        known = _with_known_protocol(config)
        changed += [config] if known is not config else []
        spec = _located_spec(known, on)
        specs.setdefault(spec.spec_id, spec)
    if not specs:
        raise ValueError("the sweep has no runs: an axis is empty or everything is excluded")
    if changed and not any(spec.loss.options.trains_in_epochs for spec in specs.values()):
        _located_spec(changed[0], on)  # which is refused
    return list(specs.values())


def _located_spec(config: Config, on: str) -> RunSpec:
    """Return the spec of one config of a sweep; the error of an unsound one says which it is."""
    try:
        return config_spec(config, on)
    except ValueError as error:
        where = " ".join(config.overrides) or "the base config"
        raise ValueError(f"{error} [in {where}]") from None


def _with_known_protocol(config: Config) -> Config:
    """Return the config with training.protocol=pairs where its reward model knows no other."""
    loss, training = config.values.get("loss"), config.values.get("training")
    model = loss.get("reward_model") if isinstance(loss, dict) else None
    if not isinstance(model, str) or kind_of(model).trains_in_epochs:
        return config
    asked = training.get("protocol") if isinstance(training, dict) else None
    if not isinstance(training, dict) or asked == "pairs" or asked not in PROTOCOLS:
        return config  # where it is not pairs, parsing refuses it
    return replace(config, values=config.values | {"training": training | {"protocol": "pairs"}})


def protocol_note(axes: Axes, specs: Sequence[RunSpec]) -> str | None:
    """Return in words which losses run under `pairs` where the sweep asks for another protocol."""
    base = axes.base.values.get("training")
    asked = [value.partition("=")[2] for value in axes.fields.get("training.protocol", [])]
    asked += [str(base.get("protocol"))] if isinstance(base, dict) and not asked else []
    others = [name for name in asked if name != "pairs"]
    names = [spec.loss.name for spec in specs if not spec.loss.options.trains_in_epochs]
    if not others or not names:
        return None
    *before, last = dict.fromkeys(names)
    losses = f"{', '.join(before)} and {last} run" if before else f"{last} runs"
    return f"training.protocol={others[0]} is for MLPs: {losses} under training.protocol=pairs"


def require_savable(specs: Sequence[RunSpec]) -> None:
    """Raise ValueError, before any work, for reward models that only a pickle could hold."""
    for spec in specs:
        if (why := spec.loss.options.why_unsaved) is not None:
            raise ValueError(
                f"save_model=true saves MLPs and LightGBM trees; loss={spec.loss.name} {why}: set "
                "save_model=false"
            )
