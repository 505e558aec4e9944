"""Writing a synthetic cache as files in the released layout."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from rmsweep import files
from rmsweep.cache.blocks import cut
from rmsweep.cache.layout import SPLITS, embeddings_path, rewards_path
from rmsweep.cache.synthetic import SyntheticSource, synthetic_embeddings, synthetic_rewards

BLOCK_ROWS = 4096  # responses embedded at a time


def write_cache(
    root: Path, source: SyntheticSource, dtype: str, progress: Callable[[int], None]
) -> None:
    """Write the four files of a synthetic cache under root, a folder that is made where absent.

    dtype: of the embeddings, float16 or float32 (the same values); golden rewards are float32.
    progress(n): called after each block with the bytes written since the last call.
    FileExistsError where one of the files is there; what was begun is removed on any failure.
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be float16 or float32, got {dtype!r}")
    root = Path(root)
    paths = {
        (name, split): name(root, source.base_llm, source.backbone, source.dataset, split)
        for name in (embeddings_path, rewards_path)
        for split in SPLITS
    }
    existing = [path.name for path in paths.values() if path.exists()]
    if existing:
        raise FileExistsError(
            f"{root} must not hold the files to write, found {', '.join(existing)}; remove them or "
            "choose another cache.root or dataset name"
        )
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        unfinished = {key: stack.enter_context(files.whole(path)) for key, path in paths.items()}
        for split in SPLITS:
            shape = (*source.shape(split), source.dim)
            path = unfinished[embeddings_path, split]
            _write_npy(path, shape, np.dtype(dtype), _embedding_blocks(source, split), progress)
            golden = synthetic_rewards(source, split)[:, :, np.newaxis]
            path = unfinished[rewards_path, split]
            _write_npy(path, golden.shape, np.dtype(np.float32), [golden], progress)


def _write_npy(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Iterable[np.ndarray],
    progress: Callable[[int], None],
) -> None:
    """Write a .npy file of shape and dtype whose data are the blocks, one after the other."""
    with open(path, "wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            progress(file.write(np.ascontiguousarray(block, dtype).data))


def _embedding_blocks(source: SyntheticSource, split: str) -> Iterator[np.ndarray]:
    n_prompts, n_responses = source.shape(split)
    for first, last in cut(n_prompts, BLOCK_ROWS // n_responses):
        yield synthetic_embeddings(source, split, first, last)
