"""The fingerprint of files: a hash of what they hold, whatever their path and age."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rmsweep.cache.checks import Header

N_BLOCKS = 64
BLOCK_BYTES = 64 * 1024
N_DIGITS = 32


def fingerprint(embeddings: Sequence[Header], whole: Sequence[Path]) -> str:
    """Return 32 hex digits of a SHA-256 over embedding files, sampled, and other files, whole.

    An embedding file enters with its header, its size and 64 evenly spaced blocks of 64 KiB (all
    of its data where that is less), so an edit between blocks goes unseen. The others enter with
    their size and every byte. The order of the files counts.
    """
    digest = hashlib.sha256()
    for header in embeddings:
        with open(header.path, "rb") as file:
            size = _add_size(digest, header.path)
            digest.update(file.read(header.offset))
            for start, n_bytes in _sampled_blocks(size - header.offset):
                file.seek(header.offset + start)
                digest.update(file.read(n_bytes))
    for path in whole:
        with open(path, "rb") as file:
            _add_size(digest, path)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:N_DIGITS]


def _add_size(digest: "hashlib._Hash", path: Path) -> int:
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    return size


def _sampled_blocks(n_bytes: int) -> list[tuple[int, int]]:
    """Return (start, length) of the blocks sampled from n_bytes; both ends are among them."""
    if n_bytes <= N_BLOCKS * BLOCK_BYTES:
        return [(0, n_bytes)]
    last = n_bytes - BLOCK_BYTES
    return [(i * last // (N_BLOCKS - 1), BLOCK_BYTES) for i in range(N_BLOCKS)]
