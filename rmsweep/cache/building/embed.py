"""Embeddings of texts: a hidden state of the backbone's last layer, or the mean of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rmsweep.cache.building.batching import Budget, Texts, outputs_of_texts, padded
from rmsweep.cache.building.models import Loaded
from rmsweep.cache.building.progress import Progress
from rmsweep.cache.building.tokens import Cut


@dataclass(frozen=True)
class Pooling:
    """The hidden state that is the embedding."""

    mode: str  # last: of the last token, as RBT does; mean: over all tokens; cls: of the first
    normalize: bool  # to length 1

    def __call__(self, states: Any, mask: Any) -> Any:
        """Return embeddings, (rows, D) fp32, of states (rows, tokens, D) and right-padded masks."""
        import torch

        if self.mode == "mean":
            weights = mask.unsqueeze(-1).float()
            pooled = (states.float() * weights).sum(1) / weights.sum(1).clamp(min=1)
        else:
            place = (mask.sum(1) - 1).clamp(min=0) if self.mode == "last" else 0 * mask.sum(1)
            pooled = states[torch.arange(len(states), device=states.device), place].float()
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


def embed_texts(
    loaded: Loaded, texts: Texts, pooling: Pooling, cut: Cut, budget: Budget, progress: Progress
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the embedding of each (prompt, response), (n, D) float32, and counts of tokens."""

    def pooled(batch: list[list[int]]) -> np.ndarray:
        ids, mask = loaded.tensors(*padded(batch, loaded.pad, "right"))
        with loaded.inference():
            states = loaded.model(input_ids=ids, attention_mask=mask).last_hidden_state
            embeddings: np.ndarray = pooling(states, mask).cpu().numpy()
        return embeddings

    return outputs_of_texts(loaded, texts, cut, budget, progress, pooled)


def as_stored(embeddings: np.ndarray, dtype: str, model: str) -> np.ndarray:
    """Return embeddings (n, D) in dtype; ValueError where one is not finite or beyond its range."""
    with np.errstate(over="ignore"):
        stored = embeddings.astype(dtype)
    bad = ~np.isfinite(stored).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        is_finite = np.isfinite(embeddings[row]).all()
        reason = "NaN or infinite: try --precision fp32"
        reason = "beyond float16: --dtype float32" if is_finite else reason
        raise ValueError(f"{model}: {int(bad.sum())} of {len(bad)} embeddings are {reason}")
    return stored
