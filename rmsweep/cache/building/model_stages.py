"""The stages of a build that run a model: responses, golden rewards and embeddings."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
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
Part = tuple[pa.Table | np.ndarray, dict[str, int]]  # what is written, and counts of it
MakePart = Callable[
    [Loaded, str, pa.Table, Budget, Progress], Part
]  # on the rows of a split's part


@dataclass(frozen=True)
class ModelStage:
    """A stage that runs a model: its parts by split, and how they are made."""

    label: str
    request: BuildRequest
    stages: Stages
    load: Callable[[], Loaded]
    make: MakePart

    def left(self, shard: tuple[int, int]) -> int:
        """Return how many parts of shard (i, n) are not done."""
        return sum(len(stage.left(shard)) for stage in self.stages.values())

    def run(self, shard: tuple[int, int], say: Callable[[str], None]) -> None:
        """Make the parts of a shard that are not done; the model is loaded if there are any."""
        loaded = self.load() if self.left(shard) else None
        budget = Budget(self.request.batch_tokens)
        for split, stage in self.stages.items():
            name, left = f"{self.label}, {split}", stage.left(shard)
            if loaded is None or not left:
                say(f"{name}: all done before")
                continue
            progress = Progress(name, stage.n_parts, len(left))
            for part in left:
                self._make_part(loaded, split, part, budget, progress)
                progress.part_done()
            counts = ", ".join(f"{n:,} {name}" for name, n in stage.totals().items())
            say(f"{name}: done ({counts})")
        del loaded
        gc.collect()
        batching.free_gpu_memory()

    def _make_part(
        self, loaded: Loaded, split: str, part: int, budget: Budget, progress: Progress
    ) -> None:
        """Write a part; its mark notes this process, since a build may go on elsewhere."""
        stage, device = self.stages[split], self.request.engine.device
        assert stage.before is not None
        rows = stage.before.read_table(part)
        content, counts = self.make(loaded, split, rows, budget, progress)
        noted = {"versions": text_versions(), "device": machine.gpu(device) or machine.cpu()}
        write = stage.write_array if isinstance(content, np.ndarray) else stage.write_table
        write(part, content, counts, **noted, batch_tokens=budget.tokens)


def open_responses(request: BuildRequest, stages: Stages) -> ModelStage:
    """Return the stage that writes K responses to each prompt by the base LLM."""
    base_llm, adapter, engine = request.base_llm, request.adapter, request.engine
    assert base_llm is not None
    settings: dict[str, Any] = {"adapter": adapter.revision if adapter else None}
    noted = {"adapter": adapter.id, "adapter_revision": adapter.revision} if adapter else {}

    def settings_of(split: str) -> dict[str, Any]:
        return settings | {"sampling": asdict(request.sampling[split])}

    written = _opened(request, "responses", stages, base_llm, settings_of, lambda split: noted)
    load = partial(models.load_transformer, base_llm, "AutoModelForCausalLM", engine, adapter)

    def run(loaded: Loaded, split: str, rows: pa.Table, budget: Budget, progress: Progress) -> Part:
        prompts, sampling = rows["prompt"].to_pylist(), request.sampling[split]
        table, counts = generate.generate_responses(loaded, prompts, sampling, budget, progress)
        k = sampling.responses
        table.insert(0, "prompt", np.repeat(np.array(prompts, object), k))
        table.insert(0, "response_id", np.tile(np.arange(k), len(prompts)))
        table.insert(0, "prompt_id", np.repeat(rows["prompt_id"].to_numpy(), k))
        return pa.Table.from_pandas(table, preserve_index=False), counts

    return ModelStage("responses", request, written, load, run)


def open_rewards(request: BuildRequest, stages: Stages) -> ModelStage:
    """Return the stage that gives each response, cut where it says stop, its golden reward."""
    located, engine = request.reward_model, request.engine
    assert located is not None
    settings = {"output": request.reward_output, "stop": request.stop}
    scored = _opened(request, "rewards", stages, located, lambda split: settings)
    output = models.require_head(located, request.reward_output, engine.remote_code)
    load = partial(models.load_transformer, located, "AutoModelForSequenceClassification", engine)

    def run(loaded: Loaded, split: str, rows: pa.Table, budget: Budget, progress: Progress) -> Part:
        uncut, cut = rows["response"].to_pylist(), Cut(loaded.most, None, "last")
        responses = [score.cut_at(response, request.stop) for response in uncut]
        texts = (rows["prompt"].to_pylist(), responses)
        golden, counts = score.score_texts(loaded, texts, output, cut, budget, progress)
        columns = {name: rows[name] for name in ("prompt_id", "response_id", "prompt")}
        table = pa.table(columns | {"response": responses, "golden_reward": golden.astype(float)})
        counts["cut_at_stop"] = sum(map(str.__ne__, responses, uncut))
        return table, counts

    return ModelStage("golden rewards", request, scored, load, run)


def pooling_and_cut(request: BuildRequest) -> tuple[embed.Pooling, Cut]:
    """Return pooling and cut of texts for embeddings.

    They are as asked for, else as the backbone's own folder says, else the last token's state.
    """
    backbone, asked = request.backbone, request.embed_tokens
    own = models.sentence_pooling(backbone.folder)
    mode, normalize, most = own or ("last", False, None)
    if request.pooling is not None:
        mode, normalize = request.pooling, request.normalize
    words = models.load_tokenizer(backbone, request.engine.remote_code)
    limit = models.most_tokens(models.model_config(backbone, request.engine.remote_code), words)
    if (asked or 0) > limit:
        raise ValueError(
            f"--embed-tokens must be at most {limit}, what {backbone.id} takes, got {asked}"
        )
    n_own = sum(map(len, tokens.special_tokens(words)))
    if asked is not None and asked <= n_own:
        raise ValueError(
            f"--embed-tokens must be above {n_own}, the tokens that {backbone.id} puts around a "
            f"text, got {asked}"
        )
    most = asked or min(most or limit, limit)
    cut = Cut(most, request.embed_prompt_tokens, request.embed_prompt_keep)
    return embed.Pooling(mode, normalize or request.normalize), cut


def open_embeddings(request: BuildRequest, stages: Stages) -> ModelStage:
    """Return the stage that embeds each response, (prompts, K, D) a part."""
    pooling, cut = pooling_and_cut(request)
    settings = {"pooling": asdict(pooling), "cut": asdict(cut), "dtype": request.dtype}
    files = assemble.cache_files(request.root, request.names)

    def noted_of(split: str) -> dict[str, Any]:
        return {"files": [path.name for path in files[split]]}

    backbone = request.backbone
    embedded = _opened(request, "embeddings", stages, backbone, lambda split: settings, noted_of)
    load = partial(models.load_transformer, backbone, "AutoModel", request.engine)

    def run(loaded: Loaded, split: str, rows: pa.Table, budget: Budget, progress: Progress) -> Part:
        texts = rows["prompt"].to_pylist(), rows["response"].to_pylist()
        pooled, counts = embed.embed_texts(loaded, texts, pooling, cut, budget, progress)
        k = 1 + int(rows["response_id"].to_numpy().max())
        stored = embed.as_stored(pooled, request.dtype, loaded.id)
        return stored.reshape(-1, k, stored.shape[1]), counts

    return ModelStage("embeddings", request, embedded, load, run)


MODEL_STAGES = {"responses": open_responses, "rewards": open_rewards, "embeddings": open_embeddings}


def _opened(
    request: BuildRequest,
    kind: str,
    stages: Stages,
    located: Located,
    settings_of: Callable[[str], dict[str, Any]],
    noted_of: Callable[[str], dict[str, Any]] = lambda split: {},
) -> dict[str, Stage]:
    """Return the stages by split that run a model on other stages.

    settings_of, noted_of: what else of a split is in the identity, and in the manifest.
    """
    opened = {}
    for split, before in stages.items():
        identity = {"stage": kind, "input": before.identity, "n_parts": before.n_parts}
        identity |= {"model": located.revision, "precision": request.engine.precision}
        manifest = {"model": located.id, "revision": located.revision} | noted_of(split)
        folder, identity = request.folder(kind, split), identity | settings_of(split)
        opened[split] = open_stage(folder, manifest, identity, before)
    return opened
