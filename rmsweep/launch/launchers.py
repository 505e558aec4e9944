"""The launchers by name, what each of them can do, and what is left for them to start."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from rmsweep.config.spec import Item, RunSpec
from rmsweep.errors import Unavailable, nearest
from rmsweep.launch import progress
from rmsweep.launch.local import LocalLauncher
from rmsweep.launch.slurm.launcher import SlurmLauncher
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset


class Launcher(Protocol):
    """A place where runs get done: its checked fields, and the device of its MLPs.

    A new one is a module with such a class, a row in LAUNCHERS, and a yaml in conf/launcher/ whose
    `cluster` names that row.
    """

    name: ClassVar[str]  # in messages
    runs_here: ClassVar[bool]  # a launch does its runs itself, and this machine is that of the runs

    @classmethod
    def of(cls, values: dict[str, Any], device: str | None) -> Self:
        """Return the launcher of these fields for `device`; ValueError names a wrong one."""

    @property
    def device(self) -> str:
        """Return the device that MLPs run on."""

    @property
    def where(self) -> str:
        """Return where the runs are done, as a launch's first line says it."""

    def require_able(self, specs: Sequence[RunSpec]) -> None:
        """Raise ValueError, before anything is written, where these runs cannot be started."""

    def require_trusted(self, config_dirs: Sequence[str]) -> None:
        """Raise ValueError for code among the fields that no config file names."""

    @staticmethod
    def live_keys(folder: SweepFolder) -> set[str]:
        """Return the keys of a sweep's runs that outlived the launch and go on; or Unavailable."""

    def start(
        self, items: Sequence[Item], cache_root: str | None, folder: SweepFolder, saves: bool
    ) -> None:
        """Do the runs, or hand them to a cluster; LaunchError where some could not be."""

    def follow(self, folder: SweepFolder, keys: set[str]) -> None:
        """Wait until all these runs have ended, or nothing is left that could end them."""

    @staticmethod
    def cancel(folder: SweepFolder) -> int:
        """End a sweep's jobs, and return how many tasks that were."""

    def describe(
        self, items: Sequence[Item], seconds: np.ndarray, folder: SweepFolder
    ) -> list[str]:
        """Return what `--plan` prints of these runs; seconds: (runs,), as cost estimates them."""

    def release(self, folder: SweepFolder) -> None:
        """Let those of a sweep's jobs go on that the cluster holds."""

    def retuned(self, folder: SweepFolder, items: Sequence[Item]) -> list[tuple[list[Item], Self]]:
        """Return the runs with the launchers they need to be tried again."""

    def for_build(self) -> SlurmLauncher:
        """Return the launcher that a build's tasks take; ValueError where this cannot be one."""


LAUNCHERS: dict[str, type[Launcher]] = {"local": LocalLauncher, "slurm": SlurmLauncher}


def launcher_of(values: dict[str, Any], device: str | None) -> Launcher:
    """Return the launcher of a config's `launcher` and `device`; ValueError names a wrong field."""
    name = values.get("cluster")
    kind = LAUNCHERS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"launcher.cluster {name!r} is unknown; {nearest(name, LAUNCHERS)}")
    return kind.of(values, device)


def items_to_start(
    folder: SweepFolder, items: Sequence[Item], launcher: Launcher, saves: bool
) -> list[Item]:
    """Return the items that no live job has and that lack a done row or, if `saves`, their model.

    ValueError where jobs cannot be told, and the launcher would submit some of them once more.
    """
    live = _live_keys(folder, launcher)  # asked first: what ends meanwhile has a row by then
    done = set(dataset.read_done(folder, ["key"])["key"])
    if saves:
        done &= dataset.saved_keys(folder)
    missing = [item for item in items if item.key not in done]
    left = [item for item in missing if item.key not in live]
    if len(left) < len(missing):
        progress.say(f"{len(missing) - len(left)} runs are in jobs that are queued or running")
    return left


def _live_keys(folder: SweepFolder, launcher: Launcher) -> set[str]:
    """Return the keys of the runs in live jobs, of whichever launcher."""
    keys: set[str] = set()
    for kind in LAUNCHERS.values():
        try:
            keys |= kind.live_keys(folder)
        except Unavailable as error:
            if not launcher.runs_here:
                raise ValueError(
                    f"{kind.name} must say which jobs of this sweep still run, and does not: "
                    f"{error}; repeat the command when it answers"
                ) from None
            text = f"{kind.name} does not say which jobs still run ({error})"
            progress.say(f"{text}: some runs may be done twice")
    return keys
