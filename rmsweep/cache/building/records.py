"""The records that a build leaves of the files that it wrote."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rmsweep.cache.building.stages import Stage, json_digest, read_json, write_json


def record_path(path: Path) -> Path:
    """Return the path of the record of what was written to path."""
    return path.parent / "stages" / f"{path.stem}.json"


def note_file(path: Path, source: Stage, sha256: str | None) -> None:
    """Record that path holds the parts of a stage; sha256: null while they are not written."""
    parts = None if sha256 is None else source.contents()
    noted = {"file": path.name, "sha256": sha256, "stage": source.identity, "parts": parts}
    write_json(record_path(path), noted)


def is_joined(path: Path, source: Stage) -> bool:
    """Tell whether path holds the parts of a stage as they are now."""
    record = record_path(path)
    if not path.exists() or not record.exists():
        return False
    noted = read_json(record)
    return (noted["stage"], noted.get("parts")) == (source.identity, source.contents())


def stages_under(root: Path) -> dict[str, Stage]:
    """Return the stages under a cache's folder, by identity."""
    by_identity, input_of = {}, {}
    for path in sorted(root.glob("stages/*/manifest.json")):
        identity = read_json(path)["identity"]
        stage = Stage(path.parent, identity["n_parts"], json_digest(identity))
        by_identity[stage.identity], input_of[stage.identity] = stage, identity.get("input")

    def with_input(stage: Stage) -> Stage:
        before = by_identity.get(input_of[stage.identity])
        return replace(stage, before=before and with_input(before))

    return {name: with_input(stage) for name, stage in by_identity.items()}


def origin(path: Path) -> dict[str, Any] | None:
    """Return model, revision and share of texts cut of embeddings that a build wrote, else None.

    The share is None while parts are missing.
    """
    record = record_path(path)
    if not record.exists():
        return None
    stage = stages_under(path.parent).get(read_json(record)["stage"])
    if stage is None:
        return None
    manifest, totals = stage.manifest, stage.totals()
    is_whole = not stage.left() and totals["texts"] > 0
    share = totals["truncated"] / totals["texts"] if is_whole else None
    return {name: manifest[name] for name in ("model", "revision")} | {"share_cut": share}
