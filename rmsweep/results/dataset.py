"""The results of a sweep: a row for each run that has ended, in outputs/NAME/runs."""

import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from rmsweep import files, paths
from rmsweep.errors import one_line
from rmsweep.paths import SweepFolder
from rmsweep.results import parquet
from rmsweep.results.schema import SCHEMA


def saved_keys(folder: SweepFolder) -> set[str]:
    """Return the keys of the runs whose reward models are kept."""
    names = os.listdir(folder.models) if folder.models.is_dir() else []
    return {name for name in names if name[0] != "."}


def write_part(folder: SweepFolder, rows: list[dict[str, Any]]) -> None:
    """Write one part of the dataset, whole or not at all; a column that a row lacks is null."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    parquet.write_table(table, folder.runs / f"part-{secrets.token_hex(8)}.parquet")


def remove_unfinished(folder: SweepFolder, pid: int | None) -> None:
    """Remove the part that a process of this machine, which was killed, had not finished."""
    for path in folder.runs.glob(".part-*.parquet.*"):
        _, _, writer = path.name.partition(".parquet.")[2].partition(".")
        if writer == files.writer(pid):
            path.unlink(missing_ok=True)


def part_paths(folder: SweepFolder) -> list[Path]:
    """Return the files of the dataset; OSError where they may not be listed: glob finds none."""
    names = sorted(os.listdir(folder.runs)) if folder.runs.is_dir() else []
    names = [name for name in names if name.startswith("part-") and name.endswith(".parquet")]
    return [folder.runs / name for name in names]


def read_rows(folder: SweepFolder, columns: list[str] | None = None) -> pd.DataFrame:
    """Return all rows of a sweep, done and failed; ValueError names a part that cannot be read."""
    tables = [parquet.read_table(path, columns) for path in part_paths(folder)]
    empty = SCHEMA.empty_table().select(columns or SCHEMA.names)
    try:
        return pa.concat_tables([empty, *tables], promote_options="permissive").to_pandas()
    except parquet.UNREADABLE as error:
        raise ValueError(
            f"{folder.runs} has parts whose columns are of other types ({one_line(error, 200)})"
        ) from None


def load(name: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the done runs of sweep `name`, a row a key: the first by finished_at.

    columns: only these (and key, status, finished_at), which is faster. FileNotFoundError without
    such a sweep.
    """
    require_sweep(name)
    return read_done(SweepFolder.named(name), columns)


def sweep_names() -> list[str]:
    """Return the names of the sweeps in outputs/, in order."""
    return sorted(path.parent.name for path in paths.OUTPUTS.glob("*/runs"))


def require_sweep(name: str) -> None:
    """Raise FileNotFoundError, which names the others, without such a sweep in outputs/."""
    if not files.is_name(name) or not SweepFolder.named(name).path.is_dir():
        others = ", ".join(sweep_names()) or "none"
        raise FileNotFoundError(f"no sweep {name!r} in {paths.OUTPUTS.resolve()}; there: {others}")


def read_done(folder: SweepFolder, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the done runs of the sweep in this folder, as `load`; none where it is not there."""
    return _firsts(read_all_done(folder, columns))


def read_all_done(folder: SweepFolder, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the done rows of the sweep in this folder as they finished, several of a key, too."""
    needed = ("key", "status", "finished_at")
    return _done(read_rows(folder, columns and list(dict.fromkeys([*columns, *needed]))))


def _done(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "done"].sort_values("finished_at", kind="stable")


def _firsts(done: pd.DataFrame) -> pd.DataFrame:
    return done.drop_duplicates("key").reset_index(drop=True)


def done_row(name: str, key: str) -> pd.Series:
    """Return all columns of the done run whose key begins so; ValueError unless there is one."""
    done = load(name, ["key"])["key"]

    def refusal(n: int) -> ValueError:
        reason = f"{n} start with that" if n else f"none of {len(done)} has it"
        return ValueError(f"--key must be that of one done run of {name!r}, got {key!r}: {reason}")

    return done_rows(SweepFolder.named(name), [only_key(key, done, refusal)]).iloc[0]


def only_key(start: str, keys: Iterable[str], refusal: Callable[[int], Exception]) -> str:
    """Return the one key that begins with `start`; raise refusal(n) where n keys do, and not 1."""
    matching = [key for key in keys if key.startswith(start)]
    if len(matching) != 1:
        raise refusal(len(matching))
    return matching[0]


def done_rows(folder: SweepFolder, keys: Collection[str]) -> pd.DataFrame:
    """Return all columns of the done runs of these keys, a row a key: the first by finished_at."""
    return _firsts(all_done_rows(folder, keys))


def all_done_rows(folder: SweepFolder, keys: Collection[str]) -> pd.DataFrame:
    """Return all columns of every done row of these keys; only parts with one are read whole."""
    wanted = pa.array(sorted(keys), pa.string())
    tables = [SCHEMA.empty_table()]
    for path in part_paths(folder):
        if pc.any(pc.is_in(parquet.read_table(path, ["key"])["key"], wanted)).as_py():
            table = parquet.read_table(path)
            tables.append(table.filter(pc.is_in(table["key"], wanted)))
    return _done(pa.concat_tables(tables, promote_options="permissive").to_pandas())


def load_all(columns: list[str]) -> pd.DataFrame:
    """Return these columns of the done rows of every sweep in outputs/."""
    tables = [load(name, columns) for name in sweep_names()]
    return pd.concat(tables) if tables else SCHEMA.empty_table().to_pandas()


def require_writable(folder: SweepFolder) -> None:
    """Raise ValueError, before any work, where results cannot be written."""
    try:
        folder.runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.runs):
            pass
    except OSError as error:
        raise ValueError(
            f"results cannot be written to {folder} ({error}); run where you may write"
        ) from None
