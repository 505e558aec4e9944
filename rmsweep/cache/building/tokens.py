"""Prompt and response as one sequence of tokens, cut to what a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cut:
    """The part that is kept of a text that is too long: of a response always the first tokens."""

    most: int  # tokens in all, the tokenizer's own included
    prompt_most: int | None  # tokens of the prompt; null: what the response leaves
    keep: str  # the first or the last tokens of a prompt


def join_texts(prompt: str, response: str) -> tuple[str, int]:
    """Return prompt and response as one text, and where the prompt ends.

    A space is put between where neither side has white space, so that words stay apart.
    """
    meet = bool(prompt and response) and not (prompt[-1].isspace() or response[0].isspace())
    return prompt + (" " if meet else "") + response, len(prompt)


def encode_pairs(
    tokenizer: Any, prompts: Sequence[str], responses: Sequence[str], cut: Cut
) -> tuple[list[list[int]], int]:
    """Return token ids of each (prompt, response), and how many of these texts were cut."""
    joined = [join_texts(*pair) for pair in zip(prompts, responses, strict=True)]
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    encoded = tokenizer([text for text, _ in joined], **options)
    before, after = special_tokens(tokenizer)
    room = cut.most - len(before) - len(after)
    sequences, n_cut = [], 0
    rows = zip(encoded["input_ids"], encoded["offset_mapping"], joined, strict=True)
    for ids, offsets, (_, edge) in rows:
        n_prompt = sum(start < edge for start, _ in offsets)
        kept = _cut(ids[:n_prompt], ids[n_prompt:], room, cut)
        n_cut += len(kept) < len(ids)
        sequences.append([*before, *kept, *after])
    return sequences, n_cut


def _cut(prompt: list[int], response: list[int], room: int, cut: Cut) -> list[int]:
    most = max(0, room - len(response)) if cut.prompt_most is None else min(cut.prompt_most, room)
    if len(prompt) > most:
        prompt = prompt[:most] if cut.keep == "first" else prompt[len(prompt) - most :]
    return prompt + response[: room - len(prompt)]


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens that a tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    for first in range(len(framed) - len(bare) + 1):
        if framed[first : first + len(bare)] == bare:
            return framed[:first], framed[first + len(bare) :]
    return [], []


def pad_id(tokenizer: Any, n_embeddings: int, name: str) -> int:
    """Return a token to fill batches with, that the model knows and that ends no text of ours.

    Models take the last token that is not this one for the end of a text, so it may not be one
    that the tokenizer appends. ValueError where the vocabulary has none.
    """
    appended = set(special_tokens(tokenizer)[1])
    for kind in ("pad", "unk", "eos", "bos"):
        token = getattr(tokenizer, f"{kind}_token_id")
        if token is not None and token < n_embeddings and token not in appended:
            return token
    raise ValueError(
        f"{name}: its vocabulary of {n_embeddings} has no token to pad with (pad, unk, eos, bos); "
        'add "pad_token" to its tokenizer_config.json, a token that the model knows'
    )
