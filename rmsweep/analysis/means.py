"""The means of cells, each a set of runs that one number speaks of, and their bootstrap draws."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean

N_DRAWS = 2000
ENOUGH_SEEDS = 5  # with fewer the intervals are too narrow
PART = ["cell", "dataset", "unit", "n_prompts"]  # what the runs of one part of a cell share


def full_block(has_run: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lines and settings such that every line has a run at every setting.

    A line is a row of a table at one seed. has_run: (lines, settings) bool. row: (lines,), the
    table's row that a line is of. Returns positions of lines and of settings, ascending.

    What has the largest gap is dropped, one by one: the gap of a line is the share of settings it
    lacks, the gap of a setting the largest share of one row's lines that lack it. So an empty line
    goes first, and a setting that some row does not have goes before that row does.
    """
    lines, settings = np.arange(has_run.shape[0]), np.arange(has_run.shape[1])
    while not (block := has_run[np.ix_(lines, settings)]).all():
        line_gaps = (~block).mean(axis=1)
        setting_gaps = pd.DataFrame(~block).groupby(row[lines]).mean().max().to_numpy()
        if line_gaps.max() >= setting_gaps.max():
            lines = np.delete(lines, line_gaps.argmax())
        else:
            settings = np.delete(settings, setting_gaps.argmax())
    return lines, settings


def in_full_block(
    line: np.ndarray, setting: np.ndarray, row_of_line: np.ndarray, has_value: np.ndarray
) -> np.ndarray:
    """Return which runs are in the `full_block` of their lines and settings: (runs,) bool.

    line, setting: (runs,), numbers from 0. row_of_line: (lines,). has_value: (runs,) bool.
    """
    has_run = np.zeros((line.max() + 1, setting.max() + 1), dtype=bool)
    has_run[line, setting] = has_value
    lines, settings = full_block(has_run, row_of_line)
    return np.isin(line, lines) & np.isin(setting, settings)


def means_and_draws(
    values: pd.DataFrame, runs: pd.DataFrame, rng: np.random.Generator, n_draws: int = N_DRAWS
) -> tuple[pd.Series, pd.DataFrame]:
    """Return the mean of each cell (cells,) and its bootstrap draws (n_draws, cells).

    A part of a cell is its runs on one set of test prompts, in one unit of golden reward. Each part
    has a mean of its own, and the mean of a cell is that of its parts, weighted by their numbers of
    settings, so that every setting counts the same. One draw takes the same seeds and prompts for
    all cells, so draws of two cells may be subtracted.

    values: of each run, as from `run_values`, `value` and for a ratio `divisor`. runs: of the same
    runs in the same order the integers cell, setting, seed, unit, dataset and n_prompts; the last
    two name the set of prompts, whose number differs where synthetic data of one name are of two
    sizes. A cell without runs is absent from both results.
    """
    parts = runs.reset_index(drop=True).groupby(PART, sort=True)
    of_parts = _mean_then_draws(values, runs["seed"].to_numpy(), parts.indices, rng, n_draws)
    n_settings = parts["setting"].nunique()
    cell_of_part = n_settings.index.get_level_values("cell")
    of_cells = {}
    for cell in cell_of_part.unique():
        is_part = cell_of_part == cell
        of_cells[cell] = np.average(of_parts[:, is_part], axis=1, weights=n_settings[is_part])
    table = pd.DataFrame(of_cells, index=range(1 + n_draws), dtype=float)
    return table.iloc[0], table.iloc[1:]  # the mean, and below it the draws


def _mean_then_draws(
    values: pd.DataFrame,
    seeds: np.ndarray,
    positions_of_part: Mapping[tuple[int, ...], np.ndarray],
    rng: np.random.Generator,
    n_draws: int,
) -> np.ndarray:
    """Return the mean of each part in line 0, its draws below: (1 + n_draws, parts).

    A part is one matrix (seeds, prompts), a seed's row the mean over its settings, and its mean is
    the matrix's `crossed_mean`. With a divisor it is that mean over the divisor's, draw by draw.
    seeds: of each run; one that none of them has is not drawn. positions_of_part: by the values of
    PART the positions of its runs.
    """
    used, seeds = np.unique(seeds, return_inverse=True)
    matrices = [
        seed_means(np.stack(column.iloc[positions].to_list()), seeds[positions], len(used))
        for _, column in values.items()
        for positions in positions_of_part.values()
    ]
    prompts_of_part = [(dataset, n_prompts) for _, dataset, _, n_prompts in positions_of_part]
    strata = prompts_of_part * values.shape[1]  # all parts of value, then all of divisor
    means = np.array([[crossed_mean(matrix) for matrix in matrices]])
    lines = np.concatenate([means, bootstrap_means(matrices, strata, rng, n_draws)])
    if "divisor" not in values:
        return lines
    value, divisor = np.split(lines, 2, axis=1)
    return np.divide(value, divisor, out=np.full(value.shape, np.nan), where=divisor != 0)


def seed_means(values: np.ndarray, seeds: np.ndarray, n_seeds: int) -> np.ndarray:
    """Return the mean over the runs of each seed, without what is nan: (n_seeds, prompts).

    values: (runs,) or (runs, prompts). seeds: (runs,), integers below n_seeds. nan where a seed has
    no value.
    """
    values = values.reshape(len(values), -1).astype(float)
    is_gap = np.isnan(values)
    is_of_seed = (np.arange(n_seeds)[:, None] == seeds).astype(float)  # (n_seeds, runs)
    n = np.repeat(is_of_seed.sum(axis=1, keepdims=True), values.shape[1], axis=1)
    if is_gap.any():
        values[is_gap] = 0
        n -= is_of_seed @ is_gap
    total = is_of_seed @ values
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
