"""Code that a stored spec names is run only if a config file here names it, too."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rmsweep import paths
from rmsweep.config.losses import source_hash_of, targets_of
from rmsweep.config.spec import RunSpec

GROUPS_WITH_CODE = ("loss", "launcher", "sweeps")  # whose files name code


def require_trusted_loss(spec: RunSpec, config_dirs: Sequence[str]) -> None:
    """Raise ValueError for a loss whose code no config file names, or whose source has changed."""
    loss = spec.loss
    for target in targets_of(loss):
        if target not in named("_target_", config_dirs):
            raise ValueError(
                f"loss={loss.name} runs {target!r}, which a data file names and no config file "
                "here: if it is your own, give the --config-dir of its yaml"
            )
    if loss.source_sha256 != source_hash_of(loss):
        raise ValueError(
            f"the source of loss={loss.name} has changed since; launch the sweep itself again"
        )


def require_shell(setup: list[Any], sbatch: dict[str, Any], config_dirs: Sequence[str]) -> None:
    """Raise ValueError for a launcher's `setup` or `sbatch` that no config file names."""
    if setup and setup not in named("setup", config_dirs):
        _refuse("setup", setup)
    known = [values.items() for values in named("sbatch", config_dirs) if isinstance(values, dict)]
    for option in sbatch.items():
        if not any(option in values for values in known):
            _refuse("sbatch", dict([option]))


def _refuse(name: str, value: object) -> None:
    raise ValueError(
        f"launcher.{name} {value} is named by sweep.yaml and by no config file here: repeat the "
        "launch's own command, or give the --config-dir of a launcher's yaml that has it"
    )


def named(field: str, config_dirs: Sequence[str]) -> list[Any]:
    """Return every value of a field in rmsweep's and the user's config files."""
    return _values_of(field, tuple(Path(folder).resolve() for folder in config_dirs))


@functools.cache
def _values_of(field: str, config_dirs: tuple[Path, ...]) -> list[Any]:
    values: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            values.extend(inner for name, inner in value.items() if name == field)
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, dict | list):
                walk(inner)

    for folder in (paths.SHIPPED / "conf", paths.SHIPPED, *config_dirs):
        for group in GROUPS_WITH_CODE:
            walk(
                [
                    yaml.safe_load(file.read_text())
                    for file in sorted(folder.glob(f"{group}/*.yaml"))
                ]
            )
    return values
