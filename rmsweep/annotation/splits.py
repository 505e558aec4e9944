"""Training protocols: which rows are held out, and which make a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rmsweep.annotation.pairing import in_whole_prompts

Rng = np.random.Generator
SCRIPT_BATCH = 10_240  # rows of a batch in the public scripts of arXiv:2411.04991


@dataclass(frozen=True)
class Split:
    """The rows to train on and to hold out: (chosen, rejected), -1 where that half is absent."""

    train: np.ndarray  # (rows, 2) int64 response indices
    validation: np.ndarray  # (held-out rows, 2)
    validation_pairs: np.ndarray  # (held-out pairs, 2), for order consistency
    train_pairs: np.ndarray  # (the other pairs, 2), for diagnostics
    epochs: Iterator[list[np.ndarray | None]]  # batches: positions in train, None for all


def split_by_pairs(
    pairs: np.ndarray, n_validation: int, batch_pairs: int, split_rng: Rng, batch_rng: Rng
) -> Split:
    """Hold out some of the pairs; the batches of an epoch partition the rest, the last is short.

    pairs: (quantity, 2) int64, chosen first. A swapped copy of a pair is the same Bradley-Terry
    term and is not computed.
    """
    shuffled = pairs[split_rng.permutation(len(pairs))]
    return _partitioned(shuffled[n_validation:], shuffled[:n_validation], batch_pairs, batch_rng)


def split_by_prompts(
    pairs: np.ndarray,
    prompts: np.ndarray,
    n_validation: int,
    batch_pairs: int,
    split_rng: Rng,
    batch_rng: Rng,
) -> Split:
    """Hold out pairs as split_by_pairs does, but a prompt is on one side only.

    prompts: (quantity,) integers, the pairs' prompts. ValueError where no prompt has as few pairs
    as are to be held out, or none would be left.
    """
    is_held_out = in_whole_prompts(prompts, n_validation, split_rng)
    if not 0 < is_held_out.sum() < len(pairs):
        raise ValueError(
            f"training.validation_share must hold out whole prompts: none of the {len(pairs)} "
            f"pairs' prompts has at most {n_validation} pairs; raise it or quantity"
        )
    order = split_rng.permutation(len(pairs))
    pairs, is_held_out = pairs[order], is_held_out[order]
    return _partitioned(pairs[~is_held_out], pairs[is_held_out], batch_pairs, batch_rng)


def _partitioned(
    train: np.ndarray, validation: np.ndarray, batch_pairs: int, batch_rng: Rng
) -> Split:
    """Make batches that partition the pairs to train on in each epoch; the last one is short."""

    def epochs() -> Iterator[list[np.ndarray | None]]:
        while len(train) <= batch_pairs:
            yield [None]
        while True:
            rows = batch_rng.permutation(len(train))
            yield [rows[i : i + batch_pairs] for i in range(0, len(rows), batch_pairs)]

    return Split(train, validation, validation, train, epochs())


def split_like_rbt_scripts(
    pairs: np.ndarray, rows: str, validation_share: float, split_rng: Rng, batch_rng: Rng
) -> Split:
    """Split and draw rows as the public scripts of arXiv:2411.04991 do.

    Those are step5_train_rms.py and networks.py. rows="pairs": each pair and its swapped copy are
    rows, so most held-out pairs are trained on too; rows="responses": each response is a row. Rows
    are split; an epoch draws ceil(rows / 10,240) times min(10,240, rows) rows afresh.
    """
    absent = np.full(len(pairs), -1)
    if rows == "pairs":
        table = np.concatenate([pairs, pairs])
    else:
        halves = (pairs[:, 0], absent), (absent, pairs[:, 1])
        table = np.concatenate([np.stack(half, axis=1) for half in halves])
    order = split_rng.permutation(len(table))
    n_validation = int(np.ceil(len(table) * validation_share))
    is_held_out = np.zeros(len(table), bool)
    is_held_out[order[:n_validation]] = True
    copies = is_held_out.reshape(2, len(pairs))
    is_validation = copies.any(axis=0) if rows == "pairs" else copies.all(axis=0)
    train, held_out = table[order[n_validation:]], table[order[:n_validation]]

    def epochs() -> Iterator[list[np.ndarray | None]]:
        while True:
            draws = -(-len(train) // SCRIPT_BATCH)
            yield [batch_rng.permutation(len(train))[:SCRIPT_BATCH] for _ in range(draws)]

    return Split(train, held_out, pairs[is_validation], pairs[~is_validation], epochs())
