"""Classical Bradley-Terry: strengths of a fixed set of players from their comparisons.

The example of docs/classical-bradley-terry.md; `python docs/classical_bradley_terry.py DIR` fits it
to 45 models. It is the other column of arXiv:2411.04991, Table 1: many comparisons of few players
without features, where reward modelling has few comparisons of many responses with embeddings.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression

from rmsweep.annotation.preferences import preference_probability, prefers_first

N_COMPARISONS = 20_000


def strengths(winners: np.ndarray, losers: np.ndarray, n_players: int) -> np.ndarray:
    """Estimate strengths by maximum likelihood: (n_players,) in log-odds, of mean 0.

    P(i beats j) = sigmoid(s_i - s_j). winners, losers: (comparisons,) integers below n_players.
    The maximum exists, and is one, if and only if every player is linked to every other by a chain
    of wins (Ford 1957); ValueError names players without. Bradley & Terry, 1952, Biometrika 39:324;
    fitted as a logistic regression without penalty or intercept on indicator differences.
    """
    winners, losers = np.asarray(winners), np.asarray(losers)
    if winners.shape != losers.shape or winners.ndim != 1:
        raise ValueError(
            f"winners and losers must be two lists of one length, got {winners.shape} and "
            f"{losers.shape}"
        )
    if n_players < 2 or not (
        0 <= min(winners.min(), losers.min()) <= max(winners.max(), losers.max()) < n_players
    ):
        raise ValueError(
            f"players must be numbered from 0 to below n_players >= 2, got {n_players}"
        )
    if (winners == losers).any():
        raise ValueError(f"a player cannot meet itself: comparison {np.argmax(winners == losers)}")
    won = coo_array((np.ones(len(winners)), (winners, losers)), (n_players, n_players)).tocsr()
    _require_connected(won)
    low, high = np.nonzero(np.triu((won + won.T).toarray(), k=1))
    x = np.zeros((2 * len(low), n_players))
    x[np.arange(2 * len(low)), np.tile(low, 2)] = 1
    x[np.arange(2 * len(low)), np.tile(high, 2)] = -1
    is_low_first = np.repeat([True, False], len(low))
    counts = np.concatenate([won[low, high], won[high, low]])
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=10_000)
    log_odds = model.fit(x, is_low_first, sample_weight=counts).coef_[0]
    return log_odds - log_odds.mean()


def _require_connected(won: coo_array) -> None:
    """Raise ValueError unless a chain of wins leads from every player to every other."""
    n, group = connected_components(won, connection="strong")
    if n == 1:
        return
    alone = np.flatnonzero(group != np.bincount(group).argmax())
    raise ValueError(
        f"players must be linked by chains of wins both ways, but they fall into {n} groups: "
        f"{alone[:5].tolist()} always win or always lose against the others, or never meet them; "
        "their strengths have no finite estimate: add comparisons or leave them out"
    )


def main(folder: Path) -> None:
    """Print each model's strength beside its mean golden reward; folder: of the texts."""
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
    strength = strengths(player[winner], player[loser], len(models))
    mean_golden = texts.groupby("player")["golden_reward"].mean()
    table = pd.DataFrame({"strength": strength, "mean golden reward": mean_golden})
    table.index = pd.Index(models, name="model")
    print(table.sort_values("strength", ascending=False).round(2).to_string())
    columns = table["strength"], table["mean golden reward"]
    print(f"{len(margin):,} comparisons of {len(models)} models, beta = 1")
    print(f"Pearson {pearsonr(*columns)[0]:.3f}, Spearman {spearmanr(*columns)[0]:.3f}")


def _same_prompt_pairs(
    texts: pd.DataFrame, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of two models' responses to one prompt, N_COMPARISONS times."""
    rows = texts.index.to_numpy()
    _, start, size = np.unique(texts["prompt_id"], return_index=True, return_counts=True)
    prompt = rng.integers(len(start), size=N_COMPARISONS)
    i = rng.integers(size[prompt])
    j = (i + 1 + rng.integers(size[prompt] - 1)) % size[prompt]
    return rows[start[prompt] + i], rows[start[prompt] + j]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
