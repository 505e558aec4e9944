"""The published effects of the claims, each beside that of the runs at the same setting."""

from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis.claims import Claim
from rmsweep.analysis.contrasts import paired_differences
from rmsweep.analysis.fields import as_typed
from rmsweep.analysis.published import Published, PublishedValue
from rmsweep.analysis.verdicts import EFFECT_COUNTS, kept_rows, ways_of_training
from rmsweep.errors import Absent

OTHER_DATA = "other data"
COUNTS = tuple(name for name in EFFECT_COUNTS if name != "n_points")


def published_effects(rows: pd.DataFrame, claims: list[Claim], seed: int = 0) -> pd.DataFrame:
    """Return a line a published value, and of one that the runs have a line a way of training.

    rows, seed: as of `verdicts.verdict_table`.

    The columns: name, claim and source, of the published numbers; on, the setting or the data;
    published_low and published_high, the ends of the published difference, which are one number
    where it is no range; metric; training; effect, low, high, n_seeds, n_prompts and n_pairs of the
    runs, nan and NA where the value is of other data than theirs.
    """
    lines: list[dict[str, Any]] = []
    for claim in claims:
        if claim.published is None or claim.contrast is None:
            continue
        parts = _parts(rows, claim, claim.published)
        for value in claim.published.values:
            line = _published_line(claim, claim.published, value)
            measured = [
                line | numbers | {"training": way}
                for way, part in parts.items()
                if (numbers := _measured(part, claim, claim.published, value, seed)) is not None
            ]
            lines += measured or [line | {"training": ""}]
    names = ["name", "claim", "source", "on", "published_low", "published_high", "metric"]
    table = pd.DataFrame(lines, columns=[*names, "training", "effect", "low", "high", *COUNTS])
    return table.astype(dict.fromkeys(COUNTS, "Int64"))


def _parts(rows: pd.DataFrame, claim: Claim, published: Published) -> dict[str, pd.DataFrame]:
    """The rows at the setting that all published values share, by way of training; {} of none."""
    if all(value.data for value in published.values):
        return {}
    try:
        return ways_of_training(kept_rows(rows, claim, {**claim.where, **published.where}), claim)
    except Absent:
        return {}


def _published_line(claim: Claim, published: Published, value: PublishedValue) -> dict[str, Any]:
    low, high = value.effect
    return {
        "name": claim.name,
        "claim": claim.claim,
        "source": published.source,
        "on": value.data or " ".join(map(as_typed, value.where.values())),
        "published_low": low,
        "published_high": high,
        "metric": published.metric,
    }


def _measured(
    rows: pd.DataFrame, claim: Claim, published: Published, value: PublishedValue, seed: int
) -> dict[str, Any] | None:
    """The effect in the runs at the setting of a published value; None where there are none."""
    if value.data is not None:
        return None
    a, b = claim.sides
    try:
        kept = kept_rows(rows, claim, value.where)
        rng = np.random.default_rng(seed)
        effects = paired_differences(kept, a, b, published.metric, rng)
    except Absent:
        return None
    measured = effects.rename(columns={"estimate": "effect"}).to_dict("records")
    return measured[0] if measured else None


def published_grid(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of `published_effects` as strings; other data of a claim share a line."""
    is_measured = effects["effect"].notna()
    grid = []
    for (_, claim), part in effects.groupby(["name", "claim"], sort=False):
        measured = part[is_measured[part.index]].to_dict("records")
        others = part[~is_measured[part.index]].to_dict("records")
        lines = [(_published_text(line), measured_text(line)) for line in measured]
        if others:
            lines.append(("; ".join(map(_published_text, others)), OTHER_DATA))
        grid += [[claim if i == 0 else "", *texts] for i, texts in enumerate(lines)]
    return pd.DataFrame(grid, columns=["claim", "published effect", "here"])


def _published_text(line: dict[str, Any]) -> str:
    low, high = (f"{line[name]:+z.3g}" for name in ("published_low", "published_high"))
    return f"{low if low == high else f'{low} to {high}'} ({line['on']})"


def measured_text(line: dict[str, Any]) -> str:
    """Return the effect, its interval and how the runs were trained, or that they are others."""
    if pd.isna(line["effect"]):
        return OTHER_DATA
    effect, low, high = (f"{line[name]:+z.3g}" for name in ("effect", "low", "high"))
    interval = "no interval" if pd.isna(line["low"]) else f"{low}, {high}"
    way = f"; {line['training']}" if line["training"] else ""
    return f"{effect} [{interval}] {line['metric']}{way}"


def published_notes(effects: pd.DataFrame) -> list[str]:
    """Return the line that says where the published numbers are from; none without any."""
    sources = list(dict.fromkeys(effects["source"]))
    return [f"Published effects: {'; '.join(sources)}."] if sources else []
