"""Signals that ask for an end: what is fitted is scored and written, and no run is begun."""

import contextlib
import multiprocessing
import os
import signal
import threading

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)  # before Slurm's time limit; at scancel and preemption
_asked: set[int] = set()


def stop_asked(signum: int | None = None) -> bool:
    """Return whether this process was asked to end, by this signal or by any."""
    return bool(_asked) if signum is None else signum in _asked


def ignore_stops() -> None:
    """Let processes that are started now live through the signals, until they listen."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def listen_for_stops() -> None:
    """Note the signals from now on, and pass them on to this process's workers."""
    for signum in SIGNALS:
        signal.signal(signum, _note)


def _note(signum: int, frame: object) -> None:
    if signum not in _asked and threading.current_thread() is threading.main_thread():
        _asked.add(signum)
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(worker.pid, signum)
