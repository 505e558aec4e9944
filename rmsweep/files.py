"""What sweeps and files may be called, and files that are written whole or not at all."""

import contextlib
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 200  # of the 255 that file systems take: `whole` makes longer names of them
RULE = f"one folder's name, printable, of at most {MOST_BYTES} bytes, and not begin with . or -"


def is_name(name: object) -> bool:
    """Tell whether a sweep can be called so, in outputs/ and on a terminal, by RULE."""
    return (
        isinstance(name, str)
        and _is_part(name)
        and name[0] not in ".-"
        and len(os.fsencode(name)) <= MOST_BYTES
    )


def require_stems(**stems: str) -> None:
    """Raise ValueError unless these stems, by field, can stand in the name of a file."""
    for field, stem in stems.items():
        if not _is_part(stem):
            raise ValueError(
                f"the stem of {field} must be part of a file's name, printable and without /, "
                f"got {stem!r}"
            )


def _is_part(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and "/" not in text


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, whose file becomes `path` if the block ends well.

    Readers see the file that was there before, or all of the new one. Where the block raises, the
    file that was there stays and what was begun is removed. A killed process leaves its file, whose
    name begins with a dot and ends with that machine and process (`writer`). Nothing is synced.
    """
    aside = _aside(path)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):  # such as a folder that is read-only: none was begun
            aside.unlink()


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which becomes `path` if the block ends well.

    As `whole`, but a folder that was there is removed first: a kill between the two leaves none.
    """
    aside = _aside(path)
    aside.mkdir()
    try:
        yield aside
        shutil.rmtree(path, ignore_errors=True)
        os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def writer(pid: int | None) -> str:
    """Return how the names end that a process of this machine writes to; pid: its number."""
    return f"{platform.node()[:32]}.{pid}"  # short, so that MOST_BYTES and this fit in 255


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{writer(os.getpid())}")
