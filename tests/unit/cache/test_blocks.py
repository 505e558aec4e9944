"""Blocks hold each item once, in order, and none is too small but where all are too few."""

import pytest

from rmsweep.cache.blocks import cut


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 20, 24])
@pytest.mark.parametrize("size", [0, 1, 8, 100])
@pytest.mark.parametrize("least", [1, 3, 9])
def test_blocks_hold_each_item_once_in_order(n, size, least):
    blocks = cut(n, size, least)
    assert [i for first, last in blocks for i in range(first, last)] == list(range(n))
    widths = [last - first for first, last in blocks]
    assert all(width == max(1, size) for width in widths[:-1])
    if len(blocks) > 1 and least <= size:
        assert widths[-1] >= least, "a small last block joins the one before"


def test_a_last_block_of_too_few_joins_the_one_before():
    assert cut(18, 8, 3) == [(0, 8), (8, 18)] and cut(19, 8, 3) == [(0, 8), (8, 16), (16, 19)]
    assert cut(2, 8, 3) == [(0, 2)]
