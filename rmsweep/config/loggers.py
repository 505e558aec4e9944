"""The logger of a config, typed and checked."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rmsweep.config.schema import from_mapping
from rmsweep.errors import nearest

MODES = ("online", "offline", "disabled")


@dataclass(frozen=True)
class Wandb:
    """The settings of W&B, the config's field `logger`, explained in conf/logger/wandb.yaml."""

    project: str
    entity: str | None
    mode: str
    per: str


def logger_of(values: Mapping[str, Any] | None) -> Wandb | None:
    """Return the logger of a config, or None without one; ValueError for what makes no sense."""
    if not values:
        return None
    logger = from_mapping(Wandb, dict(values), "logger")
    for name, valid in (("mode", MODES), ("per", ("sweep", "run"))):
        if getattr(logger, name) not in valid:
            value = getattr(logger, name)
            raise ValueError(f"logger.{name} {value!r} is unknown; {nearest(value, valid)}")
    if logger.mode == "disabled":
        return None
    if importlib.util.find_spec("wandb") is None:
        raise ValueError("logger=wandb needs the package: pip install 'rmsweep[wandb]'")
    return logger
