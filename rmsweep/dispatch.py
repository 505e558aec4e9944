"""Packs run: in a process pool that never oversubscribes the cores, or in this process on a GPU."""

import dataclasses
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from rmsweep import results, stopping
from rmsweep.machine import Place
from rmsweep.spec import Item


class LaunchError(RuntimeError):
    """A launch that ended with runs missing; what is done is kept, and the same command resumes."""


class WorkerDied(LaunchError):
    """A worker process was killed from outside."""


def warm_up() -> None:
    """Start importing the engine in the background, while the sweep is planned."""
    multiprocessing.set_forkserver_preload(["rmsweep.execute"])
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

    On a GPU the MLPs run in this process, and before them all else in a pool on the CPU.
    listens: end early, with what is fitted written, when `stopping` is asked for.
    """
    if place.device == "cpu":
        return _in_pool(packs, place, workers, directory, finished, listens)
    others = [pack for pack in packs if pack[0].spec.loss.reward_model != "mlp"]
    if others:
        on_cpu = dataclasses.replace(place, device="cpu")
        _in_pool(others, on_cpu, workers, directory, finished, listens)
    for pack in packs:
        if pack not in others:
            finished(_or_launch_error(_run_pack, pack, place, directory))


def _in_pool(
    packs: Sequence[list[Item]],
    place: Place,
    workers: int,
    directory: Path,
    finished: Callable[[Any], None],
    listens: bool,
) -> None:
    """Run packs in worker processes of place.threads threads each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rmsweep.execute"])
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_in_worker, initargs=(listens,)
    )
    futures = [pool.submit(_run_pack, pack, place, directory) for pack in packs]
    try:
        for future in as_completed(futures):
            if stopping.asked():
                for other in futures:
                    other.cancel()
            if future.cancelled():
                continue
            finished(_or_launch_error(future.result))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        killed = multiprocessing.active_children()
        for worker in killed:
            worker.kill()  # parts are whole or not there, so this loses no row
        for worker in killed:
            worker.join()
            results.remove_unfinished(directory, worker.pid)
        raise
    pool.shutdown()


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

    from rmsweep.execute import run_pack

    with threadpool_limits(place.threads):
        return run_pack(pack, place, directory)


def _in_worker(listens: bool) -> None:
    """End this worker when the launching process is gone, however it went."""
    if listens:
        stopping.listen()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
