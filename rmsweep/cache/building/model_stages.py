"""The stages of a build that run a model: responses, golden rewards and embeddings."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rmsweep import machine
from rmsweep.cache.building import assemble, batching, embed, generate, models, score, tokens
from rmsweep.cache.building.batching import Budget
from rmsweep.cache.building.hub import Located
from rmsweep.cache.building.models import Loaded
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.request import BuildRequest
from rmsweep.cache.building.stages import Stage, open_stage, text_versions
from rmsweep.cache.building.tokens import Cut

Stages = Mapping[str, Stage]  # by split
Work = Callable[[Loaded, str, int, Progress], None]  # on a part of a split


@dataclass(frozen=True)
class ModelStage:
    """A stage that runs a model: its parts by split, and how they are made."""

    label: str
    stages: Stages
    load: Callable[[], Loaded]
    work: Work

    def left(self, shard: tuple[int, int]) -> int:
        """Return how many parts of shard (i, n) are not done."""
        return sum(len(stage.left(shard)) for stage in self.stages.values())

    def run(self, shard: tuple[int, int], say: Callable[[str], None]) -> None:
        """Make the parts of a shard that are not done; the model is loaded if there are any."""
        loaded = self.load() if self.left(shard) else None
        for split, stage in self.stages.items():
            name, left = f"{self.label}, {split}", stage.left(shard)
            if loaded is None or not left:
                say(f"{name}: all done before")
                continue
            progress = Progress(name, stage.n_parts, len(left))
            for part in left:
                self.work(loaded, split, part, progress)
                progress.part_done()
            counts = ", ".join(f"{n:,} {name}" for name, n in stage.totals().items())
            say(f"{name}: done ({counts})")
        del loaded
        gc.collect()
        batching.free_gpu_memory()


def open_responses(request: BuildRequest, stages: Stages) -> ModelStage:
    """Return the stage that writes K responses to each prompt by the base LLM."""
    base_llm, adapter, names = request.base_llm, request.adapter, request.names
    assert base_llm is not None
    written = {}
    for split, before in stages.items():
        folder = request.folder("responses", names["base_llm"], names["dataset"], split)
        identity = _identity("responses", before, base_llm, request)
        identity["adapter"] = adapter.revision if adapter else None
        identity["sampling"] = asdict(request.sampling[split])
        written[split] = _open(folder, identity, before, base_llm, adapter=adapter)

    def load() -> Loaded:
        return models.load_transformer(base_llm, "AutoModelForCausalLM", request.engine, adapter)

    budget = Budget(request.batch_tokens)

    def work(loaded: Loaded, split: str, part: int, progress: Progress) -> None:
        rows = stages[split].read_table(part)
        prompts, sampling = rows["prompt"].to_pylist(), request.sampling[split]
        table, counts = generate.generate_responses(loaded, prompts, sampling, budget, progress)
        k = sampling.responses
        table.insert(0, "prompt", np.repeat(np.array(prompts, object), k))
        table.insert(0, "response_id", np.tile(np.arange(k), len(prompts)))
        table.insert(0, "prompt_id", np.repeat(rows["prompt_id"].to_numpy(), k))
        rows = pa.Table.from_pandas(table, preserve_index=False)
        written[split].write_table(part, rows, counts, **_made_by(request, budget))

    return ModelStage("responses", written, load, work)


def open_rewards(request: BuildRequest, stages: Stages) -> ModelStage:
    """Return the stage that gives each response, cut where it says stop, its golden reward."""
    located, engine = request.reward_model, request.engine
    assert located is not None
    names, scored = request.names, {}
    for split, before in stages.items():
        folder = request.folder("rewards", names["base_llm"], names["dataset"], split)
        identity = _identity("rewards", before, located, request)
        identity |= {"output": request.reward_output, "stop": request.stop}
        scored[split] = _open(folder, identity, before, located)
    output = models.require_head(located, request.reward_output, engine.remote_code)
    budget = Budget(request.batch_tokens)

    def work(loaded: Loaded, split: str, part: int, progress: Progress) -> None:
        rows = stages[split].read_table(part)
        prompts, uncut = rows["prompt"].to_pylist(), rows["response"].to_pylist()
        responses = [score.cut_at(response, request.stop) for response in uncut]
        cut = Cut(loaded.most, None, "last")
        golden, counts = score.score_texts(
            loaded, prompts, responses, output, cut, budget, progress
        )
        columns = {name: rows[name] for name in ("prompt_id", "response_id", "prompt")}
        table = pa.table(columns | {"response": responses, "golden_reward": golden.astype(float)})
        counts["cut_at_stop"] = sum(map(str.__ne__, responses, uncut))
        scored[split].write_table(part, table, counts, **_made_by(request, budget))

    def load() -> Loaded:
        return models.load_transformer(located, "AutoModelForSequenceClassification", engine)

    return ModelStage("golden rewards", scored, load, work)


def pooling_and_cut(request: BuildRequest) -> tuple[embed.Pooling, Cut]:
    """Return pooling and cut of texts for embeddings.

    They are as asked for, else as the backbone's own folder says, else the last token's state.
    """
    own = models.sentence_pooling(request.backbone.folder)
    mode, normalize, most = own or ("last", False, None)
    if request.pooling is not None:
        mode, normalize = request.pooling, request.normalize
    words = models.load_tokenizer(request.backbone, request.engine.remote_code)
    limit = models.most_tokens(
        models.model_config(request.backbone, request.engine.remote_code), words
    )
    most = min(most or limit, limit)
    if (request.embed_tokens or 0) > limit:
        raise ValueError(
            f"--embed-tokens must be at most {limit}, what {request.backbone.id} takes, got "
            f"{request.embed_tokens}"
        )
    n_own = sum(map(len, tokens.special_tokens(words)))
    if request.embed_tokens is not None and request.embed_tokens <= n_own:
        raise ValueError(
            f"--embed-tokens must be above {n_own}, the tokens that {request.backbone.id} puts "
            f"around a text, got {request.embed_tokens}"
        )
    cut = Cut(request.embed_tokens or most, request.embed_prompt_tokens, request.embed_prompt_keep)
    return embed.Pooling(mode, normalize or request.normalize), cut


def embeddings_folder(request: BuildRequest, split: str) -> Path:
    """Return the folder of the embeddings of a split, or of pairs."""
    named = ("dataset", "backbone") if request.is_pairs else ("base_llm", "backbone", "dataset")
    return request.folder("embeddings", *(request.names[name] for name in named), split)


def open_embeddings(request: BuildRequest, stages: Stages) -> ModelStage:
    """Return the stage that embeds each response, (prompts, K, D) a part."""
    pooling, cut = pooling_and_cut(request)
    embedded, files_of = {}, assemble.cache_files(request.root, request.names)
    for split, before in stages.items():
        identity = _identity("embeddings", before, request.backbone, request)
        identity |= {"pooling": asdict(pooling), "cut": asdict(cut), "dtype": request.dtype}
        folder, files = embeddings_folder(request, split), [path.name for path in files_of[split]]
        embedded[split] = _open(folder, identity, before, request.backbone, files=files)
    budget = Budget(request.batch_tokens)

    def work(loaded: Loaded, split: str, part: int, progress: Progress) -> None:
        rows = stages[split].read_table(part)
        texts = rows["prompt"].to_pylist(), rows["response"].to_pylist()
        pooled, counts = embed.embed_texts(loaded, *texts, pooling, cut, budget, progress)
        k = 1 + int(rows["response_id"].to_numpy().max())
        stored = embed.as_stored(pooled, request.dtype, loaded.id)
        array = stored.reshape(-1, k, stored.shape[1])
        embedded[split].write_array(part, array, counts, **_made_by(request, budget))

    def load() -> Loaded:
        return models.load_transformer(request.backbone, "AutoModel", request.engine)

    return ModelStage("embeddings", embedded, load, work)


MODEL_STAGES = {"responses": open_responses, "rewards": open_rewards, "embeddings": open_embeddings}


def _identity(kind: str, before: Stage, located: Located, request: BuildRequest) -> dict[str, Any]:
    return {
        "stage": kind,
        "input": before.identity,
        "n_parts": before.n_parts,
        "model": located.revision,
        "precision": request.engine.precision,
    }


def _made_by(request: BuildRequest, budget: Budget) -> dict[str, Any]:
    """Return what a part's mark notes of the process that wrote it; a build may go on elsewhere."""
    device = machine.gpu(request.engine.device) or machine.cpu()
    return {"versions": text_versions(), "device": device, "batch_tokens": budget.tokens}


def _open(
    folder: Path, identity: Any, before: Stage, located: Located, adapter: Located | None = None,
    files: Sequence[str] = (),
) -> Stage:  # fmt: skip
    manifest: dict[str, Any] = {"model": located.id, "revision": located.revision}
    if adapter is not None:
        manifest |= {"adapter": adapter.id, "adapter_revision": adapter.revision}
    if files:
        manifest["files"] = list(files)
    return open_stage(folder, manifest, identity, before)
