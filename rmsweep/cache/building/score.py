"""Golden rewards of responses, by a sequence-classification model."""

import itertools
from collections.abc import Sequence

import numpy as np

from rmsweep.cache.building.batching import Budget, Texts, outputs_of_texts, padded
from rmsweep.cache.building.models import Loaded
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.tokens import Cut


def cut_at(response: str, stop: str | None) -> str:
    """Return the response before stop, where a base LLM may go on with the human's turn."""
    return response.partition(stop)[0] if stop else response


def _pad(batch: Sequence[Sequence[int]], usual: int) -> int:
    """Return a token to fill a batch with that ends none of its texts."""
    # Models with a head on the last token take the last one that is not the pad token for it.
    ends = {sequence[-1] for sequence in batch if len(sequence)}
    return next(token for token in itertools.chain([usual], itertools.count()) if token not in ends)


def score_texts(
    loaded: Loaded, texts: Texts, output: int, cut: Cut, budget: Budget, progress: Progress
) -> tuple[np.ndarray, dict[str, int]]:
    """Return golden rewards, (n,) float32, which are logits of an output, and counts of tokens.

    ValueError where one is NaN or infinite.
    """

    def logits_of(batch: list[list[int]]) -> np.ndarray:
        pad = _pad(batch, loaded.pad)
        ids, mask = loaded.tensors(*padded(batch, pad, "right"))
        loaded.model.config.get_text_config().pad_token_id = pad
        with loaded.inference():
            logits = loaded.model(input_ids=ids, attention_mask=mask).logits
        rewards: np.ndarray = logits[:, output].float().cpu().numpy()
        return rewards

    golden, counts = outputs_of_texts(loaded, texts, cut, budget, progress, logits_of)
    if not np.isfinite(golden).all():
        row = int(np.argmax(~np.isfinite(golden)))
        raise ValueError(
            f"{loaded.id} gave the reward {golden[row]} to {texts[1][row][:60]!r}; "
            "try --precision fp32"
        )
    return golden, counts
