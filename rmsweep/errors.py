"""The errors that rmsweep raises on purpose, and the words in which they name what is valid."""

import difflib
from collections.abc import Iterable


def nearest(name: object, names: Iterable[object]) -> str:
    """The end of an error message: the closest valid name, if any, and all of them."""
    valid = sorted(map(str, names))
    close = difflib.get_close_matches(str(name), valid, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"valid: {', '.join(valid)}"


class Absent(ValueError):
    """No run has what is asked for."""


def check_name(kind: str, name: str, valid: Iterable[str]) -> None:
    valid = list(valid)
    if name not in valid:
        raise ValueError(f"unknown {kind} {name!r}; {nearest(name, valid)}")


class LaunchError(RuntimeError):
    """A launch that ended with runs missing; what is done is kept, and the same command resumes."""


class WorkerDied(LaunchError):
    """A worker process was killed from outside."""


class Unavailable(OSError):
    """Slurm does not answer here; the message is its own."""
