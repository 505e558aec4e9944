"""The launcher for this machine: runs are done in a pool of processes, or on its GPU."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import numpy as np

from rmsweep import machine
from rmsweep.config import launchers
from rmsweep.config.launchers import Local, Place
from rmsweep.config.spec import Item, RunSpec
from rmsweep.launch import cost, pool, progress
from rmsweep.launch.packs import local_packs
from rmsweep.paths import SweepFolder

if TYPE_CHECKING:  # torch, which the pool imports while the sweep is planned
    from rmsweep.launch.worker import Outcome


@dataclass(frozen=True)
class LocalLauncher:
    """A launcher that does the runs itself, here, before it returns; see `launchers.Launcher`."""

    fields: Local
    device: str
    name: ClassVar[str] = "this machine"
    runs_here: ClassVar[bool] = True

    @classmethod
    def of(cls, values: dict[str, Any], device: str | None) -> Self:
        return cls(*launchers.local_of(values, device))

    @property
    def where(self) -> str:
        return self.device

    def require_able(self, specs: Sequence[RunSpec]) -> None:
        """Raise ValueError where this machine would emulate a run's precision."""
        for precision in sorted({spec.precision for spec in specs}):
            machine.require_native(precision, self.device)

    def require_trusted(self, config_dirs: Sequence[str]) -> None:
        """Accept all fields: none of them is run as code."""

    @staticmethod
    def live_keys(folder: SweepFolder) -> set[str]:
        """Return no key: a launch that does its own runs leaves none behind."""
        return set()

    def start(
        self, items: Sequence[Item], cache_root: str | None, folder: SweepFolder, saves: bool
    ) -> None:
        """Do the runs under a progress bar, and say how long they took."""
        if not items:
            return
        place = Place(cache_root, self.device, save_models=saves)
        packs = local_packs(items, self.fields, self.device)
        totals: Counter[str] = Counter()  # of what Outcome counts
        began = time.perf_counter()
        with progress.bar(len(items)) as advance:

            def finished(outcome: "Outcome") -> None:
                totals.update(vars(outcome))
                advance(totals["done"] + totals["failed"], totals["failed"])

            pool.run_packs(packs, place, self.fields.workers, folder, finished)
        wall_s = time.perf_counter() - began
        progress.say(
            f"{len(items)} runs in {wall_s:.1f} s: {60 * len(items) / wall_s:.0f} a minute on "
            f"{self.fields.workers} workers; fit {totals['fit_s']:.1f} s and score "
            f"{totals['score_s']:.1f} s of their time"
        )

    def follow(self, folder: SweepFolder, keys: set[str]) -> None:
        """Return at once: the runs have ended when `start` returns."""

    @staticmethod
    def cancel(folder: SweepFolder) -> int:
        """Return 0: what runs here ends with its launch, and is in no job."""
        return 0

    def describe(
        self, items: Sequence[Item], seconds: np.ndarray, folder: SweepFolder
    ) -> list[str]:
        fields = self.fields
        n_packs = len(local_packs(items, fields, self.device))
        gpu_h, cpu_h = cost.hours(items, seconds, self.device)
        hours = gpu_h + cpu_h / fields.workers
        return [
            f"packs: {n_packs} of at most {fields.pack_runs} runs",
            f"hours: {hours:.2f} on {fields.workers} workers",
        ]

    def release(self, folder: SweepFolder) -> None:
        """Do nothing: nobody holds runs here."""

    def retuned(self, folder: SweepFolder, items: Sequence[Item]) -> list[tuple[list[Item], Self]]:
        """Return all runs with this launcher: a run that fails here is tried again as it was."""
        return [(list(items), self)]

    def for_build(self) -> NoReturn:
        raise ValueError("a build takes launcher=slurm or one like it; without, it runs here")
