"""Parts become the files of the released layout, and what a sweep needs to name them."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rmsweep.cache.building.records import record_path
from rmsweep.cache.building.stages import Stage, read_json, replace, replace_json, unwritable
from rmsweep.cache.layout import (
    embeddings_path,
    pair_embeddings_path,
    pair_table_path,
    rewards_path,
)

Names = Mapping[str, str]


def golden(root: Path, names: Names, split: str, embeddings: Stage, rewards: Stage) -> list[Path]:
    """Embeddings and golden rewards of a split, from all parts; the files."""
    stems = (names["base_llm"], names["backbone"], names["dataset"], split)
    paths = [embeddings_path(root, *stems), rewards_path(root, *stems)]

    def values() -> Iterable[np.ndarray]:
        for part in range(rewards.n_parts):
            found = rewards.read_table(part)
            k = 1 + found["response_id"].to_numpy().max()
            yield found["golden_reward"].to_numpy().astype(np.float32).reshape(-1, k, 1)

    _write(root, paths, [_arrays(embeddings), values()], embeddings)
    return paths


def pairs(root: Path, names: Names, embeddings: Stage, texts: Stage) -> list[Path]:
    """Embeddings and table of labelled pairs; another backbone's table is the same."""
    stems = (names["dataset"], names["backbone"])
    path, table_path = pair_embeddings_path(root, *stems), pair_table_path(root, stems[0])
    table = _pair_table(texts)
    if not table_path.exists():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        replace(table_path, sink.getvalue().to_pybytes())
    elif not pq.read_table(table_path).select(table.column_names).equals(table):
        raise ValueError(f"{table_path} holds other pairs; choose another --dataset or --out")
    _write(root, [path], [_arrays(embeddings)], embeddings)
    return [path, table_path]


def _pair_table(texts: Stage) -> pa.Table:
    rows = pa.concat_tables([texts.read_table(part) for part in range(texts.n_parts)])
    is_chosen = pa.array(rows["response_id"].to_numpy() == 0)
    chosen = rows.filter(is_chosen)
    columns = {"prompt": chosen["prompt"], "chosen": chosen["response"]}
    columns["rejected"] = rows.filter(pc.invert(is_chosen))["response"]
    if "subset" in rows.column_names:
        columns["subset"] = chosen["subset"]
    return pa.table({name: column.combine_chunks() for name, column in columns.items()})


def require_free(root: Path, paths: Iterable[Path]) -> None:
    """FileExistsError where one of the files is there and no build wrote it."""
    for path in paths:
        if path.exists() and not record_path(root, path).exists():
            raise FileExistsError(
                f"{path} is there and was not built here; choose other names or another --out"
            )


def _arrays(stage: Stage) -> Iterable[np.ndarray]:
    for part in range(stage.n_parts):
        yield np.load(stage.path(part), allow_pickle=False)


def _write(
    root: Path, paths: list[Path], contents: list[Iterable[np.ndarray]], embeddings: Stage
) -> None:
    """Each file whole or not at all; one that is there from the same stage stays."""
    n_rows = sum(embeddings.mark(part)["rows"] for part in range(embeddings.n_parts))
    for path, blocks in zip(paths, contents, strict=True):
        record = record_path(root, path)
        if path.exists() and record.exists() and read_json(record)["stage"] == embeddings.identity:
            continue
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            sha256 = _write_npy(unfinished, n_rows, blocks)
            noted = {"file": path.name, "sha256": sha256, "stage": embeddings.identity}
            replace_json(record, noted)
            os.replace(unfinished, path)
        except OSError as error:
            raise unwritable(path, error) from None
        finally:
            unfinished.unlink(missing_ok=True)


def _write_npy(path: Path, n_rows: int, blocks: Iterable[np.ndarray]) -> str:
    """A .npy file of the blocks, one after the other, n_rows in all; its SHA-256."""
    with open(path, "wb+") as file:
        for number, block in enumerate(blocks):
            if not number:
                header = {"descr": block.dtype.str, "fortran_order": False}
                shape = (n_rows, *block.shape[1:])
                np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
            file.write(np.ascontiguousarray(block).data)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
