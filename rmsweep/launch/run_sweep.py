"""A sweep is asked for, checked and launched: what has no done row is run, or submitted."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from rmsweep import files
from rmsweep.cache import inputs
from rmsweep.config import compose, loggers, sweep_specs
from rmsweep.config.loggers import Wandb
from rmsweep.config.spec import RunSpec
from rmsweep.launch import finish, lock, progress, start
from rmsweep.launch.launchers import Launcher, launcher_of
from rmsweep.paths import SweepFolder
from rmsweep.provenance import provenance, versions
from rmsweep.results import dataset, sweep_record


@dataclass(frozen=True)
class SweepRequest:
    """What the overrides of a sweep ask for, checked; nothing of it is written yet."""

    axes: compose.Axes
    specs: Sequence[RunSpec]
    launcher: Launcher
    cache_root: str | None
    waits: bool  # for jobs on a cluster
    saves: bool  # reward models
    logger: Wandb | None
    overrides: list[str]
    settings: dict[str, Any]  # as sweep.yaml keeps them, for `retry`


def sweep_request(overrides: list[str], config_dirs: list[str]) -> SweepRequest:
    """Return what overrides ask for, as typed after `rmsweep run -m`.

    config_dirs: where a user's own options are. ValueError names what makes no sense.
    """
    with compose.hydra_at_conf():
        axes = compose.read_axes(overrides, config_dirs)
        values = compose.interpolated(axes.base.values)
        launcher = launcher_of(values["launcher"], values.get("device"))
        if not launcher.runs_here and values.get("precision") is None:
            if "precision" not in axes.fields:
                raise ValueError(
                    f"precision must be given with a {launcher.name} launcher, since this machine "
                    "cannot know what the nodes have: precision=bf16 or precision=fp32"
                )
        root, waits = sweep_specs.cache_root(values), sweep_specs.true_or_false(values, "wait")
        saves = sweep_specs.true_or_false(values, "save_model")
        logger = loggers.logger_of(values.get("logger"))
        specs = sweep_specs.distinct_specs(axes, config_dirs, launcher.device)
        if saves:
            sweep_specs.require_savable(specs)
    settings = {
        "launcher": values["launcher"],
        "device": launcher.device,
        "cache_root": root,
        "config_dirs": config_dirs,
        "save_model": saves,
        "logger": values.get("logger"),
    }
    return SweepRequest(axes, specs, launcher, root, waits, saves, logger, overrides, settings)


def launch_sweep(request: SweepRequest, limit: int | None = None) -> finish.Launched:
    """Run or submit what has no done row, and return how that ended.

    limit: launch the first of the runs alone. ValueError before anything is written where the
    launch cannot be made; LaunchError where it ends with runs missing.
    """
    launcher, name = request.launcher, request.axes.name
    launcher.require_able(request.specs)
    folder = SweepFolder.named(name)
    progress.say(f"sweep {name}: {len(request.specs)} runs on {launcher.where}, in {folder}")
    wanted = inputs.keyed_items(request.specs, request.cache_root)
    dataset.require_writable(folder)
    with lock.only_launch(folder, runs=launcher.runs_here):
        missing = start.items_to_start(folder, wanted[:limit], launcher, request.saves)
        sweep_record.add_wanted(folder, wanted)
        record_launch(folder, request)
        launcher.start(missing, request.cache_root, folder, request.saves)
    if limit is not None and limit < len(wanted):
        progress.say(
            f"--limit {limit}: the other {len(wanted) - limit} runs of the sweep were not launched"
        )
    ends = finish.wait_for_ends(folder, wanted[:limit], launcher, request.waits)
    return finish.Launched(name, ends, request.logger)


def record_launch(folder: SweepFolder, request: SweepRequest) -> None:
    """Add this launch to sweep.yaml: for people to read, its settings for `retry` too."""
    path = folder.launches
    before = sweep_record.launches(folder)
    launch = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "overrides": request.overrides,
        "axes": {name: values for name, values in request.axes.fields.items()},
        "runs": len(request.specs),
        "settings": request.settings,
        "versions": versions(),
        **{k: provenance()[k] for k in ("git_commit", "git_dirty", "host")},
    }
    with files.whole(path) as unfinished:
        unfinished.write_text(yaml.safe_dump({"launches": [*before, launch]}, sort_keys=False))
