"""What a sweep gave to Slurm: outputs/NAME/jobs/ARRAY.parquet, a row a run."""

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from rmsweep.config.launchers import Place
from rmsweep.errors import one_line
from rmsweep.launch.slurm.scheduler import Task
from rmsweep.paths import LaunchFolder
from rmsweep.results import parquet

ARRAY_SCHEMA = pa.schema([("task", pa.int64()), ("pack", pa.int64()), ("key", pa.string())])


@dataclass(frozen=True)
class JobArray:
    """An array job: tasks, each a list of packs, each a list of keys; and how it is run."""

    id: str
    tasks: list[list[list[str]]]
    launched_at: str  # ISO 8601, UTC
    place: Place
    workers: int
    cwd: str  # of the launch: where a user's own losses are imported from
    launcher: dict[str, Any]  # fields of launchers.Slurm, for this array's device
    command: list[str] = field(default_factory=list)  # what was typed after `rmsweep`
    job: str | None = None  # Slurm's id, once it has accepted

    def keys_of_task(self, index: int) -> set[str]:
        """Return the keys of the runs of one task."""
        return {key for pack in self.tasks[index] for key in pack}


def job_name(folder: LaunchFolder, array: str) -> str:
    """Return an array's name in Slurm, which tells people the sweep and rmsweep the array."""
    return f"rmsweep-{re.sub(r'[^A-Za-z0-9_.-]', '_', folder.name)}-{array}"


def write_array(folder: LaunchFolder, array: JobArray) -> None:
    """Record an array that is, or is about to be, Slurm's."""
    rows = [
        {"task": t, "pack": p, "key": key}
        for t, packs in enumerate(array.tasks)
        for p, pack in enumerate(packs)
        for key in pack
    ]
    fields = vars(array) | {"place": vars(array.place)}
    del fields["tasks"]
    table = pa.Table.from_pylist(rows, schema=ARRAY_SCHEMA)
    table = table.replace_schema_metadata({"array": json.dumps(fields)})
    parquet.write_table(table, _path(folder, array.id))


def remove_array(folder: LaunchFolder, array: str) -> None:
    """Remove the record of an array that Slurm has refused."""
    _path(folder, array).unlink(missing_ok=True)


def read_array(folder: LaunchFolder, array: str) -> JobArray:
    """Return the array of this id; ValueError where its record is not as a launch wrote it."""
    path = _path(folder, array)
    try:
        return _array(parquet.read_table(path, kind="array"))
    except FileNotFoundError:
        raise
    except (KeyError, TypeError, IndexError, ValueError) as error:
        what = f"{type(error).__name__}: {one_line(error, 200)}"
        raise ValueError(f"{path} is not as a launch wrote it ({what})") from None


def submitted_arrays(folder: LaunchFolder) -> list[JobArray]:
    """Return every array that was, or is about to be, given to Slurm, in order of launch."""
    arrays = []
    for name in os.listdir(folder.jobs) if folder.jobs.is_dir() else []:
        if name.endswith(".parquet") and not name.startswith("."):
            with contextlib.suppress(FileNotFoundError):  # sbatch has just refused it
                arrays.append(read_array(folder, name.removesuffix(".parquet")))
    return sorted(arrays, key=lambda array: (array.launched_at, array.id))


def _path(folder: LaunchFolder, array: str) -> Path:
    return folder.jobs / f"{array}.parquet"


def _array(table: pa.Table) -> JobArray:
    fields = json.loads((table.schema.metadata or {})[b"array"])
    tasks: list[list[list[str]]] = []
    for row in table.to_pylist():
        if row["task"] == len(tasks):
            tasks.append([])
        if row["pack"] == len(tasks[-1]):
            tasks[-1].append([])
        tasks[-1][-1].append(row["key"])
    return JobArray(tasks=tasks, **fields | {"place": Place(**fields["place"])})


def tasks_of(
    folder: LaunchFolder, arrays: Sequence[JobArray], tasks: Sequence[Task]
) -> list[tuple[JobArray, Task]]:
    """Return those of Slurm's tasks that belong to these arrays, with their arrays.

    Accounting has one line, under the array's number alone, for tasks that were cancelled before
    they started, and for a moment for one that has just started: these are the array's others.
    """
    by_name = {job_name(folder, array.id): array for array in arrays}
    ours = [(by_name[task.name], task) for task in tasks if task.name in by_name]
    pairs = [(a, task) for a, task in ours if task.is_single == (len(a.tasks) == 1)]
    named = {(a.id, task.index) for a, task in pairs}
    for array, task in ours:
        if task.is_single and len(array.tasks) > 1:
            others = (i for i in range(len(array.tasks)) if (array.id, i) not in named)
            pairs += [(array, replace(task, index=i, is_single=False)) for i in others]
    return pairs


def keys_in(tasks: Sequence[tuple[JobArray, Task]]) -> set[str]:
    """Return the keys of the runs in these tasks."""
    return {key for array, task in tasks for key in array.keys_of_task(task.index)}
