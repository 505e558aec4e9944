"""A pack of specs becomes rows; the one place that catches what a run throws."""

import datetime
import functools
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from rmsweep import machine
from rmsweep.cache.inputs import Inputs, open_inputs
from rmsweep.config import columns, losses
from rmsweep.config import spec as specs
from rmsweep.config.launchers import Place
from rmsweep.config.spec import Item
from rmsweep.errors import WriteFailed
from rmsweep.evaluation.score import score_runs
from rmsweep.launch import signals
from rmsweep.paths import SweepFolder
from rmsweep.provenance import provenance, write_diff
from rmsweep.results import dataset
from rmsweep.training import saved_models
from rmsweep.training.fit import fit_runs
from rmsweep.training.reward_models.interface import FittedRun

FLUSH_S = 60  # after this long what is fitted is scored and written; costs one more pass


@dataclass
class Outcome:
    """The counts of a pack's runs, and the seconds spent in fitting, in scoring, and in all."""

    done: int = 0
    failed: int = 0
    fit_s: float = 0.0
    score_s: float = 0.0
    wall_s: float = 0.0


def run_pack(items: list[Item], place: Place, folder: SweepFolder) -> Outcome:
    """Run a pack as `_run_pack` does, on the threads of its place whatever the process has."""
    with machine.threads(place.threads):
        return _run_pack(items, place, folder)


def _run_pack(items: list[Item], place: Place, folder: SweepFolder) -> Outcome:
    """Fit and score runs of one cache, loss and shape, and write their rows to the dataset.

    A run that raises becomes a failed row and its pack-mates go on; WriteFailed where a row cannot
    be written. Asked to stop, it writes what is fitted and leaves the rest. On a CPU the runs are
    fitted one by one, since one fills it. Out of memory, a pack goes on in halves.
    """
    machine.keep_freed_memory()
    began, outcome, remaining = time.perf_counter(), Outcome(), list(items)
    n_together = runs_between_stops(items, place)
    opened = functools.cache(lambda: _open(items[0], place))
    while remaining and not signals.stop_asked():
        started = time.perf_counter()
        fitted: list[FittedRun] = []
        failed: list[dict[str, Any]] = []
        while remaining and time.perf_counter() - started < FLUSH_S and not signals.stop_asked():
            chunk, remaining = remaining[:n_together], remaining[n_together:]
            for run in _attempt(fit_runs, chunk, opened, place, failed):
                if run.error is None:
                    fitted.append(run)
                else:
                    what = {"error": f"FloatingPointError: {run.error}"}
                    failed.append(run_row(run.item, place, "failed", what))
        fit_s = time.perf_counter() - started
        scored = _attempt(score_runs, fitted, opened, place, failed)
        done = [run_row(run.item, place, "done", run.facts | metrics) for run, metrics in scored]
        spent_s = time.perf_counter() - started
        for row in done + failed:
            row["wall_s"] = spent_s / len(done + failed)
        _write(folder, done + failed, [run for run, _ in scored], place)
        outcome.done += len(done)
        outcome.failed += len(failed)
        outcome.fit_s += fit_s
        outcome.score_s += spent_s - fit_s
    outcome.wall_s = time.perf_counter() - began
    return outcome


def runs_between_stops(items: list[Item], place: Place) -> int:
    """Return how many runs are fitted before a stop is heard: one on a CPU, on a GPU a pack."""
    return 1 if place.device == "cpu" else len(items)


def _write(
    folder: SweepFolder, rows: list[dict[str, Any]], runs: list[FittedRun], place: Place
) -> None:
    try:
        for run in runs if place.save_models else []:  # before the rows: a done run has its model
            saved_models.save_model(folder, run, place)
        write_diff(folder)
        dataset.write_part(folder, rows)
    except (OSError, ValueError) as error:
        raise WriteFailed(str(error)) from error


def _open(item: Item, place: Place) -> Inputs:
    """Return what the pack reads; ValueError where data or objective are not those of the key."""
    if item.spec.loss.options.reads_precision:
        machine.require_native(item.spec.precision, place.device)
    inputs = open_inputs(item.spec, place.cache_root)
    if item.key != item.spec.key(inputs.fingerprint):
        raise ValueError("the embeddings' files changed after the launch; launch again")
    if item.spec.loss.source_sha256 != losses.source_hash_of(item.spec.loss):
        raise ValueError("the objective's source file changed after the launch; launch again")
    return inputs


def _attempt(
    work: Callable[..., Any],
    runs: list[Any],
    opened: Callable[[], Inputs],
    place: Place,
    failed: list[dict[str, Any]],
) -> list[Any]:
    """Return work(runs); if it raises, of each run alone (without memory: of halves first).

    Runs that raise alone get a row in `failed`.
    """
    if not runs:
        return []
    try:
        return work(runs, opened(), place)
    except Exception as error:  # noqa: BLE001  the run boundary: any error is the run's
        is_too_large = isinstance(error, torch.OutOfMemoryError | MemoryError)
        what = {
            "error": f"{type(error).__name__}: {error}",
            "traceback": "".join(traceback.format_exception(error)),
        }
    # out of the handler, whose traceback keeps the pack's tensors
    if len(runs) > 1:
        torch.cuda.empty_cache()  # without a GPU nothing
        size = -(-len(runs) // 2) if is_too_large else 1
        parts = [runs[i : i + size] for i in range(0, len(runs), size)]
        return [result for part in parts for result in _attempt(work, part, opened, place, failed)]
    item = runs[0].item if isinstance(runs[0], FittedRun) else runs[0]
    failed.append(run_row(item, place, "failed", what))
    return []


def run_row(item: Item, place: Place, status: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a run that ended, done with its metrics or failed with its error."""
    return {
        "key": item.key,
        "spec_id": item.spec.spec_id,
        "canonical": item.spec.canonical,
        "semantics": specs.SEMANTICS,
        "status": status,
        **columns.spec_columns(item.spec),
        **facts,
        "finished_at": datetime.datetime.now(datetime.UTC),
        **provenance(),
        "device": place.device,
        "gpu": machine.gpu(place.device),
        "threads": place.threads,
        "cache_root": place.cache_root,
    }
