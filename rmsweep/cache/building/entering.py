"""Where texts enter a build: as prompts, with responses, with golden rewards, or as pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rmsweep.cache.building import models, sources, texts
from rmsweep.cache.building.request import Request
from rmsweep.cache.building.stages import (
    Stage,
    digest,
    file_digest,
    open_stage,
    read_json,
    text_versions,
)
from rmsweep.cache.building.texts import Entered

SPLITS = ("test", "train")  # in this order: train goes without the prompts of test


def enter(request: Request) -> dict[str, Stage]:
    """The first stage of each split, all its parts written: prompts, responses or rewards."""
    kind = "prompts" if request.base_llm else "responses" if request.reward_model else "rewards"
    paths = {split: sources.locate(source) for split, source in request.sources.items()}
    settings = _settings(request, paths)
    names = (request.names["base_llm"], request.names["dataset"])
    folders = {split: request.folder(kind, *names, split) for split in SPLITS}
    found = {split: _entered(folders[split], settings) for split in SPLITS}
    if all(found.values()):
        return {split: stage for split, stage in found.items() if stage}
    entered = _enter_prompts(request, paths) if kind == "prompts" else _enter_texts(request, paths)
    stages = {}
    for split, each in entered.items():
        k = request.sampling[split].responses
        if kind != "prompts":
            k = len(each.table) // each.n_prompts
        stages[split] = _write(folders[split], kind, settings, each, request, k)
    return stages


def enter_pairs(request: Request) -> Stage:
    """Labelled pairs as prompts with two responses each, chosen first."""
    path = sources.locate(request.sources["pairs"])
    settings = _settings(request, {"pairs": path})
    folder = request.folder("pairs", request.names["dataset"])
    if (found := _entered(folder, settings)) is not None:
        return found
    table, n_parted = sources.pairs(sources.read(path, request.columns), path)
    entered = texts.enter_pairs(table, request.empty, path.name)
    kept = entered.table
    rows = pd.DataFrame({"prompt_id": np.repeat(np.arange(len(kept)), 2)})
    rows["response_id"] = np.tile([0, 1], len(kept))
    rows["prompt"] = np.repeat(kept["prompt"].to_numpy(), 2)
    rows["response"] = kept[["chosen", "rejected"]].to_numpy().ravel()
    if "subset" in kept:
        rows["subset"] = np.repeat(kept["subset"].to_numpy(), 2)
    counts = {"rows": len(table) + n_parted, "parted_before_the_last_turn": n_parted}
    return _write(folder, "pairs", settings, Entered(rows, counts | entered.counts), request, 2)


def _settings(request: Request, paths: Mapping[str, Path]) -> dict[str, Any]:
    """All that determines what enters."""
    words = request.prompt_tokenizer or request.base_llm
    return {
        "sources": {split: file_digest(path) for split, path in paths.items()},
        "columns": dict(request.columns),
        "prompt_format": request.prompt_format,
        "n_prompts": dict(request.n_prompts),
        "empty": request.empty,
        "unequal": request.unequal,
        "tokenizer": words.revision if words else None,
        "max_prompt_tokens": request.max_prompt_tokens if words else None,
        "seed": request.sampling["train"].seed,
        "part_responses": request.part_responses,
    }


def _entered(folder: Path, settings: Mapping[str, Any]) -> Stage | None:
    """The stage if these settings made it and it is whole, so that texts need no second reading."""
    path = folder / "manifest.json"
    identity = read_json(path)["identity"] if path.exists() else {}
    if identity.get("settings") != settings:
        return None
    stage = Stage(folder, identity["n_parts"], digest(identity))
    return None if stage.left() else stage


def _enter_prompts(request: Request, paths: Mapping[str, Path]) -> dict[str, Entered]:
    located = request.prompt_tokenizer or request.base_llm
    assert located is not None
    words = models.tokenizer(located, request.engine.remote_code)
    n_train, n_test = request.n_prompts["train"], request.n_prompts["test"]

    def count(prompts: list[str]) -> list[int]:
        return [len(ids) for ids in words(prompts, verbose=False)["input_ids"]]

    def enter_split(prompts: list[str], held_out: list[str], most: int | None) -> Entered:
        limit = request.max_prompt_tokens
        each = texts.enter_prompts(prompts, request.prompt_format, count, limit, held_out)
        return Entered(each.table[:most], each.counts)

    found = {
        split: sources.prompts(sources.read(path, request.columns), path)
        for split, path in paths.items()
    }
    if "test" not in found:
        return _held_out(request, enter_split(found["train"], [], None))
    test = enter_split(found["test"], [], n_test)
    train = enter_split(found["train"], test.table["prompt"].to_list(), n_train)
    return {"test": test, "train": train}


def _enter_texts(request: Request, paths: Mapping[str, Path]) -> dict[str, Entered]:
    found = {}
    for split, path in paths.items():
        rows = sources.responses(sources.read(path, request.columns), path)
        if "golden_reward" not in rows and not request.reward_model:
            raise ValueError(
                f"{path} has no column 'golden_reward': name it with --columns golden_reward=COLUMN"
                ", or let a model score: --reward-model ID"
            )
        found[split] = texts.enter_responses(rows, request.empty, request.unequal, path.name)
    if "test" in found:
        return {split: _first(found[split], request.n_prompts[split]) for split in SPLITS}
    return _held_out(request, found["train"])


def _held_out(request: Request, whole: Entered) -> dict[str, Entered]:
    """Both splits of one table: so many prompts, drawn at random, are test, the others train."""
    n_test = request.n_prompts["test"]
    if n_test is None or n_test >= whole.n_prompts:
        raise ValueError(
            f"--test FILE or --test-prompts N must say what the {whole.n_prompts} prompts are "
            f"tested on, got N = {n_test}"
        )
    rng = np.random.default_rng(request.sampling["train"].seed)
    is_test = whole.table["prompt_id"].isin(rng.permutation(whole.n_prompts)[:n_test])
    test, train = (
        Entered(_renumbered(whole.table[mask]), whole.counts) for mask in (is_test, ~is_test)
    )
    return {"test": test, "train": _first(train, request.n_prompts["train"])}


def _first(entered: Entered, n_prompts: int | None) -> Entered:
    is_in = entered.table["prompt_id"] < (n_prompts or entered.n_prompts)
    return Entered(entered.table[is_in], entered.counts)


def _renumbered(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(prompt_id=pd.factorize(rows["prompt_id"])[0])


def _write(
    folder: Path, kind: str, settings: Any, each: Entered, request: Request, k: int
) -> Stage:
    """The stage with all its parts: so many prompts each that a part has part_responses."""
    size = max(1, request.part_responses // k)
    shape = {"n_parts": -(-each.n_prompts // size), "prompts": each.n_prompts, "responses": k}
    identity = {"stage": kind, "settings": settings, **shape}
    manifest = {
        "sources": dict(request.sources), "counts": each.counts, "versions": text_versions(),
    }  # fmt: skip
    stage = open_stage(folder, manifest, identity)
    part_of = each.table["prompt_id"] // size
    for part, rows in each.table.groupby(part_of):
        stage.write_table(int(part), pa.Table.from_pandas(rows, preserve_index=False), {})
    return stage
