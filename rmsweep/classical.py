"""Classical Bradley-Terry: strengths of a fixed set of players from their comparisons.

The other column of arXiv:2411.04991, Table 1: many comparisons of few players without features,
where reward modelling has few comparisons of many responses with embeddings.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def strengths(winners: np.ndarray, losers: np.ndarray, n_players: int) -> np.ndarray:
    """Maximum-likelihood strengths, (n_players,) in log-odds, of mean 0.

    P(i beats j) = sigmoid(s_i - s_j). winners, losers: (comparisons,) integers below n_players.
    The maximum exists, and is one, if and only if every player is linked to every other by a chain
    of wins (Ford 1957); ValueError names players without. Bradley & Terry, 1952, Biometrika 39:324;
    fitted as a logistic regression without penalty or intercept on indicator differences.
    """
    from sklearn.linear_model import LogisticRegression

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
    found = model.fit(x, is_low_first, sample_weight=counts).coef_[0]
    return found - found.mean()


def _require_connected(won: coo_array) -> None:
    """ValueError unless a chain of wins leads from every player to every other."""
    n, group = connected_components(won, connection="strong")
    if n == 1:
        return
    alone = np.flatnonzero(group != np.bincount(group).argmax())
    raise ValueError(
        f"players must be linked by chains of wins both ways, but they fall into {n} groups: "
        f"{alone[:5].tolist()} always win or always lose against the others, or never meet them; "
        "their strengths have no finite estimate: add comparisons or leave them out"
    )
