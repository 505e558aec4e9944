"""The first stage of a build: prompts, responses, golden rewards or pairs that are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rmsweep.cache.building import models, sources, stages, texts
from rmsweep.cache.building.request import BuildRequest
from rmsweep.cache.building.stages import Stage, file_digest, open_stage
from rmsweep.cache.building.texts import PreparedTexts


@dataclass(frozen=True)
class FirstStage:
    """A first stage of a build."""

    folder: Path
    identity: Mapping[str, Any]
    manifest: Mapping[str, Any]
    table: pd.DataFrame | None  # the texts to write, or None where all are written

    def write(self) -> Stage:
        """Write the parts that are left, and return the stage; ValueError for another's folder."""
        stage = open_stage(self.folder, self.manifest, self.identity)
        if self.table is None:
            return stage
        part_of = self.table["prompt_id"] // self.identity["prompts_a_part"]
        for part in stage.left():
            rows = pa.Table.from_pandas(self.table[part_of == part], preserve_index=False)
            stage.write_table(part, rows, {})
        return stage


def plan_first_stages(request: BuildRequest) -> dict[str, FirstStage]:
    """Return the first stage by split: prompts, responses or rewards; or of pairs, by "pairs"."""
    kind, read = "responses" if request.reward_model else "rewards", _read_responses
    if request.is_pairs:
        kind, read = "pairs", _read_pairs
    elif request.base_llm:
        kind, read = "prompts", _read_prompts
    splits = ["pairs"] if request.is_pairs else ["test", "train"]
    paths = {split: sources.locate_file(source) for split, source in request.sources.items()}
    digests = {split: file_digest(path) for split, path in paths.items()}
    folders = {split: request.folder(kind, split) for split in splits}
    settings = {split: _settings(request, kind, split, digests) for split in splits}
    written = {split: _written_stage(folders[split], settings[split]) for split in splits}
    if all(written.values()):
        return {split: stage for split, stage in written.items() if stage}
    prepared = read(request, paths)
    return {
        split: _new_stage(request, folders[split], kind, settings[split], prepared[split])
        for split in splits
    }


def _settings(
    request: BuildRequest, kind: str, split: str, digests: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that determines the texts of a first stage, as plain JSON."""
    words = request.prompt_tokenizer or request.base_llm
    settings: dict[str, Any] = {
        "sources": dict(digests),
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
    if kind == "prompts":
        settings["responses"] = request.sampling[split].responses
    return settings


def _written_stage(folder: Path, settings: Mapping[str, Any]) -> FirstStage | None:
    """Return the stage of these settings if it is whole, so that no text is read again."""
    path = folder / "manifest.json"
    manifest = stages.read_json(path) if path.exists() else {"identity": {}}
    identity = manifest["identity"]
    if (identity.get("format"), identity.get("settings")) != (stages.FORMAT, settings):
        return None
    stage = Stage(folder, identity["n_parts"], stages.json_digest(identity))
    return None if stage.left() else FirstStage(folder, identity, manifest, None)


def _read_pairs(request: BuildRequest, paths: Mapping[str, Path]) -> dict[str, PreparedTexts]:
    """Return labelled pairs as prompts with two responses each, chosen first."""
    path = paths["pairs"]
    table, n_parted = sources.pairs_of(sources.read_source(path, request.columns), path)
    table["prompt"] = texts.formatted(table["prompt"], request.prompt_format)
    prepared = texts.prepare_pairs(table, request.empty, path.name)
    pairs = prepared.table
    rows = pd.DataFrame({"prompt_id": np.repeat(np.arange(len(pairs)), 2)})
    rows["response_id"] = np.tile([0, 1], len(pairs))
    rows["prompt"] = np.repeat(pairs["prompt"].to_numpy(), 2)
    rows["response"] = pairs[["chosen", "rejected"]].to_numpy().ravel()
    if "subset" in pairs:
        rows["subset"] = np.repeat(pairs["subset"].to_numpy(), 2)
    counts = {"rows": len(table) + n_parted, "parted_before_the_last_turn": n_parted}
    return {"pairs": PreparedTexts(rows, counts | prepared.counts)}


def _read_prompts(request: BuildRequest, paths: Mapping[str, Path]) -> dict[str, PreparedTexts]:
    """Return the prompts of both splits, none of which is in both."""
    located = request.prompt_tokenizer or request.base_llm
    assert located is not None
    words = models.load_tokenizer(located, request.engine.remote_code)
    n_train, n_test = request.n_prompts["train"], request.n_prompts["test"]

    def count(prompts: list[str]) -> list[int]:
        return [len(ids) for ids in words(prompts, verbose=False)["input_ids"]]

    def prepare_split(prompts: list[str], held_out: list[str], most: int | None) -> PreparedTexts:
        limit = request.max_prompt_tokens
        prepared = texts.prepare_prompts(prompts, request.prompt_format, count, limit, held_out)
        return PreparedTexts(prepared.table[:most], prepared.counts)

    prompts = {
        split: sources.prompts_of(sources.read_source(path, request.columns), path)
        for split, path in paths.items()
    }
    if "test" not in prompts:
        return _held_out(request, prepare_split(prompts["train"], [], None))
    test = prepare_split(prompts["test"], [], n_test)
    train = prepare_split(prompts["train"], test.table["prompt"].to_list(), n_train)
    return {"test": test, "train": train}


def _read_responses(request: BuildRequest, paths: Mapping[str, Path]) -> dict[str, PreparedTexts]:
    """Return the responses of both splits; no prompt is in both."""
    prepared = {}
    for split, path in paths.items():
        rows, n_bare = sources.responses_of(sources.read_source(path, request.columns), path)
        if "golden_reward" not in rows and not request.reward_model:
            raise ValueError(
                f"{path} has no column 'golden_reward': name it with --columns golden_reward=COLUMN"
                ", or let a model score: --reward-model ID"
            )
        rows["prompt"] = texts.formatted(rows["prompt"], request.prompt_format)
        policies = (request.empty, request.unequal)
        prepared[split] = texts.prepare_responses(rows, *policies, path.name, n_bare)
    if "test" not in prepared:
        return _held_out(request, prepared["train"])
    test = _first(prepared["test"], request.n_prompts["test"])
    train = texts.without(prepared["train"], test)
    return {"test": test, "train": _first(train, request.n_prompts["train"])}


def _held_out(request: BuildRequest, whole: PreparedTexts) -> dict[str, PreparedTexts]:
    """Return both splits of one table: prompts drawn at random are test, the others train."""
    n_test = request.n_prompts["test"]
    if n_test is None or n_test >= whole.n_prompts:
        raise ValueError(
            f"--test FILE or --test-prompts N must say what the {whole.n_prompts} prompts are "
            f"tested on, got N = {n_test}"
        )
    rng = np.random.default_rng(request.sampling["train"].seed)
    is_test = whole.table["prompt_id"].isin(rng.permutation(whole.n_prompts)[:n_test])
    test, train = (
        PreparedTexts(texts.renumbered(whole.table[mask]), whole.counts)
        for mask in (is_test, ~is_test)
    )
    train = texts.without(train, test)  # a prompt may be there under two prompt_ids
    return {"test": test, "train": _first(train, request.n_prompts["train"])}


def _first(prepared: PreparedTexts, n_prompts: int | None) -> PreparedTexts:
    is_in = prepared.table["prompt_id"] < (n_prompts or prepared.n_prompts)
    return PreparedTexts(prepared.table[is_in], prepared.counts)


def _new_stage(
    request: BuildRequest, folder: Path, kind: str, settings: Any, prepared: PreparedTexts
) -> FirstStage:
    """Return a stage to be written, with so many prompts in a part as part_responses allows."""
    n_prompts, words = prepared.n_prompts, request.prompt_tokenizer or request.base_llm
    k = settings.get("responses") or len(prepared.table) // n_prompts
    size = max(1, request.part_responses // k)
    shape = {"n_parts": -(-n_prompts // size), "prompts_a_part": size}
    shape |= {"prompts": n_prompts, "responses": k}
    manifest = {
        "sources": dict(request.sources),
        "counts": prepared.counts,
        "versions": stages.text_versions(),
        "prompt_tokenizer": words and {"id": words.id, "revision": words.revision},
    }
    identity = {"stage": kind, "settings": settings, **shape}
    return FirstStage(folder, identity, manifest, prepared.table)
