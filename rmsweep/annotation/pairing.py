"""Which two responses meet: selection and pairing (arXiv:2411.04991, Section 4)."""

import itertools
from collections.abc import Iterator

import numpy as np

SELECTIONS = ("random", "similar", "diversified")
PAIRINGS = ("same_prompt", "cross_prompt")


def most_pairs(n_prompts: int, n_responses: int, selection: str, pairing: str) -> int:
    """Return how many distinct pairs there are; across prompts any two meet at most once."""
    if pairing == "cross_prompt":
        return n_prompts * ((n_prompts - 1) // 2)
    return n_prompts * (n_responses * (n_responses - 1) // 2 if selection == "random" else 1)


def pairs_to_annotate(
    golden: np.ndarray, selection: str, pairing: str, quantity: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the pairs to annotate: (quantity, 2) indices into golden.reshape(-1), int64, distinct.

    golden: (prompts, K) golden rewards of the train split. The prompts are put in one random order;
    in pass p prompt t has two selected responses (a_t, b_t), and meets itself (same_prompt) or the
    prompt p + 1 further on (cross_prompt: a_t, b_{t+p+1}). The first pairs do not depend on
    quantity, and a whole pass holds the same responses under both pairings. ValueError above the
    maximum.
    """
    n_prompts, n_responses = golden.shape
    most = most_pairs(n_prompts, n_responses, selection, pairing)
    if quantity > most:
        raise ValueError(
            f"quantity must be at most {most}, the distinct {pairing} pairs of {n_prompts} "
            f"prompts x {n_responses} responses under selection={selection}; got {quantity}"
        )
    order = rng.permutation(n_prompts)
    passes = []
    for p, (first, second) in enumerate(_selected(golden[order], selection, rng)):
        if p * n_prompts >= quantity:
            break
        a, b = order * n_responses + first, order * n_responses + second
        offset = 0 if pairing == "same_prompt" else p + 1
        passes.append(np.stack([a, np.roll(b, -offset)], axis=1))
    return np.concatenate(passes)[:quantity]


def _selected(
    golden: np.ndarray, selection: str, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, pass after pass, each prompt's two responses in random order: two (prompts,)."""
    n_prompts, n_responses = golden.shape
    chosen: Iterator[np.ndarray]
    if selection == "random":
        low, high = np.triu_indices(n_responses, k=1)
        codes = _without_replacement(n_prompts, len(low), rng)
        chosen = (np.stack([low[code], high[code]]) for code in codes)
    else:
        ranked = np.argsort(-golden, axis=1, kind="stable")
        middle = (n_responses - 1) // 2
        top, bottom = (middle, middle + 1) if selection == "similar" else (0, -1)
        chosen = itertools.repeat(np.stack([ranked[:, top], ranked[:, bottom]]))
    prompts = np.arange(n_prompts)
    for two in chosen:
        swap = rng.integers(2, size=n_prompts)
        yield two[swap, prompts], two[1 - swap, prompts]


def _without_replacement(
    n_prompts: int, n_codes: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield, pass after pass, a code in [0, n_codes) a prompt; all come before one comes twice."""
    taken = np.empty((0, n_prompts), dtype=np.int64)
    while True:
        if len(taken) == n_codes:
            taken = taken[:0]
        draw = rng.integers(n_codes, size=n_prompts)
        while (again := (taken == draw).any(axis=0)).any():
            draw[again] = rng.integers(n_codes, size=int(again.sum()))
        taken = np.concatenate([taken, draw[None]])
        yield draw


def in_whole_prompts(prompts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose labelled pairs to set apart, such that no prompt is on both sides: (pairs,) bool.

    prompts: (pairs,) integers, the pairs' prompts. n: of pairs to set apart. Prompts are taken in
    random order, each with all its pairs where these still fit: so n pairs, or a few less where
    no prompt left is small enough.
    """
    distinct, sizes = np.unique(prompts, return_counts=True)
    taken, left = np.zeros(len(distinct), bool), n
    for i in rng.permutation(len(distinct)):
        if sizes[i] <= left:
            taken[i] = True
            left -= sizes[i]
    return taken[np.searchsorted(distinct, prompts)]
