"""Preparing the texts of a build: checked, unique prompts with the same K responses each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class PreparedTexts:
    """The texts of a split, in order of prompt_id, and counts of what was left out and why."""

    table: pd.DataFrame  # a row for each response, or for each prompt without any
    counts: dict[str, int]

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return int(self.table["prompt_id"].iloc[-1]) + 1


def formatted(prompts: Iterable[str], form: str) -> list[str]:
    """Return each prompt in the place of {prompt} in form."""
    return [form.replace("{prompt}", prompt) for prompt in prompts]


def without(prepared: PreparedTexts, other: PreparedTexts) -> PreparedTexts:
    """Return texts without those whose prompt another split has, which are counted."""
    table = prepared.table
    is_shared = table["prompt"].isin(set(other.table["prompt"]))
    is_out = table["prompt_id"].isin(table.loc[is_shared, "prompt_id"])
    counts = prepared.counts | {"in_other_split": int(table.loc[is_out, "prompt_id"].nunique())}
    if is_out.all():
        raise ValueError(
            f"no train prompts are left: all {counts['in_other_split']} are test prompts, too"
        )
    return PreparedTexts(renumbered(table[~is_out]), counts)


def renumbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with prompt_ids 0, 1, 2 ... in the order in which they appear."""
    return rows.assign(prompt_id=pd.factorize(rows["prompt_id"])[0])


def prepare_prompts(
    prompts: Sequence[str],
    form: str,
    n_tokens: Callable[[list[str]], list[int]],
    most_tokens: int,
    held_out: Sequence[str] = (),
) -> PreparedTexts:
    """Return unique prompts in the format form, of at most most_tokens, but none held out.

    n_tokens: returns the number of tokens of each prompt.
    """
    unique = [prompt for prompt in dict.fromkeys(prompts) if prompt.strip()]
    counts = {"rows": len(prompts), "empty": sum(not prompt.strip() for prompt in prompts)}
    counts["repeated"] = len(prompts) - counts["empty"] - len(unique)
    others = set(held_out)
    kept = [prompt for prompt in formatted(unique, form) if prompt not in others]
    counts["in_other_split"] = len(unique) - len(kept)
    lengths = n_tokens(kept) if kept else []
    short = [prompt for prompt, n in zip(kept, lengths, strict=True) if n <= most_tokens]
    counts["too_long"] = len(kept) - len(short)
    if not short:
        raise ValueError(
            f"no prompts are left of {len(prompts)}: {counts['empty']} empty, "
            f"{counts['in_other_split']} in the other split, {counts['too_long']} over "
            f"--max-prompt-tokens {most_tokens}"
        )
    table = pd.DataFrame({"prompt_id": np.arange(len(short)), "prompt": short})
    return PreparedTexts(table, counts)


def prepare_responses(
    table: pd.DataFrame, empty: str, unequal: str, name: str, n_bare: int = 0
) -> PreparedTexts:
    """Return the same number of responses to every prompt.

    A prompt is a prompt_id where the table has that column, else a text.
    empty: responses without text are refused, kept, or dropped with their prompt. unequal: other
    than the commonest number of responses is refused, or dropped: prompts with fewer, and of those
    with more the responses beyond it. name: of the source, in messages. n_bare: prompts without
    any response, which are not in the table.
    """
    if n_bare and unequal == "refuse":
        raise ValueError(
            f"{name}: {n_bare} prompts have no responses: --unequal drop leaves them out"
        )
    key = "prompt_id" if "prompt_id" in table else "prompt"
    rows = table.assign(prompt_id=pd.factorize(table[key])[0])
    is_empty = rows["response"].str.strip() == ""
    counts = {"rows": len(rows), "empty_responses": int(is_empty.sum())}
    if is_empty.any() and empty == "refuse":
        raise ValueError(
            f"{name}: {is_empty.sum()} of {len(rows)} responses are empty, the first in row "
            f"{is_empty.to_numpy().argmax()}: --empty keep embeds the prompt alone, --empty drop "
            "drops their prompts"
        )
    if empty == "drop":
        rows = rows[~rows["prompt_id"].isin(rows.loc[is_empty, "prompt_id"])]
    k_of = rows.groupby("prompt_id")["response"].size()
    k = int(k_of.mode().iloc[-1]) if len(k_of) else 0
    if (k_of != k).any() and unequal == "refuse":
        other = int((k_of != k).sum())
        raise ValueError(
            f"{name}: every prompt must have the same number of responses; {len(k_of) - other} of "
            f"{len(k_of)} prompts have {k}, {other} have from {k_of.min()} to {k_of.max()}: "
            f"--unequal drop keeps {k} of each and drops prompts with fewer"
        )
    rows = rows[rows["prompt_id"].map(k_of) >= k]
    rows = rows[rows.groupby("prompt_id").cumcount() < k]
    if k < 2:
        raise ValueError(f"{name}: prompts must have at least 2 responses, found {k} for most")
    counts["unequal_prompts"] = int((k_of != k).sum()) + n_bare
    rows = renumbered(rows).sort_values("prompt_id", kind="stable", ignore_index=True)
    rows["response_id"] = np.tile(np.arange(k), len(rows) // k)
    return PreparedTexts(rows, counts)


def prepare_pairs(table: pd.DataFrame, empty: str, name: str) -> PreparedTexts:
    """Return labelled pairs, a row a pair, without those of equal responses, which have no label.

    empty: whether pairs with an empty response are refused, kept or dropped. name: of the source,
    in messages.
    """
    texts = table[["chosen", "rejected"]]
    is_empty = texts.apply(lambda text: text.str.strip() == "").any(axis=1)
    if is_empty.any() and empty == "refuse":
        raise ValueError(
            f"{name}: {is_empty.sum()} of {len(table)} pairs have an empty response, the first in "
            f"row {is_empty.to_numpy().argmax()}: --empty keep or --empty drop"
        )
    is_equal = table["chosen"] == table["rejected"]
    is_out = is_equal | is_empty if empty == "drop" else is_equal
    kept = table[~is_out].reset_index(drop=True)
    if kept.empty:
        raise ValueError(f"{name}: no pairs are left")
    return PreparedTexts(kept, {"empty": int(is_empty.sum()), "equal": int(is_equal.sum())})
