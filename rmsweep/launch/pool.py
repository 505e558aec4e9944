"""Packs run: in a process pool that never oversubscribes the cores, on a GPU in this process."""

import dataclasses
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from rmsweep import machine
from rmsweep.config.launchers import Place
from rmsweep.config.spec import Item
from rmsweep.errors import LaunchError, WorkerDied
from rmsweep.launch import signals
from rmsweep.results import dataset


def warm_up() -> None:
    """Start importing the engine in the background, while the sweep is planned."""
    multiprocessing.set_forkserver_preload(["rmsweep.launch.worker"])
    forkserver.ensure_running()


def run_packs(
    packs: Sequence[list[Item]],
    place: Place,
    workers: int,
    directory: Path,
    finished: Callable[[Any], None],
    *,
    listens: bool = False,
) -> None:
    """Run every pack and call finished(Outcome) as each ends; LaunchError if some could not.

    On a GPU the MLPs run in this process, with the launch's threads for what the GPU does not do,
    while all else runs in a pool on the CPU: workers of place.threads threads each, one fewer than
    without a GPU, whose threads this process has.
    listens: end early, with what is fitted written, when `stopping` is asked for.
    """
    is_on_gpu = [place.device != "cpu" and p[0].spec.loss.options.runs_on_gpu for p in packs]
    cpu = dataclasses.replace(place, device="cpu")
    is_shared = any(is_on_gpu) and not all(is_on_gpu)
    own = place.threads * (1 if is_shared else workers)
    gpu = dataclasses.replace(place, threads=min(own, machine.cores()))
    workers = max(1, workers - is_shared)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rmsweep.launch.worker"])
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_in_worker, initargs=(listens,)
    )
    others = itertools.compress(packs, [not on_gpu for on_gpu in is_on_gpu])
    waiting = {pool.submit(_run_pack, pack, cpu, directory) for pack in others}
    try:
        for pack in itertools.compress(packs, is_on_gpu):
            finished(_or_launch_error(_run_pack, pack, gpu, directory))
            waiting = _collect(waiting, finished, 0)
        while waiting:
            waiting = _collect(waiting, finished, None)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        killed = multiprocessing.active_children()
        for worker in killed:
            worker.kill()  # parts are whole or not there, so this loses no row
        for worker in killed:
            worker.join()
            dataset.remove_unfinished(directory, worker.pid)
        raise
    pool.shutdown()


def _collect(
    waiting: set[Future[object]], finished: Callable[[Any], None], timeout: float | None
) -> set[Future[object]]:
    """Call finished with what has ended, once something has or in `timeout` seconds; the rest."""
    ended, left = wait(waiting, timeout, FIRST_COMPLETED)
    if signals.asked():
        for other in left:
            other.cancel()
    for future in ended:
        if not future.cancelled():
            finished(_or_launch_error(future.result))
    return left


def _or_launch_error(run: Callable[..., Any], *arguments: object) -> object:
    try:
        return run(*arguments)
    except BrokenProcessPool:
        raise WorkerDied(
            "a worker process died (out of memory?); its pack is missing. The same command "
            "resumes; launcher.workers=1 or a smaller launcher.pack_runs need less memory"
        ) from None
    except (OSError, ValueError) as error:
        raise LaunchError(f"results cannot be written: {error}; the same command resumes") from None


def _run_pack(pack: list[Item], place: Place, directory: Path) -> object:
    from threadpoolctl import threadpool_limits

    from rmsweep.launch.worker import run_pack

    with threadpool_limits(place.threads):
        return run_pack(pack, place, directory)


def _in_worker(listens: bool) -> None:
    """End this worker when the launching process is gone, however it went."""
    if listens:
        signals.listen()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
