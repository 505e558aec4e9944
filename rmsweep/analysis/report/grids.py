"""The tables of a report: words and numbers to sort by, for the template to set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis import metrics, table_notes, table_text, tables
from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.figures import shown_runs
from rmsweep.analysis.report.request import REPORTED, ReportRequest, Runs


@dataclass(frozen=True)
class Cell:
    """A cell: text, what it sorts by if not its text ("" is last), and mark (best, tied or "")."""

    text: str
    order: str | None = None
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: the first `n_fields` cells of a line name the line; the notes stand below."""

    id: str
    caption: str
    heads: list[str]
    lines: list[list[Cell]]
    n_fields: int
    notes: list[str]
    command: str


def grids(runs: Runs, request: ReportRequest) -> list[Grid]:
    """Return what `rmsweep table` prints for each main metric that runs have.

    The first metric at every setting, a line each, comes last, if it is not the first table again.
    """
    done = runs.done
    names = [m for m in REPORTED if done[metrics.metric_columns(m)].notna().all(axis=1).any()]
    tables_of_metrics = [_metric_grid(runs, request, metric) for metric in names]
    if not names:
        return []
    row_fields, column_fields = runs.default_fields(names[0])
    facets = [f for f in shown_runs.facets(runs.wanted, row_fields) if f not in row_fields]
    if set(facets) <= set(column_fields):
        return tables_of_metrics
    return [*tables_of_metrics, _settings_grid(runs, request, row_fields, facets, names[0])]


def _metric_grid(runs: Runs, request: ReportRequest, metric: str) -> Grid:
    row_fields, column_fields = runs.default_fields(metric)
    compared, notes = _compare(runs, request, row_fields, column_fields, metric)
    decimals, most_seeds = table_text.n_decimals(compared), int(compared["n_seeds"].max())
    lines: dict[tuple[str, ...], dict[str, Cell]] = {}
    for cell in compared.to_dict("records"):
        line = lines.setdefault(tuple(as_typed(cell[field]) for field in row_fields), {})
        text = table_text.cell_text(cell, decimals, most_seeds)
        head = table_text.head_text(cell, column_fields, metric)
        line[head] = Cell(text, order(cell["mean"]), _mark(cell))
    heads = list(dict.fromkeys(head for line in lines.values() for head in line))
    absent = Cell("n/a", "")
    return Grid(
        id=f"table-{metric}",
        caption=f"{metric} by {' and '.join([*row_fields, *column_fields])}",
        heads=[*row_fields, *heads],
        lines=[
            [*(Cell(name) for name in names), *(line.get(head, absent) for head in heads)]
            for names, line in lines.items()
        ],
        n_fields=len(row_fields),
        notes=notes,
        command=request.command("table", "--metric", metric),
    )


def _settings_grid(
    runs: Runs, request: ReportRequest, row_fields: list[str], facets: list[str], metric: str
) -> Grid:
    compared, notes = _compare(runs, request, row_fields, facets, metric)
    decimals = table_text.n_decimals(compared)
    fields = [*row_fields, *facets]
    lines = [
        [
            *(Cell(as_typed(cell[field])) for field in fields),
            *(_number(cell, name, decimals) for name in ("mean", "low", "high")),
            *(_number(cell, name, 0) for name in ("n_seeds", "n_prompts")),
            Cell(f"{cell['n_runs']} of {cell['n_wanted']}", str(cell["n_runs"])),
        ]
        for cell in compared.to_dict("records")
    ]
    options = ["--metric", metric, "--rows", ",".join(row_fields), "--columns", ",".join(facets)]
    return Grid(
        id="table-settings",
        caption=f"{metric} at every setting",
        heads=[*fields, metric, "low", "high", "seeds", "prompts", "runs done"],
        lines=lines,
        n_fields=len(fields),
        notes=notes,
        command=request.command("table", *options, "--format", "csv"),
    )


def _compare(
    runs: Runs, request: ReportRequest, rows: Sequence[str], columns: Sequence[str], metric: str
) -> tuple[pd.DataFrame, list[str]]:
    rng = np.random.default_rng(request.seed)
    compared = tables.compare(runs.done, runs.wanted, rows, columns, metric, rng)
    return compared, table_notes.table_notes(compared, runs.wanted, rows, columns, metric)


def _number(cell: dict[str, Any], name: str, decimals: int) -> Cell:
    value = cell[name]
    if pd.isna(value):
        return Cell("-", "")
    mark = _mark(cell) if name == "mean" else ""
    sign = {"best": " *", "tied": " ~", "": ""}[mark]
    return Cell(f"{value:z,.{decimals}f}{sign}", order(value), mark)


def _mark(cell: dict[str, Any]) -> str:
    if not cell["is_tied_with_best"]:
        return ""
    return "best" if cell["is_best"] else "tied"


def order(value: float) -> str:
    """Return a number to sort by, for the page's script; "" where there is none."""
    return "" if pd.isna(value) else f"{value:.9g}"
