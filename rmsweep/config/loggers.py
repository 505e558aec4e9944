"""The logger of a config, typed and checked."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rmsweep.config.schema import from_mapping
from rmsweep.errors import nearest


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
    modes, pers = ("online", "offline", "disabled"), ("sweep", "run")
    for name, value, valid in (("mode", logger.mode, modes), ("per", logger.per, pers)):
        if value not in valid:
            raise ValueError(f"logger.{name} {value!r} is unknown; {nearest(value, valid)}")
    if logger.mode == "disabled":
        return None
    if importlib.util.find_spec("wandb") is None:
        raise ValueError("logger=wandb needs the package: pip install 'rmsweep[wandb]'")
    return logger
