"""A pack of specs becomes rows; the one place that catches what a run throws."""

import datetime
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rmsweep import results
from rmsweep import spec as specs
from rmsweep.fitting import FittedRun, fit
from rmsweep.inputs import cache_of
from rmsweep.machine import Place
from rmsweep.provenance import provenance
from rmsweep.scoring import score
from rmsweep.spec import Item

FLUSH_S = 60  # a part is written at least this often, but for the run under way


@dataclass
class Outcome:
    """Of a pack: counts, and seconds spent in fitting, in scoring, and in all."""

    done: int = 0
    failed: int = 0
    fit_s: float = 0.0
    score_s: float = 0.0
    wall_s: float = 0.0


def run_pack(items: list[Item], place: Place, directory: Path) -> Outcome:
    """Fit and score runs of one cache, loss and shape, and write their rows to the dataset.

    A run that raises becomes a failed row and its pack-mates go on; OSError while writing is
    raised. On a CPU the runs are fitted one by one, since one fills it: packs of 1, 4, 10 and 20
    took .27, .30, .35 and .36 s a run (600 pairs, D = 384, 2 cores).
    """
    torch.set_num_threads(place.threads)
    outcome, began, remaining = Outcome(), time.perf_counter(), list(items)
    at_once = 1 if place.device == "cpu" else len(items)
    while remaining:
        started = time.perf_counter()
        fitted: list[FittedRun] = []
        failed: list[dict[str, Any]] = []
        while remaining and time.perf_counter() - started < FLUSH_S:
            chunk, remaining = remaining[:at_once], remaining[at_once:]
            fitted += _attempt(fit, chunk, place, failed)
        fit_s = time.perf_counter() - started
        scored = _attempt(score, fitted, place, failed)
        score_s = time.perf_counter() - started - fit_s
        done = [
            _row(run.item, place, "done", run.facts | metrics, run.fit_s + score_s / len(scored))
            for run, metrics in scored
        ]
        results.write_part(directory, done + failed)
        outcome.done += len(done)
        outcome.failed += len(failed)
        outcome.fit_s += fit_s
        outcome.score_s += score_s
    outcome.wall_s = time.perf_counter() - began
    return outcome


def _attempt(work: Callable, runs: list, place: Place, failed: list[dict]) -> list:
    """work(runs); if it raises, each run alone, and a failed row for each that raises again."""
    if not runs:
        return []
    started = time.perf_counter()
    item = runs[0].item if isinstance(runs[0], FittedRun) else runs[0]
    try:
        return work(runs, cache_of(item.spec, place.cache_root), place)
    except Exception as error:  # noqa: BLE001  the run boundary: any error is the run's
        if len(runs) > 1:
            return [found for run in runs for found in _attempt(work, [run], place, failed)]
        what = {
            "error": f"{type(error).__name__}: {error}",
            "traceback": "".join(traceback.format_exception(error)),
        }
        failed.append(_row(item, place, "failed", what, time.perf_counter() - started))
        return []


def _row(item: Item, place: Place, status: str, found: dict, wall_s: float) -> dict[str, Any]:
    return {
        "key": item.key,
        "spec_id": item.spec.spec_id,
        "status": status,
        **specs.columns(item.spec),
        **found,
        "wall_s": wall_s,
        "finished_at": datetime.datetime.now(datetime.UTC),
        **provenance(),
        "device": place.device,
    }
