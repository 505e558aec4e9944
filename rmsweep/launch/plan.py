"""`rmsweep run -m ... --plan`: what a sweep would do, and what it would cost."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from rmsweep import errors
from rmsweep.cache import inputs
from rmsweep.config import compose
from rmsweep.config.columns import spec_columns
from rmsweep.config.launchers import Local, Slurm
from rmsweep.config.spec import Item, RunSpec
from rmsweep.launch import cost
from rmsweep.launch.packs import local_packs
from rmsweep.launch.slurm import scheduler, submit
from rmsweep.results import dataset

OUT = Console(highlight=False)
USUAL_ARRAY_SIZE = 1001  # Slurm's default MaxArraySize


def show(
    axes: compose.Axes,
    specs: Sequence[RunSpec],
    root: str | None,
    launcher: Local | Slurm,
    device: str,
) -> None:
    """Print runs by axis, done and missing, packs, hours; on a cluster arrays and their header."""
    print(f"sweep {axes.name}: {len(specs)} runs")
    _print_axes(axes, specs)
    try:
        items = inputs.keyed_items(specs, root)
    except FileNotFoundError as error:
        print(f"done: unknown, since keys need the data: {error}")
        print("hours and packs: unknown, since they need the data's shape")
        return
    directory = dataset.folder(axes.name)
    done = set(dataset.read_done(directory, ["key"])["key"])
    missing = [item for item in items if item.key not in done]
    print(f"done: {len(items) - len(missing)}, missing: {len(missing)}")
    if not missing:
        return
    seconds, n_alike = cost.seconds(missing, dataset.load_all(list(cost.MEASURED)), device)
    if isinstance(launcher, Local):
        _print_local(missing, seconds, launcher, device)
    else:
        _print_slurm(missing, seconds, launcher, device, root, directory)
    how = "the mean cost of runs like them in outputs/"
    if n_alike < len(missing):
        how += f" for {n_alike} runs, the arithmetic of the others"
    print(f"(from {how})")


def _print_axes(axes: compose.Axes, specs: Sequence[RunSpec]) -> None:
    flat = [spec_columns(spec) for spec in specs]
    table = Table("field", "values (runs)")
    for field in (f for f in axes.fields if f in flat[0]):
        counts: dict[str, int] = {}
        for row in flat:
            counts[str(row[field])] = counts.get(str(row[field]), 0) + 1
        table.add_row(field, ", ".join(f"{value} ({n})" for value, n in counts.items()))
    OUT.print(table)


def _print_local(missing: list[Item], seconds: np.ndarray, launcher: Local, device: str) -> None:
    packs = local_packs(missing, launcher, device)
    print(f"packs: {len(packs)} of at most {launcher.pack_runs} runs")
    on_gpu = np.array([cost.device_of(item, device) != "cpu" for item in missing])
    at_once = launcher.workers * launcher.threads
    hours = (seconds[on_gpu].sum() + seconds[~on_gpu].sum() / at_once) / 3600
    print(f"hours: {hours:.2f} on {launcher.workers} workers of {launcher.threads} threads")


def _print_slurm(
    missing: list[Item],
    seconds: np.ndarray,
    launcher: Slurm,
    device: str,
    root: str | None,
    directory: Path,
) -> None:
    try:
        most = scheduler.max_array_size()
    except errors.Unavailable as error:
        most = USUAL_ARRAY_SIZE
        print(f"MaxArraySize: unknown ({error}); {most}, Slurm's default, is assumed")
    by_key = {item.key: float(s) for item, s in zip(missing, seconds, strict=True)}
    arrays = submit.plan(missing, launcher, device, by_key, root, most)
    n_tasks = sum(len(array.tasks) for array in arrays)
    n_packs = sum(len(task) for array in arrays for task in array.tasks)
    print(f"arrays: {len(arrays)}, tasks: {n_tasks}, packs: {n_packs}")
    on_gpu = np.array([cost.device_of(item, device) != "cpu" for item in missing])
    print(
        f"GPU hours: {seconds[on_gpu].sum() / 3600:.2f}, CPU hours: "
        f"{seconds[~on_gpu].sum() / 3600:.2f} (of one core)"
    )
    for array in arrays:
        keys = [key for task in array.tasks for pack in task for key in pack]
        share = sum(by_key[key] for key in keys) / len(array.tasks) / 60
        cores = 1 if array.place.device != "cpu" else array.launcher["cpus"]
        print(
            f"\narray of {len(array.tasks)} tasks, {len(keys)} runs, about {share / cores:.1f} "
            f"minutes a task:\n{submit.header(directory, array)}"
        )
