"""Packs run: in a process pool that never oversubscribes the cores, or in this process on a GPU."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from rmsweep.machine import Place
from rmsweep.spec import Item


class LaunchError(RuntimeError):
    """A launch that ended with runs missing; what is done is kept, and the same command resumes."""


def warm_up() -> None:
    """Start importing the engine in the background, while the sweep is planned."""
    multiprocessing.set_forkserver_preload(["rmsweep.execute"])
    forkserver.ensure_running()


@contextlib.contextmanager
def only_launch(directory: Path) -> Iterator[None]:
    """Hold the sweep's lock file; ValueError where another launch, here or elsewhere, holds it."""
    lock = directory / ".launch"
    directory.mkdir(parents=True, exist_ok=True)
    mine = {"pid": os.getpid(), "host": platform.node()}
    while True:
        try:
            with open(lock, "x") as file:
                json.dump(mine, file)
            break
        except FileExistsError:
            _refuse_live(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _refuse_live(lock: Path) -> None:
    """Remove the lock of a dead process; ValueError if its holder lives, or cannot be asked."""
    try:
        age_s, text = time.time() - lock.stat().st_mtime, lock.read_text()
    except FileNotFoundError:
        return
    # One without a name is of a process that is about to write it, or was killed just then.
    holder: dict[str, Any] = {"pid": None, "host": platform.node()}
    if text:
        holder = json.loads(text)
    pid = holder["pid"]  # our own: a dead process's, in a container started anew
    is_dead = age_s > 5 if pid is None else pid == os.getpid() or not _is_alive(pid)
    if holder["host"] == platform.node() and is_dead:
        lock.unlink(missing_ok=True)
        return
    raise ValueError(
        f"another launch of this sweep runs (process {holder['pid']} on {holder['host']}); wait "
        f"for it, or delete {lock} if that process is gone"
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def run_packs(
    packs: Sequence[list[Item]],
    place: Place,
    workers: int,
    directory: Path,
    finished: Callable[[object], None],
) -> None:
    """Run every pack and call finished(Outcome) as each ends; LaunchError if some could not.

    On a GPU the MLPs run in this process, and before them all else in a pool on the CPU.
    """
    if place.device == "cpu":
        return _in_pool(packs, place, workers, directory, finished)
    others = [pack for pack in packs if pack[0].spec.loss.reward_model != "mlp"]
    if others:
        _in_pool(others, dataclasses.replace(place, device="cpu"), workers, directory, finished)
    for pack in packs:
        if pack not in others:
            finished(_or_launch_error(_run_pack, pack, place, directory))


def _in_pool(
    packs: Sequence[list[Item]],
    place: Place,
    workers: int,
    directory: Path,
    finished: Callable[[object], None],
) -> None:
    """Run packs in worker processes of place.threads threads each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rmsweep.execute"])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_in_worker)
    futures = [pool.submit(_run_pack, pack, place, directory) for pack in packs]
    try:
        for future in as_completed(futures):
            finished(_or_launch_error(future.result))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()  # parts are whole or not there, so this loses no row
        raise
    pool.shutdown()


def _or_launch_error(run: Callable, *arguments: object) -> object:
    try:
        return run(*arguments)
    except BrokenProcessPool:
        raise LaunchError(
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


def _in_worker() -> None:
    """End this worker when the launching process is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
