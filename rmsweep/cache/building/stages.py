"""The stages of a build: folders of parts, each whole or absent, with a manifest."""

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rmsweep import files, provenance

FORMAT = 2  # of stage folders; raised when an old one can no longer be gone on with
MOST_PARTS = 1_000_000
STALE_S = 3600  # since the last byte of an unfinished file
FIELDS: dict[Any, tuple[str, ...]] = {  # of manifests, marks and records, by their type
    str: ("file", "stage", "model", "revision"),
    str | None: ("sha256", "input"),
    int: ("rows", "n_parts", "format"),
    dict: ("counts", "identity"),
}
TEXT_PACKAGES = ("transformers", "tokenizers", "safetensors", "peft", "huggingface_hub")
Fields = Mapping[str, Any]  # plain JSON


@dataclass(frozen=True)
class Stage:
    """A stage of a build, for one split.

    Part i is done when its mark part-i.json, written last, is there and names the same part i of
    the stage before as is there now.
    """

    folder: Path
    n_parts: int
    identity: str  # hash of all that determines the parts, the stages before included
    before: "Stage | None" = None  # whose part i is the input of part i

    @property
    def manifest(self) -> dict[str, Any]:
        """What was noted when the stage was begun."""
        return read_json(self.folder / "manifest.json")

    def is_done(self, part: int) -> bool:
        """Tell whether a part is there, and made of the input that is there now."""
        if not self._mark(part).exists() or not self.path(part).exists():
            return False
        return self.before is None or self.mark(part).get("input") == self.before.sha256(part)

    def left(self, shard: tuple[int, int] = (0, 1)) -> list[int]:
        """Return the parts of shard (i, n) that are not done."""
        mine = range(shard[0], self.n_parts, shard[1])
        return [part for part in mine if not self.is_done(part)]

    def path(self, part: int) -> Path:
        """Return the file of a part that was written."""
        return self.folder / self.mark(part)["file"]

    def mark(self, part: int) -> dict[str, Any]:
        """Return what was noted of a part as it was written: file, sha256, rows, counts, more."""
        return read_json(self._mark(part))

    def sha256(self, part: int) -> str | None:
        """Return the hash noted when a part was written; None where it was not."""
        return self.mark(part)["sha256"] if self._mark(part).exists() else None

    def contents(self) -> str:
        """Return a hash of all parts' bytes, as noted."""
        return json_digest([self.sha256(part) for part in range(self.n_parts)])

    def write_table(self, part: int, table: pa.Table, counts: Fields, **noted: Any) -> None:
        """Write a part that is a table, and its mark with counts and what else is noted."""
        memory = io.BytesIO()
        pq.write_table(table, memory, compression="zstd")
        self._write(part, "parquet", memory.getvalue(), len(table), {"counts": counts, **noted})

    def write_array(self, part: int, array: np.ndarray, counts: Fields, **noted: Any) -> None:
        """Write a part that is an array, and its mark with counts and what else is noted."""
        memory = io.BytesIO()
        np.save(memory, array, allow_pickle=False)
        self._write(part, "npy", memory.getvalue(), len(array), {"counts": counts, **noted})

    def read_table(self, part: int) -> pa.Table:
        """Return a part that is a table; ValueError where it is not what was written."""
        return pq.read_table(pa.BufferReader(self._read(part)), use_threads=False)

    def read_array(self, part: int) -> np.ndarray:
        """Return a part that is an array; ValueError where it is not what was written."""
        array: np.ndarray = np.load(io.BytesIO(self._read(part)), allow_pickle=False)
        return array

    def _read(self, part: int) -> bytes:
        path = self.path(part)
        if not path.exists():
            raise ValueError(f"{path} is missing: repeat the build")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256(part):
            raise ValueError(f"{path} changed since it was written: remove it and repeat the build")
        return data

    def totals(self) -> dict[str, Any]:
        """Return the counts of all parts that are done, added up."""
        counts: dict[str, Any] = Noted()
        for part in range(self.n_parts):
            if self.is_done(part):
                for name, n in self.mark(part)["counts"].items():
                    counts[name] = counts.get(name, 0) + n
        return counts

    def _mark(self, part: int) -> Path:
        return self.folder / f"part-{part:05}.json"

    def _write(self, part: int, suffix: str, data: bytes, rows: int, noted: Any) -> None:
        path = self.folder / f"part-{part:05}.{suffix}"
        mark = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "rows": rows}
        if self.before is not None:
            mark["input"] = self.before.sha256(part)
        if self.is_done(part) and file_digest(path) == mark["sha256"] == self.sha256(part):
            return  # another shard of this build was faster
        if self.sha256(part) not in (None, mark["sha256"]):  # else a shard may just have read it
            self._mark(part).unlink(missing_ok=True)
        write_bytes(path, data)
        write_json(self._mark(part), mark | noted)


def open_stage(
    folder: Path, manifest: Fields, identity: Fields, before: Stage | None = None
) -> Stage:
    """Return the stage in folder, begun where there is none.

    identity: what determines the parts, plain JSON, n_parts among it. manifest: what else is
    noted when the stage is begun. before: the stage whose parts are its input. ValueError where
    the folder holds what something else made.
    """
    path = folder / "manifest.json"
    identity = json.loads(json.dumps({"format": FORMAT, **identity}))
    if path.exists():
        was = read_json(path)["identity"]
        require_format(folder, was)
        if was != identity:
            raise ValueError(
                f"{folder} was made with other settings: {_difference(was, identity)}; give "
                "them again, choose another --out or name, or remove that folder"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"identity": identity, **manifest})
    return Stage(folder, identity["n_parts"], json_digest(identity), before)


def require_format(folder: Path, identity: Fields) -> None:
    """Raise ValueError where another version of rmsweep made a stage in another way."""
    if identity["format"] != FORMAT:
        raise ValueError(
            f"{folder} was made by another version of rmsweep (its format is {identity['format']}, "
            f"this version's {FORMAT}): remove the folders in {folder.parent}, or choose another "
            "--out"
        )


def json_digest(value: Any) -> str:
    """Return 32 hex digits of the SHA-256 of plain JSON."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def text_versions() -> dict[str, str]:
    """Return versions of all that makes text into embeddings, by package."""
    versions = provenance.versions()
    for name in TEXT_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with opened_whole(path) as file:
        file.write(data)


@contextlib.contextmanager
def opened_whole(path: Path) -> Iterator[io.BufferedRandom]:
    """Yield a file, opened to write and read, which becomes `path` if the block ends well.

    OSError says what a user can do where there is no room.
    """
    try:
        with files.whole(path) as unfinished, open(unfinished, "wb+") as file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            f"{path} cannot be written: {error.strerror} ({free / 1e9:.1f} GB free); make room and "
            "repeat the command, which goes on from here"
        ) from None


def remove_stale(folder: Path, pattern: str) -> None:
    """Remove unfinished files that match and are old, as killed processes leave them.

    Shards of one build may write side by side, on several machines, so a lock would not tell.
    """
    for unfinished in folder.glob(f".{pattern}.*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - unfinished.stat().st_mtime > STALE_S:
                unfinished.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write plain JSON to a file, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


class Noted(dict[str, Any]):
    """The fields that a build noted, in which one that is missing is a ValueError."""

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{name} is missing in a file of stages/: repeat the build")


def read_json(path: Path) -> Any:
    """Return a manifest, a part's mark or a file's record; ValueError where it is damaged."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"), object_hook=Noted)
        if not isinstance(noted, dict):
            raise ValueError("no mapping")
        _check_fields(noted)
        _check_fields(noted["identity"] if path.name == "manifest.json" else {})
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and repeat the build") from None
    return noted


def _check_fields(noted: Fields) -> None:
    for kind, names in FIELDS.items():
        for name in names:
            if name in noted and not isinstance(noted[name], kind):
                raise ValueError(f"{name} is a {type(noted[name]).__name__}")
    if not 0 <= noted.get("n_parts", 0) <= MOST_PARTS:
        raise ValueError(f"n_parts is {noted['n_parts']}")
    if Path(noted.get("file", "")).name != noted.get("file", ""):
        raise ValueError("file is no name")
    for name, n in noted.get("counts", {}).items():
        if not isinstance(n, int | float) or n < 0:
            raise ValueError(f"{name} is no count")


def _difference(before: Fields, now: Fields, path: str = "") -> str:
    """Return the fields that differ, with both values."""
    differences = []
    for name in sorted({*before, *now}):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            differences.append(_difference(a, b, f"{path}{name}."))
        elif a != b:
            differences.append(f"{path}{name} was {a!r}, now {b!r}")
    return "; ".join(text for text in differences if text)
