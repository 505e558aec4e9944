"""One launch at a time: the lock of a sweep's folder, and the record that names its holder.

Two files guard a folder. `.launch.lock` is empty and stays: a launch holds the kernel's flock
on it, by the library filelock. `.launch` is the record of the launch that runs, in JSON: it is
created exclusively (O_EXCL) and removed at the end.

Only the holder of the flock creates or removes a record, and it removes that of a dead process
of its own host alone. So of two launches that meet one stale record, one has no flock and is
refused before it looks. The kernel releases the flock of a process that ends, however it ends
and whatever the clock says.

A folder that several hosts share needs one of two things. Either all hosts see one flock, as on
NFS between Linux machines and on Lustre mounted with `flock`; or exclusive creation is atomic,
as on NFS since version 3. Where a flock reaches one host only, the record keeps the other hosts
out: nobody removes the record of another host, since nobody here can see whether its process
lives. Hosts are told apart by their names. On a filesystem without flock, filelock warns and
makes `.launch.lock` a file whose existence is the lock.
"""

import contextlib
import datetime
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rmsweep.paths import LaunchFolder


@contextlib.contextmanager
def only_launch(
    folder: LaunchFolder, *, runs: bool = True, what: str = "launch of this sweep"
) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is absent, while the block runs.

    runs: whether the holder runs the sweep itself, and does not only submit it. what: the work that
    the lock is for, as a refusal names it. Raises ValueError where another process, here or on
    another host, holds it or may hold it, and where the record is damaged; OSError where the folder
    cannot be written.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    path = folder.launch
    mode = folder.path.stat().st_mode & 0o666 | 0o600  # the next launch may be another user's
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(FileLock(f"{path}.lock", mode=mode, blocking=False))
            _record(path, runs)
        except (Timeout, FileExistsError):
            other = holder(folder)
            who = "a process that has not said its name"  # it is about to, or was killed just then
            if other is not None:
                who = f"process {other['pid']} on {other['host']}"
            raise ValueError(
                f"another {what} runs ({who}); wait for it, or delete {path}* if that process is "
                "gone"
            ) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # such as a folder that is read-only now
                path.unlink()


def _record(path: Path, runs: bool) -> None:
    """Write this process's record, in place of a dead one's; FileExistsError for another's."""
    mine = {"pid": os.getpid(), "host": platform.node(), "started": start_of_process(os.getpid())}
    mine["since"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    before = _read(path)
    if before is not None:
        # Our own id is an earlier process's, as in a container that was started anew.
        is_mine = (before["host"], before["pid"]) == (mine["host"], mine["pid"])
        if not is_mine and not _is_dead(before):
            raise FileExistsError
        path.unlink()
    # It is there by now from a host that does not see our flock, or one was killed before it wrote.
    file = path.open("x")
    try:
        with file:
            json.dump(mine | {"runs": runs}, file)
            file.flush()
            os.fsync(file.fileno())  # a machine that loses power leaves no empty record
    except BaseException:  # as on a full disk
        path.unlink()
        raise


def holder(folder: LaunchFolder) -> dict[str, Any] | None:
    """Return the record of the launch that runs, as far as can be seen from here.

    It has pid, host, runs, started and since, in UTC, which is None in an older version's record.
    Returns None where no launch runs, or one is about to write its record. Raises ValueError where
    the record is damaged.
    """
    record = _read(folder.launch)
    return None if record is None or _is_dead(record) else record


def is_here(holder: dict[str, Any]) -> bool:
    """Return whether a launch runs on this machine."""
    return holder["host"] == platform.node()


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a record says; None if there is none, or it is empty."""
    try:
        text = path.read_text()
        if not text:
            return None
        record = {"started": None, "since": None, "runs": True} | json.loads(text)
        pid = record["pid"]  # which is sent signals: -1 would be every process
        if not (type(pid) is int and 0 < pid < 2**31 and isinstance(record["host"], str)):
            raise ValueError
        return record
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is no lock file; delete it if no launch runs") from None


def _is_dead(record: dict[str, Any]) -> bool:
    """Return whether it ran on this machine and is gone; its id may be another process's now."""
    if not is_here(record):
        return False
    now, then = start_of_process(record["pid"]), record["started"]
    if None not in (now, then) and now != then:
        return True
    try:
        os.kill(record["pid"], 0)
    except OSError as error:
        return not isinstance(error, PermissionError)  # which says that it lives, as another user's
    return False


def start_of_process(pid: int) -> str | None:
    """Return when a process started, in ticks since boot; None if unknown; "ended" of a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *others = stat.rpartition(")")[2].split()
    return "ended" if state == "Z" else others[18]
