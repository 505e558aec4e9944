"""Is a cache what its build wrote? Checksums of all that is there, and a sample embedded again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmsweep import machine
from rmsweep.cache.building import embed, hub, models, records
from rmsweep.cache.building.batching import Budget
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.stages import Stage, file_digest, read_json
from rmsweep.cache.building.tokens import Cut

LEAST_COSINE = 0.999
N_PARTS = 8  # that a sample is drawn from
BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Finding:
    """What was checked, and what is wrong with it, if anything is."""

    what: str
    wrong: str | None
    detail: str = ""


def verify(root: Path, sample: int, seed: int, remote_code: bool) -> Iterator[Finding]:
    """Findings on all caches in a folder. sample: responses of each file to embed again, 0: none.

    FileNotFoundError where no build wrote anything in the folder.
    """
    if not (root / "stages").is_dir():
        raise FileNotFoundError(
            f"{root} has no folder stages: `rmsweep cache build` wrote no cache here. For others: "
            "rmsweep cache inspect"
        )
    stages = records.stages(root)
    for stage in stages.values():
        yield _parts(stage)
    for path in sorted(root.glob("stages/*.json")):
        record = read_json(path)
        yield _file(root / record["file"], record["sha256"])
        if sample and record["file"].startswith("embd_"):
            yield _embedded_again(root, record, stages, sample, seed, remote_code)
    built = {read_json(path)["file"] for path in root.glob("stages/*.json")}
    for path in sorted(root.glob("*.npy")):
        if path.name not in built:
            yield Finding(path.name, None, "not built here, so not checked")


def _parts(stage: Stage) -> Finding:
    """Are all parts there, and as they were written?"""
    name, missing, changed = f"stages/{stage.folder.name}", [], []
    for part in range(stage.n_parts):
        if not stage.is_done(part) or not stage.path(part).exists():
            missing.append(part)
        elif file_digest(stage.path(part)) != stage.mark(part)["sha256"]:
            changed.append(stage.path(part).name)
    wrong = []
    if missing:
        wrong.append(f"{len(missing)} of {stage.n_parts} parts are missing: repeat the build")
    if changed:
        wrong.append(
            f"{', '.join(changed[:3])} changed since it was written: remove it and its .json, and "
            "repeat the build"
        )
    return Finding(name, "; ".join(wrong) or None, f"{stage.n_parts} parts")


def _file(path: Path, sha256: str) -> Finding:
    if not path.exists():
        return Finding(path.name, "is missing: repeat the build")
    if file_digest(path) != sha256:
        return Finding(path.name, "changed since it was written: remove it and repeat the build")
    return Finding(path.name, None, f"sha256 {sha256[:16]}")


def _embedded_again(
    root: Path,
    record: dict[str, Any],
    stages: dict[str, Stage],
    sample: int,
    seed: int,
    remote_code: bool,
) -> Finding:
    """The smallest cosine of a sample with what the cache holds."""
    what, stage = f"{record['file']}, {sample} texts embedded again", stages.get(record["stage"])
    before = stage and stages.get(stage.manifest["identity"]["input"])
    if stage is None or before is None or stage.left() or before.left():
        return Finding(what, "its stages are not whole")
    prompts, responses, stored = _sample(root / record["file"], before, sample, seed)
    found = _embed(stage.manifest, prompts, responses, remote_code)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(stored, axis=1)
    cosine = (found * stored).sum(axis=1) / np.maximum(norms, 1e-12)
    worst = int(cosine.argmin())
    detail = f"smallest cosine {cosine[worst]:.6f}"
    is_same = cosine[worst] >= LEAST_COSINE
    wrong = f"{detail} (must be {LEAST_COSINE}), of the response {responses[worst][:60]!r}"
    return Finding(what, None if is_same else wrong, detail)


def _sample(
    path: Path, before: Stage, n: int, seed: int
) -> tuple[list[str], list[str], np.ndarray]:
    """Prompts, responses and embeddings in the cache of n rows of a few parts."""
    rng = np.random.default_rng(seed)
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    parts = rng.permutation(before.n_parts)[:N_PARTS]
    prompts, responses, found = [], [], []
    for part, share in zip(parts, np.array_split(np.arange(n), len(parts)), strict=True):
        table = before.read_table(int(part))
        for row in rng.permutation(len(table))[: len(share)].tolist():
            text = table.slice(row, 1).to_pylist()[0]
            prompts.append(text["prompt"])
            responses.append(text["response"])
            found.append(stored[text["prompt_id"], text["response_id"]].astype(np.float32))
    return prompts, responses, np.stack(found)


def _embed(
    manifest: dict[str, Any], prompts: list[str], responses: list[str], remote_code: bool
) -> np.ndarray:
    """Embeddings by the model and settings of a manifest; ValueError where the model is another."""
    name, revision, identity = manifest["model"], manifest["revision"], manifest["identity"]
    if not revision.startswith("sha256:"):
        name += f"@{revision}"
    located = hub.locate(name, "backbone", remote_code)
    if located.revision != revision:
        raise ValueError(f"backbone {name} is now {located.revision}, the cache's is {revision}")
    device = machine.device(None)
    native = "bf16" if machine.has_native_bf16(device) else "fp32"
    precision = identity["precision"] if identity["precision"] == native else "fp32"
    loaded = models.load(located, "AutoModel", models.Engine(device, precision, remote_code))
    pooling, cut = embed.Pooling(**identity["pooling"]), Cut(**identity["cut"])
    progress = Progress("embedding again", 1, 1)
    budget = Budget(BATCH_TOKENS)
    return embed.embed(loaded, prompts, responses, pooling, cut, budget, progress)[0]
