"""The report: one HTML file with all that a reader needs in it, and no request for more."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from rmsweep import files
from rmsweep.analysis.report import grids, overview, pictures, verdicts
from rmsweep.analysis.report.request import ReportRequest, Runs

HERE = Path(__file__).parent
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE),
    autoescape=True,  # every text of data or config
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Page:
    """A built page, and how many of the runs it is of are done, failed and wanted."""

    html: str
    n_done: int
    n_failed: int
    n_wanted: int


def build_page(request: ReportRequest) -> Page:
    """Return the page on a request's runs; where none is done, on what was asked for and failed."""
    runs = Runs(request)
    what, is_any_done = overview.overview(runs, request), runs.is_done.any()
    html = TEMPLATES.get_template("template.html.j2").render(
        request=request,
        what=what,
        n_wanted=len(runs.wanted),
        style=_inline("style.css"),
        script=_inline("script.js"),
        claims=verdicts.judge_claims(runs, request) if is_any_done else None,
        tables=grids.grids(runs, request) if is_any_done else [],
        figures=pictures.draw_pictures(runs, request) if is_any_done else None,
    )
    return Page(html, what.counts["done"], what.counts["failed"], len(runs.wanted))


def write_page(page: Page, path: Path) -> None:
    """Write the page to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as unfinished:
        unfinished.write_text(page.html, encoding="utf-8")


def _inline(name: str) -> dict[str, str]:
    """A file of ours, as it is, and its hash: the page's policy lets nothing else run."""
    text = (HERE / name).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return {"text": Markup(text), "hash": f"sha256-{base64.b64encode(digest).decode()}"}
