"""One launch at a time: the lock file of a sweep."""

import contextlib
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = ".launch"
UNNAMED_S = 5  # so old, a lock without a name is not that of a process about to write it


@contextlib.contextmanager
def only_launch(directory: Path, *, runs: bool = True) -> Iterator[None]:
    """Hold the sweep's lock file; ValueError where another launch, here or elsewhere, holds it.

    runs: whether the holder runs the sweep itself, and does not only submit it.
    """
    path = directory / NAME
    directory.mkdir(parents=True, exist_ok=True)
    mine = {"pid": os.getpid(), "host": platform.node(), "started": _started(os.getpid())}
    mine["runs"] = runs
    while True:
        try:
            path.touch(exist_ok=False)
            break
        except FileExistsError:
            _refuse_live(path)
    try:
        path.write_text(json.dumps(mine))
    except OSError:  # as on a full disk
        path.unlink(missing_ok=True)
        raise
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # such as a folder that is read-only now
            path.unlink(missing_ok=True)


def _refuse_live(path: Path) -> None:
    """Remove the lock of a dead process, and say so; ValueError if its holder may live."""
    before = _read(path)
    if before is None:
        return
    if _is_dead(before):
        if _take_away(path, before):
            print(f"removed the lock of process {before['pid']}, which has ended", file=sys.stderr)
        return
    raise ValueError(
        f"another launch of this sweep runs (process {before['pid']} on {before['host']}); wait "
        f"for it, or delete {path} if that process is gone"
    )


def _take_away(path: Path, before: dict[str, Any]) -> bool:
    """Remove a dead process's lock; not one that another launch has taken meanwhile."""
    aside = path.with_name(f"{NAME}.{secrets.token_hex(8)}")
    try:
        os.rename(path, aside)  # only one of several launches succeeds
    except FileNotFoundError:
        return False
    now = _read(aside)
    is_other = now is not None and now["pid"] is not None and now["pid"] != before["pid"]
    if is_other:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    return not is_other


def holder(directory: Path) -> dict[str, Any] | None:
    """pid and host of the launch that runs, as far as can be seen from here; None if none does."""
    found = _read(directory / NAME)
    return None if found is None or _is_dead(found) else found


def is_here(holder: dict[str, Any]) -> bool:
    """Whether a launch runs on this machine."""
    return holder["host"] == platform.node() and holder["pid"] is not None


def _read(path: Path) -> dict[str, Any] | None:
    """What a lock file says, and its age_s; None if there is none."""
    try:
        age_s, text = time.time() - path.stat().st_mtime, path.read_text()
    except FileNotFoundError:
        return None
    try:
        said = json.loads(text or "{}")
        found = {"pid": None, "host": platform.node(), "started": None, "runs": True} | said
        pid = found["pid"]  # which is sent signals: -1 would be every process
        if pid is not None and not (type(pid) is int and 0 < pid < 2**31):
            raise ValueError
        return found | {"age_s": age_s}
    except (ValueError, TypeError):
        raise ValueError(f"{path} is no lock file; delete it if no launch runs") from None


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether it ran on this machine and is gone; its number may be another process's now."""
    pid = holder["pid"]
    if holder["host"] != platform.node():
        return False
    if pid is None:
        return abs(holder["age_s"]) > UNNAMED_S  # < 0: the clock was set back
    if pid == os.getpid():  # a dead process's, in a container started anew
        return True
    now, then = _started(pid), holder["started"]
    return not _is_alive(pid) or (None not in (now, then) and now != then)


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; None where that is not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
