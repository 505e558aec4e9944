"""Selection and pairing: counts, distinctness, nesting, the same responses under both pairings."""

import itertools

import numpy as np
import pytest

from rmsweep.annotation.pairing import PAIRINGS, SELECTIONS, most_pairs, pairs_to_annotate

ALL = list(itertools.product(SELECTIONS, PAIRINGS))


def golden_of(n_prompts, n_responses, seed=0):
    return np.random.default_rng(seed).normal(size=(n_prompts, n_responses))


def drawn(golden, selection, pairing, quantity, seed=1):
    return pairs_to_annotate(golden, selection, pairing, quantity, np.random.default_rng(seed))


def undirected(found):
    return set(map(frozenset, found.tolist()))


def prompts_of(found, n_responses):
    return found // n_responses


@pytest.mark.parametrize(("selection", "pairing"), ALL)
def test_pairs_are_as_many_as_asked_valid_and_distinct(selection, pairing):
    golden = golden_of(11, 5)
    quantity = most_pairs(11, 5, selection, pairing)
    found = drawn(golden, selection, pairing, quantity)
    assert found.shape == (quantity, 2)
    assert found.dtype == np.int64
    assert found.min() >= 0 and found.max() < golden.size
    assert len(undirected(found)) == quantity


@pytest.mark.parametrize(("selection", "pairing"), ALL)
def test_first_pairs_do_not_depend_on_quantity(selection, pairing):
    golden = golden_of(40, 5)
    many = drawn(golden, selection, pairing, 40)
    np.testing.assert_array_equal(drawn(golden, selection, pairing, 20), many[:20])


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_first_pairs_are_nested_across_passes(pairing):
    golden = golden_of(10, 5)
    many = drawn(golden, "random", pairing, 37)
    np.testing.assert_array_equal(drawn(golden, "random", pairing, 15), many[:15])


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_whole_pass_holds_the_same_responses_under_both_pairings(selection):
    golden = golden_of(12, 6)
    same, cross = (drawn(golden, selection, pairing, 12) for pairing in PAIRINGS)
    np.testing.assert_array_equal(np.sort(same.ravel()), np.sort(cross.ravel()))
    np.testing.assert_array_equal(same[:, 0], cross[:, 0])


def test_later_passes_hold_the_same_responses_under_both_pairings():
    golden = golden_of(12, 6)
    same, cross = (drawn(golden, "random", pairing, 48) for pairing in PAIRINGS)
    for at in range(0, 48, 12):
        np.testing.assert_array_equal(
            np.sort(same[at : at + 12].ravel()), np.sort(cross[at : at + 12].ravel())
        )


@pytest.mark.parametrize("selection", SELECTIONS)
def test_same_prompt_pairs_two_responses_of_one_prompt(selection):
    found = prompts_of(drawn(golden_of(9, 4), selection, "same_prompt", 9), 4)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert len(set(found[:, 0])) == 9


@pytest.mark.parametrize("selection", SELECTIONS)
def test_cross_prompt_never_pairs_a_prompt_with_itself(selection):
    n_prompts = 9
    most = most_pairs(n_prompts, 4, selection, "cross_prompt")
    found = prompts_of(drawn(golden_of(n_prompts, 4), selection, "cross_prompt", most), 4)
    assert (found[:, 0] != found[:, 1]).all()
    assert len(undirected(found)) == most == n_prompts * (n_prompts - 1) // 2


def test_cross_prompt_offset_grows_by_one_with_each_pass():
    n_prompts = 9
    found = prompts_of(drawn(golden_of(n_prompts, 4), "random", "cross_prompt", 4 * n_prompts), 4)
    place = np.argsort(found[:n_prompts, 0])  # of a prompt in the seeded order
    offsets = (place[found[:, 1]] - place[found[:, 0]]) % n_prompts
    np.testing.assert_array_equal(offsets, np.repeat([1, 2, 3, 4], n_prompts))


@pytest.mark.parametrize(
    ("n_responses", "ranks"), [(2, (0, 1)), (3, (1, 2)), (4, (1, 2)), (5, (2, 3)), (10, (4, 5))]
)
def test_similar_takes_the_middle_of_the_golden_order(n_responses, ranks):
    golden = golden_of(6, n_responses)
    by_rank = np.argsort(-golden, axis=1)
    for first, second in drawn(golden, "similar", "same_prompt", 6):
        prompt = first // n_responses
        expected = {prompt * n_responses + by_rank[prompt, rank] for rank in ranks}
        assert {first, second} == expected


def test_diversified_takes_top_and_bottom():
    golden = golden_of(6, 5)
    for first, second in drawn(golden, "diversified", "same_prompt", 6):
        responses = golden[first // 5].argmax(), golden[first // 5].argmin()
        assert {first % 5, second % 5} == set(responses)


def test_golden_ties_are_ranked_by_index():
    tied = np.zeros((3, 4))
    similar = drawn(tied, "similar", "same_prompt", 3)
    assert all(set(row % 4) == {1, 2} for row in similar)
    diversified = drawn(tied, "diversified", "same_prompt", 3)
    assert all(set(row % 4) == {0, 3} for row in diversified)
    partly = np.array([[1.0, 5.0, 5.0, 1.0]] * 3)  # ranked 1, 2, 0, 3
    assert all(set(row % 4) == {2, 0} for row in drawn(partly, "similar", "same_prompt", 3))


@pytest.mark.parametrize(
    ("selection", "pairing", "most"),
    [
        ("random", "same_prompt", 7 * 10),
        ("similar", "same_prompt", 7),
        ("diversified", "same_prompt", 7),
        ("random", "cross_prompt", 21),
        ("similar", "cross_prompt", 21),
    ],
)
def test_a_quantity_above_the_maximum_is_refused_with_the_maximum(selection, pairing, most):
    assert most_pairs(7, 5, selection, pairing) == most
    assert len(drawn(golden_of(7, 5), selection, pairing, most)) == most
    with pytest.raises(ValueError, match=f"quantity must be at most {most},.*got {most + 1}"):
        drawn(golden_of(7, 5), selection, pairing, most + 1)


def test_two_prompts_have_no_cross_prompt_pairs():
    with pytest.raises(ValueError, match="at most 0"):
        drawn(golden_of(2, 5), "random", "cross_prompt", 1)


@pytest.mark.parametrize(("selection", "pairing"), ALL)
def test_two_responses_a_prompt_are_enough(selection, pairing):
    found = drawn(golden_of(5, 2), selection, pairing, 5)
    assert len(undirected(found)) == 5
    assert set(found.ravel()) == set(range(10))


@pytest.mark.parametrize("n_responses", [2, 3, 6])
def test_same_prompt_random_exhausts_every_pair_of_every_prompt(n_responses):
    most = most_pairs(4, n_responses, "random", "same_prompt")
    found = drawn(golden_of(4, n_responses), "random", "same_prompt", most)
    expected = {
        frozenset((prompt * n_responses + i, prompt * n_responses + j))
        for prompt in range(4)
        for i, j in itertools.combinations(range(n_responses), 2)
    }
    assert undirected(found) == expected


@pytest.mark.parametrize("selection", SELECTIONS)
def test_order_within_a_pair_is_a_fair_coin(selection):
    golden = golden_of(4000, 4)
    found = drawn(golden, selection, "same_prompt", 4000)
    share = np.mean(golden.reshape(-1)[found[:, 0]] > golden.reshape(-1)[found[:, 1]])
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_random_selection_takes_every_pair_of_responses_alike():
    found = drawn(golden_of(6000, 4), "random", "same_prompt", 6000) % 4
    _, counts = np.unique(np.sort(found, axis=1), axis=0, return_counts=True)
    assert len(counts) == 6
    assert (abs(counts - 1000) < 4 * np.sqrt(1000 * 5 / 6)).all()


def test_order_of_the_prompts_depends_on_the_seed_alone():
    golden = golden_of(30, 4)
    one, again = (drawn(golden, "random", "same_prompt", 30, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    other = drawn(golden, "random", "same_prompt", 30, seed=4)
    assert (prompts_of(one, 4)[:, 0] != prompts_of(other, 4)[:, 0]).any()
