"""Training embeddings put on a GPU once, for all the runs that read them there."""

import numpy as np
import torch

from rmsweep import machine

EMBEDDINGS_SHARE = 0.25  # of a GPU's free memory that a cache's training embeddings may take
CHUNK_ROWS = 16_384  # responses copied at a time
DTYPE_BY_BYTES = {2: torch.float16, 4: torch.float32}  # by bytes of a value

resident: dict[tuple[str, str], torch.Tensor] = {}  # of the cache that this process met last


def embeddings_on_gpu(
    embeddings: np.ndarray, fingerprint: str, device: str, n_wanted: int
) -> np.ndarray | torch.Tensor:
    """Return embeddings (responses, D) on the device, in their dtype; copy once a fingerprint.

    As they are, in the host's memory, where runs want fewer rows (n_wanted) than a copy would read,
    or where a copy would leave the runs too little memory.
    """
    key = (fingerprint, device)
    if key in resident:
        return resident[key]
    if n_wanted < len(embeddings):
        return embeddings
    resident.clear()  # before the memory is asked for
    if embeddings.nbytes > EMBEDDINGS_SHARE * machine.free_bytes(device):
        return embeddings
    dtype = DTYPE_BY_BYTES[embeddings.dtype.itemsize]
    copied = torch.empty(embeddings.shape, dtype=dtype, device=device)
    for first in range(0, len(embeddings), CHUNK_ROWS):
        chunk = np.array(embeddings[first : first + CHUNK_ROWS])  # torch warns of a read-only one
        copied[first : first + CHUNK_ROWS] = torch.from_numpy(chunk)
    resident[key] = copied
    return copied
