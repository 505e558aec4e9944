"""Blocks of prompts or pairs: how they are cut, and written one after the other."""

import itertools
from collections.abc import Callable, Iterable
from typing import BinaryIO

import numpy as np


def cut(n: int, size: int, least: int = 1) -> list[tuple[int, int]]:
    """Return the first and the last (exclusive) item of each block of n items, in order.

    size: items of a block, at least 1. least: a last block of fewer items joins the one before.
    """
    edges = list(range(0, n, max(1, size)))
    if len(edges) > 1 and n - edges[-1] < least:
        edges.pop()
    return list(itertools.pairwise([*edges, n]))


def write_npy(
    file: BinaryIO,
    n_rows: int,
    blocks: Iterable[np.ndarray],
    progress: Callable[[int], None] = lambda n_bytes: None,
) -> None:
    """Write a .npy file of blocks of one dtype and width, which have n_rows rows in all.

    progress(n): called after each block with its number of bytes.
    """
    for number, block in enumerate(blocks):
        if not number:
            header = {"descr": block.dtype.str, "fortran_order": False}
            shape = (n_rows, *block.shape[1:])
            np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
        progress(file.write(np.ascontiguousarray(block).data))
