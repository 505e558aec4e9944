"""Start what has no done row: here, under a progress bar, or as tasks of Slurm."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rmsweep import errors, machine
from rmsweep.config import launchers
from rmsweep.config.launchers import Local, Slurm
from rmsweep.config.spec import Item, RunSpec
from rmsweep.launch import cost, pool, progress
from rmsweep.launch.packs import local_packs
from rmsweep.launch.slurm import arrays as jobs
from rmsweep.launch.slurm import scheduler, submit
from rmsweep.launch.slurm.task import run_task
from rmsweep.results import dataset

if TYPE_CHECKING:  # torch, which the pool imports while the sweep is planned
    from rmsweep.launch.worker import Outcome


def require_able(launcher: Local | Slurm, specs: Sequence[RunSpec], device: str) -> None:
    """ValueError, before anything is written, where this machine cannot run or submit them."""
    if isinstance(launcher, Slurm):
        try:
            scheduler.max_array_size()
        except errors.Unavailable as error:
            raise ValueError(f"launcher=slurm needs Slurm's commands here: {error}") from None
        return
    for precision in sorted({spec.precision for spec in specs}):
        machine.require_native(precision, device)


def missing_of(
    directory: Path, items: Sequence[Item], launcher: Local | Slurm, saves: bool
) -> list[Item]:
    """Items without a done row, or a model that should be kept, and without a live job that has
    them.
    """
    live = _live(directory, launcher)  # asked first: what ends meanwhile has a row by then
    done = set(dataset.read_done(directory, ["key"])["key"])
    if saves:
        done &= dataset.saved_keys(directory)
    missing = [item for item in items if item.key not in done]
    left = [item for item in missing if item.key not in live]
    if len(left) < len(missing):
        progress.say(f"{len(missing) - len(left)} runs are in jobs that are queued or running")
    return left


def _live(directory: Path, launcher: Local | Slurm) -> set[str]:
    """Keys of the runs in live jobs."""
    arrays = jobs.submitted(directory)
    if not arrays:
        return set()
    try:
        return jobs.keys_of(jobs.of_sweep(directory, arrays, scheduler.queued()))
    except errors.Unavailable as error:
        if isinstance(launcher, Slurm):
            raise ValueError(
                f"Slurm must say which jobs of this sweep still run, and does not: {error}; "
                "repeat the command when it answers"
            ) from None
        progress.say(
            f"Slurm does not say which jobs still run ({error}): some runs may be done twice"
        )
        return set()


def start(
    missing: list[Item],
    launcher: Local | Slurm,
    device: str,
    root: str | None,
    directory: Path,
    saves: bool,
) -> None:
    """Run them here, or submit them."""
    if isinstance(launcher, Slurm):
        return _submit(missing, launcher, device, root, directory, saves)
    if missing:
        place = launchers.Place(root, device, launcher.threads, saves)
        packs = local_packs(missing, launcher, device)
        _run(packs, place, launcher.workers, directory)


def _submit(
    missing: list[Item],
    launcher: Slurm,
    device: str,
    root: str | None,
    directory: Path,
    saves: bool,
) -> None:
    if not missing:
        return
    root = root and str(Path(root).absolute())
    most = scheduler.max_array_size()
    seconds, _ = cost.seconds(missing, dataset.load_all(list(cost.MEASURED)), device)
    by_key = {item.key: float(s) for item, s in zip(missing, seconds, strict=True)}
    arrays = submit.plan(missing, launcher, device, by_key, root, most, saves)
    done = submit.submit(directory, arrays, run_task)
    progress.say(
        f"submitted {len(missing)} runs in {done.n_tasks} tasks: jobs "
        f"{', '.join(done.jobs) or 'none'}"
    )
    if done.refusal is not None:
        progress.say(f"fewer and longer tasks than planned, since sbatch said: {done.refusal}")


def _run(packs: list[list[Item]], place: launchers.Place, workers: int, directory: Path) -> None:
    """Run packs under a progress bar."""
    started, total = time.perf_counter(), sum(map(len, packs))
    ended = {"done": 0, "failed": 0}
    spent = {"fit_s": 0.0, "score_s": 0.0}
    with progress.bar(total) as advance:

        def finished(outcome: "Outcome") -> None:
            for name in ended:
                ended[name] += getattr(outcome, name)
            for name in spent:
                spent[name] += getattr(outcome, name)
            advance(ended["done"] + ended["failed"], ended["failed"])

        pool.run_packs(packs, place, workers, directory, finished)
    wall = time.perf_counter() - started
    progress.say(
        f"{total} runs in {wall:.1f} s: {60 * total / wall:.0f} a minute on {workers} workers; fit "
        f"{spent['fit_s']:.1f} s and score {spent['score_s']:.1f} s of their time"
    )
