"""The launcher for a Slurm cluster: runs become arrays of tasks, which outlive the launch."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from rmsweep.config import launchers, trusted_code
from rmsweep.config.launchers import Place, Slurm
from rmsweep.config.spec import Item, RunSpec
from rmsweep.errors import Unavailable
from rmsweep.launch import cost, progress
from rmsweep.launch.slurm import scheduler, task_states
from rmsweep.launch.slurm.arrays import JobArray, keys_in, submitted_arrays
from rmsweep.launch.slurm.task import run_task
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset

POLL_S = 5  # of a launch that waits for its jobs
USUAL_ARRAY_SIZE = 1001  # Slurm's default MaxArraySize


@dataclass(frozen=True)
class SlurmLauncher:
    """A launcher whose runs are tasks on the nodes of a Slurm cluster; see `launchers.Launcher`."""

    fields: Slurm
    device: str
    name: ClassVar[str] = "Slurm"
    runs_here: ClassVar[bool] = False

    @classmethod
    def of(cls, values: dict[str, Any], device: str | None) -> Self:
        return cls(*launchers.slurm_of(values, device))

    @property
    def where(self) -> str:
        return f"{self.name} ({self.device})"

    def require_able(self, specs: Sequence[RunSpec]) -> None:
        scheduler.require_commands()

    def require_trusted(self, config_dirs: Sequence[str]) -> None:
        trusted_code.require_shell(self.fields.setup, self.fields.sbatch, config_dirs)

    @staticmethod
    def live_keys(folder: SweepFolder) -> set[str]:
        return keys_in(task_states.live_tasks(folder))

    def start(
        self, items: Sequence[Item], cache_root: str | None, folder: SweepFolder, saves: bool
    ) -> None:
        """Submit the runs as arrays of tasks, and say as what."""
        from rmsweep.launch.slurm import submit  # here: submitit takes a while to load

        if not items:
            return
        root = cache_root and str(Path(cache_root).absolute())
        place = Place(root, self.device, save_models=saves)
        measured = dataset.load_all(cost.MEASURED)
        seconds, _ = cost.estimated_seconds(items, measured, self.device)
        by_key = dict(zip((item.key for item in items), seconds.tolist(), strict=True))
        most = scheduler.max_array_size()
        arrays = submit.plan_arrays(items, self.fields, place, by_key, most)
        jobs, n_tasks, refusal = submit.submit_arrays(folder, arrays, run_task)
        progress.say(f"submitted {len(items)} runs in {n_tasks} tasks: jobs {', '.join(jobs)}")
        if refusal is not None:
            progress.say(f"fewer and longer tasks than planned, since sbatch said: {refusal}")

    def follow(self, folder: SweepFolder, keys: set[str]) -> None:
        launched = [array.launched_at for array in submitted_arrays(folder)]
        since = pd.Timestamp(max(launched, default="1970-01-01T00Z"))
        asked_at, is_over = float("-inf"), False
        with progress.bar(len(keys)) as advance:
            while True:
                rows = dataset.read_rows(folder, ["key", "status", "finished_at"])
                done = keys & set(rows.loc[rows["status"] == "done", "key"])
                failed = keys & set(rows.loc[rows["finished_at"] >= since, "key"]) - done
                advance(len(done) + len(failed), len(failed))
                if is_over or done == keys:
                    return
                all_ended = len(done) + len(failed) == len(keys)
                if all_ended or time.monotonic() - asked_at > task_states.CACHED_S:
                    asked_at = time.monotonic()
                    with contextlib.suppress(Unavailable):  # it restarts; the jobs go on
                        is_over = not task_states.live_tasks(folder)
                if not is_over:
                    time.sleep(POLL_S)

    @staticmethod
    def cancel(folder: SweepFolder) -> int:
        live = [task for _, task in task_states.live_tasks(folder)]
        scheduler.cancel(live)
        return len(live)

    def describe(
        self, items: Sequence[Item], seconds: np.ndarray, folder: SweepFolder
    ) -> list[str]:
        from rmsweep.launch.slurm import submit  # here: submitit takes a while to load

        lines = []
        try:
            most = scheduler.max_array_size()
        except Unavailable as error:
            most = USUAL_ARRAY_SIZE
            lines = [f"MaxArraySize: unknown ({error}); {most}, Slurm's default, is assumed"]
        by_key = dict(zip((item.key for item in items), seconds.tolist(), strict=True))
        place = Place(None, self.device)  # a script names no cache
        arrays = submit.plan_arrays(items, self.fields, place, by_key, most)
        tasks = [task for array in arrays for task in array.tasks]
        n_packs = sum(map(len, tasks))
        gpu_h, cpu_h = cost.hours(items, seconds, self.device)
        lines.append(f"arrays: {len(arrays)}, tasks: {len(tasks)}, packs: {n_packs}")
        lines.append(f"GPU hours: {gpu_h:.2f}, CPU hours: {cpu_h:.2f} (of one core)")
        for array in arrays:
            cores = 1 if array.place.device != "cpu" else array.launcher["cpus"]
            n, keys = len(array.tasks), [key for t in array.tasks for pack in t for key in pack]
            minutes = sum(by_key[key] for key in keys) / n / 60 / cores
            lines += [
                f"\narray of {n} tasks, {len(keys)} runs, about {minutes:.1f} minutes a task:"
            ]
            lines += [submit.script_of(folder, array)]
        return lines

    def release(self, folder: SweepFolder) -> None:
        held = [task for _, task in task_states.live_tasks(folder) if task.is_held]
        scheduler.release(held)
        if held:
            progress.say(f"released {len(held)} tasks that Slurm held")

    def retuned(self, folder: SweepFolder, items: Sequence[Item]) -> list[tuple[list[Item], Self]]:
        """Return the runs; those of killed tasks with smaller packs and more memory."""
        arrays = submitted_arrays(folder)
        if not arrays:
            return [(list(items), self)]
        groups, left = [], list(items)
        for (pack_runs, mem_gb), keys in _after_kills(folder, arrays).items():
            part = [item for item in left if item.key in keys]
            left = [item for item in left if item.key not in keys]
            if part:
                gpu_tasks = replace(self.fields.gpu_tasks, mem_gb=mem_gb)
                fields = replace(self.fields, pack_runs=pack_runs, mem_gb=mem_gb)
                groups.append((part, replace(self, fields=replace(fields, gpu_tasks=gpu_tasks))))
                progress.say(
                    f"{len(part)} runs were in tasks that were killed, most likely for memory: now "
                    f"in packs of at most {pack_runs}, with {mem_gb:g} GB"
                )
        return [*groups, (left, self)] if left else groups

    def for_build(self) -> Self:
        scheduler.require_commands()
        return self


def _after_kills(
    folder: SweepFolder, arrays: Sequence[JobArray]
) -> dict[tuple[int, float], set[str]]:
    """Return the keys of killed tasks by the runs in a pack and the memory to try next, in GB."""
    groups: dict[tuple[int, float], set[str]] = {}
    for array, task in task_states.killed_tasks(folder, arrays):
        keys = array.keys_of_task(task.index)
        largest = max(len(pack) for pack in array.tasks[task.index])
        smaller = (max(1, largest // 2), 2 * array.launcher["mem_gb"])
        for others in groups.values():
            others -= keys  # the last time counts
        groups.setdefault(smaller, set()).update(keys)
    return groups
