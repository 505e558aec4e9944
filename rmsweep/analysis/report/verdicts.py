"""The claims of a report: a line each, with its verdict in words, its effect and its interval."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from rmsweep.analysis import published_effects, verdict_text, verdicts
from rmsweep.analysis.report.grids import order
from rmsweep.analysis.report.request import ReportRequest, Runs

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not tested": "–"}
REACH = 46.0  # of the bar, of which half is 50 wide


@dataclass(frozen=True)
class Verdict:
    """A line of the claims. Its bar is the ends of the interval and the effect, on a scale of its
    own from 0 to 100 with 0 at 50; None where there is no interval."""

    claim: str
    source: str
    training: str
    verdict: str
    mark: str
    effect: str
    interval: str
    of: str
    n: str
    reason: str
    order: str
    bar: tuple[float, float, float] | None

    @property
    def css(self) -> str:
        """The class of its verdict in the style sheet."""
        return self.verdict.replace(" ", "-")


@dataclass(frozen=True)
class Verdicts:
    """The claims of a report; counts: by verdict, all four; published: lines of three texts, the
    claim, what is published, and what the runs have."""

    counts: dict[str, int]
    tested: list[Verdict]
    not_tested: list[Verdict]
    published: list[list[str]]
    notes: list[str]
    command: str


def judge_claims(runs: Runs, request: ReportRequest) -> Verdicts:
    """Return what `rmsweep claims` prints."""
    lines = verdicts.verdict_table(runs.done, runs.claims, request.seed)
    judged = [_verdict(line) for line in lines.to_dict("records")]
    effects = published_effects.published_effects(runs.done, runs.claims, request.seed)
    notes = verdict_text.verdict_notes(lines, int(runs.is_done.sum()), len(runs.wanted))
    notes += published_effects.published_notes(effects)
    return Verdicts(
        counts={name: sum(v.verdict == name for v in judged) for name in MARKS},
        tested=[v for v in judged if v.verdict != "not tested"],
        not_tested=[v for v in judged if v.verdict == "not tested"],
        published=published_effects.published_grid(effects).to_numpy().tolist(),
        notes=notes[1:],  # not the counts
        command=request.command("claims"),
    )


def _verdict(line: dict[str, Any]) -> Verdict:
    texts = {name: str(line[name]) for name in ("claim", "source", "training", "verdict", "of")}
    effect, low, high = (_number(line[name]) for name in ("effect", "low", "high"))
    return Verdict(
        **texts,
        mark=MARKS[line["verdict"]],
        effect=effect,
        interval=f"[{low}, {high}]" if low else "no interval",
        n=verdict_text.counts_text(line),
        reason=str(line["reason"]),
        order=order(line["effect"]),
        bar=_bar(line["low"], line["high"], line["effect"]),
    )


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+z.3g}".replace("-", "−")


def _bar(low: float, high: float, effect: float) -> tuple[float, float, float] | None:
    if pd.isna(low):
        return None
    widest = max(abs(low), abs(high), abs(effect))
    scale = REACH / widest if widest > 0 else 0
    return round(50 + scale * low, 2), round(50 + scale * high, 2), round(50 + scale * effect, 2)
