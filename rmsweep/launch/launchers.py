"""The launchers by name, and what each of them can do."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from rmsweep.config.spec import Item, RunSpec
from rmsweep.errors import nearest
from rmsweep.launch.local import LocalLauncher
from rmsweep.launch.slurm.launcher import SlurmLauncher
from rmsweep.paths import SweepFolder


class Launcher(Protocol):
    """A place where runs get done: its checked fields, and the device of its MLPs.

    A new one is a module with such a class, a row in LAUNCHERS, and a yaml in conf/launcher/ whose
    `cluster` names that row.
    """

    name: ClassVar[str]  # in messages
    runs_here: ClassVar[bool]  # a launch does its runs itself, and this machine is that of the runs

    @classmethod
    def of(cls, values: dict[str, Any], device: str | None) -> Self:
        """Return the launcher of these values of `launcher`; ValueError names a wrong field.

        device: that of MLPs, as configured; null for what the launcher's machines have.
        """

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
        self,
        items: Sequence[Item],
        seconds: np.ndarray,
        cache_root: str | None,
        folder: SweepFolder,
    ) -> list[str]:
        """Return the lines that `--plan` prints of these runs, which take so many seconds each."""

    def release(self, folder: SweepFolder) -> None:
        """Let those of a sweep's jobs go on that the cluster holds."""

    def retuned(
        self, folder: SweepFolder, items: Sequence[Item]
    ) -> "Sequence[tuple[list[Item], Self]]":
        """Return the runs with the launchers they need to be tried again."""


LAUNCHERS: dict[str, type[Launcher]] = {
    "local": LocalLauncher,
    "slurm": SlurmLauncher,
}


def launcher_of(values: dict[str, Any], device: str | None) -> Launcher:
    """Return the launcher of a config: its `launcher` values and its `device`.

    ValueError names a field that makes no sense.
    """
    name = values.get("cluster")
    kind = LAUNCHERS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"launcher.cluster {name!r} is unknown; {nearest(name, LAUNCHERS)}")
    return kind.of(values, device)
