"""A sweep is asked for, checked, planned and launched: what has no done row is run or submitted."""

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from rmsweep import files
from rmsweep.cache import inputs
from rmsweep.config import compose, loggers, sweep_specs
from rmsweep.config.columns import spec_columns
from rmsweep.config.loggers import Wandb
from rmsweep.config.spec import Item, RunSpec
from rmsweep.launch import cost, finish, lock, progress
from rmsweep.launch.launchers import Launcher, items_to_start, launcher_of
from rmsweep.paths import SweepFolder
from rmsweep.provenance import provenance, versions
from rmsweep.results import dataset, sweep_record


@dataclass(frozen=True)
class SweepRequest:
    """What the overrides of a sweep ask for, checked; nothing of it is written yet."""

    axes: compose.Axes
    specs: Sequence[RunSpec]
    note: str | None  # on what runs otherwise than asked
    launcher: Launcher
    cache_root: str | None
    waits: bool  # for jobs on a cluster
    saves: bool  # reward models
    logger: Wandb | None
    overrides: list[str]
    settings: dict[str, Any]  # as sweep.yaml keeps them, for `retry`


def sweep_request(overrides: list[str], config_dirs: list[str]) -> SweepRequest:
    """Return what overrides ask for, with a user's own options; ValueError for what cannot be."""
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
    note = sweep_specs.protocol_note(axes, specs)
    return SweepRequest(
        axes, specs, note, launcher, root, waits, saves, logger, overrides, settings
    )


def values_by_field(axes: compose.Axes, specs: Sequence[RunSpec]) -> dict[str, Counter[str]]:
    """Return for each swept field the number of runs by value."""
    rows = [spec_columns(spec) for spec in specs]
    fields = [field for field in axes.fields if field in rows[0]]
    return {field: Counter(str(row[field]) for row in rows) for field in fields}


def plan_launch(request: SweepRequest, items: Sequence[Item]) -> tuple[int, int, list[str]]:
    """Return what a launch of these runs, which have their keys, would do; nothing is written.

    It is the number of runs that are missing, how many of them are like runs that were measured,
    and the launcher's lines: packs, hours, arrays.
    """
    folder = SweepFolder.named(request.axes.name)
    done = set(dataset.read_done(folder, ["key"])["key"])
    missing = [item for item in items if item.key not in done]
    if not missing:
        return 0, 0, []
    launcher = request.launcher
    measured = dataset.load_all(cost.MEASURED)
    seconds, n_measured = cost.estimated_seconds(missing, measured, launcher.device)
    lines = launcher.describe(missing, seconds, folder)
    return len(missing), n_measured, lines


def launch_sweep(request: SweepRequest, limit: int | None = None) -> finish.Launched:
    """Run or submit what has no done row, and return how that ended.

    limit: launch the first of the runs alone. ValueError before anything is written where the
    launch cannot be made; LaunchError where it ends with runs missing.
    """
    launcher, name = request.launcher, request.axes.name
    launcher.require_able(request.specs)
    folder = SweepFolder.named(name)
    progress.say(f"sweep {name}: {len(request.specs)} runs on {launcher.where}, in {folder}")
    if request.note is not None:
        progress.say(request.note)
    wanted = inputs.keyed_items(request.specs, request.cache_root)
    dataset.require_writable(folder)
    with lock.only_launch(folder, runs=launcher.runs_here):
        missing = items_to_start(folder, wanted[:limit], launcher, request.saves)
        sweep_record.add_wanted(folder, wanted)
        record_launch(folder, request)
        launcher.start(missing, request.cache_root, folder, request.saves)
    if limit is not None and limit < len(wanted):
        others = len(wanted) - limit
        progress.say(f"--limit {limit}: the other {others} runs of the sweep were not launched")
    ends = finish.wait_for_ends(folder, wanted[:limit], launcher, request.waits)
    return finish.Launched(name, ends, request.logger)


def record_launch(folder: SweepFolder, request: SweepRequest) -> None:
    """Add this launch to sweep.yaml: for people to read, its settings for `retry` too."""
    before = sweep_record.launches(folder)
    launch = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "overrides": request.overrides,
        "axes": dict(request.axes.fields),
        "runs": len(request.specs),
        "settings": request.settings,
        "versions": versions(),
        **{k: provenance()[k] for k in ("git_commit", "git_dirty", "host")},
    }
    with files.whole(folder.launches) as unfinished:
        unfinished.write_text(yaml.safe_dump({"launches": [*before, launch]}, sort_keys=False))
