"""A figure's page: a grid of panels, one legend above and the caption below."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D

from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.figures.style import COLUMN_IN, KNOWN, PAGE_IN, loss_style

MOST_HIGH_IN, MOST_COLUMNS = 9.0, 6
UNBROKEN = "\u00a0"  # a space at which no line ends
# Fields, or stems of them, that a title names by their value alone.
NAMES_ITSELF = {
    "loss.label",
    "base_llm",
    "dataset",
    "backbone",
    "selection",
    "pairing",
    "difference",
    "reading",
}


def facet_panels(
    cells: pd.DataFrame, facets: Sequence[str], across: Sequence[str] = ()
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a titled panel for each value of the facets, in the cells' order.

    Where all values of some facets meet all of the others, those are the columns, named above, and
    these the rows, named at the right. across: the facets to have side by side where they fit.
    """
    if not facets:
        return panels(1)
    plain = cells[list(facets)].drop_duplicates().astype(object)
    combinations = plain.where(plain.notna(), None)
    columns = _columns_of_a_grid(combinations, [field for field in across if field in facets])
    if columns is None:
        figure, axes = panels(len(combinations))
        for ax, values in zip(axes, combinations.to_dict("records"), strict=True):
            ax.set_title(_named(values, _n_characters(ax)))
        return figure, axes
    down = [field for field in facets if field not in columns]
    row, row_names = _numbered(combinations, down)
    column, column_names = _numbered(combinations, columns)
    height = len(row_names) * min(1.6, MOST_HIGH_IN / len(row_names))
    figure = Figure(figsize=(PAGE_IN, height), layout="constrained")
    grid = figure.subplots(len(row_names), len(column_names), squeeze=False)
    axes = list(grid[row, column])
    for ax, names in zip(grid[0], column_names, strict=True):
        ax.set_title(_named(dict(zip(columns, names, strict=True)), _n_characters(ax)))
    for line, names in zip(grid, row_names, strict=True):
        n_characters = int(figure.get_figheight() * 11 / len(grid))
        text = _named(dict(zip(down, names, strict=True)), n_characters)
        line[-1].annotate(text, (1.03, 0.5), xycoords="axes fraction", rotation=270, va="center")
    return figure, axes


def _numbered(combinations: pd.DataFrame, fields: list[str]) -> tuple[list[int], list[Any]]:
    """Return the number of each line's values of the fields, and the values by number."""
    values = [tuple(line[field] for field in fields) for line in combinations.to_dict("records")]
    names = list(dict.fromkeys(values))
    return [names.index(value) for value in values], names


def _columns_of_a_grid(combinations: pd.DataFrame, across: list[str]) -> list[str] | None:
    """The facets to put side by side: few columns, in at most six rows or else eight."""
    sizes, n = combinations.nunique(dropna=False), len(combinations)
    if sizes.prod() != n:
        return None
    if 2 <= sizes[across].prod() <= MOST_COLUMNS:
        return across
    if n < 4:
        return None
    layouts = []
    for many in range(1, len(sizes)):
        for fields in itertools.combinations(sizes.index[::-1], many):
            columns = int(sizes[list(fields)].prod())
            if 2 <= columns <= MOST_COLUMNS and n // columns <= 8:
                layouts.append((n // columns > 6, columns, list(fields[::-1])))
    return min(layouts, key=lambda layout: layout[:2])[2] if layouts else None


def panels(n: int, height_in: float = 1.6) -> tuple[Figure, list[Axes]]:
    """Return n panels, filled row by row: one column wide up to three of them, else a page."""
    columns = _columns(n)
    rows = math.ceil(n / columns)
    width = COLUMN_IN if columns == 1 else PAGE_IN
    height = min(height_in if n > 1 else 2.0, MOST_HIGH_IN / rows)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def _columns(n: int) -> int:
    """Of n panels: few, with full rows where that can be."""
    if n <= 3:
        return 1
    for most_rows, most_columns in ((4, 4), (6, 4), (8, 6)):
        for columns in range(2, most_columns + 1):
            if n % columns == 0 and n // columns <= most_rows:
                return columns
    return min(6, max(2, math.ceil(math.sqrt(n))))


def label_axes(figure: Figure, axes: Sequence[Axes], x: str, y: str) -> None:
    """Write x under the lowest panel of each column, as wide as that, and y once at the left."""
    if len(axes) == 1:
        axes[0].set_ylabel(textwrap.fill(y, 32))
    else:
        figure.supylabel(textwrap.fill(y, int(figure.get_figheight() * 16)))
    lowest = {_place(ax).colspan.start: ax for ax in axes}
    for ax in lowest.values():
        ax.set_xlabel(textwrap.fill(x, _n_characters(ax)))


def set_x_ticks(ax: Axes, places: Sequence[float], texts: Sequence[str]) -> None:
    """Set a tick at each place; where the texts do not fit, every second has one, or fewer.

    The last always has its text. places: about equally far apart on the axis.
    """
    width = figure_of(ax).get_figwidth() / n_columns(ax) - 0.4  # of the axis, beside its own labels
    most = max(1, int(width / (0.065 * max(map(len, texts)) + 0.05)))
    step = math.ceil(len(texts) / most)
    shown = [text if (len(texts) - 1 - i) % step == 0 else "" for i, text in enumerate(texts)]
    ax.set_xticks(places, shown)


def finish(figure: Figure, handles: Sequence[Artist], caption: Sequence[str]) -> Figure:
    """Put the legend above and the caption below, and make room for both."""
    width, height = figure.get_size_inches()
    if handles:
        widest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(len(handles), int(width / (0.45 + 0.058 * widest))))
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        height += 0.16 * math.ceil(len(handles) / columns) + 0.1
    lines = [line for text in caption for line in textwrap.wrap(text, int(width * 19))]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", color="#444444")
    figure.set_size_inches(width, height + 0.12 * len(lines) + 0.1)
    return figure


def loss_handles(labels: Mapping[str, str], *, line: bool = True) -> list[Artist]:
    """Return a legend entry for each loss; labels: its printed name by its name."""
    handles: list[Artist] = []
    for loss, text in labels.items():
        color, marker, linestyle, _ = loss_style(loss)
        shown: Any = linestyle if line else "none"
        handles.append(Line2D([], [], color=color, marker=marker, linestyle=shown, label=text))
    return handles


def loss_labels(rows: pd.DataFrame) -> dict[str, str]:
    """Return loss.label by loss, in one order everywhere; two of one label also say their names."""
    first_runs = rows.drop_duplicates("loss").set_index("loss")
    losses = first_runs.index
    order = [*(loss for loss in KNOWN if loss in losses), *sorted({*losses} - {*KNOWN})]
    labels = first_runs["loss.label"] if "loss.label" in first_runs else losses.to_series()
    twice = labels.duplicated(keep=False)
    return {loss: f"{labels[loss]} ({loss})" if twice[loss] else labels[loss] for loss in order}


def figure_of(ax: Axes) -> Figure:
    """Return the figure that a panel is in; no figure here has another inside."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return figure


def _place(ax: Axes) -> SubplotSpec:
    place = ax.get_subplotspec()
    assert place is not None
    return place


def quantity_labels(ax: Axes, numbers: Sequence[int]) -> list[str]:
    """Return numbers of pairs for a panel's ticks: in thousands (5k) where it is narrow."""
    is_round = all(n % 1000 == 0 for n in numbers)
    return [f"{n // 1000}k" if is_round and n_columns(ax) > 4 else f"{n:,}" for n in numbers]


def field_text(field: str, value: Any) -> str:
    """Return a field's value as a title says it."""
    if field == "quantity":
        return f"{value:,} pairs"
    if field == "annotation.beta":
        return f"β = {as_typed(value)}"
    if field.removesuffix(".stem") in NAMES_ITSELF:
        return str(value)
    return f"{field.rpartition('.')[2]} = {as_typed(value)}"


def _n_characters(ax: Axes) -> int:
    """How many letters fit into the width of a panel."""
    return int(figure_of(ax).get_figwidth() / n_columns(ax) * 13)


def _named(values: Mapping[str, Any], width: int) -> str:
    items = [field_text(field, value).replace(" ", UNBROKEN) for field, value in values.items()]
    return textwrap.fill(", ".join(items), width, break_on_hyphens=False, break_long_words=False)


def n_columns(ax: Axes) -> int:
    """Return how many panels stand side by side in the figure that a panel is in."""
    return _place(ax).get_gridspec().ncols


def signed_text(value: float, sign: str = "", decimals: int = 2) -> str:
    """Return a number with a true minus; sign="+" shows a plus, too."""
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}".replace("-", "−")
