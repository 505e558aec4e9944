"""What `rmsweep status` prints: a sweep's state, or one run with its row, traceback and log."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.live import Live

from rmsweep.config.columns import column_types
from rmsweep.launch import status
from rmsweep.results.disagreements import disagreement_line

NOTES = {
    "missing": "in no job: the launch command, or `rmsweep retry {}`, runs them",
    "failed": "`rmsweep retry {}` runs them again",
}  # of runs in a state, for the sweep's name
LOG_LINES = 20
WATCH_S = 5


def print_status(name: str, *, as_json: bool) -> int:
    """Print how a sweep goes; return 0 if all is done, else 1."""
    report = status.sweep_status(name)
    print(json.dumps(report, indent=2) if as_json else status_text(report))
    return int(report["runs"]["done"] < report["wanted"])


def watch_status(name: str) -> int:
    """Redraw how a sweep goes until nothing moves any more, or Ctrl-C."""
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            report = status.sweep_status(name)
            live.update(status_text(report), refresh=True)
            runs = report["runs"]
            if not runs["running"] + runs["queued"]:
                return int(runs["done"] < report["wanted"])
            time.sleep(WATCH_S)


def status_text(report: dict[str, Any]) -> str:
    """Return the lines of a report of status.sweep_status."""
    first = f"sweep {report['sweep']}: {report['runs']['done']} of {report['wanted']} runs done"
    return "\n".join([first, *_of_runs(report), *_of_jobs(report)])


def _of_runs(report: dict[str, Any]) -> Iterator[str]:
    sweep = report["sweep"]
    for state, n in report["runs"].items():
        if n or state == "done":
            yield f"  {state:<8} {n:>7}   {NOTES.get(state, '').format(sweep)}".rstrip()
    if report["per_hour"] is not None:
        pace, hours = f"{report['per_hour']:,.0f} runs an hour", report["hours_left"]
        if hours is not None:
            minutes = max(1, round(60 * hours))
            left = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
            pace += f"; {left} left at this pace"
        yield pace
    for failure in report["failures"]:
        yield f"{failure['n']} failed: {failure['error']}"
        where = f"at {failure['at']}; " if failure["at"] else ""
        yield f"    {where}see rmsweep status {sweep} --key {failure['key']}"
    if report["disagreeing"]:
        yield disagreement_line(dict.fromkeys(report["disagreeing"], sweep))


def _of_jobs(report: dict[str, Any]) -> Iterator[str]:
    if report["launch"] is not None:
        yield f"launch: process {report['launch']['pid']} on {report['launch']['host']}"
    if report["jobs"] is not None:
        counts = ", ".join(f"{state} {n}" for state, n in sorted(report["jobs"].items()))
        yield f"Slurm's tasks: {counts or 'none in the queue'}"
    if report["held"]:
        yield (
            f"Slurm holds {report['held']} of them, as after a failed start: `rmsweep retry "
            f"{report['sweep']}` lets them go on"
        )
    if report["jobs_unknown"] is not None:
        yield (
            f"Slurm does not answer ({report['jobs_unknown']}): runs that are queued or running "
            "there are counted as missing"
        )
    for bad in report["ended_badly"]:
        yield f"{bad['n']} {bad['state']} (exit code {bad['exit_code']}): {bad['log']}"


def print_run_status(name: str, start: str) -> int:
    """Print what is known of the run whose key begins with `start`; return the exit status."""
    run = status.run_status(name, start)
    state = "no row: it has not ended" if run.row is None else run.row["status"]
    print(f"run {run.key} of {name}: {state}")
    if run.spec is not None:
        print("\nspec:\n" + _indented(yaml.safe_dump(run.spec)))
    if run.row is not None:
        print("row:\n" + _indented(_scalars(run.row)))
        if isinstance(run.row["traceback"], str):
            print("traceback:\n" + _indented(run.row["traceback"]))
    for task, path in run.logs:
        if path is None:
            print(f"\njob {task}: no log, it has not started")
            continue
        lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        print(f"\nlog, the last {len(lines)} lines of {path}:\n" + _indented("\n".join(lines)))
    return int(state != "done")


def _scalars(row: pd.Series) -> str:
    """Return the scalars of a row, a line each, without the spec's own columns."""
    own = {*column_types(), "traceback", "key", "status"}
    return "\n".join(
        f"{name}: {value}"
        for name, value in row.items()
        if name not in own and pd.api.types.is_scalar(value) and not pd.isna(value)
    )


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
