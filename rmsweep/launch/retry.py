"""`rmsweep retry` and `rmsweep cancel`: run what failed again, stop what runs."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rmsweep.cache import inputs
from rmsweep.config import launchers, loggers, trusted_code
from rmsweep.config.launchers import Local, Slurm
from rmsweep.config.spec import Item
from rmsweep.launch import finish, lock, progress, start, status
from rmsweep.launch.slurm import arrays as jobs
from rmsweep.launch.slurm import scheduler
from rmsweep.results import dataset, sweep_record


def retry(name: str, config_dirs: Sequence[str], *, waits: bool) -> int:
    """Run again what failed or is missing, as it was launched last; what was killed, in smaller
    packs with more memory. What Slurm holds is released.

    config_dirs: where the user's own options are; code that the sweep's files name and no config
    file does is not run.
    """
    dataset.require_sweep(name)
    directory = dataset.folder(name)
    _require_own(directory)
    settings = _settings(directory)
    launcher, device = launchers.settle(settings["launcher"], settings["device"])
    known = sweep_record.wanted_items(directory, sweep_record.wanted_keys(name))
    start.require_able(launcher, [item.spec for item in known.values()], device)
    with lock.only_launch(directory, runs=isinstance(launcher, Local)):
        saves = settings.get("save_model", False)
        missing = start.missing_of(directory, list(known.values()), launcher, saves)
        if missing:
            trusted_code.require_launcher(launcher, config_dirs)
        for item in missing:
            trusted_code.require_loss(item.spec, config_dirs)
        if isinstance(launcher, Slurm):
            _release(directory)
        items = inputs.keyed_items([item.spec for item in missing], settings["cache_root"])
        if changed := {item.key for item in items} - known.keys():
            raise ValueError(
                f"the embeddings changed since the launch of {name}: {len(changed)} runs would "
                "have other keys; launch the sweep itself again"
            )
        for part, tuned in _tuned(directory, items, launcher):
            start.start(part, tuned, device, settings["cache_root"], directory, saves)
    ended = finish.end(directory, list(known.values()), launcher, waits)
    finish.mirror_done(name, loggers.logger_of(settings.get("logger")))
    return ended


def _tuned(
    directory: Path, items: Sequence[Item], launcher: Local | Slurm
) -> list[tuple[list[Item], Local | Slurm]]:
    """Items with the launcher they need: for those of tasks that were killed, half the runs in a
    pack and twice the memory of the last time.
    """
    arrays = jobs.submitted(directory)
    if isinstance(launcher, Local) or not arrays:
        return [(list(items), launcher)]
    groups: dict[tuple[int, float], set[str]] = {}
    for array, task in status.killed(directory, arrays):
        keys = {key for pack in array.tasks[task.index] for key in pack}
        largest = max(len(pack) for pack in array.tasks[task.index])
        smaller = (max(1, largest // 2), 2 * array.launcher["mem_gb"])
        for others in groups.values():
            others -= keys  # the last time counts
        groups.setdefault(smaller, set()).update(keys)
    found: list[tuple[list[Item], Local | Slurm]] = []
    left = list(items)
    for (pack_runs, mem_gb), keys in groups.items():
        part = [item for item in left if item.key in keys]
        left = [item for item in left if item.key not in keys]
        if part:
            more = replace(launcher.gpu_tasks, mem_gb=mem_gb)
            tuned = replace(launcher, pack_runs=pack_runs, mem_gb=mem_gb, gpu_tasks=more)
            found.append((part, tuned))
            progress.say(
                f"{len(part)} runs were in tasks that were killed, most likely for memory: now in "
                f"packs of at most {pack_runs}, with {mem_gb:g} GB"
            )
    return [*found, (left, launcher)] if left else found


def _release(directory: Path) -> None:
    """Let those of the sweep's tasks go on that Slurm holds, as after a launch that failed."""
    arrays = jobs.submitted(directory)
    found = jobs.of_sweep(directory, arrays, scheduler.queued()) if arrays else []
    held = [task for _, task in found if task.is_held]
    scheduler.release(held)
    if held:
        progress.say(f"released {len(held)} tasks that Slurm held")


def _require_own(directory: Path) -> None:
    """ValueError for another user's sweep: its settings hold shell lines, its specs name code."""
    for name in ("sweep.yaml", "specs.parquet"):
        path = directory / name
        if path.exists() and path.stat().st_uid != os.getuid():
            raise ValueError(
                f"{path} is another user's, and retry would run what it names: launch the sweep "
                "itself, under a name of your own"
            )


def _settings(directory: Path) -> dict[str, Any]:
    """Launcher, device and cache root of the last launch."""
    found = sweep_record.launches(directory)
    if not found or not {"launcher", "device", "cache_root"} <= set(found[-1]["settings"]):
        raise ValueError(f"{directory} was not launched as a sweep: sweep.yaml has no settings")
    settings: dict[str, Any] = found[-1]["settings"]
    kinds = {"launcher": dict, "device": str, "cache_root": str | None, "logger": dict | None}
    for name, kind in kinds.items():
        if not isinstance(settings.get(name), kind):
            raise ValueError(
                f"settings.{name} in {directory / 'sweep.yaml'} is not as a launch wrote it, got "
                f"{settings.get(name)!r}; launch the sweep itself again"
            )
    return settings


def cancel(name: str) -> int:
    """Stop a sweep's jobs, or its launch on this machine; what is done is kept."""
    dataset.require_sweep(name)
    directory = dataset.folder(name)
    _stop_launch(directory)
    arrays = jobs.submitted(directory)
    found = jobs.of_sweep(directory, arrays, scheduler.queued()) if arrays else []
    scheduler.cancel([task for _, task in found])
    progress.say(
        f"cancelled {len(found)} tasks; what is done is kept, and the same command runs the rest"
    )
    return 0


def _stop_launch(directory: Path, patience_s: float = 15) -> None:
    """End the launch that runs on this machine, if one does; ValueError for one elsewhere."""
    holder = lock.holder(directory)
    if holder is None:
        return
    if not lock.is_here(holder):
        raise ValueError(
            f"process {holder['pid']} on {holder['host']} launches this sweep; cancel it there"
        )
    os.kill(holder["pid"], signal.SIGINT)
    end = time.monotonic() + patience_s
    while lock.holder(directory) is not None and time.monotonic() < end:
        time.sleep(0.1)
    if lock.holder(directory) is not None:  # started by a script, which ignores SIGINT
        os.kill(holder["pid"], signal.SIGTERM)
    progress.say(f"stopped the launch of process {holder['pid']}")
