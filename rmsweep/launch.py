"""`rmsweep run`: one run through Hydra's application, or a sweep from plan to dataset."""

import contextlib
import datetime
import functools
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from rmsweep import compose, dispatch, machine, results, sweep
from rmsweep.best_of_n import kl_upper_bound
from rmsweep.provenance import provenance, versions
from rmsweep.spec import Item, RunSpec, columns

OUT, ERR = Console(highlight=False), Console(stderr=True, highlight=False)
_say = functools.partial(print, flush=True)  # seen at once in a log, too


def single(arguments: list[str], config_dirs: list[str]) -> int:
    """One run; its metrics are printed, its row is kept in outputs/single."""
    config = _through_hydra([*arguments, compose.search_path(config_dirs)])
    if config is None:  # --help, --cfg and the like
        return 0
    values = compose.resolved(config.values)
    if (values.get("sweep") or {}).get("axes"):
        raise ValueError("sweeps=NAME is a sweep of many runs: rmsweep run -m sweeps=NAME")
    device = machine.device(values.get("device"))
    spec = sweep.spec_of(compose.Config(values, config.choices, ()), device)
    machine.require_native(spec.precision, device)
    root = sweep.cache_root(values)
    (item,) = sweep.keyed([spec], root)
    sweep.settle(values["launcher"], device)
    directory = results.folder("single")
    results.require_writable(directory)
    row = _done_row(item)
    if row is None:
        from rmsweep.execute import run_pack

        with ERR.status(f"fitting {spec.loss.name} on {spec.quantity} pairs"):
            run_pack([item], machine.Place(root, device, machine.cores()), directory)
        row = _done_row(item)
    if row is None:
        failures = results.failed(directory).set_index("key")
        _complain(f"rmsweep: the run failed: {failures.at[item.key, 'error']}")
        _complain(failures.at[item.key, "traceback"])
        return 1
    _print_row(row)
    return 0


def _through_hydra(arguments: list[str]) -> compose.Config | None:
    """The config that Hydra's application composes; none where it printed what a flag asks for."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    found = []
    application = hydra.main(
        config_path=str(compose.ROOT / "conf"), config_name="config", version_base="1.3"
    )(lambda cfg: found.append(compose.plain(cfg, dict(HydraConfig.get().runtime.choices))))
    argv, sys.argv = sys.argv, ["rmsweep run", *arguments]
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors, do not print them
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            application()
    except SystemExit as stop:
        if stop.code:  # Hydra's argparse has printed usage, then the error
            message = printed.getvalue().strip().rpartition("error: ")[2]
            raise ValueError(f"{message}; see `rmsweep run --help`") from None
        raise
    finally:
        sys.argv = argv
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return found[0] if found else None


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _done_row(item: Item):
    done = results.load("single").set_index("key")
    return done.loc[item.key] if item.key in done.index else None


def _print_row(row) -> None:
    table = Table("n", "KL bound (nats)", "golden reward", title="Best-of-N, exact")
    for n, golden in zip(row["bon_n"], row["bon_golden_by_n"], strict=True):
        table.add_row(str(n), f"{kl_upper_bound(n):.3f}", f"{golden:.4f}")
    OUT.print(table)
    for name in (*results.METRICS, "epochs"):
        if not pd.isna(row[name]):
            _say(
                f"{name:>20}  {row[name]:.4f}" if name != "epochs" else f"{name:>20}  {row[name]:g}"
            )
    if row["objective_counts"]:
        _say(f"{'objective_counts':>20}  {row['objective_counts']}")
    _say(f"{'key':>20}  {row.name}  (row in {results.folder('single')})")


def many(
    overrides: list[str], config_dirs: list[str], *, plan_only: bool, limit: int | None
) -> int:
    """A sweep: plan it, run what has no done row, and say how it ended."""
    if not plan_only:
        dispatch.warm_up()
    with compose.hydra_at_conf():
        axes = compose.read_axes(overrides, config_dirs)
        values = compose.resolved(axes.base.values)
        device = machine.device(values.get("device"))
        launcher = sweep.settle(values["launcher"], device)
        root = sweep.cache_root(values)
        specs = sweep.specs_of(axes, config_dirs)
    if plan_only:
        _print_plan(axes, specs[:limit], root, launcher, device)
        return 0
    for precision in sorted({spec.precision for spec in specs}):
        machine.require_native(precision, device)
    directory = results.folder(axes.name)
    _say(f"sweep {axes.name}: {len(specs)} runs on {device}, results in {directory}")
    wanted = sweep.keyed(specs, root)
    results.require_writable(directory)
    with dispatch.only_launch(directory):
        done = set(results.load(axes.name, ["key"])["key"])
        results.add_wanted(directory, wanted)
        _record(directory, axes, overrides, len(wanted))
        missing = [item for item in wanted[:limit] if item.key not in done]
        if missing:
            place = machine.Place(root, device, launcher.threads)
            _run(sweep.packs(missing, launcher, device), place, launcher.workers, directory)
    if limit is not None and limit < len(wanted):
        _say(
            f"--limit {limit}: the other {len(wanted) - limit} runs of the sweep were not launched"
        )
    return _print_end(axes.name, wanted[:limit])


def _run(packs, place: machine.Place, workers: int, directory: Path) -> None:
    """Run packs under a progress bar; quiet where the output is no terminal."""
    started, total = time.perf_counter(), sum(map(len, packs))
    spent = {"done": 0, "failed": 0, "fit_s": 0.0, "score_s": 0.0}
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RunsPerMinute(),
        TimeRemainingColumn(), console=ERR, disable=not ERR.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("runs", total=total)

        def finished(outcome) -> None:
            for name in spent:
                spent[name] += getattr(outcome, name)
            progress.update(
                task,
                advance=outcome.done + outcome.failed,
                description=f"runs ([red]{spent['failed']} failed[/])"
                if spent["failed"]
                else "runs",
            )

        dispatch.run_packs(packs, place, workers, directory, finished)
    wall = time.perf_counter() - started
    _say(
        f"{total} runs in {wall:.1f} s: {60 * total / wall:.0f} a minute on {workers} workers; fit "
        f"{spent['fit_s']:.1f} s and score {spent['score_s']:.1f} s of their time"
    )


class _RunsPerMinute(ProgressColumn):
    def render(self, task):
        return f"{60 * task.speed:.0f}/min" if task.speed else "-/min"


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


def _print_plan(
    axes: compose.Axes,
    specs: list[RunSpec],
    root: str | None,
    launcher: sweep.Launcher,
    device: str,
) -> None:
    """Runs by axis, done and missing, packs and hours."""
    _say(f"sweep {axes.name}: {len(specs)} runs")
    flat = [columns(spec) for spec in specs]
    table = Table("field", "values (runs)")
    for field in (f for f in axes.fields if f in flat[0]):
        counts: dict[str, int] = {}
        for row in flat:
            counts[str(row[field])] = counts.get(str(row[field]), 0) + 1
        table.add_row(field, ", ".join(f"{value} ({n})" for value, n in counts.items()))
    OUT.print(table)
    try:
        items = sweep.keyed(specs, root)
    except FileNotFoundError as error:
        _say(f"done: unknown, since keys need the data: {error}")
        items = [Item(spec.spec_id, spec) for spec in specs]
        missing = items
    else:
        known = results.folder(axes.name).is_dir()
        done = set(results.load(axes.name, ["key"])["key"]) if known else set()
        missing = [item for item in items if item.key not in done]
        _say(f"done: {len(items) - len(missing)}, missing: {len(missing)}")
    packs = sweep.packs(missing, launcher, device)
    _say(f"packs: {len(packs)} of at most {launcher.pack_runs} runs")
    hours = sweep.hours_left(missing, results.load_all(sweep.COST))
    _say(
        "hours: unknown, no run like these has been measured in outputs/ yet"
        if hours is None
        else f"hours: {hours / launcher.workers:.2f} on {launcher.workers} workers, at the mean "
        "cost of runs like these in outputs/"
    )


def _record(directory: Path, axes: compose.Axes, overrides: list[str], n_runs: int) -> None:
    """Add this launch to sweep.yaml, for people to read."""
    path = directory / "sweep.yaml"
    before = yaml.safe_load(path.read_text())["launches"] if path.exists() else []
    launch = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "overrides": overrides,
        "axes": {name: values for name, values in axes.fields.items()},
        "runs": n_runs,
        "versions": versions(),
        **{k: provenance()[k] for k in ("git_commit", "git_dirty", "host")},
    }
    unfinished = path.with_name(f".sweep.yaml.{os.getpid()}")
    unfinished.write_text(yaml.safe_dump({"launches": [*before, launch]}, sort_keys=False))
    os.replace(unfinished, path)
