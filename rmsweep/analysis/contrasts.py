"""Paired contrasts between two sets of runs of one results DataFrame: effects and intervals.

The runs that meet are run_pairs.py's. Intervals come from one paired, crossed bootstrap
(statistics.py): the same draws of seeds, and of each dataset's prompts, for all that one call
compares.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean, percentile_interval, wins
from rmsweep.analysis.fields import dataset_ids
from rmsweep.analysis.matched_runs import N_OWN, Side, balanced, group_ids, pair
from rmsweep.analysis.means import means_and_draws
from rmsweep.analysis.metrics import PER_PROMPT, values_by_prompt


def paired_differences(
    rows: pd.DataFrame,
    a: Side,
    b: Side,
    metric: str,
    rng: np.random.Generator,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Mean paired difference a - b with its 95 % interval, for each combination of the fields `by`.

    Returns the fields `by` (of side a) and estimate, low, high (nan where there is nothing to
    resample), n_seeds, n_prompts (NA where only seeds are resampled) and n_pairs. Empty where no
    run meets another. A group's estimate is its mean over settings and seeds, of `balanced` pairs.
    """
    pairs = balanced(pair(rows, a, b, metric), by)
    return summary(pairs, metric, by, *difference_draws(rows, pairs, metric, rng, by))


def paired_win_rates(
    rows: pd.DataFrame,
    a: Side,
    b: Side,
    metric: str,
    rng: np.random.Generator,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Share of the test prompts on which a run of a beats its partner of b, ties a half.

    The share of the pairs, where the metric has no value by prompt. Returns what
    `paired_differences` does; 1/2 says that neither is ahead.
    """
    pairs = balanced(pair(rows, a, b, metric), by)
    values = values_by_prompt(rows, metric).iloc[:, 0].to_numpy()
    won = [wins(values[i], values[j]) for i, j in zip(pairs["row_a"], pairs["row_b"], strict=True)]
    runs = pairs[["setting", "seed", "n_prompts"]].assign(
        cell=group_ids(pairs, by), dataset=pairs["stratum"]
    )
    return summary(pairs, metric, by, *means_and_draws(pd.DataFrame({"won": won}), runs, rng))


def difference_draws(
    rows: pd.DataFrame,
    pairs: pd.DataFrame,
    metric: str,
    rng: np.random.Generator,
    by: Sequence[str] = (),
) -> tuple[pd.Series, pd.DataFrame]:
    """Estimates of the groups of pairs, and their draws (N_DRAWS, groups), for `summary`."""
    groups = group_ids(pairs, by)
    sides = [
        pairs[["setting", "seed"]].assign(row=pairs[name], cell=2 * groups + side)
        for side, name in enumerate(("row_a", "row_b"))
    ]
    runs = pd.concat(sides, ignore_index=True)
    values = values_by_prompt(rows, metric).iloc[runs["row"]]
    runs["dataset"] = dataset_ids(rows, metric)[runs["row"]]
    runs["n_prompts"] = values.iloc[:, 0].map(np.size).to_numpy()
    means, draws = means_and_draws(values, runs, rng)
    a, b = means.index[::2], means.index[1::2]
    estimates = pd.Series(means[a].to_numpy() - means[b].to_numpy())
    return estimates, pd.DataFrame(draws[a].to_numpy() - draws[b].to_numpy())


def paired_interaction(
    rows: pd.DataFrame,
    a: Side,
    b: Side,
    metric: str,
    here: Side,
    there: Side,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """How much larger the paired difference a - b is `here` than `there`; one line, as above.

    Such as the gain of cross_prompt under selection similar, here, over that under random, there.
    Only pairs whose counterpart is there, too, count.
    """
    if set(here) != set(there):
        raise ValueError(f"here and there need the same fields, got {[*here]} and {[*there]}")
    sides = [{**side, **where} for where in (here, there) for side in (a, b)]
    halves = [pair(rows, sides[i], sides[i + 1], metric, sides) for i in (0, 2)]
    for i, j in ((0, 1), (1, 0)):
        is_met = (
            halves[i]
            .set_index(["setting", "seed"])
            .index.isin(halves[j].set_index(["setting", "seed"]).index)
        )
        halves[i] = halves[i][is_met]
    both = balanced(pd.concat([half.assign(half=i) for i, half in enumerate(halves)]), ["half"])
    estimates, draws = difference_draws(rows, both, metric, rng, ["half"])
    if both.empty:
        return summary(both, metric, (), estimates, draws)
    estimates, draws = estimates[[0]] - estimates[1], draws[[0]] - draws[[1]].to_numpy()
    return summary(both, metric, (), estimates, draws)


def paired_slope(
    rows: pd.DataFrame,
    a: Side,
    b: Side,
    metric: str,
    x: str,
    along: str,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Slope of the paired difference d = a - b over the numbers x of run a; one line, as above.

    x: a numeric column of rows, as annotation_error, which the field `along` moves, as
    annotation.beta; it may be that field. Least squares with an intercept for each combination g
    of the seed and the other fields: sum_i (x_i - mean_g x) d_i / sum_i (x_i - mean_g x)^2.
    A prompt without a value (spearman) stands at the mean of its pair. nan where x does not vary.
    """
    if metric == "oracle_share":
        raise ValueError("a slope of oracle_share is not defined; use improvement or bon_golden")
    pairs = pair(rows, a, b, metric)
    others = [f for f in pairs.columns[N_OWN:] if f != along and pairs[f].nunique(dropna=False) > 1]
    number = rows[x].iloc[pairs["row_a"]].astype(float).reset_index(drop=True)
    seed = pd.factorize(pairs["seed"])[0]  # of those that are left
    group = pairs.groupby(["seed", *others], dropna=False).ngroup()
    lever = (number - number.groupby(group).transform("mean")).to_numpy()
    values = values_by_prompt(rows, metric).iloc[:, 0]
    over, under, strata = [], [], []
    for stratum, i in pairs.groupby(["stratum", "n_prompts"]).indices.items():
        of_a, of_b = (_matrix(values.iloc[pairs[name].iloc[i]]) for name in ("row_a", "row_b"))
        levers = lever[i] * (np.arange(seed.max() + 1)[:, None] == seed[i])
        over.append(levers @ _filled(of_a - of_b))  # (seeds, prompts)
        under.append(np.repeat((levers**2).sum(axis=1, keepdims=True), of_a.shape[1], axis=1))
        strata.append(stratum)
    both = [np.sum([crossed_mean(m) for m in part]) for part in (over, under)]
    draws = bootstrap_means([*over, *under], [*strata, *strata], rng)
    sums = [half.sum(axis=1, keepdims=True) for half in np.split(draws, 2, axis=1)]
    estimates, draws = (
        np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
        for top, bottom in (np.atleast_1d(*both), sums)
    )
    return summary(pairs, metric, (), pd.Series(estimates), pd.DataFrame(draws))


def correlation_points(
    rows: pd.DataFrame,
    a: Side,
    b: Side,
    metric: str,
    x: str,
    by: Sequence[str],
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Paired differences by the fields `by` against the mean of x, and their correlation.

    x: a numeric column of rows, of run a, such as mean_margin. Returns the points, as
    `paired_differences` does, with x; and one line of the same columns with Pearson's correlation
    over the points. Its interval takes the points as given: only seeds and prompts are resampled.
    nan for fewer than three points.
    """
    pairs = balanced(pair(rows, a, b, metric), by)
    estimates, draws = difference_draws(rows, pairs, metric, rng, by)
    points = summary(pairs, metric, by, estimates, draws)
    number = rows[x].iloc[pairs["row_a"]].astype(float).reset_index(drop=True)
    points["x"] = number.groupby(group_ids(pairs, by)).mean()
    both = np.vstack([estimates.to_numpy()[None], draws.to_numpy()])
    found = _correlations(points["x"].to_numpy(), both)
    line = summary(pairs, metric, (), pd.Series(found[:1]), pd.DataFrame(found[1:, None]))
    return points, line


def summary(
    pairs: pd.DataFrame,
    metric: str,
    by: Sequence[str],
    estimates: pd.Series,
    draws: pd.DataFrame,
) -> pd.DataFrame:
    """A line a group of pairs: fields `by`, estimate, low, high, n_seeds, n_prompts, n_pairs."""
    groups = group_ids(pairs, by)
    first = np.unique(groups, return_index=True)[1]
    table = pairs.iloc[first][list(by)].reset_index(drop=True)
    table["estimate"] = estimates.to_numpy()
    table["low"], table["high"] = percentile_interval(draws.to_numpy())
    table["n_seeds"] = pairs.groupby(groups)["seed"].nunique()
    strata = pairs.assign(group=groups).drop_duplicates(["group", "stratum", "n_prompts"])
    table["n_prompts"] = strata.groupby("group")["n_prompts"].sum().astype("Int64")
    if metric not in PER_PROMPT:
        table["n_prompts"] = pd.Series(pd.NA, table.index, dtype="Int64")
    table["n_pairs"] = pairs.groupby(groups).size()
    return table


def _matrix(values: pd.Series) -> np.ndarray:
    """(runs, prompts) from one array or number a run."""
    stacked = np.stack(values.to_list()).astype(float)
    return stacked.reshape(len(values), -1)


def _filled(matrix: np.ndarray) -> np.ndarray:
    """nan replaced by the mean of the row's other entries."""
    is_gap = np.isnan(matrix)
    if not is_gap.any():
        return matrix
    return np.where(is_gap, np.nanmean(matrix, axis=1, keepdims=True), matrix)


def _correlations(x: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Pearson's correlation of x (points,) with each of lines (n, points): (n,)."""
    if len(x) < 3:
        return np.full(len(lines), np.nan)
    x, lines = x - x.mean(), lines - lines.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(x) * np.linalg.norm(lines, axis=1)
    return np.divide(lines @ x, scale, out=np.full(len(lines), np.nan), where=scale > 0)
