"""A build from end to end: texts, responses, golden rewards, embeddings, a cache."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rmsweep.cache.building import assemble, first_stage, model_stages, models
from rmsweep.cache.building.first_stage import FirstStage
from rmsweep.cache.building.model_stages import ModelStage, Stages
from rmsweep.cache.building.request import BuildRequest
from rmsweep.cache.building.stages import remove_stale

Say = Callable[[str], None]


def enter_texts(request: BuildRequest, say: Say) -> Stages:
    """Write the first stage of each split, or of pairs, and return it.

    ValueError or OSError, before anything is written, for a build that could not be finished.
    """
    assemble.require_free(request.root, request.names)
    model_stages.pooling_and_cut(request)  # may refuse
    plans = first_stage.plan_first_stages(request)
    _require_room(request, plans)
    for split, plan in plans.items():
        counts = ", ".join(f"{n:,} {name}" for name, n in plan.manifest["counts"].items())
        shape = f"{plan.identity['prompts']:,} x {plan.identity['responses']}"
        say(f"{split}: {shape} responses ({counts})")
    return {split: plan.write() for split, plan in plans.items()}


def open_model_stages(request: BuildRequest, entered: Stages) -> dict[str, ModelStage]:
    """Return the stages that run a model, by kind and in order; nothing is run.

    ValueError where a folder holds what other settings made.
    """
    opened, before = {}, entered
    for kind in request.kinds:
        opened[kind] = model_stages.MODEL_STAGES[kind](request, before)
        before = opened[kind].stages
    return opened


def run_build(request: BuildRequest, entered: Stages, say: Say) -> list[Path]:
    """Run what is left of a build, or of its shard, and return the files of the cache.

    There are none where parts are missing still. say(line): called with what happens.
    """
    opened = open_model_stages(request, entered)
    for kind, step in opened.items():
        step.run(request.shard, say)
        if kind == request.until:
            say(f"this is done until {kind}; the same command without --until goes on")
            return []
    embedded = opened["embeddings"].stages
    if any(stage.left() for stage in embedded.values()):
        say("this shard is done; the same command without --shard joins all of them")
        return []
    golden = opened["rewards"].stages if "rewards" in opened else entered
    if request.is_pairs:
        return assemble.join_pairs(request.root, request.names, embedded["pairs"], entered["pairs"])
    return assemble.join_golden(request.root, request.names, embedded, golden)


def _require_room(request: BuildRequest, plans: Mapping[str, FirstStage]) -> None:
    """Raise OSError where the disk has no room for the embeddings: as parts, and joined."""
    config = models.model_config(request.backbone, request.engine.remote_code)
    width = int(config.get_text_config().hidden_size)
    shapes = [plan.identity for plan in plans.values()]
    n_responses = sum(shape["prompts"] * shape["responses"] for shape in shapes)
    needed = 2 * n_responses * width * np.dtype(request.dtype).itemsize
    joined = [paths[0] for paths in assemble.cache_files(request.root, request.names).values()]
    for path in joined:
        remove_stale(request.root, path.name)
    present = [path for path in joined if path.exists()]  # is kept, or makes room
    for split in plans:
        folder = request.folder("embeddings", split)
        remove_stale(folder, "part-*")
        present += folder.glob("part-*.npy")
    needed -= sum(path.stat().st_size for path in present)
    free = shutil.disk_usage(request.root).free
    if needed > free:
        raise OSError(
            f"{request.root} has {free / 1e9:.1f} GB free; {n_responses:,} embeddings of {width} "
            f"{request.dtype} take {needed / 1e9:.1f} GB more, as parts and joined"
        )
