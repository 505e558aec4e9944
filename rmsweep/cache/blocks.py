"""Cutting prompts or pairs into blocks that are read, written or scored one after the other."""

import itertools


def cut(n: int, size: int, least: int = 1) -> list[tuple[int, int]]:
    """Return the first and the last (exclusive) item of each block of n items, in order.

    size: items of a block, at least 1. least: a last block of fewer items joins the one before.
    """
    edges = list(range(0, n, max(1, size)))
    if len(edges) > 1 and n - edges[-1] < least:
        edges.pop()
    return list(itertools.pairwise([*edges, n]))
