"""The cells of a result table as text, Markdown, LaTeX, HTML or CSV."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import rich.box
import rich.console
import rich.table

from rmsweep.analysis.fields import as_typed

ESCAPES: dict[str, dict[str, str]] = {
    "text": {},
    "md": {"*": r"\*", "~": r"\~", "|": r"\|", "<": "&lt;"},
    "html": {"&": "&amp;", "<": "&lt;", ">": "&gt;"},
    "latex": {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"[": "{[}", "*": "{*}"},  # at the start of a row they would be arguments of the line end
}
STARS = (0.05, 0.01, 0.001)
BOLD = {"text": "{}", "md": "**{}**", "html": "<b>{}</b>", "latex": r"\textbf{{{}}}"}


def render_table(
    cells: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    notes: Sequence[str],
    format: str,
    width: int = 120,
) -> str:
    """Return the table as text, md, latex (booktabs), html or csv.

    cells: of `tables.compare`, with the fields and the metric that it was called with. notes: lines
    to stand under the table; csv, which is the long form in full precision, has none. width: of
    text, in characters, to which it folds. ValueError for another format.

    Cells read `mean [low, high]`, then * or ~ as the notes say, then (n of N) where runs are
    missing or (n seeds) where other cells have more. With a baseline they read
    `mean [low, high]; difference [low, high] stars`. `-` is a cell without a value, `n/a` a cell
    that is not in the sweep.
    """
    if format == "csv":
        labels = {field: cells[field].map(as_typed) for field in [*row_fields, *column_fields]}
        return cells.assign(**labels).to_csv(index=False)
    if format not in ESCAPES:
        raise ValueError(f"format must be one of {', '.join(ESCAPES)}, csv; got {format!r}")
    grid = _grid(cells, row_fields, column_fields, metric, format)
    return _page(grid, notes, format, width)


def render_text_grid(
    grid: pd.DataFrame, notes: Sequence[str], format: str, width: int = 120
) -> str:
    """Return a table of strings, with lines to stand under it, as text, md, latex or html."""
    escape = str.maketrans(ESCAPES[format])
    grid = grid.map(lambda text: text.translate(escape))
    grid.columns = [name.translate(escape) for name in grid]
    return _page(grid, notes, format, width)


def _page(grid: pd.DataFrame, notes: Sequence[str], format: str, width: int) -> str:
    """The table, whose strings are escaped, and below it the notes, which are not."""
    escape = str.maketrans(ESCAPES[format])
    lines = [note.translate(escape) for note in notes]
    if format == "text":
        return _text(grid, lines, width)
    if format == "html":
        table = grid.to_html(index=False, escape=False, border=0)
        return "\n".join([table, *(f"<p>{line}</p>" for line in lines)]) + "\n"
    if format == "latex":
        columns, caption = "l" * grid.shape[1], " ".join(lines)
        hidden = grid.style.hide(axis="index")
        return hidden.to_latex(hrules=True, column_format=columns, caption=caption)
    rows = [list(grid), ["---"] * grid.shape[1], *grid.to_numpy().tolist()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([table, *lines]) + "\n"


def _grid(
    cells: pd.DataFrame,
    row_fields: Sequence[str],
    column_fields: Sequence[str],
    metric: str,
    format: str,
) -> pd.DataFrame:
    """The table as strings, escaped: one column a row field, then one a column group."""
    escape = str.maketrans(ESCAPES[format])
    decimals, most_seeds = n_decimals(cells), int(cells["n_seeds"].max())
    texts: dict[tuple[tuple[str, ...], str], str] = {}
    for cell in cells.to_dict("records"):
        line = tuple(_printable(as_typed(cell[field])).translate(escape) for field in row_fields)
        text = cell_text(cell, decimals, most_seeds).translate(escape)
        text = BOLD[format].format(text) if cell["is_best"] else text
        texts[line, head_text(cell, column_fields, metric)] = text
    lines = dict.fromkeys(line for line, _ in texts)
    heads = dict.fromkeys(head for _, head in texts)
    table = [[*line, *(texts.get((line, head), "n/a") for head in heads)] for line in lines]
    names = [_printable(name).translate(escape) for name in [*row_fields, *heads]]
    return pd.DataFrame(table, columns=names)


def head_text(cell: dict[str, Any], column_fields: Sequence[str], metric: str) -> str:
    """Return the head of a cell's column: its column fields as typed, or the metric."""
    return ", ".join(f"{field}={as_typed(cell[field])}" for field in column_fields) or metric


def _printable(text: str) -> str:
    """A label of somebody's data without what would steer a terminal or break a line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def n_decimals(cells: pd.DataFrame) -> int:
    """Return how many decimals show two digits of the intervals' median half-width.

    Without intervals it is as many as show about three digits of the median mean. cells: of
    `tables.compare`.
    """
    half_widths = (cells["high"] - cells["low"]) / 2
    scales = half_widths[half_widths > 0]
    if scales.empty:
        scales = cells["mean"].abs()[cells["mean"] != 0].dropna() / 10
    return 2 if scales.empty else int(np.clip(1 - np.floor(np.log10(scales.median())), 0, 9))


def cell_text(cell: dict[str, Any], decimals: int, most_seeds: int) -> str:
    """Return what stands in one cell, as `render_table` says.

    cell: a line of `tables.compare`. most_seeds: the largest n_seeds of the table.
    """
    words = ["-" if np.isnan(cell["mean"]) else f"{cell['mean']:z.{decimals}f}"]
    if not np.isnan(cell["low"]):
        words.append(f"[{cell['low']:z.{decimals}f}, {cell['high']:z.{decimals}f}]")
    if cell["is_tied_with_best"]:
        words.append("*" if cell["is_best"] else "~")
    if not np.isnan(cell.get("difference", np.nan)):
        words[-1] += ";"
        words.append(f"{cell['difference']:+z.{decimals}f}")
        if not np.isnan(cell["difference_low"]):
            low, high = cell["difference_low"], cell["difference_high"]
            words.append(f"[{low:+z.{decimals}f}, {high:+z.{decimals}f}]")
        stars = sum(cell["p_holm"] < level for level in STARS)
        if stars:
            words.append("*" * stars)
    if cell["n_runs"] < cell["n_wanted"]:
        words.append(f"({cell['n_runs']} of {cell['n_wanted']})")
    elif 0 < cell["n_seeds"] < most_seeds:
        words.append(f"({cell['n_seeds']} seeds)")
    return " ".join(words)


def _text(grid: pd.DataFrame, lines: Sequence[str], width: int) -> str:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for name in grid:
        table.add_column(name, overflow="fold")
    for line in grid.to_numpy():
        table.add_row(*line)
    page = io.StringIO()
    # As markup [2.20, 2.63] would be a style.
    console = rich.console.Console(
        file=page, width=width, color_system=None, markup=False, highlight=False, emoji=False
    )
    console.print(table, *lines, sep="\n")
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()).strip("\n") + "\n"
