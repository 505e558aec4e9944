"""How a launch ended: how many of its runs are done, and the failures by error."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmsweep.config.loggers import Wandb
from rmsweep.config.spec import Item
from rmsweep.launch.launchers import Launcher
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset
from rmsweep.results.failures import latest_failures


@dataclass(frozen=True)
class FailedAlike:
    """The runs of a launch that failed with one error."""

    n: int
    error: str
    key: str  # of one of them
    where: str  # the last lines of its traceback, without the error; empty where none is known


@dataclass(frozen=True)
class RunsEnded:
    """The ends of a launch's runs."""

    n_runs: int
    n_done: int
    failed: list[FailedAlike]


@dataclass(frozen=True)
class Launched:
    """What a launch did: the ends of its runs, or None where jobs go on without it."""

    sweep: str
    ended: RunsEnded | None
    logger: Wandb | None


def wait_for_ends(
    folder: SweepFolder, items: Sequence[Item], launcher: Launcher, waits: bool
) -> RunsEnded | None:
    """Return how these runs of a sweep ended; None where jobs go on and nobody waits for them."""
    if not launcher.runs_here and not waits:
        return None
    keys = {item.key for item in items}
    launcher.follow(folder, keys)
    missing = keys - set(dataset.read_done(folder, ["key"])["key"])
    failed = _failed_alike(folder, missing) if missing else []
    return RunsEnded(len(items), len(items) - len(missing), failed)


def _failed_alike(folder: SweepFolder, keys: set[str]) -> list[FailedAlike]:
    rows = latest_failures(folder).fillna({"traceback": ""})
    alike = []
    for error, group in rows[rows["key"].isin(keys)].groupby("error"):
        last_frame = group["traceback"].iloc[0].strip().splitlines()[-3:-1]
        key = group["key"].iloc[0]
        alike.append(FailedAlike(len(group), str(error), key, "\n".join(last_frame)))
    return alike
