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
from rmsweep.errors import LaunchError, WorkerDied
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
    """Run every pack and call finished(Outcome) as each ends; LaunchError if some could not.

    On a GPU the MLPs run in this process, one pack after the other, while all else runs in a pool
    on the CPU. listens: end early, with what is fitted written, when a signal asks for a stop.
    """
    on_gpu = [cost.device_of(pack[0], place.device) != "cpu" for pack in packs]
    gpu_packs = [pack for pack, is_gpus in zip(packs, on_gpu, strict=True) if is_gpus]
    cpu_packs = [pack for pack, is_gpus in zip(packs, on_gpu, strict=True) if not is_gpus]
    workers, gpu_threads = _shared_cores(workers, place.threads, bool(cpu_packs), bool(gpu_packs))
    on_the_gpu = dataclasses.replace(place, threads=gpu_threads)
    on_the_cpu = dataclasses.replace(place, device="cpu")
    with _pool(workers, listens, folder) as pool:
        pending = {pool.submit(_run_pack, pack, on_the_cpu, folder) for pack in cpu_packs}
        for pack in gpu_packs:
            finished(_or_launch_error(_run_pack, pack, on_the_gpu, folder))
            pending = _report_ended(pending, finished, timeout_s=0)
        while pending:
            pending = _report_ended(pending, finished, timeout_s=None)


def _shared_cores(workers: int, threads: int, has_cpu: bool, has_gpu: bool) -> tuple[int, int]:
    """Return the number of worker processes, and the threads beside a GPU for what it does not do.

    Where both have work, a worker fewer runs, and the GPU's process has that one's threads; alone,
    the GPU's process has the threads of all workers, as far as there are cores.
    """
    if has_cpu and has_gpu:
        return max(1, workers - 1), min(threads, machine.cores())
    return workers, min(workers * threads, machine.cores())


@contextlib.contextmanager
def _pool(workers: int, listens: bool, folder: SweepFolder) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of workers; at an error they are killed, and no unfinished part is left."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(ENGINE)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_in_worker, initargs=(listens,)
    )
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

    timeout_s: give up waiting after so long; None waits as long as it takes. Where a stop was asked
    for, packs that wait for a worker are taken back.
    """
    ended, left = wait(pending, timeout_s, FIRST_COMPLETED)
    if signals.stop_asked():
        for other in left:
            other.cancel()
    for future in ended:
        if not future.cancelled():
            finished(_or_launch_error(future.result))
    return left


def _or_launch_error(run: Callable[..., Any], *arguments: object) -> object:
    """Return run(*arguments); raise what ends a pack as an error that says how to go on."""
    try:
        return run(*arguments)
    except BrokenProcessPool:
        raise WorkerDied(
            "a worker process died (out of memory?); its pack is missing. The same command "
            "resumes; launcher.workers=1 or a smaller launcher.pack_runs need less memory"
        ) from None
    except (OSError, ValueError) as error:
        raise LaunchError(f"results cannot be written: {error}; the same command resumes") from None


def _run_pack(pack: list[Item], place: Place, folder: SweepFolder) -> object:
    from threadpoolctl import threadpool_limits

    from rmsweep.launch.worker import run_pack

    with threadpool_limits(place.threads):
        return run_pack(pack, place, folder)


def _in_worker(listens: bool) -> None:
    """Have this worker end when the launching process is gone, however it went."""
    if listens:
        signals.listen_for_stops()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
