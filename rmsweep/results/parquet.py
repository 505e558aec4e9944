"""Parquet files of ours: written whole, with checksums, and checked as they are read."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rmsweep import files
from rmsweep.errors import one_line

COLUMNS_HASH = b"rmsweep.columns"
UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
    MemoryError,
    OverflowError,
)  # what Arrow raises
# Of a file, generously: a pack's 64 runs with 2,000 prompts have 3 million values.
MOST = {"rows": 1_000_000, "values": 100_000_000, "bytes": 2**31}
REQUIRED = {
    "part": {"key", "spec_id", "status", "finished_at"},
    "wanted": {"key", "spec_id", "canonical", "loss.label"},
    "array": {"task", "pack", "key"},
}


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to a file, whole or not at all, with checksums of pages and column names."""
    metadata = table.schema.metadata or {}
    table = table.replace_schema_metadata(metadata | {COLUMNS_HASH: _hash_of(table.column_names)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as unfinished:
        pq.write_table(table, unfinished, compression="zstd", write_page_checksum=True)


def read_table(path: Path, columns: list[str] | None = None, kind: str = "part") -> pa.Table:
    """Return the table in a file, of these columns those it has; ValueError unless it is whole."""
    try:  # three times faster than pq.read_table on many small files
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            stored = (file.schema_arrow.metadata or {}).get(COLUMNS_HASH)
            if stored not in (None, _hash_of(names)):  # None: older, or another program's
                raise pa.ArrowInvalid("its column names have changed")
            if absent := REQUIRED[kind].difference(names):
                raise pa.ArrowInvalid(f"it has no column {min(absent)}")
            _refuse_large(file.metadata)
            stored_columns = columns and [name for name in columns if name in names]
            return file.read(stored_columns, use_threads=False)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not Arrow's
            raise ValueError(f"{path} cannot be read ({os.strerror(error.errno)})") from None
        raise ValueError(
            f"{path} is not a whole Parquet file of ours ({one_line(error, 200)}); delete "
            "it and repeat the launch, which runs what is missing"
        ) from None


def _refuse_large(about: pq.FileMetaData) -> None:
    """Raise ArrowInvalid for a footer that claims more: equal values take no room in a file."""
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    claimed = {
        "rows": about.num_rows,
        "values": sum(g.column(i).num_values for g in groups for i in range(g.num_columns)),
        "bytes": sum(group.total_byte_size for group in groups),
    }
    for what, most in MOST.items():
        if claimed[what] > most:
            raise pa.ArrowInvalid(f"{claimed[what]:,} {what}, more than a pack's or a sweep's")


def _hash_of(names: Sequence[str]) -> bytes:
    return hashlib.sha256("\n".join(names).encode()).hexdigest().encode()
