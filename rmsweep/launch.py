"""`rmsweep run -m` and what follows it: launch a sweep, run what failed again, stop it."""

import contextlib
import datetime
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)

from rmsweep import (
    compose,
    cost,
    dispatch,
    jobs,
    launchers,
    lock,
    machine,
    plan,
    results,
    scheduler,
    slurm,
    status,
    sweep,
    tracking,
)
from rmsweep.execute import Outcome
from rmsweep.launchers import Local, Slurm
from rmsweep.provenance import provenance, versions
from rmsweep.spec import Item, RunSpec
from rmsweep.task import run_task

ERR = Console(stderr=True, highlight=False)
POLL_S = 5  # of a launch that waits for its jobs
_say = functools.partial(print, flush=True)  # seen at once in a log, too


def many(
    overrides: list[str], config_dirs: list[str], *, plan_only: bool, limit: int | None
) -> int:
    """A sweep: plan it, run or submit what has no done row, and say how it ended."""
    if not plan_only and not any(given.startswith("launcher=") for given in overrides):
        dispatch.warm_up()
    with compose.hydra_at_conf():
        axes = compose.read_axes(overrides, config_dirs)
        values = compose.resolved(axes.base.values)
        launcher, device = launchers.settle(values["launcher"], values.get("device"))
        if isinstance(launcher, Slurm) and values.get("precision") is None:
            if "precision" not in axes.fields:
                raise ValueError(
                    "precision must be given with a Slurm launcher, since this machine cannot know "
                    "what the nodes have: precision=bf16 or precision=fp32"
                )
        root, waits = sweep.cache_root(values), sweep.flag(values, "wait")
        saves = sweep.flag(values, "save_model")
        logger = tracking.settle(values.get("logger"))
        specs = sweep.specs_of(axes, config_dirs, device)
        if saves:
            sweep.require_savable(specs)
    if plan_only:
        plan.show(axes, specs[:limit], root, launcher, device)
        return 0
    _require_able(launcher, specs, device)
    directory = results.folder(axes.name)
    _say(f"sweep {axes.name}: {len(specs)} runs on {_where(launcher, device)}, in {directory}")
    wanted = sweep.keyed(specs, root)
    results.require_writable(directory)
    with lock.only_launch(directory, runs=isinstance(launcher, Local)):
        missing = _missing(directory, wanted[:limit], launcher, saves)
        results.add_wanted(directory, wanted)
        settings = {"launcher": values["launcher"], "device": device, "cache_root": root}
        settings |= {"config_dirs": config_dirs, "save_model": saves}
        settings |= {"logger": values.get("logger")}
        _record(directory, axes, overrides, len(wanted), settings)
        _start(missing, launcher, device, root, directory, saves)
    if limit is not None and limit < len(wanted):
        _say(
            f"--limit {limit}: the other {len(wanted) - limit} runs of the sweep were not launched"
        )
    ended = _end(directory, wanted[:limit], launcher, waits)
    _mirror(axes.name, logger)
    return ended


def retry(name: str, *, waits: bool) -> int:
    """Run again what failed or is missing, as it was launched last; what was killed, in smaller
    packs with more memory. What Slurm holds is released.
    """
    results.require_sweep(name)
    directory = results.folder(name)
    _require_own(directory)
    settings = _settings(directory)
    launcher, device = launchers.settle(settings["launcher"], settings["device"])
    known = results.wanted_items(directory, results.wanted_keys(name))
    _require_able(launcher, [item.spec for item in known.values()], device)
    with lock.only_launch(directory, runs=isinstance(launcher, Local)):
        if isinstance(launcher, Slurm):
            _release(directory)
        saves = settings.get("save_model", False)
        missing = _missing(directory, list(known.values()), launcher, saves)
        items = sweep.keyed([item.spec for item in missing], settings["cache_root"])
        if changed := {item.key for item in items} - known.keys():
            raise ValueError(
                f"the embeddings changed since the launch of {name}: {len(changed)} runs would "
                "have other keys; launch the sweep itself again"
            )
        for part, tuned in _tuned(directory, items, launcher):
            _start(part, tuned, device, settings["cache_root"], directory, saves)
    ended = _end(directory, list(known.values()), launcher, waits)
    _mirror(name, tracking.settle(settings.get("logger")))
    return ended


def _mirror(name: str, logger: tracking.Wandb | None) -> None:
    """Send what is done to W&B, if that is asked for."""
    if logger is not None:
        from rmsweep import mirror

        _say(mirror.mirror(name, logger))


def _release(directory: Path) -> None:
    """Let those of the sweep's tasks go on that Slurm holds, as after a launch that failed."""
    arrays = jobs.submitted(directory)
    found = jobs.of_sweep(directory, arrays, scheduler.queued()) if arrays else []
    held = [task for _, task in found if task.is_held]
    scheduler.release(held)
    if held:
        _say(f"released {len(held)} tasks that Slurm held")


def cancel(name: str) -> int:
    """Stop a sweep's jobs, or its launch on this machine; what is done is kept."""
    results.require_sweep(name)
    directory = results.folder(name)
    _stop_launch(directory)
    arrays = jobs.submitted(directory)
    found = jobs.of_sweep(directory, arrays, scheduler.queued()) if arrays else []
    scheduler.cancel([task for _, task in found])
    _say(f"cancelled {len(found)} tasks; what is done is kept, and the same command runs the rest")
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
    _say(f"stopped the launch of process {holder['pid']}")


def _require_able(launcher: Local | Slurm, specs: Sequence[RunSpec], device: str) -> None:
    """ValueError, before anything is written, where this machine cannot run or submit them."""
    if isinstance(launcher, Slurm):
        try:
            scheduler.max_array_size()
        except scheduler.Unavailable as error:
            raise ValueError(f"launcher=slurm needs Slurm's commands here: {error}") from None
        return
    for precision in sorted({spec.precision for spec in specs}):
        machine.require_native(precision, device)


def _where(launcher: Local | Slurm, device: str) -> str:
    return f"Slurm ({device})" if isinstance(launcher, Slurm) else device


def _missing(
    directory: Path, items: Sequence[Item], launcher: Local | Slurm, saves: bool
) -> list[Item]:
    """Items without a done row, or a model that should be kept, and without a live job that has
    them.
    """
    live = _live(directory, launcher)  # asked first: what ends meanwhile has a row by then
    done = set(results.read_done(directory, ["key"])["key"])
    if saves:
        done &= results.with_model(directory)
    missing = [item for item in items if item.key not in done]
    left = [item for item in missing if item.key not in live]
    if len(left) < len(missing):
        _say(f"{len(missing) - len(left)} runs are in jobs that are queued or running")
    return left


def _live(directory: Path, launcher: Local | Slurm) -> set[str]:
    """Keys of the runs in live jobs."""
    arrays = jobs.submitted(directory)
    if not arrays:
        return set()
    try:
        return jobs.keys_of(jobs.of_sweep(directory, arrays, scheduler.queued()))
    except scheduler.Unavailable as error:
        if isinstance(launcher, Slurm):
            raise ValueError(
                f"Slurm must say which jobs of this sweep still run, and does not: {error}; "
                "repeat the command when it answers"
            ) from None
        _say(f"Slurm does not say which jobs still run ({error}): some runs may be done twice")
        return set()


def _start(
    missing: list[Item],
    launcher: Local | Slurm,
    device: str,
    root: str | None,
    directory: Path,
    saves: bool,
) -> None:
    """Run them here, or submit them."""
    if isinstance(launcher, Slurm):
        return _submit(missing, launcher, device, root, directory, saves)
    if missing:
        place = machine.Place(root, device, launcher.threads, saves)
        packs = sweep.local_packs(missing, launcher, device)
        _run(packs, place, launcher.workers, directory)


def _submit(
    missing: list[Item],
    launcher: Slurm,
    device: str,
    root: str | None,
    directory: Path,
    saves: bool,
) -> None:
    if not missing:
        return
    root = root and str(Path(root).absolute())
    most = scheduler.max_array_size()
    seconds, _ = cost.seconds(missing, results.load_all(list(cost.MEASURED)), device)
    by_key = {item.key: float(s) for item, s in zip(missing, seconds, strict=True)}
    arrays = slurm.plan(missing, launcher, device, by_key, root, most, saves)
    done = slurm.submit(directory, arrays, run_task)
    _say(
        f"submitted {len(missing)} runs in {done.n_tasks} tasks: jobs "
        f"{', '.join(done.jobs) or 'none'}"
    )
    if done.refusal is not None:
        _say(f"fewer and longer tasks than planned, since sbatch said: {done.refusal}")


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
            _say(
                f"{len(part)} runs were in tasks that were killed, most likely for memory: now in "
                f"packs of at most {pack_runs}, with {mem_gb:g} GB"
            )
    return [*found, (left, launcher)] if left else found


def _run(packs: list[list[Item]], place: machine.Place, workers: int, directory: Path) -> None:
    """Run packs under a progress bar."""
    started, total = time.perf_counter(), sum(map(len, packs))
    ended = {"done": 0, "failed": 0}
    spent = {"fit_s": 0.0, "score_s": 0.0}
    with _progress(total) as advance:

        def finished(outcome: Outcome) -> None:
            for name in ended:
                ended[name] += getattr(outcome, name)
            for name in spent:
                spent[name] += getattr(outcome, name)
            advance(ended["done"] + ended["failed"], ended["failed"])

        dispatch.run_packs(packs, place, workers, directory, finished)
    wall = time.perf_counter() - started
    _say(
        f"{total} runs in {wall:.1f} s: {60 * total / wall:.0f} a minute on {workers} workers; fit "
        f"{spent['fit_s']:.1f} s and score {spent['score_s']:.1f} s of their time"
    )


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar's setter of runs ended and failed; quiet where the output is no terminal."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RunsPerMinute(),
        TimeRemainingColumn(), console=ERR, disable=not ERR.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("runs", total=total)

        def advance(ended: int, failed: int) -> None:
            text = f"runs ([red]{failed} failed[/])" if failed else "runs"
            progress.update(task, completed=ended, description=text)

        yield advance


class _RunsPerMinute(ProgressColumn):
    def render(self, task: Task) -> str:
        return f"{60 * task.speed:.0f}/min" if task.speed else "-/min"


def _end(directory: Path, items: Sequence[Item], launcher: Local | Slurm, waits: bool) -> int:
    """How a launch ended; the exit status. One on a cluster may wait for that."""
    name = directory.name
    if isinstance(launcher, Slurm) and not waits:
        _say(f"next: rmsweep status {name}")
        return 0
    if isinstance(launcher, Slurm):
        _follow(directory, {item.key for item in items})
    return _print_end(name, items)


def _follow(directory: Path, keys: set[str]) -> None:
    """Until all runs have ended, or no job is left that could end them."""
    arrays, asked, is_over = jobs.submitted(directory), float("-inf"), False
    since = pd.Timestamp(max((array.launched_at for array in arrays), default="1970-01-01T00Z"))
    with _progress(len(keys)) as advance:
        while True:
            rows = results.read_parts(directory, ["key", "status", "finished_at"])
            done = keys & set(rows.loc[rows["status"] == "done", "key"])
            failed = keys & set(rows.loc[rows["finished_at"] >= since, "key"]) - done
            advance(len(done) + len(failed), len(failed))
            if is_over or done == keys:
                return
            all_ended = len(done) + len(failed) == len(keys)
            if all_ended or time.monotonic() - asked > status.CACHED_S:
                asked = time.monotonic()
                with contextlib.suppress(scheduler.Unavailable):  # it restarts; the jobs go on
                    live = jobs.of_sweep(directory, arrays, scheduler.queued())
                    is_over = not live
            if not is_over:
                time.sleep(POLL_S)


def _print_end(name: str, items: Sequence[Item]) -> int:
    """The counts of this launch, and its failures by error; the exit status."""
    done = set(results.load(name, ["key"])["key"])
    missing = {item.key for item in items} - done
    _say(f"{len(items) - len(missing)} of {len(items)} runs done")
    if not missing:
        _say(f"next: rmsweep table {name}")
        return 0
    failures = results.failed(results.folder(name))
    failures = failures[failures["key"].isin(missing)]
    for error, group in failures.groupby("error"):
        _say(f"{len(group)} failed: {error} (key {group['key'].iloc[0]})")
        if isinstance(trace := group["traceback"].iloc[0], str):
            _say("    " + "\n    ".join(trace.strip().splitlines()[-3:-1]))
    if unknown := len(missing) - len(failures):
        _say(f"{unknown} missing: they did not run")
    _say("the same command runs them again")
    return 1


def _record(
    directory: Path,
    axes: compose.Axes,
    overrides: list[str],
    n_runs: int,
    settings: dict[str, Any],
) -> None:
    """Add this launch to sweep.yaml: for people to read, its settings for `retry` too."""
    path = directory / "sweep.yaml"
    before = results.launches(directory)
    launch = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "overrides": overrides,
        "axes": {name: values for name, values in axes.fields.items()},
        "runs": n_runs,
        "settings": settings,
        "versions": versions(),
        **{k: provenance()[k] for k in ("git_commit", "git_dirty", "host")},
    }
    unfinished = path.with_name(f".sweep.yaml.{os.getpid()}")
    try:
        unfinished.write_text(yaml.safe_dump({"launches": [*before, launch]}, sort_keys=False))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


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
    found = results.launches(directory)
    names = {"launcher", "device", "cache_root"}
    if not found or not names <= set(found[-1].get("settings", ())):
        raise ValueError(f"{directory} was not launched as a sweep: sweep.yaml has no settings")
    settings: dict[str, Any] = found[-1]["settings"]
    return settings
