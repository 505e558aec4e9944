"""The errors that rmsweep raises on purpose, and the words in which errors are told."""

import difflib
from collections.abc import Iterable


class Absent(ValueError):
    """An error that says that no run has what a table, a claim or a figure asks for."""


class MissingData(Absent):
    """An error that says what runs would have to have for a figure to be drawn of them."""


class LaunchError(RuntimeError):
    """The end of a launch with runs missing: what is done is kept, the same command resumes."""


class WorkerDied(LaunchError):
    """The end of a launch one of whose worker processes was killed from outside."""


class WriteFailed(OSError):
    """An error that says why the results of a pack could not be written."""


class Unavailable(OSError):
    """An error that says, in Slurm's own words, why Slurm does not answer on this machine."""


def one_line(error: BaseException, most: int | None = None) -> str:
    """Return the message of an error on one line, cut after `most` characters."""
    return " ".join(str(error).split())[:most]


def nearest(name: object, names: Iterable[object]) -> str:
    """Return the end of an error message: the closest valid name, if any, and all of them."""
    valid = sorted(map(str, names))
    close = difflib.get_close_matches(str(name), valid, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"valid: {', '.join(valid)}"


def check_name(kind: str, name: str, valid: Iterable[str]) -> None:
    """Raise ValueError unless a name is a valid one; kind: of what, in the message."""
    valid = list(valid)
    if name not in valid:
        raise ValueError(f"unknown {kind} {name!r}; {nearest(name, valid)}")
