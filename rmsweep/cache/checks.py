"""Checks of cached files before they are used: headers, shapes and golden rewards."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from rmsweep.errors import one_line

EMBEDDING_DTYPES = (np.dtype("<f2"), np.dtype("<f4"))
REWARD_DTYPES = (np.dtype("<f4"), np.dtype("<f8"))

_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """The header of a .npy file, which agrees with the file's size; offset in bytes."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int


def require_file(path: Path, what: str) -> None:
    """Raise FileNotFoundError where nothing is at path, ValueError where it is not a file."""
    if not path.exists():
        others = sorted(file.name for file in path.parent.glob("embd_*.npy"))
        listed = ", ".join([*others[:4], *(["..."] if len(others) > 4 else [])])
        hint = f" (the folder has {listed})" if others else ""
        raise FileNotFoundError(
            f"no {what} at {path}; put the file there or set cache.root (or base_llm, backbone)"
            f"{hint}"
        )
    if not path.is_file():
        raise unsound(path, "kind", "a file", "a folder or device", "put the file in its place")


def read_header(path: Path, dtypes: tuple[np.dtype, ...]) -> Header:
    """Return the header of a C-ordered .npy file with three axes and one of dtypes; read no data.

    ValueError where the file is no such array, or its size is not what the header claims.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran_order, dtype = _HEADER_READERS[npy.read_magic(file)](file)
            offset = file.tell()
    except OSError:
        raise
    except Exception as error:  # numpy lets many kinds through for a header that is not one
        reason = f"{type(error).__name__}: {one_line(error, 160)}"
        fix = "save it again with np.save"
        raise unsound(path, "header", "that of a .npy file, version 1 or 2", reason, fix) from error
    if dtype.hasobject:
        raise unsound(
            path, "dtype", _names(dtypes), "pickled objects", "save plain numbers instead"
        )
    if dtype not in dtypes:
        raise unsound(path, "dtype", _names(dtypes), dtype.str, f"convert it to {dtypes[0]}")
    if fortran_order:
        fix = "save np.ascontiguousarray of it"
        raise unsound(path, "order", "C (row-major)", "Fortran (column-major)", fix)
    if len(shape) != 3 or min(shape) < 1:
        fix = "save it with these three axes"
        raise unsound(path, "shape", "(prompts, responses, width), none empty", shape, fix)
    size = path.stat().st_size
    expected = offset + math.prod(shape) * dtype.itemsize
    if size != expected:
        state = "is truncated" if size < expected else "has bytes after its array"
        fix = f"the file {state}: copy or write it again"
        raise unsound(path, "size", f"{expected} bytes for shape {shape}", f"{size} bytes", fix)
    return Header(path, shape, dtype, offset)


def check_split(embeddings: Header, rewards: Header) -> None:
    """Raise ValueError unless both files of a split hold the same K >= 2 responses to a prompt."""
    path, (n_prompts, n_responses, _) = embeddings.path, embeddings.shape
    if n_responses < 2:
        fix = "use a cache with more responses to each prompt"
        raise unsound(path, "axis 1 (responses to a prompt)", "at least 2", n_responses, fix)
    expected = (n_prompts, n_responses, 1)
    if rewards.shape != expected:
        fix = f"the shape of {path.name} is {embeddings.shape}: take the two files of one release"
        raise unsound(rewards.path, "shape", expected, rewards.shape, fix)


def check_dims(train: Header, test: Header) -> None:
    """Raise ValueError unless train and test embeddings have the same D."""
    if test.shape[2] != train.shape[2]:
        expected = f"{train.shape[2]} as in {train.path.name}"
        fix = "take both splits from the same backbone"
        raise unsound(test.path, "axis 2 (D)", expected, test.shape[2], fix)


def read_rewards(header: Header) -> np.ndarray:
    """Return golden rewards, (prompts, K) float64, read-only, of a file (prompts, K, 1).

    ValueError unless they are finite and not all equal.
    """
    n_values = math.prod(header.shape)
    stored = np.fromfile(header.path, header.dtype, n_values, offset=header.offset)
    golden = stored.astype(np.float64).reshape(header.shape[:2])
    bad = np.argwhere(~np.isfinite(golden))
    if len(bad):
        prompt, response = bad[0]
        value = f"{golden[prompt, response]} at prompt {prompt}, response {response}"
        fix = f"{len(bad)} of {golden.size} are not: score these responses again"
        raise unsound(header.path, "golden rewards", "finite", value, fix)
    if np.all(golden == golden[0, 0]):
        value = f"{golden[0, 0]} for all {golden.size}"
        fix = "nothing can be learnt from it: check the scorer"
        raise unsound(header.path, "golden rewards", "more than one value", value, fix)
    golden.flags.writeable = False
    return golden


def first_nonfinite(block: np.ndarray) -> tuple[int, int] | None:
    """Return the first (prompt, response) of a block whose embedding holds NaN or inf, or None.

    block: (p, M, D) float16 or float32. Read as integers, inf and NaN are the largest values of
    either sign, so two integer maxima decide: float16 arithmetic would take several times longer.
    """
    bits = 8 * block.itemsize
    infinity = int(np.array(np.inf, block.dtype).view(f"u{block.itemsize}"))
    is_positive = block.view(f"i{block.itemsize}").max() >= infinity
    if not is_positive and block.view(f"u{block.itemsize}").max() < infinity + (1 << (bits - 1)):
        return None
    prompt, response = np.argwhere(~np.isfinite(block).all(axis=2))[0]
    return int(prompt), int(response)


def _names(dtypes: tuple[np.dtype, ...]) -> str:
    return " or ".join(f"{dtype.name} ({dtype.str})" for dtype in dtypes)


def unsound(path: Path, field: str, expected: object, value: object, fix: str) -> ValueError:
    """Return the error that says what a file holds, what it must hold, and the way out."""
    return ValueError(f"{path}: {field} must be {expected}, found {value}; {fix}")
