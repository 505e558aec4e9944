"""Training protocols: what is held out, and what a batch holds."""

import itertools

import numpy as np
import pytest

from rmsweep.annotation.splits import SCRIPT_BATCH, split_by_pairs, split_like_rbt_scripts


def pairs_of(n):
    """n distinct pairs of distinct responses."""
    return np.arange(2 * n).reshape(n, 2)[:, ::-1].copy()


def rngs(seed=0):
    return np.random.default_rng(seed), np.random.default_rng(seed + 100)


def first_epochs(split, n):
    return list(itertools.islice(split.epochs, n))


def rows_of(table):
    return sorted(map(tuple, table.tolist()))


def test_by_pairs_holds_out_so_many_pairs_and_trains_on_the_rest():
    split = split_by_pairs(pairs_of(50), 13, 100, *rngs())
    assert split.validation.shape == (13, 2)
    assert split.train.shape == (37, 2)
    assert rows_of(np.concatenate([split.train, split.validation])) == rows_of(pairs_of(50))
    assert not set(split.train.ravel()) & set(split.validation.ravel())
    np.testing.assert_array_equal(split.validation_pairs, split.validation)


def test_by_pairs_takes_the_held_out_pairs_at_random():
    one, other = (split_by_pairs(pairs_of(50), 13, 100, *rngs(seed)) for seed in (0, 1))
    assert rows_of(one.validation) != rows_of(other.validation)
    assert rows_of(one.validation) == rows_of(
        split_by_pairs(pairs_of(50), 13, 9, *rngs(0)).validation
    )


def test_by_pairs_batches_partition_each_epoch_and_the_last_is_short():
    split = split_by_pairs(pairs_of(50), 13, 10, *rngs())
    epochs = first_epochs(split, 3)
    for batches in epochs:
        assert [len(rows) for rows in batches] == [10, 10, 10, 7]
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(37))
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_by_pairs_has_no_empty_batch_where_batches_fill_the_epoch():
    split = split_by_pairs(pairs_of(50), 10, 20, *rngs())
    assert [len(rows) for rows in first_epochs(split, 1)[0]] == [20, 20]


@pytest.mark.parametrize("batch_pairs", [37, 38, 5120])
def test_by_pairs_takes_all_rows_as_they_are_where_one_batch_holds_them(batch_pairs):
    split = split_by_pairs(pairs_of(50), 13, batch_pairs, *rngs())
    assert first_epochs(split, 3) == [[None]] * 3


def test_by_pairs_keeps_chosen_first():
    split = split_by_pairs(pairs_of(20), 4, 100, *rngs())
    assert (split.train[:, 0] > split.train[:, 1]).all()
    assert (split.validation[:, 0] > split.validation[:, 1]).all()


@pytest.mark.parametrize(
    ("quantity", "share", "held_out"), [(50, 0.2, 20), (51, 0.2, 21), (7, 0.2, 3), (9, 0.5, 9)]
)
@pytest.mark.parametrize("rows", ["pairs", "responses"])
def test_scripts_split_twice_as_many_rows_and_round_the_held_out_up(
    rows, quantity, share, held_out
):
    split = split_like_rbt_scripts(pairs_of(quantity), rows, share, *rngs())
    assert split.validation.shape == (held_out, 2)
    assert split.train.shape == (2 * quantity - held_out, 2)


@pytest.mark.parametrize(("quantity", "n_draws", "size"), [(50, 1, 80), (6400, 1, 10_240)])
def test_scripts_draw_all_rows_where_one_batch_holds_them(quantity, n_draws, size):
    split = split_like_rbt_scripts(pairs_of(quantity), "pairs", 0.2, *rngs())
    (epoch,) = first_epochs(split, 1)
    assert [len(rows) for rows in epoch] == [size] * n_draws
    np.testing.assert_array_equal(np.sort(epoch[0]), np.arange(size))


def test_scripts_draw_full_batches_afresh_so_that_draws_of_an_epoch_overlap():
    split = split_like_rbt_scripts(
        pairs_of(6401), "pairs", 0.2, *rngs()
    )  # one row more than a batch
    assert len(split.train) == 10_241
    (epoch,) = first_epochs(split, 1)
    assert [len(rows) for rows in epoch] == [SCRIPT_BATCH, SCRIPT_BATCH]
    for rows in epoch:
        assert len(set(rows.tolist())) == SCRIPT_BATCH  # no row twice in one draw
    assert len(set(epoch[0].tolist()) & set(epoch[1].tolist())) >= SCRIPT_BATCH - 1


def test_scripts_rows_of_pairs_are_each_pair_and_its_copy():
    split = split_like_rbt_scripts(pairs_of(30), "pairs", 0.2, *rngs())
    both = np.concatenate([split.train, split.validation])
    assert rows_of(both) == sorted(2 * rows_of(pairs_of(30)))
    assert (both[:, 0] > both[:, 1]).all()  # chosen first: a swapped copy is the same term


def test_scripts_leak_most_held_out_pairs_into_training():
    split = split_like_rbt_scripts(pairs_of(500), "pairs", 0.2, *rngs())
    held_out, trained = set(rows_of(split.validation)), set(rows_of(split.train))
    share = len(held_out & trained) / len(held_out)
    assert 0.75 < share < 1  # a copy's twin is trained on with probability 0.8


def test_scripts_rows_of_responses_are_each_response_once():
    split = split_like_rbt_scripts(pairs_of(30), "responses", 0.2, *rngs())
    both = np.concatenate([split.train, split.validation])
    assert ((both == -1).sum(axis=1) == 1).all()
    assert sorted(both[:, 0][both[:, 0] >= 0]) == sorted(pairs_of(30)[:, 0])
    assert sorted(both[:, 1][both[:, 1] >= 0]) == sorted(pairs_of(30)[:, 1])
    responses = both.max(axis=1)
    assert not set(responses[: len(split.train)]) & set(responses[len(split.train) :])


def test_scripts_validation_pairs_have_a_held_out_copy():
    split = split_like_rbt_scripts(pairs_of(40), "pairs", 0.2, *rngs())
    assert rows_of(split.validation_pairs) == sorted(set(rows_of(split.validation)))


def test_scripts_validation_pairs_of_responses_have_both_responses_held_out():
    split = split_like_rbt_scripts(pairs_of(200), "responses", 0.3, *rngs())
    held_out = set(split.validation.max(axis=1))
    expected = [tuple(row) for row in pairs_of(200).tolist() if set(row) <= held_out]
    assert rows_of(split.validation_pairs) == sorted(expected)
    assert 0 < len(expected) < 60


@pytest.mark.parametrize("rows", ["pairs", "responses"])
def test_scripts_split_does_not_depend_on_the_batches_drawn(rows):
    split_rng, _ = rngs()
    one = split_like_rbt_scripts(pairs_of(40), rows, 0.2, split_rng, np.random.default_rng(1))
    first_epochs(one, 2)
    other = split_like_rbt_scripts(pairs_of(40), rows, 0.2, rngs()[0], np.random.default_rng(2))
    np.testing.assert_array_equal(one.train, other.train)
    np.testing.assert_array_equal(one.validation, other.validation)
