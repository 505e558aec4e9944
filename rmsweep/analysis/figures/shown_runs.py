"""Which runs a figure shows, which fields make its panels, and the means with their intervals.

`rows` is one DataFrame: the done runs of one or several sweeps (`rmsweep.load`), or all wanted ones
with `status` other than done and no metrics where a run is missing (`write.read_runs`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis import tables
from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean, percentile_interval
from rmsweep.analysis.fields import id_fields, spec_fields
from rmsweep.analysis.figures.panels import field_text
from rmsweep.analysis.means import ENOUGH_SEEDS
from rmsweep.analysis.table_notes import span_text
from rmsweep.errors import MissingData

ORDER = ("dataset", "base_llm", "selection", "quantity", "annotation.beta", "backbone")
PREFERRED: dict[str, Any] = {"pairing": "same_prompt", "selection": "random"}
REFERENCE = ("pairing", "selection", "annotation.beta", "quantity")
LATER_DATASETS = ("helpsteer", "ultrafeedback")  # of RBT's Figs. 16 to 20
ONE_DATASET = ("first", "second")  # by name; in RBT's appendix Harmless and Helpful
TWO_VALUES = {
    "annotation.beta": "two values of beta",
    "loss": "two losses",
    "pairing": "both pairings",
    "quantity": "two quantities",
}


def done(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that are done."""
    return rows[rows["status"] == "done"] if "status" in rows else rows


def require_values(rows: pd.DataFrame, what: str, field: str, at_least: int = 1) -> None:
    """Raise MissingData of `what` unless the done runs have so many values of a field."""
    if done(rows)[field].nunique() < at_least:
        raise MissingData(what)


def require_two(rows: pd.DataFrame, field: str) -> None:
    """Raise MissingData unless the done runs have two values of a field of TWO_VALUES."""
    require_values(rows, f"runs with {TWO_VALUES[field]}", field, 2)


def of_datasets(rows: pd.DataFrame, datasets: str) -> pd.DataFrame:
    """Return the runs on some datasets; MissingData where none of them is done.

    datasets: "later" (HelpSteer and UltraFeedback), "earlier" (all others), or of these the one
    that is "first" or "second" by name (RBT: Harmless and Helpful).
    """
    kept = rows[rows["dataset"].isin(LATER_DATASETS) == (datasets == "later")]
    names = sorted(done(kept)["dataset"].unique())
    if not names:
        later = f"runs with dataset={' or '.join(LATER_DATASETS)}"
        raise MissingData(later if datasets == "later" else "runs on another dataset")
    if datasets not in ONE_DATASET:
        return kept
    position = ONE_DATASET.index(datasets)
    if position >= len(names):
        raise MissingData("runs on a second dataset")
    return kept[kept["dataset"] == names[position]]


def at_reference(rows: pd.DataFrame, fields: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the runs at the papers' value of each field, or the nearest there is, and these.

    same_prompt, random, beta = 1 (the nearest in ratio), the largest quantity. Runs on labelled
    pairs, which have no pairing, selection and beta, stay.
    """
    held = []
    if done(rows).empty:
        raise MissingData("done runs")
    for field in fields:
        values = done(rows)[field].dropna().unique()
        if not len(values):
            continue
        if field == "quantity":
            value = values.max()
        elif field == "annotation.beta":
            with np.errstate(divide="ignore"):
                value = values[np.abs(np.log(values)).argmin()]
        else:
            value = PREFERRED[field] if PREFERRED[field] in values else values[0]
        rows = rows[rows[field].isna() | (rows[field] == value)]
        chosen = (
            f" (of {len(values)} values the nearest to 1)" if field == "annotation.beta" else ""
        )
        held.append(field_text(field, value) + (chosen if len(values) > 1 else ""))
    return rows, held


def over_field(
    rows: pd.DataFrame, datasets: str, field: str, other: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return the runs to draw over a field, and what is held: the other one, but for one dataset.

    datasets: of `of_datasets`; of one dataset every value of the other field has a panel.
    """
    rows = of_datasets(rows, datasets)
    if datasets in ONE_DATASET:
        require_two(rows, other)
    fixed = [] if datasets in ONE_DATASET else [other]
    rows, held = at_reference(rows, ["pairing", "selection", *fixed])
    require_two(rows, field)
    return rows, held


def facets(rows: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """Return the fields that vary where those shown in a panel are fixed: they make the panels."""
    _, codes = spec_fields(_specs(done(rows)))
    within = [f for f in dict.fromkeys([*shown, "loss", "seed"]) if f in codes]
    panel_fields: list[str] = []
    derived = sorted(codes, key=lambda f: f == "loss.options")  # stems name what their group holds
    varying = [f for f in codes if f not in within and codes[f].nunique() > 1]
    for field in dict.fromkeys(f for f in (*ORDER, *derived) if f in varying):
        if codes.groupby([*within, *panel_fields])[field].nunique().max() > 1:
            panel_fields.append(field)
    return panel_fields


def by_panel(cells: pd.DataFrame, fields: Sequence[str]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield values of the fields, and the cells that have them, in the cells' order."""
    if not fields:
        yield {}, cells
        return
    for values, part in cells.groupby(list(fields), sort=False, dropna=False):
        yield {f: None if pd.isna(v) else v for f, v in zip(fields, values, strict=True)}, part


def means(
    rows: pd.DataFrame, fields: Sequence[str], metric: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the mean and 95 % interval of a metric for each loss and combination of the fields.

    Columns of `tables.compare`; nothing is averaged over but seeds and prompts.
    """
    runs = done(rows)
    cells = tables.compare(runs, _specs(runs), ["loss"], list(fields), metric, rng)
    return cells[cells["mean"].notna()]


def with_number(
    cells: pd.DataFrame,
    rows: pd.DataFrame,
    fields: Sequence[str],
    column: str,
    of_runs: Callable[[pd.Series], float],
) -> pd.DataFrame:
    """Return the cells of `means` with a number of another column over each cell's done runs."""
    runs = with_fields(done(rows), fields)
    parts = runs.groupby(list(fields), dropna=False, sort=False)[column]
    plain = cells[list(fields)].astype(object)
    keys = plain.where(plain.notna(), None).apply(tuple, axis=1)
    of_cell = {tuple(None if pd.isna(v) else v for v in key): of_runs(of) for key, of in parts}
    return cells.assign(**{column: [of_cell[key] for key in keys]})


def interval_reach(cells: pd.DataFrame) -> np.ndarray:
    """Return how far intervals reach below and above the means: (2, cells), never negative."""
    ends = np.stack([cells["mean"] - cells["low"], cells["high"] - cells["mean"]]).astype(float)
    return np.maximum(ends, 0)  # equal values may differ in the last bit


def means_of_list(
    rows: pd.DataFrame, fields: Sequence[str], column: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the mean over seeds, entry by entry, of a list column for each value of the fields.

    Returns the fields and `position` (from 0), mean, low, high (bootstrap over seeds only, the
    same draws for all), n_seeds, those that have a number there.
    """
    runs = done(rows)
    runs = with_fields(runs[runs[column].notna()], fields)
    entries, matrices = [], []
    for values, part in by_panel(runs, fields):
        for position, numbers in enumerate(lists_by_seed(part, column, runs["seed"]).T):
            n_seeds = int(np.isfinite(numbers).sum())
            entries.append({**values, "position": position, "n_seeds": n_seeds})
            matrices.append(numbers[:, None])
    return with_intervals(entries, matrices, [0] * len(matrices), rng)


def lists_by_seed(runs: pd.DataFrame, column: str, seeds: pd.Series) -> np.ndarray:
    """Return a list column of runs, a row for each of the seeds, nan for one without a run.

    ValueError where two runs have one seed.
    """
    if runs["seed"].duplicated().any():
        raise ValueError(
            "two runs agree in every field but not in their key, since data or code changed "
            "between the launches of the sweep; run it again under a new name"
        )
    lists, seeds = np.stack(runs[column].to_list()), np.unique(seeds)
    matrix = np.full((len(seeds), lists.shape[1]), np.nan)
    matrix[np.searchsorted(seeds, runs["seed"])] = lists
    return matrix


def with_intervals(
    entries: list[dict[str, Any]],
    matrices: list[np.ndarray],
    strata: list[Any],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the entries as a table with mean, low and high of their matrices (bootstrap.py)."""
    table = pd.DataFrame(entries)
    table["mean"] = [crossed_mean(matrix) for matrix in matrices]
    table["low"], table["high"] = percentile_interval(bootstrap_means(matrices, strata, rng))
    return table


def with_fields(runs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the runs with the fields named, also a loss's own ones, null as None."""
    fields, _ = spec_fields(_specs(runs))
    return runs.assign(**{name: fields[name].to_numpy() for name in names})


def _specs(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[["key", *id_fields(runs)]]


def footnote(
    rows: pd.DataFrame, cells: pd.DataFrame, held: Sequence[str], interval: str
) -> list[str]:
    """Return lines to stand under a figure: what is held fixed, n and intervals, what is missing.

    interval: what the bars are, with {seeds} and {prompts} for the numbers.
    """
    seeds = cells["n_seeds"]
    prompts = cells["n_prompts"].dropna() if "n_prompts" in cells else pd.Series(dtype=int)
    lines = [*held_line(held), interval.format(seeds=span_text(seeds), prompts=span_text(prompts))]
    if len(seeds) and seeds.min() < ENOUGH_SEEDS:
        lines.append(f"Fewer than {ENOUGH_SEEDS} seeds: the uncertainty is understated.")
    return [*lines, *missing_line(rows)]


def missing_line(rows: pd.DataFrame) -> list[str]:
    """Return the line that counts the runs done where some are missing."""
    n_done = len(done(rows))
    return [] if n_done == len(rows) else [f"INCOMPLETE: {n_done:,} of {len(rows):,} runs."]


def held_line(held: Sequence[str]) -> list[str]:
    """Return the line that says what is held fixed, if anything is."""
    return [", ".join(held) + "."] if held else []
