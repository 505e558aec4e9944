"""The statistics of embeddings, read once in blocks: variances, norms and repeats."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from rmsweep.cache.blocks import cut
from rmsweep.cache.checks import Header

READ_BYTES = 32 << 20  # at a time
N_TOP = 3  # dimensions whose share of the variance is told


def read_blocks(header: Header) -> Iterator[np.ndarray]:
    """Yield a file's prompts in order, (p, K, D) at a time, by plain reads: nothing is mapped."""
    n_prompts, *rest = header.shape
    n_bytes = int(np.prod(rest)) * header.dtype.itemsize
    with open(header.path, "rb") as file:
        file.seek(header.offset)
        for first, last in cut(n_prompts, READ_BYTES // n_bytes):
            data = file.read((last - first) * n_bytes)
            yield np.frombuffer(data, header.dtype).reshape(last - first, *rest)


def embedding_statistics(blocks: Iterable[np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
    """Return statistics of blocks (p, K, D), and a hash of each embedding, (prompts, K) uint64.

    between_variance: variance of the prompts' mean embeddings, summed over dimensions;
    within_variance: the mean over prompts of that of their K embeddings; both with ddof 0. An
    embedding with NaN or inf is counted and left out as zeros.
    """
    n_prompts, n_bad, shift = 0, 0, np.zeros(0)
    sums, squares, within = np.zeros(0), np.zeros(0), np.zeros(0)
    norms, hashes = [], []
    for block in blocks:
        is_good = np.isfinite(block).all(axis=2)
        n_bad += int((~is_good).sum())
        values = np.where(is_good[:, :, np.newaxis], block, 0).astype(np.float32)
        means = values.mean(axis=1, dtype=np.float64)
        if not n_prompts:  # near the mean, so that squares do not cancel
            shift = means.mean(axis=0)
            sums, squares, within = np.zeros((3, len(shift)))
        norms.append(np.sqrt(np.einsum("pkd,pkd->pk", values, values)))
        values -= means[:, np.newaxis].astype(np.float32)
        within += np.einsum("pkd,pkd->d", values, values) / block.shape[1]
        means -= shift
        sums, squares = sums + means.sum(axis=0), squares + np.square(means).sum(axis=0)
        hashes.append(_hashes(block))
        n_prompts += len(block)
    between = np.maximum(squares / n_prompts - np.square(sums / n_prompts), 0)
    described, norm = _variances(between, within / n_prompts), np.concatenate(norms)
    described |= {"norm_min": float(norm.min()), "norm_mean": float(norm.mean(dtype=np.float64))}
    described |= {"norm_max": float(norm.max()), "n_zero": int((norm == 0).sum()) - n_bad}
    return described | {"n_nonfinite": n_bad}, np.concatenate(hashes)


def _variances(between: np.ndarray, within: np.ndarray) -> dict[str, Any]:
    """Return statistics of the variances of each dimension, (D,)."""
    total, total_between = float(within.sum()), float(between.sum())
    top = float(np.sort(within)[-N_TOP:].sum())
    return {
        "between_variance": total_between,
        "within_variance": total,
        "variance_ratio": total_between / total if total > 0 else None,
        "top_dimensions_share": top / total if total > 0 else None,
        "n_constant_dimensions": int(((between + within) <= 1e-12).sum()),
    }


def _hashes(block: np.ndarray) -> np.ndarray:
    """Return 64 bits of each embedding, (p, K): equal for equal bytes, and hardly ever else."""
    p, k, d = block.shape
    words = np.zeros((p, k, -(-d * block.itemsize // 8) * 8), np.uint8)
    words[:, :, : d * block.itemsize] = block.view(np.uint8).reshape(p, k, -1)
    numbers = words.view(np.uint64)
    odd = np.random.default_rng(0).integers(1 << 63, size=numbers.shape[2], dtype=np.uint64) | 1
    mixed = (numbers ^ (numbers >> np.uint64(29))) * odd
    return (mixed ^ (mixed >> np.uint64(32))).sum(axis=2, dtype=np.uint64)


def duplicate_shares(hashes: np.ndarray) -> dict[str, float]:
    """Return shares of embeddings (prompts, K) that repeat another: of the same prompt, of any."""
    within = sum(len(row) - len(np.unique(row)) for row in hashes) / hashes.size
    overall = (hashes.size - len(np.unique(hashes))) / hashes.size
    return {"share_duplicate_same_prompt": float(within), "share_duplicate": float(overall)}
