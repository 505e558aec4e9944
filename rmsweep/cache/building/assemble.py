"""Joining parts to the files of the released layout."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rmsweep.cache import layout
from rmsweep.cache.blocks import write_npy
from rmsweep.cache.building import records
from rmsweep.cache.building.stages import Stage, file_digest, opened_whole, write_bytes

Names = Mapping[str, str]


@dataclass(frozen=True)
class Joined:
    """A file to be written, of the parts of source."""

    path: Path
    n_rows: int
    source: Stage
    blocks: Iterable[np.ndarray]  # its rows in order, read when asked for


def cache_files(root: Path, names: Names) -> dict[str, list[Path]]:
    """Return the files that a build writes by split, or by "pairs"; embeddings come first."""
    if "base_llm" not in names:
        path = layout.pair_embeddings_path(root, names["dataset"], names["backbone"])
        return {"pairs": [path, layout.pair_table_path(root, names["dataset"])]}
    stems = (names["base_llm"], names["backbone"], names["dataset"])
    kinds = (layout.embeddings_path, layout.rewards_path)
    return {split: [kind(root, *stems, split) for kind in kinds] for split in layout.SPLITS}


def join_golden(
    root: Path, names: Names, embeddings: Mapping[str, Stage], rewards: Mapping[str, Stage]
) -> list[Path]:
    """Write embeddings and golden rewards of both splits from all parts; return the files."""
    joined = []
    for split, (path, path_of_rewards) in cache_files(root, names).items():
        stage, scored = embeddings[split], rewards[split]
        joined.append(Joined(path, _rows(stage), stage, _arrays(stage)))
        joined.append(Joined(path_of_rewards, _rows(stage), scored, _golden(scored)))
    _write(joined)
    return [each.path for each in joined]


def join_pairs(root: Path, names: Names, embeddings: Stage, texts: Stage) -> list[Path]:
    """Write embeddings and table of labelled pairs; return the files.

    The table is the same for another backbone; ValueError where it holds other pairs.
    """
    path, table_path = cache_files(root, names)["pairs"]
    table = _pair_table(texts)
    if not table_path.exists():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_bytes(table_path, sink.getvalue().to_pybytes())
    elif not pq.read_table(table_path).select(table.column_names).equals(table):
        raise ValueError(f"{table_path} holds other pairs; choose another --dataset or --out")
    records.note_file(table_path, texts, file_digest(table_path))
    _write([Joined(path, _rows(embeddings), embeddings, _arrays(embeddings))])
    return [path, table_path]


def _pair_table(texts: Stage) -> pa.Table:
    rows = pa.concat_tables([texts.read_table(part) for part in range(texts.n_parts)])
    chosen, rejected = (rows.filter(pc.equal(rows["response_id"], i)) for i in (0, 1))
    columns = {"prompt": chosen["prompt"], "chosen": chosen["response"]}
    columns["rejected"] = rejected["response"]
    if "subset" in rows.column_names:
        columns["subset"] = chosen["subset"]
    return pa.table({name: column.combine_chunks() for name, column in columns.items()})


def require_free(root: Path, names: Names) -> None:
    """Raise FileExistsError where embeddings are in the way that no build wrote."""
    for path in itertools.chain.from_iterable(cache_files(root, names).values()):
        if path.suffix == ".npy" and path.exists() and not records.record_path(path).exists():
            raise FileExistsError(
                f"{path} is there, and no build that left its stages in {root / 'stages'} wrote "
                "it; choose other names or another --out"
            )


def _rows(embeddings: Stage) -> int:
    return sum(embeddings.mark(part)["rows"] for part in range(embeddings.n_parts))


def _arrays(stage: Stage) -> Iterable[np.ndarray]:
    return map(stage.read_array, range(stage.n_parts))


def _golden(stage: Stage) -> Iterable[np.ndarray]:
    for part in range(stage.n_parts):
        rows = stage.read_table(part)
        k = 1 + rows["response_id"].to_numpy().max()
        yield rows["golden_reward"].to_numpy().astype(np.float32).reshape(-1, k, 1)


def _write(joined: list[Joined]) -> None:
    """Write each file, whole or not at all; those that are there, of the same parts, stay.

    What is there of other parts is removed before the first is written: a killed build leaves
    files missing, and never old ones beside new ones.
    """
    due = [each for each in joined if not records.is_joined(each.path, each.source)]
    for each in due:
        records.note_file(each.path, each.source, None)
        each.path.unlink(missing_ok=True)
    for each in due:
        with opened_whole(each.path) as file:
            write_npy(file, each.n_rows, each.blocks)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        records.note_file(each.path, each.source, sha256)
