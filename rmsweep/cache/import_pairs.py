"""Bringing labelled pairs, as RewardBench publishes them, into the layout of the cache."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rmsweep import files
from rmsweep.cache import checks, layout, rewardbench_subsets
from rmsweep.errors import one_line


def import_pairs(
    source: Path, name: str, root: Path, embeddings: Path | None, backbone: str | None
) -> list[Path]:
    """Write pairs_{name}.parquet under root, and embd_pairs_{name}_{backbone}.npy where given.

    source: .parquet or .jsonl with the columns prompt, chosen, rejected and, to be judged by
    subset, subset; others are left out. embeddings: .npy, (pairs, 2, D) float16 or float32 of the
    same pairs in the same order, chosen first. Returns the files. ValueError where something is not
    sound, FileExistsError for another file in its place; nothing is left behind then.
    """
    table = _read(source)
    layout.check_texts(table, source)
    if "subset" in table:
        rewardbench_subsets.check_subsets(table["subset"].unique(), source)
    writers: dict[Path, Callable[[Path], object]] = {}
    table_path = layout.pair_table_path(root, name)
    if not table_path.exists() or not layout.read_texts(table_path).equals(table):
        writers[table_path] = lambda path: table.to_parquet(path, index=False)
    if embeddings is not None:
        assert backbone is not None
        shape = checks.read_header(embeddings, checks.EMBEDDING_DTYPES).shape
        if shape[:2] != (len(table), 2):
            raise ValueError(
                f"{embeddings}: shape must be ({len(table)}, 2, D), a row for each pair of "
                f"{source.name} in its order, chosen first; found {shape}"
            )
        embeddings_path = layout.pair_embeddings_path(root, name, backbone)
        writers[embeddings_path] = lambda path: shutil.copyfile(embeddings, path)
    for path in writers:
        if path.exists():
            raise FileExistsError(f"{path} is there, remove it or choose another --name")
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for path, write in writers.items():
            write(stack.enter_context(files.whole(path)))
    if embeddings is not None:
        layout.open_pairs(root, name, str(backbone))
    return list(writers)


def _read(source: Path) -> pd.DataFrame:
    checks.require_file(source, "pairs")
    if source.suffix == ".parquet":
        return layout.read_texts(source)
    if source.suffix not in (".jsonl", ".json"):
        raise ValueError(
            f"{source}: must be .parquet or .jsonl, found {source.suffix or 'no suffix'}"
        )
    try:
        with source.open(encoding="utf-8") as lines:
            table = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{source}: must hold a JSON object a line, found {one_line(error, 160)}"
        ) from None
    layout.require_columns(table, source)
    columns = [column for column in layout.TEXTS if column in table]
    for column in columns:
        is_text = table[column].map(lambda value: isinstance(value, str)).to_numpy()
        if not is_text.all():
            row = int(np.argmin(is_text))
            raise ValueError(
                f"{source}: {column} must be text, found {table[column].iloc[row]!r} in row {row}"
            )
    return table[columns]
