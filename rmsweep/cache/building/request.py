"""The request for a build, checked before any work."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rmsweep.cache.building import models
from rmsweep.cache.building.generate import Sampling
from rmsweep.cache.building.hub import Located
from rmsweep.cache.building.models import Engine


@dataclass(frozen=True)
class BuildRequest:
    """The request for a build."""

    root: Path
    sources: Mapping[str, str]  # files by split, or of pairs
    names: Mapping[str, str]  # in file names, of base_llm, backbone and dataset
    columns: Mapping[str, str]
    prompt_format: str
    n_prompts: Mapping[str, int | None]
    empty: str
    unequal: str
    base_llm: Located | None
    adapter: Located | None
    prompt_tokenizer: Located | None
    max_prompt_tokens: int
    sampling: Mapping[str, Sampling]
    reward_model: Located | None
    reward_output: int | None
    stop: str
    backbone: Located
    pooling: str | None
    normalize: bool
    embed_tokens: int | None
    embed_prompt_tokens: int | None
    embed_prompt_keep: str
    dtype: str
    engine: Engine
    batch_tokens: int
    part_responses: int
    shard: tuple[int, int]
    until: str | None  # a kind of stage, the last that is run; null: all, and parts are joined

    def __post_init__(self) -> None:
        for field, name in self.names.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(
                    f"{field} {name!r} names files: letters, digits, '.', '-' and '_' only"
                )
        if "{prompt}" not in self.prompt_format:
            raise ValueError(f"--prompt-format must hold {{prompt}}, got {self.prompt_format!r}")
        for split, n in self.n_prompts.items():
            _require_at_least_1(f"{split}_prompts", n)
        for sampling in self.sampling.values():
            _check_sampling(sampling)
        _require_at_least_1("batch_tokens", self.batch_tokens)
        _require_at_least_1("part_responses", self.part_responses)
        _require_at_least_1("max_prompt_tokens", self.max_prompt_tokens)
        _require_at_least_1("embed_tokens", self.embed_tokens)
        _require_at_least_1("embed_prompt_tokens", self.embed_prompt_tokens)
        if not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError(f"--shard must be I/N with 0 <= I < N, got {self.shard}")
        if self.base_llm is not None:
            self._check_lengths(self.base_llm)
        if self.reward_model is not None:
            models.require_head(self.reward_model, self.reward_output, self.engine.remote_code)
        if self.until is not None and self.until not in self.kinds:
            raise ValueError(
                f"--until must be one of this build's stages, {', '.join(self.kinds)}; got "
                f"{self.until}"
            )

    @property
    def is_pairs(self) -> bool:
        """Whether labelled pairs are embedded."""
        return "pairs" in self.sources

    @property
    def kinds(self) -> list[str]:
        """The kinds of the stages that run a model, in order."""
        runs = {"responses": self.base_llm, "rewards": self.reward_model}
        return [*(kind for kind, located in runs.items() if located), "embeddings"]

    def _check_lengths(self, base_llm: Located) -> None:
        is_trusted = self.engine.remote_code
        words = models.load_tokenizer(base_llm, is_trusted)
        most = models.most_tokens(models.model_config(base_llm, is_trusted), words)
        needed = self.max_prompt_tokens + self.sampling["train"].max_new_tokens
        if needed > most:
            raise ValueError(
                f"base LLM {base_llm.id} takes {most} tokens, and --max-prompt-tokens plus "
                f"--max-new-tokens are {needed}"
            )

    def folder(self, kind: str, split: str) -> Path:
        """Return the folder of a split's stage, or of pairs, named after what it depends on."""
        used = ["dataset", "backbone"] if self.is_pairs else ["base_llm", "backbone", "dataset"]
        names = [self.names[name] for name in used if name != "backbone" or kind == "embeddings"]
        parts = [kind, *names] if kind == "pairs" else [kind, *names, split]
        return self.root / "stages" / "-".join(parts)


def _check_sampling(sampling: Sampling) -> None:
    if sampling.responses < 2:
        raise ValueError(f"responses to a prompt must be >= 2, got {sampling.responses}")
    if not 0 < sampling.temperature < float("inf"):
        raise ValueError(f"--temperature must be > 0, got {sampling.temperature}")
    if not 0 < sampling.top_p <= 1:
        raise ValueError(f"--top-p must be in (0, 1], got {sampling.top_p}")
    _require_at_least_1("max_new_tokens", sampling.max_new_tokens)


def _require_at_least_1(field: str, n: int | None) -> None:
    if n is not None and n < 1:
        raise ValueError(f"--{field.replace('_', '-')} must be >= 1, got {n}")
