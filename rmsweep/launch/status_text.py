"""What `rmsweep status` prints: a sweep's state, or one run with its row, traceback and log."""

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.live import Live

from rmsweep.config.columns import column_types
from rmsweep.launch import status
from rmsweep.launch.slurm import arrays
from rmsweep.results import dataset, sweep_record

NOTES = {
    "missing": "in no job: the launch command, or `rmsweep retry {sweep}`, runs them",
    "failed": "`rmsweep retry {sweep}` runs them again",
}
LOG_LINES = 20
WATCH_S = 5


def show(name: str, *, as_json: bool) -> int:
    """Print how a sweep goes; 0 if all is done, else 1."""
    report = status.of_sweep(name)
    print(json.dumps(report, indent=2) if as_json else text(report))
    return int(report["runs"]["done"] < report["wanted"])


def watch(name: str) -> int:
    """Redraw until nothing moves any more, or Ctrl-C."""
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            report = status.of_sweep(name)
            live.update(text(report), refresh=True)
            runs = report["runs"]
            if not runs["running"] + runs["queued"]:
                return int(runs["done"] < report["wanted"])
            time.sleep(WATCH_S)


def text(report: dict[str, Any]) -> str:
    """A report of status.of_sweep, a line a state."""
    lines = [f"sweep {report['sweep']}: {report['runs']['done']} of {report['wanted']} runs done"]
    for state, n in report["runs"].items():
        if n or state == "done":
            note = NOTES.get(state, "").format(sweep=report["sweep"])
            lines.append(f"  {state:<8} {n:>7}   {note}".rstrip())
    if report["per_hour"] is not None:
        pace = f"{report['per_hour']:,.0f} runs an hour"
        left = report["hours_left"]
        lines.append(pace if left is None else f"{pace}; {_duration(left)} left at this pace")
    for failure in report["failures"]:
        lines.append(f"{failure['n']} failed: {failure['error']}")
        where = f"at {failure['at']}; " if failure["at"] else ""
        lines.append(f"    {where}see rmsweep status {report['sweep']} --key {failure['key']}")
    if report["launch"] is not None:
        launch = report["launch"]
        lines.append(f"launch: process {launch['pid']} on {launch['host']}")
    if report["jobs"] is not None:
        counts = ", ".join(f"{state} {n}" for state, n in sorted(report["jobs"].items()))
        lines.append(f"Slurm's tasks: {counts or 'none in the queue'}")
    if report["held"]:
        lines.append(
            f"Slurm holds {report['held']} of them, as after a failed start: `rmsweep retry "
            f"{report['sweep']}` lets them go on"
        )
    if report["jobs_unknown"] is not None:
        lines.append(
            f"Slurm does not answer ({report['jobs_unknown']}): runs that are queued or running "
            "there are counted as missing"
        )
    for bad in report["ended_badly"]:
        lines.append(f"{bad['n']} {bad['state']} (exit code {bad['exit_code']}): {bad['log']}")
    return "\n".join(lines)


def _duration(hours: float) -> str:
    minutes = max(1, round(60 * hours))
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def show_run(name: str, start: str) -> int:
    """Print all that is known of one run; 0 if it is done. ValueError for a key that is not here.

    start: the run's key, or the first digits of it.
    """
    dataset.require_sweep(name)
    directory = dataset.folder(name)
    rows = dataset.read_rows(directory)
    keys = sorted(set(rows["key"]) | sweep_record.wanted_keys(name))

    def refusal(n: int) -> ValueError:
        rule = f"must be one of the {len(keys)} keys of {name}, or begin just one"
        return ValueError(f"--key {start} {rule}; it begins {n}")

    key = dataset.only_key(start, keys, refusal)
    mine = rows[rows["key"] == key].sort_values("finished_at")
    done = mine[mine["status"] == "done"]
    row = (done.iloc[0] if len(done) else mine.iloc[-1]) if len(mine) else None
    state = "no row: it has not ended" if row is None else row["status"]
    print(f"run {key} of {name}: {state}")
    spec = sweep_record.wanted_items(directory, {key}).get(key)
    if spec is not None:
        print("\nspec:\n" + _indented(yaml.safe_dump(json.loads(spec.spec.canonical))))
    if row is not None:
        print("row:\n" + _indented(_of_row(row)))
        if isinstance(row["traceback"], str):
            print("traceback:\n" + _indented(row["traceback"]))
    for array in arrays.submitted(directory):
        for index, packs in enumerate(array.tasks):
            if any(key in pack for pack in packs):
                _print_log(directory, array, index)
    return int(row is None or row["status"] != "done")


def _of_row(row: pd.Series) -> str:
    """The scalars that are there, a line each; the spec's own columns are above."""
    own = {*column_types(), "traceback", "key", "status"}
    kept = {name: value for name, value in row.items() if name not in own}
    return "\n".join(
        f"{name}: {value}" for name, value in kept.items() if pd.api.types.is_scalar(value)
        and not pd.isna(value)
    )  # fmt: skip


def _print_log(directory: Path, array: arrays.Array, index: int) -> None:
    path = status.log_of(directory, array, index)
    if path is None:
        print(f"\njob {array.job}_{index}: no log, it has not started")
        return
    lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
    print(f"\nlog, the last {len(lines)} lines of {path}:\n" + _indented("\n".join(lines)))


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
