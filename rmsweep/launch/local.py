"""The launcher for this machine: runs are done in a pool of processes, or on its GPU."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

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
    """A launcher that does the runs itself, on this machine, before it returns."""

    fields: Local
    device: str
    name: ClassVar[str] = "this machine"
    runs_here: ClassVar[bool] = True

    @classmethod
    def of(cls, values: dict[str, Any], device: str | None) -> Self:
        """Return the launcher of these values of `launcher`; ValueError names a wrong field."""
        return cls(*launchers.local_of(values, device))

    @property
    def where(self) -> str:
        """Return where the runs are done, as a launch's first line says it."""
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
        place = Place(cache_root, self.device, self.fields.threads, saves)
        packs = local_packs(items, self.fields, self.device)
        started = time.perf_counter()
        fit_s, score_s = _run(packs, place, self.fields.workers, folder)
        wall_s = time.perf_counter() - started
        progress.say(
            f"{len(items)} runs in {wall_s:.1f} s: {60 * len(items) / wall_s:.0f} a minute on "
            f"{self.fields.workers} workers; fit {fit_s:.1f} s and score {score_s:.1f} s of their "
            "time"
        )

    def follow(self, folder: SweepFolder, keys: set[str]) -> None:
        """Return at once: the runs have ended when `start` returns."""

    @staticmethod
    def cancel(folder: SweepFolder) -> int:
        """Return 0: what runs here ends with its launch, and is in no job."""
        return 0

    def describe(
        self,
        items: Sequence[Item],
        seconds: np.ndarray,
        cache_root: str | None,
        folder: SweepFolder,
    ) -> list[str]:
        """Return what `--plan` says of these runs: packs and hours.

        seconds: (runs,) of a core or a GPU, as cost.estimated_seconds has them.
        """
        fields = self.fields
        packs = local_packs(items, fields, self.device)
        gpu_h, cpu_h = cost.hours(items, seconds, self.device)
        hours = gpu_h + cpu_h / (fields.workers * fields.threads)
        return [
            f"packs: {len(packs)} of at most {fields.pack_runs} runs",
            f"hours: {hours:.2f} on {fields.workers} workers of {fields.threads} threads",
        ]

    def release(self, folder: SweepFolder) -> None:
        """Do nothing: nobody holds runs here."""

    def retuned(self, folder: SweepFolder, items: Sequence[Item]) -> list[tuple[list[Item], Self]]:
        """Return all runs with this launcher: a run that fails here is tried again as it was."""
        return [(list(items), self)]


def _run(
    packs: list[list[Item]], place: Place, workers: int, folder: SweepFolder
) -> tuple[float, float]:
    """Run packs under a progress bar; return their seconds of fitting and of scoring."""
    n_ended, n_failed, fit_s, score_s = 0, 0, 0.0, 0.0
    with progress.bar(sum(map(len, packs))) as advance:

        def finished(outcome: "Outcome") -> None:
            nonlocal n_ended, n_failed, fit_s, score_s
            n_ended += outcome.done + outcome.failed
            n_failed += outcome.failed
            fit_s += outcome.fit_s
            score_s += outcome.score_s
            advance(n_ended, n_failed)

        pool.run_packs(packs, place, workers, folder, finished)
    return fit_s, score_s
