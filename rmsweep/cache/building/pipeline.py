"""A build: texts enter, and go through responses, golden rewards and embeddings to a cache."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rmsweep.cache.building import assemble, entering, models, steps
from rmsweep.cache.building.request import Request
from rmsweep.cache.building.stages import Stage
from rmsweep.cache.layout import SPLITS, embeddings_path, pair_embeddings_path, rewards_path

Say = Callable[[str], None]
SHARD_DONE = "this shard is done; the same command without --shard joins all of them"


def golden(request: Request, say: Say) -> list[Path]:
    """Build a cache with golden rewards; the files, none if this was one shard of several."""
    names, root = request.names, request.root
    stems = (names["base_llm"], names["backbone"], names["dataset"])
    for path in (embeddings_path, rewards_path):
        assemble.require_free(root, [path(root, *stems, split) for split in SPLITS])
    steps.pooling_and_cut(request)  # may refuse
    stages = entering.enter(request)
    _say_entered(stages, say)
    folders = {split: request.folder("embeddings", *stems, split) for split in stages}
    _require_room(request, stages, folders)
    if request.base_llm:
        stages = steps.responses(request, stages, say)
    if request.reward_model:
        stages = steps.rewards(request, stages, say)
    embedded = steps.embeddings(request, stages, folders, say)
    if any(stage.left() for stage in embedded.values()):
        say(SHARD_DONE)
        return []
    written = []
    for split in SPLITS:
        written += assemble.golden(root, names, split, embedded[split], stages[split])
    return written


def pairs(request: Request, say: Say) -> list[Path]:
    """Embed labelled pairs; the files, none if this was one shard of several."""
    names, root = request.names, request.root
    path = pair_embeddings_path(root, names["dataset"], names["backbone"])
    assemble.require_free(root, [path])
    steps.pooling_and_cut(request)  # may refuse
    stages = {"pairs": entering.enter_pairs(request)}
    _say_entered(stages, say)
    folders = {"pairs": request.folder("embeddings", names["dataset"], names["backbone"], "pairs")}
    _require_room(request, stages, folders)
    embedded = steps.embeddings(request, stages, folders, say)["pairs"]
    if embedded.left():
        say(SHARD_DONE)
        return []
    return assemble.pairs(root, names, embedded, stages["pairs"])


def _say_entered(stages: Mapping[str, Stage], say: Say) -> None:
    for split, stage in stages.items():
        shape = stage.manifest["identity"]
        counts = ", ".join(f"{n:,} {name}" for name, n in stage.manifest["counts"].items())
        say(f"{split}: {shape['prompts']:,} x {shape['responses']} responses ({counts})")


def _require_room(
    request: Request, stages: Mapping[str, Stage], folders: Mapping[str, Path]
) -> None:
    """OSError where the disk has no room for the embeddings: as parts, and joined."""
    width = models.width(models.config(request.backbone, request.engine.remote_code))
    shapes = [stage.manifest["identity"] for stage in stages.values()]
    n_responses = sum(shape["prompts"] * shape["responses"] for shape in shapes)
    needed = 2 * n_responses * width * np.dtype(request.dtype).itemsize
    for folder in folders.values():
        needed -= sum(path.stat().st_size for path in folder.glob("part-*.npy"))
    free = shutil.disk_usage(request.root).free
    if needed > free:
        raise OSError(
            f"{request.root} has {free / 1e9:.1f} GB free; {n_responses:,} embeddings of {width} "
            f"{request.dtype} take {needed / 1e9:.1f} GB more, as parts and joined"
        )
