"""Which runs a figure shows, which fields make its panels, and the means with their intervals.

`rows` is one DataFrame: the done runs of one or several sweeps (`rmsweep.load`), or all wanted ones
with `status` other than done and no metrics where a run is missing (`write.read`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis import tables
from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean, percentile_interval
from rmsweep.analysis.fields import spec_fields
from rmsweep.analysis.figures.panels import field_text
from rmsweep.analysis.means import ENOUGH_SEEDS, N_DRAWS
from rmsweep.config.columns import column_types
from rmsweep.config.spec import NOT_IN_ID
from rmsweep.errors import MissingData

ORDER = ("dataset", "base_llm", "selection", "quantity", "annotation.beta", "backbone")
PREFERRED: dict[str, Any] = {"pairing": "same_prompt", "selection": "random"}
REFERENCE = ("pairing", "selection", "annotation.beta", "quantity")
LATER_DATASETS = ("helpsteer", "ultrafeedback")  # of RBT's Figs. 16 to 20


def done(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "done"] if "status" in rows else rows


def with_value(rows: pd.DataFrame, field: str, values: Sequence[Any]) -> pd.DataFrame:
    """The runs whose field has one of the values."""
    return rows[rows[field].isin(list(values))]


def require(rows: pd.DataFrame, what: str, field: str, at_least: int = 1) -> None:
    """MissingData unless the done runs have so many values of a field."""
    if done(rows)[field].nunique() < at_least:
        raise MissingData(what)


def of_datasets(rows: pd.DataFrame, *, later: bool) -> pd.DataFrame:
    """The runs on HelpSteer and UltraFeedback, or those on all other datasets."""
    kept = rows[rows["dataset"].isin(LATER_DATASETS) == later]
    if done(kept).empty:
        raise MissingData(
            f"runs with dataset={' or '.join(LATER_DATASETS)}"
            if later
            else "runs on another dataset"
        )
    return kept


def of_dataset(rows: pd.DataFrame, position: int) -> pd.DataFrame:
    """The runs on one dataset: the first by name (RBT: Harmless) or the second (Helpful)."""
    rows = of_datasets(rows, later=False)
    names = sorted(done(rows)["dataset"].unique())
    if position >= len(names):
        raise MissingData("runs on a second dataset")
    return with_value(rows, "dataset", [names[position]])


def at_reference(rows: pd.DataFrame, fields: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The runs at the papers' value of each field, or at the nearest there is; and what that is.

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
        held.append(field_text(field, value))
    return rows, held


def facets(rows: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """The fields that still vary where those shown in a panel are fixed: they make the panels."""
    _, codes = spec_fields(_specs(done(rows)))
    within = [f for f in dict.fromkeys([*shown, "loss", "seed"]) if f in codes]
    panel_fields: list[str] = []
    derived = sorted(codes, key=lambda f: (f.endswith(".stem"), f == "loss.options"))
    varying = [f for f in codes if f not in within and codes[f].nunique() > 1]
    for field in dict.fromkeys(f for f in (*ORDER, *derived) if f in varying):
        if codes.groupby([*within, *panel_fields])[field].nunique().max() > 1:
            panel_fields.append(field)
    return panel_fields


def by_panel(cells: pd.DataFrame, fields: Sequence[str]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Values of the fields, and the cells that have them, panel by panel in the cells' order."""
    if not fields:
        yield {}, cells
        return
    for values, part in cells.groupby(list(fields), sort=False, dropna=False):
        yield {f: None if pd.isna(v) else v for f, v in zip(fields, values, strict=True)}, part


def means(
    rows: pd.DataFrame, fields: Sequence[str], metric: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Mean and 95 % interval of a metric for each loss at each combination of the fields.

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
    """The cells of `means` with a number made of another column over each cell's done runs."""
    runs = with_fields(done(rows), fields)
    values = runs.groupby(list(fields), dropna=False, sort=False)[column].agg(of_runs)
    plain = cells[list(fields)].astype(object)
    keys = plain.where(plain.notna(), None).apply(tuple, axis=1)
    of_cell = {tuple(None if pd.isna(v) else v for v in key): n for key, n in values.items()}
    return cells.assign(**{column: [of_cell[key] for key in keys]})


def interval_reach(cells: pd.DataFrame) -> np.ndarray:
    """How far the intervals reach below and above the means: (2, cells), never negative."""
    ends = np.stack([cells["mean"] - cells["low"], cells["high"] - cells["mean"]]).astype(float)
    return np.maximum(ends, 0)  # equal values may differ in the last bit


def means_of_list(
    rows: pd.DataFrame, fields: Sequence[str], column: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Mean over seeds, entry by entry, of a list column, for each combination of the fields.

    Returns the fields and `position` (from 0), mean, low, high (bootstrap over seeds only, the
    same draws for all), n_seeds.
    """
    runs = done(rows)
    runs = runs[runs[column].notna()]
    runs = with_fields(runs, fields)
    seeds = np.unique(runs["seed"])
    entries, matrices = [], []
    for values, part in by_panel(runs, fields):
        require_a_run_a_seed(part)
        lists = np.stack(part[column].to_list())
        matrix = np.full((len(seeds), lists.shape[1]), np.nan)
        matrix[np.searchsorted(seeds, part["seed"])] = lists
        for position, one in enumerate(matrix.T):
            entries.append({**values, "position": position, "n_seeds": len(part)})
            matrices.append(one[:, None])
    draws = bootstrap_means(matrices, [0] * len(matrices), rng, N_DRAWS)
    table = pd.DataFrame(entries)
    table["mean"] = [crossed_mean(matrix) for matrix in matrices]
    table["low"], table["high"] = percentile_interval(draws)
    return table


def require_a_run_a_seed(runs: pd.DataFrame) -> None:
    """ValueError where two runs of a cell have one seed."""
    if runs["seed"].duplicated().any():
        raise ValueError(
            "two runs agree in every field but not in their key, since data or code changed "
            "between the launches of the sweep; run it again under a new name"
        )


def with_fields(runs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The runs with the fields named, also a loss's own ones, null as None."""
    fields, _ = spec_fields(_specs(runs))
    return runs.assign(**{name: fields[name].to_numpy() for name in names})


def _specs(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[["key", *(f for f in column_types() if f in runs and f not in NOT_IN_ID)]]


def footnote(
    rows: pd.DataFrame, cells: pd.DataFrame, held: Sequence[str], interval: str
) -> list[str]:
    """Lines under a figure: what is held fixed, n and the interval's kind, and what is missing.

    interval: what the bars are, with {seeds} and {prompts} for the numbers.
    """
    return [*held_line(held), *_interval_lines(cells, interval), *missing_line(rows)]


def missing_line(rows: pd.DataFrame) -> list[str]:
    n_done = len(done(rows))
    complete = n_done == len(rows)
    return [] if complete else [f"INCOMPLETE: {n_done:,} of {len(rows):,} runs."]


def held_line(held: Sequence[str]) -> list[str]:
    return [", ".join(held) + "."] if held else []


def _interval_lines(cells: pd.DataFrame, interval: str) -> list[str]:
    seeds = cells["n_seeds"]
    prompts = cells["n_prompts"].dropna() if "n_prompts" in cells else pd.Series(dtype=int)
    lines = [interval.format(seeds=span_text(seeds), prompts=span_text(prompts))]
    if len(seeds) and seeds.min() < ENOUGH_SEEDS:
        lines.append(f"Fewer than {ENOUGH_SEEDS} seeds: the uncertainty is understated.")
    return lines


def scored_n(runs: pd.DataFrame) -> int:
    """N of the scalar metrics: evaluation.n, or all responses."""
    n = runs["evaluation.n"].iloc[0] if "evaluation.n" in runs else None
    return int(max(runs["bon_n"].iloc[0]) if n is None or pd.isna(n) else n)


def span_text(numbers: pd.Series) -> str:
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
