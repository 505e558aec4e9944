"""Means over runs and their bootstrap draws, for cells of runs that one number speaks of."""

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean

N_DRAWS = 2000


ENOUGH_SEEDS = 5


def full_part(has_run: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines (a row of a table at one seed) and settings such that every line has every setting.

    has_run: (lines, settings) bool. row: (lines,). Drops, one by one, what has the largest gap: of
    a line the share of settings it lacks, of a setting the largest share of a row's lines that lack
    it. So an empty line goes first, and a setting that some row does not have before that row does.
    """
    lines, settings = np.arange(has_run.shape[0]), np.arange(has_run.shape[1])
    while not (part := has_run[np.ix_(lines, settings)]).all():
        line_gaps = (~part).mean(axis=1)
        setting_gaps = pd.DataFrame(~part).groupby(row[lines]).mean().max().to_numpy()
        if line_gaps.max() >= setting_gaps.max():
            lines = np.delete(lines, line_gaps.argmax())
        else:
            settings = np.delete(settings, setting_gaps.argmax())
    return lines, settings


def means_and_draws(
    values: pd.DataFrame, runs: pd.DataFrame, rng: np.random.Generator, n_draws: int = N_DRAWS
) -> tuple[pd.Series, pd.DataFrame]:
    """Mean of each cell and its bootstrap draws (n_draws, cells), the same draws for all.

    values: one or two columns, of which the second divides the first. runs: of each value the
    integers cell, setting, seed, dataset and n_prompts. A matrix per cell and dataset; a cell is
    the mean over its datasets, weighted by their numbers of settings. Cells without runs are
    absent.
    """
    n_seeds = runs["seed"].max() + 1 if len(runs) else 0
    parts = runs.reset_index(drop=True).groupby(["cell", "dataset", "n_prompts"], sort=True)
    seeds = runs["seed"].to_numpy()
    matrices = [
        seed_means(np.stack(column.iloc[i].to_list()), seeds[i], n_seeds)
        for _, column in values.items()
        for i in parts.indices.values()
    ]
    strata = [part[1:] for part in parts.indices] * values.shape[1]
    means = np.array([[crossed_mean(matrix) for matrix in matrices]])
    both = np.concatenate([means, bootstrap_means(matrices, strata, rng, n_draws)])
    if values.shape[1] == 2:
        over, under = np.split(both, 2, axis=1)
        both = np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)
    weights = parts["setting"].nunique()
    of = weights.index.get_level_values("cell")
    columns = {c: np.average(both[:, of == c], 1, weights[of == c]) for c in of.unique()}
    both = pd.DataFrame(columns, index=range(n_draws + 1), dtype=float)
    return both.iloc[0], both.iloc[1:]


def seed_means(values: np.ndarray, seeds: np.ndarray, n_seeds: int) -> np.ndarray:
    """Mean over the runs of each seed, nan left out: (n_seeds, prompts) from (runs[, prompts])."""
    values = values.reshape(len(values), -1).astype(float)
    is_gap = np.isnan(values)
    of_seed = (np.arange(n_seeds)[:, None] == seeds).astype(float)  # (n_seeds, runs)
    n = np.repeat(of_seed.sum(axis=1, keepdims=True), values.shape[1], axis=1)
    if is_gap.any():
        values[is_gap] = 0
        n -= of_seed @ is_gap
    total = of_seed @ values
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
