"""What a launch has to start: the runs that are not done and that no live job has."""

from collections.abc import Sequence

from rmsweep.config.spec import Item
from rmsweep.errors import Unavailable
from rmsweep.launch import progress
from rmsweep.launch.launchers import LAUNCHERS, Launcher
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset


def items_to_start(
    folder: SweepFolder, items: Sequence[Item], launcher: Launcher, saves: bool
) -> list[Item]:
    """Return the items without a done row, or without a model to keep, that no live job has.

    saves: whether reward models are kept. ValueError where jobs cannot be told, and the launcher
    would submit some of them once more.
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
            progress.say(
                f"{kind.name} does not say which jobs still run ({error}): some runs may be done "
                "twice"
            )
    return keys
