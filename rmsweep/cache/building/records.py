"""What a build noted of a file that it wrote."""

from pathlib import Path
from typing import Any

from rmsweep.cache.building.stages import Stage, digest, read_json


def record_path(root: Path, path: Path) -> Path:
    """Of what was written to path: its SHA-256, and the stage that it comes from."""
    return root / "stages" / f"{path.stem}.json"


def stages(root: Path) -> dict[str, Stage]:
    """The stages under a cache's folder, by identity."""
    found = {}
    for path in sorted(root.glob("stages/*/manifest.json")):
        identity = read_json(path)["identity"]
        stage = Stage(path.parent, identity["n_parts"], digest(identity))
        found[stage.identity] = stage
    return found


def origin(path: Path) -> dict[str, Any] | None:
    """Model, revision and share of texts cut of embeddings that a build wrote; else null."""
    record = record_path(path.parent, path)
    if not record.exists():
        return None
    stage = stages(path.parent).get(read_json(record)["stage"])
    if stage is None:
        return None
    manifest, totals = stage.manifest, stage.totals()
    found = {name: manifest[name] for name in ("model", "revision")}
    return found | {"share_cut": totals["truncated"] / totals["texts"]}
