"""What a launch would do, and what it would cost; nothing is run or written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rmsweep.config.columns import spec_columns
from rmsweep.config.compose import Axes
from rmsweep.config.spec import Item, RunSpec
from rmsweep.launch import cost
from rmsweep.launch.run_sweep import SweepRequest
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset


@dataclass(frozen=True)
class LaunchPlan:
    """What a launch would do with the runs of a sweep whose data is here."""

    n_done: int
    n_missing: int
    n_measured: int  # of the missing, which are like runs that were measured
    lines: list[str]  # the launcher's: packs, hours, arrays


def values_by_field(axes: Axes, specs: Sequence[RunSpec]) -> dict[str, Counter[str]]:
    """Return for each swept field the number of runs by value."""
    rows = [spec_columns(spec) for spec in specs]
    fields = [field for field in axes.fields if field in rows[0]]
    return {field: Counter(str(row[field]) for row in rows) for field in fields}


def plan_launch(request: SweepRequest, items: Sequence[Item]) -> LaunchPlan:
    """Return what a launch of these runs would do; items: of the request, with their keys."""
    folder = SweepFolder.named(request.axes.name)
    done = set(dataset.read_done(folder, ["key"])["key"])
    missing = [item for item in items if item.key not in done]
    if not missing:
        return LaunchPlan(len(items), 0, 0, [])
    launcher = request.launcher
    measured = dataset.load_all(list(cost.MEASURED))
    seconds, n_measured = cost.estimated_seconds(missing, measured, launcher.device)
    lines = launcher.describe(missing, seconds, request.cache_root, folder)
    return LaunchPlan(len(items) - len(missing), len(missing), n_measured, lines)
