"""Writing a synthetic cache as files in the released layout."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rmsweep import files
from rmsweep.cache.blocks import cut, write_npy
from rmsweep.cache.layout import SPLITS, embeddings_path, rewards_path
from rmsweep.cache.synthetic import SyntheticSource, synthetic_embeddings, synthetic_rewards

RESPONSES_AT_ONCE = 4096  # that are embedded


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
    root, stems = Path(root), (source.base_llm, source.backbone, source.dataset)
    kinds = (embeddings_path, rewards_path)
    paths = {(kind, split): kind(root, *stems, split) for kind in kinds for split in SPLITS}
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
            n_prompts, n_responses = source.shape(split)
            blocks = cut(n_prompts, RESPONSES_AT_ONCE // n_responses)
            with open(unfinished[embeddings_path, split], "wb") as file:
                embedded = (synthetic_embeddings(source, split, *block) for block in blocks)
                stored = (block.astype(dtype, copy=False) for block in embedded)
                write_npy(file, n_prompts, stored, progress)
            with open(unfinished[rewards_path, split], "wb") as file:
                golden = synthetic_rewards(source, split)[:, :, np.newaxis].astype(np.float32)
                write_npy(file, n_prompts, [golden], progress)
