"""The example of docs/classical-bradley-terry.md: `python docs/classical_bradley_terry.py DIR`."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from rmsweep.annotation.preferences import preference_probability, prefers_first
from rmsweep.classical import strengths

N_COMPARISONS = 20_000


def main(folder: Path) -> None:
    parts = [
        pd.read_parquet(folder / f"texts_alpaca-{name}_alpacaeval_{split}.parquet")
        for name in ("weak", "mid", "strong")
        for split in ("train", "test")
    ]
    texts = pd.concat(parts, ignore_index=True)
    texts["player"], models = pd.factorize(texts["model"], sort=True)
    rng = np.random.default_rng(0)
    order = texts.sample(frac=1, random_state=rng).sort_values("prompt_id", kind="stable")
    first, second = _same_prompt_pairs(order, rng)
    golden = texts["golden_reward"].to_numpy(float)
    margin = (golden[first] - golden[second]) / golden.std()
    is_first = prefers_first(preference_probability(margin, beta=1.0), rng.random(len(margin)))
    winner, loser = np.where(is_first, (first, second), (second, first))
    player = texts["player"].to_numpy()
    found = strengths(player[winner], player[loser], len(models))
    table = pd.DataFrame(
        {"strength": found, "mean golden reward": texts.groupby("player")["golden_reward"].mean()}
    )
    table.index = pd.Index(models, name="model")
    print(table.sort_values("strength", ascending=False).round(2).to_string())
    columns = table["strength"], table["mean golden reward"]
    print(f"{len(margin):,} comparisons of {len(models)} models, beta = 1")
    print(f"Pearson {pearsonr(*columns)[0]:.3f}, Spearman {spearmanr(*columns)[0]:.3f}")


def _same_prompt_pairs(
    texts: pd.DataFrame, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two models' responses to one prompt, N_COMPARISONS times."""
    rows = texts.index.to_numpy()
    _, start, size = np.unique(texts["prompt_id"], return_index=True, return_counts=True)
    prompt = rng.integers(len(start), size=N_COMPARISONS)
    i = rng.integers(size[prompt])
    j = (i + 1 + rng.integers(size[prompt] - 1)) % size[prompt]
    return rows[start[prompt] + i], rows[start[prompt] + j]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
