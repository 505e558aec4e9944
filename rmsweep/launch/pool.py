"""Packs are run: in a pool that never oversubscribes the cores, or on a GPU in this process."""

import contextlib
import dataclasses
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from typing import Any

from rmsweep import machine
from rmsweep.config.launchers import Place
from rmsweep.config.spec import Item
from rmsweep.errors import LaunchError, WorkerDied, WriteFailed
from rmsweep.launch import cost, signals
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset

ENGINE = ["rmsweep.launch.worker"]  # what the server that forks the workers imports: torch


def warm_up() -> None:
    """Start importing the engine in the background, while the sweep is planned."""
    multiprocessing.set_forkserver_preload(ENGINE)
    forkserver.ensure_running()


def run_packs(
    packs: Sequence[list[Item]],
    place: Place,
    workers: int,
    folder: SweepFolder,
    finished: Callable[[Any], None],
    *,
    listens: bool = False,
) -> None:
    """Run every pack, and call finished(Outcome) as each ends.

    On a GPU the MLPs run in this process, one pack after the other, while all else runs in a pool
    on the CPU. listens: the workers, too, end early when a signal asks for a stop, with what is
    fitted written; this process does if it listens. LaunchError at the first pack that could not be
    run or written: the others are ended, and the rows that are written stay.
    """
    is_gpu_pack = [cost.device_of(pack[0], place.device) != "cpu" for pack in packs]
    gpu_packs = [pack for pack, is_its in zip(packs, is_gpu_pack, strict=True) if is_its]
    cpu_packs = [pack for pack, is_its in zip(packs, is_gpu_pack, strict=True) if not is_its]
    # Alone, the GPU's process has every worker's core; beside a pool, one, and the pool one fewer
    at_once = place.at_once if cpu_packs else workers * place.at_once
    pool_workers = max(1, workers - 1) if cpu_packs and gpu_packs else workers
    gpu_place = dataclasses.replace(place, at_once=min(at_once, machine.cores()))
    cpu_place = dataclasses.replace(place, device="cpu")
    with _pool(pool_workers, listens, folder) as pool:
        pending = {pool.submit(_run_pack, pack, cpu_place, folder) for pack in cpu_packs}
        for pack in gpu_packs:
            finished(_run_pack(pack, gpu_place, folder))
            pending = _report_ended(pending, finished, timeout_s=0)
        while pending:
            pending = _report_ended(pending, finished, timeout_s=None)


@contextlib.contextmanager
def _pool(workers: int, listens: bool, folder: SweepFolder) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of workers; at an error they are killed, and no unfinished part is left."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(ENGINE)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (listens,))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        killed = multiprocessing.active_children()
        for worker in killed:
            worker.kill()  # parts are whole or not there, so this loses no row
        for worker in killed:
            worker.join()
            dataset.remove_unfinished(folder, worker.pid)
        raise
    pool.shutdown()


def _report_ended(
    pending: set[Future[object]], finished: Callable[[Any], None], timeout_s: float | None
) -> set[Future[object]]:
    """Wait for the next pack to end, call finished with each that has, and return the others.

    Where a stop was asked for, packs that wait for a worker are taken back.
    """
    ended, left = wait(pending, timeout_s, FIRST_COMPLETED)
    if signals.stop_asked():
        for other in left:
            other.cancel()
    try:
        for future in ended:
            if not future.cancelled():
                finished(future.result())
    except BrokenProcessPool:
        raise WorkerDied(
            "a worker process died (out of memory?); its pack is missing. The same command "
            "resumes; launcher.workers=1 or a smaller launcher.pack_runs need less memory"
        ) from None
    return left


def _run_pack(pack: list[Item], place: Place, folder: SweepFolder) -> object:
    """Run a pack; an error that ends it is raised as one that says how to go on."""
    try:
        from rmsweep.launch.worker import run_pack

        return run_pack(pack, place, folder)
    except WriteFailed as error:
        what = f"results cannot be written: {error}"
    except (OSError, ValueError) as error:
        what = f"a pack could not be run: {type(error).__name__}: {error}"
    raise LaunchError(f"{what}; the same command resumes")


def _start_worker(listens: bool) -> None:
    """Have this worker end when the launching process is gone, however it went."""
    if listens:
        signals.listen_for_stops()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
