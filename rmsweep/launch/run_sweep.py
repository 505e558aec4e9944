"""`rmsweep run -m`: launch a sweep."""

import datetime
from pathlib import Path
from typing import Any

import yaml

from rmsweep import files
from rmsweep.cache import inputs
from rmsweep.config import compose, launchers, loggers, sweep_specs
from rmsweep.config.launchers import Local, Slurm
from rmsweep.launch import finish, lock, plan, pool, progress, start
from rmsweep.provenance import provenance, versions
from rmsweep.results import dataset, sweep_record


def many(
    overrides: list[str], config_dirs: list[str], *, plan_only: bool, limit: int | None
) -> int:
    """A sweep: plan it, run or submit what has no done row, and say how it ended."""
    if not plan_only and not any(given.startswith("launcher=") for given in overrides):
        pool.warm_up()
    with compose.hydra_at_conf():
        axes = compose.read_axes(overrides, config_dirs)
        values = compose.interpolated(axes.base.values)
        launcher, device = launchers.settle(values["launcher"], values.get("device"))
        if isinstance(launcher, Slurm) and values.get("precision") is None:
            if "precision" not in axes.fields:
                raise ValueError(
                    "precision must be given with a Slurm launcher, since this machine cannot know "
                    "what the nodes have: precision=bf16 or precision=fp32"
                )
        root, waits = sweep_specs.cache_root(values), sweep_specs.true_or_false(values, "wait")
        saves = sweep_specs.true_or_false(values, "save_model")
        logger = loggers.logger_of(values.get("logger"))
        specs = sweep_specs.distinct_specs(axes, config_dirs, device)
        if saves:
            sweep_specs.require_savable(specs)
    if plan_only:
        plan.show(axes, specs[:limit], root, launcher, device)
        return 0
    start.require_able(launcher, specs, device)
    directory = dataset.folder(axes.name)
    progress.say(
        f"sweep {axes.name}: {len(specs)} runs on {_where(launcher, device)}, in {directory}"
    )
    wanted = inputs.keyed_items(specs, root)
    dataset.require_writable(directory)
    with lock.only_launch(directory, runs=isinstance(launcher, Local)):
        missing = start.missing_of(directory, wanted[:limit], launcher, saves)
        sweep_record.add_wanted(directory, wanted)
        settings = {"launcher": values["launcher"], "device": device, "cache_root": root}
        settings |= {"config_dirs": config_dirs, "save_model": saves}
        settings |= {"logger": values.get("logger")}
        record_launch(directory, axes, overrides, len(wanted), settings)
        start.start(missing, launcher, device, root, directory, saves)
    if limit is not None and limit < len(wanted):
        progress.say(
            f"--limit {limit}: the other {len(wanted) - limit} runs of the sweep were not launched"
        )
    ended = finish.end(directory, wanted[:limit], launcher, waits)
    finish.mirror_done(axes.name, logger)
    return ended


def _where(launcher: Local | Slurm, device: str) -> str:
    return f"Slurm ({device})" if isinstance(launcher, Slurm) else device


def record_launch(
    directory: Path,
    axes: compose.Axes,
    overrides: list[str],
    n_runs: int,
    settings: dict[str, Any],
) -> None:
    """Add this launch to sweep.yaml, for people to read; `retry` reads its settings, too."""
    path = directory / "sweep.yaml"
    before = sweep_record.launches(directory)
    launch = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "overrides": overrides,
        "axes": {name: values for name, values in axes.fields.items()},
        "runs": n_runs,
        "settings": settings,
        "versions": versions(),
        **{k: provenance()[k] for k in ("git_commit", "git_dirty", "host")},
    }
    with files.whole(path) as unfinished:
        unfinished.write_text(yaml.safe_dump({"launches": [*before, launch]}, sort_keys=False))
