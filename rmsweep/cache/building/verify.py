"""Verifying a built cache: checksums of all its files, and a sample embedded again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmsweep import machine
from rmsweep.cache.building import embed, hub, models, records
from rmsweep.cache.building.batching import Budget, Texts
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.stages import Stage, file_digest, read_json, require_format
from rmsweep.cache.building.tokens import Cut

LEAST_COSINE = 0.999
N_PARTS = 8  # that a sample is drawn from
BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Finding:
    """A thing that was checked, and what is wrong with it, if anything is."""

    what: str
    wrong: str | None
    detail: str = ""


def verify_cache(root: Path, sample: int, seed: int, remote_code: bool) -> Iterator[Finding]:
    """Yield findings on all caches in a folder; FileNotFoundError where no build wrote any.

    sample: responses of each file to embed again; 0 for none.
    """
    if not (root / "stages").is_dir():
        raise FileNotFoundError(
            f"{root} has no folder stages, which tells what a build wrote: removed, or nothing "
            "was built here. What there is to see: rmsweep cache inspect"
        )
    stages = records.stages_under(root)
    for stage in stages.values():
        require_format(stage.folder, stage.manifest["identity"])
    sound = {}
    for name, stage in stages.items():
        finding = _parts(stage)
        sound[name] = finding.wrong is None
        yield finding
    wanted = {file for stage in stages.values() for file in stage.manifest.get("files", [])}
    noted = {record["file"]: record for record in map(read_json, root.glob("stages/*.json"))}
    for file in sorted(wanted | noted.keys()):
        finding = _file(root / file, noted.get(file), stages)
        yield finding
        if sample and file.startswith("embd_") and finding.wrong is None:
            source = stages.get(noted[file]["stage"])
            before = None if source is None else source.before
            if source and before and sound[source.identity] and sound[before.identity]:
                yield _embedded_again(root / file, source, sample, seed, remote_code)
    for path in sorted(root.glob("*.npy")):
        if path.name not in wanted | noted.keys():
            yield Finding(path.name, None, "not built here, so not checked")


def _parts(stage: Stage) -> Finding:
    """Check that all parts are there, as they were written, of their inputs as they are now."""
    name, missing, changed, others = f"stages/{stage.folder.name}", 0, [], 0
    for part in range(stage.n_parts):
        if stage.sha256(part) is None or not stage.path(part).exists():
            missing += 1
        elif file_digest(stage.path(part)) != stage.sha256(part):
            changed.append(stage.path(part).name)
        elif not stage.is_done(part):
            others += 1
    n, names, again = stage.n_parts, ", ".join(changed[:3]), "repeat the build"
    checked = (
        (missing, f"{missing} of {n} parts are missing: {again}"),
        (names, f"{names} changed since it was written: remove it and {again}"),
        (others, f"{others} of {n} parts were made of another input: {again}"),
    )
    wrong = "; ".join(text for is_wrong, text in checked if is_wrong)
    return Finding(name, wrong or None, f"{n} parts")


def _file(path: Path, record: dict[str, Any] | None, stages: dict[str, Stage]) -> Finding:
    """Check that a file of the cache is there, as it was written, of the parts as they are now."""
    if not path.exists() or record is None or record["sha256"] is None:
        return Finding(path.name, "is missing or not whole: repeat the build")
    if file_digest(path) != record["sha256"]:
        return Finding(path.name, "changed since it was written: remove it and repeat the build")
    stage = stages.get(record["stage"])
    if stage is None:
        return Finding(path.name, "no manifest in stages/ is of what made it: repeat the build")
    if not stage.left() and not records.is_joined(path, stage):
        return Finding(path.name, "holds parts that are made anew since: repeat the build")
    return Finding(path.name, None, f"sha256 {record['sha256'][:16]}")


def _embedded_again(path: Path, stage: Stage, sample: int, seed: int, remote_code: bool) -> Finding:
    """Embed a sample again, and check its smallest cosine with what the cache holds."""
    assert stage.before is not None
    rows, stored = _sample(path, stage.before, sample, seed)
    responses = [row["response"] for row in rows]
    what = f"{path.name}, {len(rows)} texts embedded again"
    texts = ([row["prompt"] for row in rows], responses)
    embeddings = _embed(stage.manifest, texts, remote_code)
    norms = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(stored, axis=1)
    cosine = (embeddings * stored).sum(axis=1) / np.maximum(norms, 1e-12)
    worst = int(cosine.argmin())
    detail = f"smallest cosine {cosine[worst]:.6f}"
    wrong = f"{detail} (must be {LEAST_COSINE}), of the response {responses[worst][:60]!r}"
    return Finding(what, None if cosine[worst] >= LEAST_COSINE else wrong, detail)


def _sample(path: Path, before: Stage, n: int, seed: int) -> tuple[list[Any], np.ndarray]:
    """Return n rows of the texts of a few parts, and their embeddings in the cache."""
    rng = np.random.default_rng(seed)
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    parts = rng.permutation(before.n_parts)[:N_PARTS]
    rows: list[Any] = []
    for part, share in zip(parts, np.array_split(np.arange(n), len(parts)), strict=True):
        table = before.read_table(int(part))
        rows += table.take(rng.permutation(len(table))[: len(share)]).to_pylist()
    embeddings = np.stack([stored[row["prompt_id"], row["response_id"]] for row in rows])
    return rows, embeddings.astype(np.float32)


def _embed(manifest: dict[str, Any], texts: Texts, remote_code: bool) -> np.ndarray:
    """Return embeddings by the model and settings of a manifest; ValueError for another model."""
    name, revision, identity = manifest["model"], manifest["revision"], manifest["identity"]
    try:
        pooling, cut = embed.Pooling(**identity["pooling"]), Cut(**identity["cut"])
    except TypeError as error:
        raise ValueError(
            f"the manifest of the embeddings by {name}: identity.pooling or identity.cut is not "
            f"what this version writes ({error}); build the cache anew"
        ) from None
    if not revision.startswith("sha256:"):
        name += f"@{revision}"
    located = hub.locate_model(name, "backbone", remote_code)
    if located.revision != revision:
        raise ValueError(f"backbone {name} is now {located.revision}, the cache's is {revision}")
    device = machine.device(None)
    is_bf16 = identity["precision"] == "bf16" and machine.has_native_bf16(device)
    engine = models.Engine(device, "bf16" if is_bf16 else "fp32", remote_code)
    loaded = models.load_transformer(located, "AutoModel", engine)
    progress, budget = Progress("embedding again", 1, 1), Budget(BATCH_TOKENS)
    return embed.embed_texts(loaded, texts, pooling, cut, budget, progress)[0]
