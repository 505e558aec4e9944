"""A build: texts enter, and go through responses, golden rewards and embeddings to a cache."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rmsweep.cache.building import assemble, entering, models, steps
from rmsweep.cache.building.request import Request
from rmsweep.cache.building.stages import Stage
from rmsweep.cache.building.steps import Step
from rmsweep.cache.layout import SPLITS, embeddings_path, pair_embeddings_path, rewards_path

Say = Callable[[str], None]
Stages = Mapping[str, Stage]  # by split


def enter(request: Request, say: Say) -> Stages:
    """The first stage of each split, or of pairs, whole. Refuses what could not be finished."""
    assemble.require_free(request.root, _files(request))
    steps.pooling_and_cut(request)  # may refuse
    if request.is_pairs:
        stages = {"pairs": entering.enter_pairs(request)}
    else:
        stages = entering.enter(request)
    for split, stage in stages.items():
        shape = stage.manifest["identity"]
        counts = ", ".join(f"{n:,} {name}" for name, n in stage.manifest["counts"].items())
        say(f"{split}: {shape['prompts']:,} x {shape['responses']} responses ({counts})")
    _require_room(request, stages)
    return stages


def open_steps(request: Request, entered: Stages) -> dict[str, Step]:
    """The stages that run a model, by kind, in order; nothing is run.

    ValueError where a folder holds what other settings made.
    """
    found = {kind: steps.STEPS[kind] for kind in request.kinds}
    made, before = {}, entered
    for kind, step in found.items():
        made[kind] = step(request, before)
        before = made[kind].stages
    return made


def run(request: Request, entered: Stages, say: Say) -> list[Path]:
    """Run what is left of a build, or of its shard; the files, none where parts are missing."""
    made = open_steps(request, entered)
    for kind, step in made.items():
        step.run(request.shard, say)
        if kind == request.until:
            say(f"this is done until {kind}; the same command without --until goes on")
            return []
    embedded = made["embeddings"].stages
    if any(stage.left() for stage in embedded.values()):
        say("this shard is done; the same command without --shard joins all of them")
        return []
    golden = made["rewards"].stages if "rewards" in made else entered
    if request.is_pairs:
        return assemble.pairs(request.root, request.names, embedded["pairs"], entered["pairs"])
    written = []
    for split in SPLITS:
        given = (embedded[split], golden[split])
        written += assemble.golden(request.root, request.names, split, *given)
    return written


def _files(request: Request) -> list[Path]:
    """That only a build may have written."""
    root, names = request.root, request.names
    if request.is_pairs:
        return [pair_embeddings_path(root, names["dataset"], names["backbone"])]
    stems = (names["base_llm"], names["backbone"], names["dataset"])
    return [path(root, *stems, split) for path in (embeddings_path, rewards_path)
            for split in SPLITS]  # fmt: skip


def _require_room(request: Request, stages: Stages) -> None:
    """OSError where the disk has no room for the embeddings: as parts, and joined."""
    width = models.width(models.config(request.backbone, request.engine.remote_code))
    shapes = [stage.manifest["identity"] for stage in stages.values()]
    n_responses = sum(shape["prompts"] * shape["responses"] for shape in shapes)
    needed = 2 * n_responses * width * np.dtype(request.dtype).itemsize
    for split in stages:
        folder = steps.embeddings_folder(request, split)
        needed -= sum(path.stat().st_size for path in folder.glob("part-*.npy"))
    free = shutil.disk_usage(request.root).free
    if needed > free:
        raise OSError(
            f"{request.root} has {free / 1e9:.1f} GB free; {n_responses:,} embeddings of {width} "
            f"{request.dtype} take {needed / 1e9:.1f} GB more, as parts and joined"
        )
