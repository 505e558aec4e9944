"""Paired contrasts between two sets of runs of one results DataFrame: effects and intervals.

Which runs meet is decided in matched_runs.py. Intervals come from one paired, crossed bootstrap
(bootstrap.py): the same draws of seeds, and of each dataset's prompts, for all that one call
compares. A metric in golden reward is not pooled over datasets (units.py): MissingData says so.

The functions return a line a group of pairs with
    the fields `by` of side a;
    estimate: the effect, over settings, seeds and prompts;
    low, high: its 95 % interval, nan where there is nothing to resample;
    n_seeds, n_prompts, n_pairs: that it is over; n_prompts is NA where seeds alone are resampled.
It is empty where no run meets another. rows: done runs, one a key, with their fields and the
columns of `metric_columns(metric)`. a, b: the sides, as in matched_runs.py.
"""

import numpy as np
import pandas as pd

from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean, percentile_interval, wins
from rmsweep.analysis.fields import combination_ids, dataset_ids
from rmsweep.analysis.matched_runs import N_NUMBERS, Fields, Side, balanced_pairs, matched_pairs
from rmsweep.analysis.means import means_and_draws, seed_means
from rmsweep.analysis.metrics import metric_named, run_values
from rmsweep.analysis.units import require_one_unit, unit_ids
from rmsweep.errors import Absent


def paired_differences(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, rng: np.random.Generator, by: Fields = ()
) -> pd.DataFrame:
    """Return the mean paired difference a - b for each combination of the fields `by`.

    A group's estimate is the mean over settings and seeds of its `balanced_pairs`.
    """
    pairs = balanced_pairs(matched_pairs(rows, a, b, metric), by)
    return effect_table(pairs, metric, by, *difference_draws(rows, pairs, metric, rng, by))


def paired_win_rates(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, rng: np.random.Generator, by: Fields = ()
) -> pd.DataFrame:
    """Return the share of the test prompts on which a run of a beats its partner of b.

    Ties count a half, so 1/2 says that neither is ahead. Where the metric has no value by prompt it
    is the share of the pairs of runs.
    """
    pairs = balanced_pairs(matched_pairs(rows, a, b, metric), by)
    values = run_values(rows, metric)["value"].to_numpy()
    sides = zip(values[pairs["row_a"]], values[pairs["row_b"]], strict=True)
    is_lower_better = metric_named(metric).better == "lower"
    won = [wins(y, x) if is_lower_better else wins(x, y) for x, y in sides]
    runs = pairs[["setting", "seed", "unit", "n_prompts"]].assign(dataset=pairs["stratum"])
    runs["cell"] = combination_ids(pairs, by)
    means, draws = means_and_draws(pd.DataFrame({"value": won}), runs, rng)
    return effect_table(pairs, metric, by, means, draws)


def difference_draws(
    rows: pd.DataFrame, pairs: pd.DataFrame, metric: str, rng: np.random.Generator, by: Fields = ()
) -> tuple[pd.Series, pd.DataFrame]:
    """Return the mean difference of each group of pairs, and its draws (N_DRAWS, groups)."""
    for _, units in pairs.groupby(combination_ids(pairs, by))["unit"]:
        require_one_unit(units, metric)
    (mean_a, mean_b), (draws_a, draws_b) = _sides(rows, pairs, metric, rng, by)
    return pd.Series(mean_a - mean_b), pd.DataFrame(draws_a - draws_b)


def metric_means(rows: pd.DataFrame, metric: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return the mean of the metric itself over all runs, in one line; each run is its own pair."""
    pairs = balanced_pairs(matched_pairs(rows, {}, {}, metric))
    require_one_unit(pairs["unit"], metric)
    (means, _), (draws, _) = _sides(rows, pairs, metric, rng, ())
    return effect_table(pairs, metric, (), pd.Series(means), pd.DataFrame(draws))


def paired_relative_difference(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the mean of a less that of b, as a share of that of b, in one line.

    Each unit of golden reward has a share of its own, and their mean is weighted by their numbers
    of settings. For a metric that is above 0, such as mean_margin.
    """
    pairs = balanced_pairs(matched_pairs(rows, a, b, metric))
    (mean_a, mean_b), (draws_a, draws_b) = _sides(rows, pairs, metric, rng, ["unit"])
    n_settings = pairs.groupby(combination_ids(pairs, ["unit"]))["setting"].nunique()
    weights = (n_settings / n_settings.sum()).to_numpy()
    estimate = pd.Series([(mean_a / mean_b - 1) @ weights] if len(weights) else [], dtype=float)
    draws = pd.DataFrame((draws_a / draws_b - 1) @ weights)[estimate.index]
    return effect_table(pairs, metric, (), estimate, draws)


def _sides(
    rows: pd.DataFrame, pairs: pd.DataFrame, metric: str, rng: np.random.Generator, by: Fields
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The means of both sides, each (groups,), and their draws, each (N_DRAWS, groups)."""
    groups = combination_ids(pairs, by)
    sides = [
        pairs[["setting", "seed"]].assign(row=pairs[name], cell=2 * groups + side)
        for side, name in enumerate(("row_a", "row_b"))
    ]
    runs = pd.concat(sides, ignore_index=True)
    values = run_values(rows, metric).iloc[runs["row"]]
    runs["dataset"] = dataset_ids(rows, metric)[runs["row"]]
    runs["unit"] = unit_ids(rows, metric)[runs["row"]]
    runs["n_prompts"] = values["value"].map(np.size).to_numpy()
    means, draws = means_and_draws(values, runs, rng)
    of_sides = means.index[::2], means.index[1::2]
    return [means[i].to_numpy() for i in of_sides], [draws[i].to_numpy() for i in of_sides]


def paired_interaction(
    rows: pd.DataFrame,
    a: Side,
    b: Side,
    metric: str,
    here: Side,
    there: Side,
    rng: np.random.Generator,
    of_size: bool = False,
) -> pd.DataFrame:
    """Return how much larger the paired difference a - b is `here` than `there`, in one line.

    An example is the gain of cross_prompt under selection similar (here) over its gain under random
    (there). A pair counts only with one of the same setting and seed on the other half. of_size:
    compare |a - b|, the size of the mean difference, which draws around 0 overstate.
    """
    if set(here) != set(there):
        raise ValueError(f"here and there need the same fields, got {[*here]} and {[*there]}")
    sides = [{**side, **where} for where in (here, there) for side in (a, b)]
    halves = [matched_pairs(rows, sides[i], sides[i + 1], metric, sides) for i in (0, 2)]
    places = [pd.MultiIndex.from_frame(half[["setting", "seed"]]) for half in halves]
    halves = [halves[i][places[i].isin(places[1 - i])].assign(half=i) for i in (0, 1)]
    both = balanced_pairs(pd.concat(halves), ["half"])
    require_one_unit(both["unit"], metric)
    estimates, draws = difference_draws(rows, both, metric, rng, ["half"])
    if both.empty:
        return effect_table(both, metric, (), estimates, draws)
    if of_size:
        estimates, draws = estimates.abs(), draws.abs()
    estimates, draws = estimates[[0]] - estimates[1], draws[[0]] - draws[[1]].to_numpy()
    return effect_table(both, metric, (), estimates, draws)


def paired_slope(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, x: str, along: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the slope of the paired difference d = a - b over the number x of run a, in one line.

    x: a numeric column of rows, such as annotation_error, which the field `along` moves, such as
    annotation.beta; it may be that field. The slope is that of least squares with an intercept for
    each combination g of the seed and the other fields:
    sum_i (x_i - mean_g x) d_i / sum_i (x_i - mean_g x)^2.
    A prompt without a value (spearman) stands at the mean of its pair. nan where x does not vary.
    Of a ratio of means, such as oracle_share, d is over the mean divisor of its unit.
    """
    pairs = matched_pairs(rows, a, b, metric)
    require_one_unit(pairs["unit"], metric)
    others = [
        f for f in pairs.columns[N_NUMBERS:] if f != along and pairs[f].nunique(dropna=False) > 1
    ]
    number = rows[x].iloc[pairs["row_a"]].astype(float).reset_index(drop=True)
    seed = pd.factorize(pairs["seed"])[0]  # of those that are left
    group = pairs.groupby(["seed", *others], dropna=False).ngroup()
    lever = (number - number.groupby(group).transform("mean")).to_numpy()
    values = run_values(rows, metric)
    over, under, divisors, strata = [], [], [], []
    for (stratum, *_), i in pairs.groupby(["stratum", "unit", "n_prompts"]).indices.items():
        row_a, row_b = (pairs[name].to_numpy()[i] for name in ("row_a", "row_b"))
        difference = _matrix(values["value"], row_a) - _matrix(values["value"], row_b)
        levers = lever[i] * (np.arange(seed.max() + 1)[:, None] == seed[i])
        over.append(levers @ _filled(difference))  # (seeds, prompts)
        under.append(np.repeat((levers**2).sum(axis=1, keepdims=True), difference.shape[1], axis=1))
        if "divisor" in values:
            divisor = _matrix(values["divisor"], row_a)
            divisors.append(seed_means(divisor, seed[i], seed.max() + 1))
        strata.append(stratum)
    matrices = [*over, *under, *divisors]
    means = np.array([[crossed_mean(matrix) for matrix in matrices]])
    draws = bootstrap_means(matrices, strata * values.shape[1] + strata, rng)
    slopes = _slopes(*np.split(np.concatenate([means, draws]), 1 + values.shape[1], axis=1))
    return effect_table(pairs, metric, (), pd.Series(slopes[:1]), pd.DataFrame(slopes[1:, None]))


def _matrix(values: pd.Series, rows: np.ndarray) -> np.ndarray:
    """The values of some rows, (rows, prompts), or (rows, 1) where a run has one number."""
    return np.stack(values.iloc[rows].to_list()).astype(float).reshape(len(rows), -1)


def _slopes(over: np.ndarray, under: np.ndarray, divisor: np.ndarray | None = None) -> np.ndarray:
    """The sum of over / divisor over the sum of under, by line: each (lines, parts), to (lines,).

    A part has no divisor in a draw that has none of its seeds, and then nothing to divide.
    """
    if divisor is not None:
        over = np.divide(over, divisor, out=np.zeros(over.shape), where=np.abs(divisor) > 0)
    top, bottom = over.sum(axis=1), under.sum(axis=1)
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def correlation_points(
    rows: pd.DataFrame, a: Side, b: Side, metric: str, x: str, by: Fields, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return paired differences by the fields `by` with the mean of x, and their correlation.

    x: a numeric column of rows, of run a, such as mean_margin. The first table has a line a point,
    as `paired_differences`, and its x; the second has one line with Pearson's correlation over the
    points, nan for fewer than three. Its interval takes the points as they are: only seeds and
    prompts are resampled. Where x is in golden reward and points differ in its unit, the
    correlation is that within units: of x as a share of its mean, and both less their means.
    """
    pairs = balanced_pairs(matched_pairs(rows, a, b, metric), by)
    require_one_unit(pairs["unit"], metric)
    estimates, draws = difference_draws(rows, pairs, metric, rng, by)
    points = effect_table(pairs, metric, by, estimates, draws)
    groups = combination_ids(pairs, by)
    number = rows[x].iloc[pairs["row_a"]].astype(float).reset_index(drop=True)
    points["x"] = number.groupby(groups).mean()
    units = pd.Series(unit_ids(rows, x)[pairs["row_a"]]).groupby(groups)
    if units.nunique().max() > 1:
        raise Absent(f"a point has {x} of several datasets; name dataset in by")
    both = np.vstack([estimates.to_numpy()[None], draws.to_numpy()])
    within = _within_units(points["x"].to_numpy(), both, units.first().to_numpy())
    r = correlations(*within)
    estimate, draws = pd.Series(r[:1]), pd.DataFrame(r[1:, None])
    return points, effect_table(pairs, metric, (), estimate, draws)


def effect_table(
    pairs: pd.DataFrame, metric: str, by: Fields, estimates: pd.Series, draws: pd.DataFrame
) -> pd.DataFrame:
    """Return the table that the functions above return, a line a group of pairs.

    estimates: (groups,). draws: (n_draws, groups).
    """
    groups = combination_ids(pairs, by)
    first = np.unique(groups, return_index=True)[1]
    table = pairs.iloc[first][list(by)].reset_index(drop=True)
    table["estimate"] = estimates.to_numpy()
    table["low"], table["high"] = percentile_interval(draws.to_numpy())
    table["n_seeds"] = pairs.groupby(groups)["seed"].nunique()
    strata = pairs.assign(group=groups).drop_duplicates(["group", "stratum", "n_prompts"])
    table["n_prompts"] = strata.groupby("group")["n_prompts"].sum().astype("Int64")
    if metric_named(metric).by == "seed":
        table["n_prompts"] = pd.Series(pd.NA, table.index, dtype="Int64")
    table["n_pairs"] = pairs.groupby(groups).size()
    return table


def _filled(matrix: np.ndarray) -> np.ndarray:
    """The matrix with the mean of a row's other entries in place of nan."""
    is_gap = np.isnan(matrix)
    if not is_gap.any():
        return matrix
    return np.where(is_gap, np.nanmean(matrix, axis=1, keepdims=True), matrix)


def _within_units(
    x: np.ndarray, lines: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return x (points,) as a share of its unit's mean, and lines (n, points), less their means."""
    x, lines = x.astype(float), lines.copy()
    if len(np.unique(units)) < 2:
        return x, lines
    for unit in np.unique(units):
        i = units == unit
        x[i] = x[i] / x[i].mean() - 1
        lines[:, i] -= lines[:, i].mean(axis=1, keepdims=True)
    return x, lines


def correlations(x: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of x (points,) with each of lines (n, points): (n,).

    nan for fewer than three points, and where either is constant.
    """
    if len(x) < 3:
        return np.full(len(lines), np.nan)
    x, lines = x - x.mean(), lines - lines.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(x) * np.linalg.norm(lines, axis=1)
    return np.divide(lines @ x, scale, out=np.full(len(lines), np.nan), where=scale > 0)
