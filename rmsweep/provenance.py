"""The provenance of a run: the code, versions and machine that made its numbers."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from rmsweep import files, machine
from rmsweep.paths import CHECKOUT, SweepFolder

NUMERIC = ("torch", "lightgbm", "numpy", "scikit-learn", "scipy")  # make the numbers
OTHER_PACKAGES = ("hydra-core", "omegaconf", "pandas", "pyarrow", "joblib", "threadpoolctl")
PACKAGES = ("rmsweep",) + NUMERIC + OTHER_PACKAGES  # whose versions a row records, in this order
SOURCES = ("rmsweep", "conf", "sweeps", "claims")  # whose new files belong to the diff


def provenance() -> dict[str, Any]:
    """Return the columns of a row that are this process's.

    They are git_commit, git_dirty, git_diff (SHA-256 of what `diff` returns; all three null from a
    wheel), versions (JSON by package), host, cpu, slurm_job and command.
    """
    return {**_asked_once(), "command": typed_command()}


@functools.cache
def _asked_once() -> dict[str, Any]:
    """Return all of `provenance` but the command; asking takes 40 ms."""
    commit = _git("rev-parse", "HEAD")
    return {
        "git_commit": None if commit is None else commit.decode().strip(),
        "git_dirty": None if commit is None else bool(_git("status", "--porcelain")),
        "git_diff": hashlib.sha256(diff()).hexdigest() if diff() else None,
        "versions": json.dumps(versions()),
        "host": platform.node(),
        "cpu": machine.cpu(),
        "slurm_job": slurm_job(),
    }


@functools.cache
def diff() -> bytes:
    """Return what the checkout has beyond its commit, for `git apply`; empty from a wheel.

    It holds the changes of tracked files, and the new files in SOURCES.
    """
    changed = _git("diff", "HEAD", "--binary", "--no-ext-diff", "--no-color") or b""
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *SOURCES) or b""
    as_new = ("diff", "--no-index", "--binary", "--no-color", "--", os.devnull)
    added = [_git(*as_new, os.fsdecode(name)) or b"" for name in new.split(b"\0") if name]
    return b"".join([changed, *added])


def write_diff(folder: SweepFolder) -> None:
    """Write the diff to the sweep's diffs/SHA256.diff, if it is not empty and not there."""
    path = folder.diffs / f"{provenance()['git_diff']}.diff"
    if diff() and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as unfinished:
            unfinished.write_bytes(diff())


def typed_command() -> str:
    """Return the command as typed, for a shell; in a worker process that of its launch."""
    return shlex.join(["rmsweep", *sys.argv[1:]])


def parsed_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose columns of `provenance` are read: absent is None, versions are a dict.

    versions is empty in older rows. ValueError names a column that a run of rmsweep cannot have
    written: rows come from files, and what they say is printed as a command, and installed.
    """
    parsed = {
        name: None if isinstance(value, float) and value != value else value
        for name, value in row.items()
    }
    for name, (rule, holds) in RECORDED.items():
        value = parsed[name]
        if not (value is None and name not in ("key", "device")) and not holds(value):
            raise ValueError(
                f"{name} of run {parsed['key']!r} must be {rule}, got {value!r}: its row is "
                "damaged, or not of rmsweep; run the sweep anew"
            )
    return parsed | {"versions": json.loads(parsed["versions"] or "{}")}


def _is(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def are_versions(value: object) -> bool:
    """Tell whether a value is JSON of versions by package."""
    try:
        stored = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return False
    is_version = _is(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")
    return isinstance(stored, dict) and all(map(is_version, (*stored, *stored.values())))


def _is_command(value: object) -> bool:
    try:
        return isinstance(value, str) and shlex.split(value) is not None
    except ValueError:
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, Real) and float(value) >= 1 and float(value) % 1 == 0


VERSIONS_RULE = "JSON of a version for each package"
RECORDED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "key": ("16 hex digits", _is(r"[0-9a-f]{16}")),
    "versions": (VERSIONS_RULE, are_versions),
    "device": ("cpu, cuda or cuda:N", _is(r"cpu|cuda(:\d+)?")),
    "git_commit": ("a commit", _is(r"[0-9a-f]{7,64}")),
    "git_diff": ("a SHA-256", _is(r"[0-9a-f]{64}")),
    "command": ("a command line of a shell", _is_command),
    "threads": ("a whole number >= 1", _is_count),
}


def differences(row: Mapping[str, Any], on: str, threads: int | None) -> list[str]:
    """Return what numbers hang on beside a spec and is not here what a row says, in words.

    These are the versions of NUMERIC packages, the device, the model of CPU or GPU, and on a CPU
    the threads of a run. row: as `parsed_row` returns it; on, threads: the device and threads here,
    None for a run whose numbers hang on no number of threads.
    """
    pairs: list[tuple[str, object, object]]
    pairs = [(name, row["versions"].get(name), versions()[name]) for name in NUMERIC]
    pairs.append(("device", row["device"].partition(":")[0], on.partition(":")[0]))
    kind, model = ("cpu", machine.cpu()) if on == "cpu" else ("gpu", machine.gpu(on))
    pairs.append((kind.upper(), row[kind], model))
    if on == "cpu" and threads is not None:
        was = row["threads"]
        pairs.append(("threads", None if was is None else int(was), threads))
    return [
        f"{name} {'not recorded' if was is None else was} then, {now} here"
        for name, was, now in pairs
        if was != now
    ]


def slurm_job() -> str | None:
    """Return the Slurm job of this process, JOB or ARRAY_TASK; None outside Slurm."""
    array, task = map(os.environ.get, ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"))
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")


def versions() -> dict[str, str]:
    """Return the versions of Python and of PACKAGES, by name."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | packages


def _git(*command: str) -> bytes | None:
    """Return the output of git in rmsweep's checkout; None from a wheel, or where git fails."""
    if not (CHECKOUT / ".git").exists():
        return None
    words = ["git", "--no-optional-locks", "-C", str(CHECKOUT), *command]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return None
    expected = (0, 1) if "--no-index" in command else (0,)  # 1: the files differ
    return done.stdout if done.returncode in expected else None
