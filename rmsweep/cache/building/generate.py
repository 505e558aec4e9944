"""Responses of a base LLM, drawn with random numbers that no batch and no restart changes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.cache.building.batching import Budget, in_batches, padded
from rmsweep.cache.building.models import Loaded
from rmsweep.cache.building.progress import Progress


@dataclass(frozen=True)
class Sampling:
    """The number of responses to a prompt, and how they are drawn."""

    responses: int
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


def uniform_numbers(prompt: str, sampling: Sampling) -> np.ndarray:
    """Return the random numbers of a prompt, (K, tokens) in [0, 1), by seed and prompt alone."""
    text = json.dumps(["responses", sampling.seed, prompt])
    entropy = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    return rng.random((sampling.responses, sampling.max_new_tokens))


def draw_tokens(logits: Any, uniform: Any, temperature: float, top_p: float) -> Any:
    """Return a token for each row of logits, by inverting the distribution at uniform: (rows,).

    This is nucleus sampling: of the most probable tokens the fewest that hold top_p. logits: (rows,
    vocabulary); uniform: (rows,) in [0, 1). A row's token does not depend on the other rows.
    """
    probabilities = (logits.double() / temperature).softmax(-1)
    probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities * (before < top_p)
    edges = kept.cumsum(-1)
    place = (edges <= (uniform * edges[:, -1])[:, None]).sum(-1)
    place = place.minimum((kept > 0).sum(-1) - 1)
    return order.gather(-1, place[:, None])[:, 0]


def generate_responses(
    loaded: Loaded, prompts: Sequence[str], sampling: Sampling, budget: Budget, progress: Progress
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return K responses to each prompt, a row each, in order, and counts of what was written.

    The columns are response, n_tokens and is_finished.
    """
    k = sampling.responses
    ids = [loaded.tokenizer(prompt)["input_ids"] for prompt in prompts]
    noise = np.concatenate([uniform_numbers(prompt, sampling) for prompt in prompts])
    new: list[list[int]] = [[] for _ in noise]
    lengths = np.repeat([len(one) + sampling.max_new_tokens for one in ids], k).tolist()

    def run(rows: np.ndarray) -> None:
        written = _continue(loaded, [ids[row // k] for row in rows], noise[rows], sampling)
        for row, response in zip(rows, written, strict=True):
            new[row] = response
        done = sum(map(bool, new)) / len(new)
        progress.advance(len(rows), sum(len(new[row]) for row in rows), done)

    in_batches(lengths, budget, run)
    ends = _ends(loaded)
    responses = [_text(loaded, ids[row // k], tokens) for row, tokens in enumerate(new)]
    finished, n_tokens = [tokens[-1] in ends for tokens in new], list(map(len, new))
    n_empty = sum(not response.strip() for response in responses)
    counts = {"tokens": sum(n_tokens), "unfinished": finished.count(False), "empty": n_empty}
    columns = {"response": responses, "n_tokens": n_tokens, "is_finished": finished}
    return pd.DataFrame(columns), counts


def _continue(
    loaded: Loaded, ids: list[list[int]], noise: np.ndarray, sampling: Sampling
) -> list[list[int]]:
    """Return new tokens after each prompt's, up to the end token, the last one if it came."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    batch, mask = loaded.tensors(*padded(ids, loaded.pad, "left"))
    uniform, first, ends = loaded.tensors(noise)[0], batch.shape[1], _ends(loaded)

    def choose(so_far: Any, logits: Any) -> Any:
        step = so_far.shape[1] - first
        token = draw_tokens(logits, uniform[:, step], sampling.temperature, sampling.top_p)
        return torch.full_like(logits, -torch.inf).scatter_(1, token[:, None], 0)

    most, end_ids = sampling.max_new_tokens, sorted(ends) or None
    loaded.model.generation_config = GenerationConfig(
        max_new_tokens=most, do_sample=False, pad_token_id=loaded.pad, eos_token_id=end_ids
    )
    chooser = LogitsProcessorList([choose])
    with loaded.inference():
        sequences = loaded.model.generate(batch, attention_mask=mask, logits_processor=chooser)
    return [_until_end(row, ends) for row in sequences[:, first:].tolist()]


def _ends(loaded: Loaded) -> set[int]:
    """Return the tokens that end a response, by the model and its tokenizer."""
    ends = {loaded.tokenizer.eos_token_id}
    for config in (loaded.model.config.get_text_config(), loaded.model.generation_config):
        value = getattr(config, "eos_token_id", None)
        ends |= set(value) if isinstance(value, list) else {value}
    return ends - {None}


def _until_end(row: list[int], ends: set[int]) -> list[int]:
    place = next((place for place, token in enumerate(row) if token in ends), len(row))
    return row[: place + 1]


def _text(loaded: Loaded, prompt: list[int], new: list[int]) -> str:
    """Return a response as it stands after its prompt: alone, some would lose its first space."""
    decode = loaded.tokenizer.decode
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    before, whole = decode(prompt, **options), decode(prompt + new, **options)
    return whole[len(before) :] if whole.startswith(before) else decode(new, **options)
