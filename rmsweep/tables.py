"""Result tables: the runs of a sweep -> one comparison in long form (table_formats.py prints it).

A cell is what shares the row fields and the column fields. Its runs differ in the seed and in the
fields averaged over; one combination of the latter is a setting. Means over different settings do
not compare, so within a column all rows are compared on the same settings, each at every seed used
(`_full_part`); what that leaves out is counted, and the notes say so.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.statistics import bootstrap_means, crossed_mean, percentile_interval

# list columns whose sum is the metric by prompt; the other metrics are resampled by seed only
PER_PROMPT = {
    "improvement": ("improvement_by_prompt",),
    "oracle_share": ("improvement_by_prompt",),
    "bon_golden": ("base_by_prompt", "improvement_by_prompt"),
    "base": ("base_by_prompt",),
    "oracle": ("base_by_prompt", "headroom_by_prompt"),
    "spearman": ("spearman_by_prompt",),
    "pairwise_accuracy": ("pairwise_accuracy_by_prompt",),
}
HIGHER_IS_BETTER = (
    *("improvement", "oracle_share", "bon_golden"),
    *("spearman", "pairwise_accuracy", "order_consistency"),
)
NOT_RANKED = ("base", "oracle", "annotation_error", "mean_margin", "epochs", "wall_s")
COLUMN_ORDER = (
    *("base_llm", "dataset", "annotation.beta", "quantity"),
    *("pairing", "selection", "training.protocol", "backbone"),
)
N_DRAWS = 2000
ENOUGH_SEEDS = 5


def compare(
    rows: pd.DataFrame,
    wanted: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Mean and 95 % interval of one metric for every cell: long form, column by column.

    rows: the done runs, by `key`, with metrics. wanted: `key` and fields of all specs of the sweep.
    Returns the fields and mean, low, high (nan where there is no value or nothing to resample),
    n_seeds, n_prompts (NA where only seeds are resampled), n_runs done of n_wanted, n_used in the
    mean, is_best, is_tied_with_best: the 95 % interval of the paired difference from the column's
    best does not exclude 0 (true of the best itself). Only HIGHER_IS_BETTER has marks, and only
    columns with two values. oracle_share: mean improvement / mean headroom of a dataset, averaged
    over the datasets.
    """
    fields, codes = _spec_fields(wanted)
    cell_fields = _checked(fields.columns, row_fields, column_fields, metric)
    runs = _assign(codes, row_fields, column_fields)
    values = _values(rows, fields.index, metric)
    runs["is_done"] = fields.index.isin(rows["key"])
    runs["has_value"] = [all(np.isfinite(v).any() for v in row) for row in values.to_numpy()]
    runs["n_prompts"] = values.iloc[:, 0].map(np.size).to_numpy()
    runs["is_used"] = False
    for positions in runs.groupby("column").indices.values():
        runs.loc[positions, "is_used"] = _is_in_full_part(runs.loc[positions])
    used = runs[runs["is_used"]]
    means, draws = _means_and_draws(values.iloc[used.index], used, rng)
    cells = _counts(fields[cell_fields], runs, metric)
    cells["mean"] = means.reindex(cells.index)
    cells["low"], cells["high"] = percentile_interval(draws.reindex(columns=cells.index).to_numpy())
    cells["is_best"] = cells["is_tied_with_best"] = False
    if metric in HIGHER_IS_BETTER:
        for _, column in cells[cells["mean"].notna()].groupby("column"):
            _mark_best(cells, column["mean"], draws)
    counts = ["n_seeds", "n_prompts", "n_runs", "n_wanted", "n_used"]
    order = [*cell_fields, "mean", "low", "high", *counts, "is_best", "is_tied_with_best"]
    return cells[order]


def needs(metric: str) -> list[str]:
    """Columns of the results that `compare` reads for a metric; ValueError for an unknown one."""
    _check_name("metric", metric, [*HIGHER_IS_BETTER, *NOT_RANKED])
    headroom = ["headroom_by_prompt"] if metric == "oracle_share" else []
    return ["key", *PER_PROMPT.get(metric, (metric,)), *headroom]


def default_rows(wanted: pd.DataFrame, column_fields: Sequence[str] = ()) -> list[str]:
    """The loss and those of its own fields that vary within a loss."""
    _, codes = _spec_fields(wanted)
    if "loss" in column_fields:
        return _first_varying(codes, column_fields)
    own = [field for field in _settable(codes) if field.startswith("loss.")]
    return ["loss", *_varying(codes, ["loss", *column_fields], own)]


def default_columns(wanted: pd.DataFrame, row_fields: Sequence[str]) -> list[str]:
    """The first of COLUMN_ORDER, then of all fields, that varies within a row; [] if none does."""
    return _first_varying(_spec_fields(wanted)[1], row_fields)


def notes(
    cells: pd.DataFrame,
    wanted: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
) -> list[str]:
    """Lines to stand under the table of `compare`: what is resampled, averaged over, missing."""
    has_value = cells["mean"].notna()
    seeds = cells.loc[has_value, "n_seeds"]
    how = f"paired bootstrap over seeds only ({_span(seeds)}), test prompts are not resampled"
    if metric in PER_PROMPT:
        prompts = _span(cells.loc[has_value, "n_prompts"])
        how = f"paired, crossed bootstrap over seeds ({_span(seeds)}) and prompts ({prompts})"
    lines = [f"{metric}: mean [95 % interval]; {how}; B = {N_DRAWS:,}."]
    if cells["is_best"].any():
        tied = "the 95 % interval of the paired difference from it includes 0"
        lines.append(f"* best of its column; ~ tied with the best: {tied}.")
    _, codes = _spec_fields(wanted)
    averaged = _varying(codes, [*row_fields, *column_fields], _settable(codes))
    if averaged:
        names = ", ".join(f"{field} ({codes[field].nunique()} values)" for field in averaged)
        lines.append(f"Averaged over {names}.")
    n_wanted, n_runs, n_used = (cells[name].sum() for name in ("n_wanted", "n_runs", "n_used"))
    if n_runs < n_wanted:
        missing = f"{n_wanted - n_runs:,} of {n_wanted:,} runs are missing"
        lines.append(f"INCOMPLETE: {missing}; (n of N): runs done of those wanted.")
    if n_used < n_runs:
        why = f"they have no {metric} (constant predictions have no rank correlation)"
        if metric != "spearman":
            why = f"they have no {metric}"
        if averaged:
            why = "the rows of a column are compared on settings that all have at every seed used"
        lines.append(f"{n_runs - n_used:,} done runs are left out: {why}.")
    if len(seeds) and seeds.min() < ENOUGH_SEEDS:
        lines.append(f"WARNING: fewer than {ENOUGH_SEEDS} seeds, the intervals are too narrow.")
    return lines


def _checked(
    fields: Iterable[str], row_fields: Sequence[str], column_fields: Sequence[str], metric: str
) -> list[str]:
    _check_name("metric", metric, [*HIGHER_IS_BETTER, *NOT_RANKED])
    cell_fields = [*row_fields, *column_fields]
    for field in cell_fields:
        _check_name("field", field, list(fields))
    if len(set(cell_fields)) < len(cell_fields):
        raise ValueError(f"a field may stand once in rows and columns, got {cell_fields}")
    return cell_fields


def _check_name(kind: str, name: str, valid: list[str]) -> None:
    if name not in valid:
        nearest = difflib.get_close_matches(name, valid, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(f"unknown {kind} {name!r}; {hint}valid: {', '.join(valid)}")


def _spec_fields(wanted: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fields of each wanted key, null as None, loss.options also spread over loss.*; integer codes.

    Codes ascend with numbers, else follow first appearance, which is the order of the sweep file.
    """
    fields = wanted.drop_duplicates("key").set_index("key").drop(columns="spec_id", errors="ignore")
    if "loss.options" in fields:
        texts = fields["loss.options"].fillna("{}")
        options = {text: json.loads(text) for text in texts.unique()}
        for name in dict.fromkeys(name for own in options.values() for name in own):
            labels = {text: _hashable(own.get(name)) for text, own in options.items()}
            column = [labels[text] for text in texts]
            fields[f"loss.{name}"] = pd.Series(column, fields.index, dtype=object)
    codes = {}
    for field, column in fields.items():
        is_number = pd.api.types.is_numeric_dtype(column)
        plain = column if is_number else column.astype(object).where(column.notna(), None)
        codes[field] = pd.factorize(plain, sort=is_number, use_na_sentinel=False)[0]
    return fields.astype(object).where(fields.notna(), None), pd.DataFrame(codes)


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _settable(codes: pd.DataFrame) -> list[str]:
    """Fields but seed; those that say the same again (stems, loss.options) last."""
    fields = [field for field in codes if field != "seed"]
    return sorted(fields, key=lambda field: (field.endswith(".stem"), field == "loss.options"))


def _ids(codes: pd.DataFrame, fields: Sequence[str]) -> np.ndarray:
    """Number of the combination of the fields' values: (runs,)."""
    if not fields:
        return np.zeros(len(codes), dtype=int)
    return codes.groupby(list(fields), sort=True).ngroup().to_numpy()


def _varying(codes: pd.DataFrame, within: Sequence[str], fields: Iterable[str]) -> list[str]:
    """Those fields that vary where `within` and the ones found before are fixed."""
    found: list[str] = []
    for field in fields:
        is_free = field not in within and codes[field].nunique() > 1
        if is_free and codes.groupby(_ids(codes, [*within, *found]))[field].nunique().max() > 1:
            found.append(field)
    return found


def _first_varying(codes: pd.DataFrame, within: Sequence[str]) -> list[str]:
    order = dict.fromkeys([*COLUMN_ORDER, *_settable(codes)])
    fields = (field for field in order if field in codes)
    return next(([field] for field in fields if _varying(codes, within, [field])), [])


def _assign(
    codes: pd.DataFrame, row_fields: Sequence[str], column_fields: Sequence[str]
) -> pd.DataFrame:
    """Row, column, cell, setting, seed and dataset of every wanted run, as integers."""
    cell_fields = [*row_fields, *column_fields]
    averaged = _varying(codes, cell_fields, _settable(codes))
    if codes.duplicated([*cell_fields, *averaged, "seed"]).any():
        raise ValueError(
            "two runs wanted agree in every field but not in their key, since data or code changed "
            "between the launches of the sweep; run it again under a new name"
        )
    datasets = [field for field in ("dataset", "dataset.stem") if field in codes]
    return pd.DataFrame(
        {
            "row": _ids(codes, row_fields),
            "column": _ids(codes, column_fields),
            "cell": _ids(codes, [*column_fields, *row_fields]),
            "setting": _ids(codes, averaged),
            "seed": codes["seed"],
            "dataset": _ids(codes, datasets),
        }
    )


def _values(rows: pd.DataFrame, keys: pd.Index, metric: str) -> pd.DataFrame:
    """The metric's column, and the headroom's for oracle_share, of each key; nan where not done."""
    done = rows.drop_duplicates("key").set_index("key")
    first, *others = PER_PROMPT.get(metric, (metric,))
    values = done[[first]]
    for other in others:
        values = values.assign(
            **{first: [a + b for a, b in zip(values[first], done[other], strict=True)]}
        )
    if metric == "oracle_share":
        values = values.assign(headroom_by_prompt=done["headroom_by_prompt"])
    return values.reindex(keys)


def _is_in_full_part(runs: pd.DataFrame) -> np.ndarray:
    """Which runs of one column enter the comparison: (runs,) bool."""
    lines = runs.groupby(["row", "seed"], sort=True)
    line, row = lines.ngroup().to_numpy(), lines["row"].first().to_numpy()
    setting = pd.factorize(runs["setting"])[0]
    has_run = np.zeros((line.max() + 1, setting.max() + 1), dtype=bool)
    has_run[line, setting] = runs["has_value"]
    kept_lines, kept_settings = _full_part(has_run, row)
    return np.isin(line, kept_lines) & np.isin(setting, kept_settings)


def _full_part(has_run: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines (a row of the table at one seed) and settings such that every line has every setting.

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


def _means_and_draws(
    values: pd.DataFrame, runs: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.Series, pd.DataFrame]:
    """Mean of each cell and its bootstrap draws (N_DRAWS, cells). values: one or two columns.

    A matrix per cell and dataset; the second column, if any, divides the first. A cell is the mean
    over its datasets, weighted by their numbers of settings. Cells without runs are absent.
    """
    n_seeds = runs["seed"].max() + 1 if len(runs) else 0
    parts = runs.reset_index(drop=True).groupby(["cell", "dataset", "n_prompts"], sort=True)
    matrices = [
        _seed_means(np.stack(column.iloc[i].to_list()), runs["seed"].iloc[i].to_numpy(), n_seeds)
        for _, column in values.items()
        for i in parts.indices.values()
    ]
    strata = [label[1:] for label in parts.indices] * values.shape[1]
    means = np.array([[crossed_mean(matrix) for matrix in matrices]])
    both = np.concatenate([means, bootstrap_means(matrices, strata, rng, N_DRAWS)])
    if values.shape[1] == 2:
        over, under = np.split(both, 2, axis=1)
        both = np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)
    weights = parts["setting"].nunique()
    of = weights.index.get_level_values("cell")
    columns = {c: np.average(both[:, of == c], 1, weights[of == c]) for c in of.unique()}
    both = pd.DataFrame(columns, index=range(N_DRAWS + 1), dtype=float)
    return both.iloc[0], both.iloc[1:]


def _seed_means(values: np.ndarray, seeds: np.ndarray, n_seeds: int) -> np.ndarray:
    """Mean over the runs of each seed, nan left out: (n_seeds, prompts) from (runs[, prompts])."""
    values = values.reshape(len(values), -1).astype(float)
    is_there = ~np.isnan(values)
    total, n = np.zeros((2, n_seeds, values.shape[1]))
    np.add.at(total, seeds, np.where(is_there, values, 0))
    np.add.at(n, seeds, is_there)
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)


def _counts(cell_values: pd.DataFrame, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One line a cell, in order: its fields, its column, numbers of seeds, prompts and runs."""
    first = runs.drop_duplicates("cell").sort_values("cell")
    cells = cell_values.iloc[first.index].reset_index(drop=True)
    cells["column"] = first["column"].to_numpy()
    used = runs[runs["is_used"]]
    prompts = used.drop_duplicates(["cell", "dataset", "n_prompts"])
    numbers = {
        "n_seeds": used.groupby("cell")["seed"].nunique(),
        "n_prompts": prompts.groupby("cell")["n_prompts"].sum(),
        "n_runs": runs.groupby("cell")["is_done"].sum(),
        "n_wanted": runs.groupby("cell").size(),
        "n_used": runs.groupby("cell")["is_used"].sum(),
    }
    for name, number in numbers.items():
        cells[name] = number.reindex(cells.index, fill_value=0).astype("Int64")
    if metric not in PER_PROMPT:
        cells["n_prompts"] = pd.Series(pd.NA, cells.index, dtype="Int64")
    return cells


def _mark_best(cells: pd.DataFrame, means: pd.Series, draws: pd.DataFrame) -> None:
    """Set the marks of one column's cells in place. means: those of its cells that have one."""
    if len(means) < 2:
        return
    best = means.idxmax()
    low, _ = percentile_interval(draws[[best]].to_numpy() - draws[means.index].to_numpy())
    rounding = 1e-12 * abs(means[best])  # equal values may differ in the last bit
    cells.loc[best, "is_best"] = True
    cells.loc[means.index, "is_tied_with_best"] = ~(low > rounding)


def _span(numbers: pd.Series) -> str:
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
