"""A sweep is launched again: what failed, what is missing, what was killed or is held."""

import os
from collections.abc import Sequence
from typing import Any

from rmsweep.cache import inputs
from rmsweep.config import loggers, trusted_code
from rmsweep.config.spec import Item
from rmsweep.launch import finish, lock
from rmsweep.launch.launchers import items_to_start, launcher_of
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, sweep_record


def retry_sweep(name: str, config_dirs: Sequence[str], *, waits: bool) -> finish.Launched:
    """Run again what failed or is missing, as it was launched last; return how that ended.

    What was killed gets smaller packs and more memory, and what a cluster holds is released. Code
    that the sweep's files name is run where a config file, of the user's config_dirs too, names it.
    """
    dataset.require_sweep(name)
    folder = SweepFolder.named(name)
    _require_own(folder)
    settings = _settings(folder)
    launcher = launcher_of(settings["launcher"], settings["device"])
    root, saves = settings["cache_root"], settings.get("save_model", False)
    known = sweep_record.wanted_items(folder, sweep_record.wanted_keys(name))
    launcher.require_able([item.spec for item in known.values()])
    with lock.only_launch(folder, runs=launcher.runs_here):
        missing = items_to_start(folder, list(known.values()), launcher, saves)
        if missing:
            launcher.require_trusted(config_dirs)
        for item in missing:
            trusted_code.require_trusted_loss(item.spec, config_dirs)
        launcher.release(folder)
        items = _with_shapes(name, missing, root)
        for part, tuned in launcher.retuned(folder, items):
            tuned.start(part, root, folder, saves)
    ends = finish.wait_for_ends(folder, list(known.values()), launcher, waits)
    return finish.Launched(name, ends, loggers.logger_of(settings.get("logger")))


def _with_shapes(name: str, items: Sequence[Item], root: str | None) -> list[Item]:
    """Return the runs with the shapes of their data; ValueError where the data is another now."""
    keyed = inputs.keyed_items([item.spec for item in items], root)
    if changed := {item.key for item in keyed} - {item.key for item in items}:
        raise ValueError(
            f"the embeddings changed since the launch of {name}: {len(changed)} runs would "
            "have other keys; launch the sweep itself again"
        )
    return keyed


def _require_own(folder: SweepFolder) -> None:
    """Raise ValueError for another user's sweep, whose settings hold shell and specs name code."""
    for path in (folder.launches, folder.specs):
        if path.exists() and path.stat().st_uid != os.getuid():
            raise ValueError(
                f"{path} is another user's, and retry would run what it names: launch the sweep "
                "itself, under a name of your own"
            )


def _settings(folder: SweepFolder) -> dict[str, Any]:
    launches = sweep_record.launches(folder)
    if not launches or not {"launcher", "device", "cache_root"} <= set(launches[-1]["settings"]):
        raise ValueError(f"{folder} was not launched as a sweep: sweep.yaml has no settings")
    settings: dict[str, Any] = launches[-1]["settings"]
    kinds = {"launcher": dict, "device": str, "cache_root": str | None, "logger": dict | None}
    for name, kind in kinds.items():
        if not isinstance(settings.get(name), kind):
            raise ValueError(
                f"settings.{name} in {folder.launches} is not as a launch wrote it, got "
                f"{settings.get(name)!r}; launch the sweep itself again"
            )
    return settings
