"""Batches of texts of like length, as large as memory takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rmsweep.cache.building.models import Loaded
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.tokens import Cut, encode_pairs

Texts = tuple[Sequence[str], Sequence[str]]  # prompts, and a response to each
Compute = Callable[[list[list[int]]], np.ndarray]  # a row for each text of a batch


@dataclass
class Budget:
    """The tokens of a batch, padding included; halved for good when memory runs out."""

    tokens: int


def in_batches(lengths: Sequence[int], budget: Budget, run: Callable[[np.ndarray], None]) -> None:
    """Call run(rows) until each row is done, longest first, rows x longest within the budget.

    ValueError where a single row does not fit into memory.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    done = 0
    while done < len(order):
        rows = order[done : done + max(1, budget.tokens // max(1, lengths[order[done]]))]
        try:
            run(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"one text of {lengths[rows[0]]} tokens does not fit into memory"
            if len(rows) == 1:
                raise ValueError(f"{message}; use a larger device or fewer tokens") from None
        else:
            done += len(rows)
            continue
        free_gpu_memory()  # here the failed attempt's tensors are no longer referred to
        budget.tokens = max(1, len(rows) // 2) * lengths[rows[0]]


def outputs_of_texts(
    loaded: Loaded, texts: Texts, cut: Cut, budget: Budget, progress: Progress, compute: Compute
) -> tuple[np.ndarray, dict[str, int]]:
    """Return compute(token ids) of each text, in the order of texts, and counts of tokens."""
    sequences, n_cut = encode_pairs(loaded.tokenizer, *texts, cut)
    outputs: dict[int, np.ndarray] = {}

    def run(rows: np.ndarray) -> None:
        batch = [sequences[row] for row in rows]
        outputs.update(zip(rows.tolist(), compute(batch), strict=True))
        progress.advance(len(rows), sum(map(len, batch)), len(outputs) / len(sequences))

    lengths = list(map(len, sequences))
    in_batches(lengths, budget, run)
    counts = {"texts": len(sequences), "tokens": sum(lengths), "truncated": n_cut}
    return np.stack([outputs[row] for row in range(len(sequences))]), counts


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch, on a GPU or a CPU, or Python ran out of memory."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in texts)


def free_gpu_memory() -> None:
    """Give back the memory of a GPU that torch keeps for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def padded(
    sequences: Sequence[Sequence[int]], pad: int, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids and mask, (rows, longest) int64; a row without tokens is a masked pad."""
    longest = max(1, *map(len, sequences))
    ids = np.full((len(sequences), longest), pad, np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(longest - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row, place] = sequence
        mask[row, place] = 1
    return ids, mask
