"""The figures of a report as data URIs: SVG, or PNG where that is much smaller."""

import base64
import re
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from rmsweep.analysis.figures import catalogue
from rmsweep.analysis.figures.style import save_figure
from rmsweep.analysis.report.request import ReportRequest, Runs
from rmsweep.errors import MissingData

MOST_SVG_BYTES = 200_000  # a larger one has thousands of marks and is slow to draw
SAFE = " =:/;,'()!*@$+~?{}[]|^`\n"  # may stand in a quoted attribute; shorter than %20
LONG = re.compile(r"\d+\.\d{3,}")
PIXELS_PER_IN = 142  # 7 pt of a figure are 14 px on the page
HEADINGS = {
    "fig": "Figures of Rethinking Bradley-Terry Models (arXiv:2411.04991)",
    "nbt": "Figures of When Distance Distracts (arXiv:2512.06343)",
    "": "Beyond the papers",
    "runs": "Theory, applied to these runs",
    "theory": "Theory, from formulas and simulation, not from these runs",
}
THEORY_OF_RUNS = ("theory_order_consistency", "theory_convergence")


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it; width and height in pixels, uri holds the image."""

    name: str
    title: str
    caption: str
    uri: str
    width: int
    height: int
    command: str


@dataclass(frozen=True)
class Pictures:
    """The figures by heading, and by name the line of each not drawn and what the runs lack."""

    groups: dict[str, list[Picture]]
    not_drawn: dict[str, tuple[str, str]]


def draw_pictures(runs: Runs, request: ReportRequest) -> Pictures:
    """Return every figure that the runs have the data for."""
    groups: dict[str, list[Picture]] = {heading: [] for heading in HEADINGS.values()}
    not_drawn = {}
    for name, (_, line) in catalogue.FIGURES.items():
        try:
            figure = catalogue.draw_figure(name, runs.all, np.random.default_rng(request.seed))
        except MissingData as error:
            not_drawn[name] = (line, str(error))
        else:
            groups[_heading(name)].append(_picture(name, line, figure, request))
    return Pictures({heading: of_it for heading, of_it in groups.items() if of_it}, not_drawn)


def _heading(name: str) -> str:
    if name in THEORY_OF_RUNS:
        return HEADINGS["runs"]
    starts = ("fig", "nbt", "theory", "")
    return next(HEADINGS[start] for start in starts if name.startswith(start))


def _picture(name: str, line: str, figure: Figure, request: ReportRequest) -> Picture:
    caption = figure.get_supxlabel().replace("\n", " ")
    figure.supxlabel("")  # the page sets it, as text
    width, height = figure.get_size_inches() * PIXELS_PER_IN
    number = f"Fig. {name[3:]}: " if name.startswith("fig") else ""
    return Picture(
        name=name,
        title=number + line[0].upper() + line[1:],
        caption=caption,
        uri=_data_uri(figure),
        width=round(width),
        height=round(height),
        command=request.command("figure", "--figure", name),
    )


def _data_uri(figure: Figure) -> str:
    with tempfile.TemporaryDirectory() as folder:
        svg, png = (Path(folder) / f"figure.{suffix}" for suffix in ("svg", "png"))
        save_figure(figure, svg)
        as_svg = "data:image/svg+xml," + urllib.parse.quote(_compact(svg.read_text()), SAFE)
        if len(as_svg) <= MOST_SVG_BYTES:
            return as_svg
        save_figure(figure, png)
        with Image.open(png) as pixels:  # 256 colours are enough, in a third of the bytes
            pixels.convert("RGB").quantize(dither=Image.Dither.NONE).save(png, optimize=True)
        as_png = "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()
    return min(as_svg, as_png, key=len)


def _compact(svg: str) -> str:
    """Without what a page does not need: head, comments, and more than 0.01 points of a place."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    return re.sub(r' (?:d|x|y)="[^"]*"', lambda places: LONG.sub(_rounded, places[0]), svg)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"
