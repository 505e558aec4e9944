"""The verdicts on claims in words: a table of them, the published effects, and the notes."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis.means import ENOUGH_SEEDS, N_DRAWS
from rmsweep.analysis.published_effects import published_grid
from rmsweep.analysis.table_text import render_text_grid
from rmsweep.analysis.verdicts import EFFECT_COUNTS, SEVERAL_DATASETS


def render_verdicts(
    lines: pd.DataFrame,
    effects: pd.DataFrame,
    notes: Sequence[str],
    format: str,
    width: int = 120,
) -> str:
    """Return the verdicts as text, md, html or json (a list of objects, full precision).

    lines: of `verdicts.verdict_table`. effects: of `published_effects`, which make a second table;
    in json a list, `published`, of each verdict. notes: to stand under them, but for json. width:
    of text.
    """
    if format == "json":
        return _json(lines, effects)
    is_again = lines["name"].eq(lines["name"].shift())
    grid = lines[["training", "verdict"]].copy()
    grid.insert(0, "claim", (lines["claim"] + " (" + lines["source"] + ")").mask(is_again, ""))
    grid["effect [95 % interval]"] = [_effect(line) for line in lines.to_dict("records")]
    grid["n"] = [counts_text(line) for line in lines.to_dict("records")]
    if effects.empty:
        return render_text_grid(grid, notes, format, width)
    verdicts = render_text_grid(grid, [], format, width)
    published = render_text_grid(published_grid(effects), notes, format, width)
    return f"{verdicts}\n{published}"


def _json(lines: pd.DataFrame, effects: pd.DataFrame) -> str:
    """The verdicts as JSON, each with the published effects of its claim and way of training."""
    verdicts = json.loads(lines.to_json(orient="records"))
    published = json.loads(effects.to_json(orient="records"))
    for verdict in verdicts:
        ways = ("", verdict["training"])
        verdict["published"] = [
            {name: value for name, value in line.items() if name not in ("name", "claim")}
            for line in published
            if line["name"] == verdict["name"]
            and (line["training"] in ways or not verdict["training"])
        ]
    return json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n"


def verdict_notes(lines: pd.DataFrame, n_done: int, n_wanted: int) -> list[str]:
    """Return the lines to stand under the verdicts: how they come about, what is missing.

    lines: of `verdict_table`. n_done, n_wanted: runs of the sweep.
    """
    n_of = lines["verdict"].value_counts()
    verdicts = [f"{n_of.get(v, 0)} {v}" for v in ("holds", "fails", "undecided", "not tested")]
    notes = [
        f"{', '.join(verdicts)}.",
        "holds: the 95 % interval lies on the claimed side of 0, or of the margin; fails: on the "
        "other; undecided: neither. "
        f"Paired, crossed bootstrap over seeds and prompts, B = {N_DRAWS:,}.",
    ]
    if lines["of"].str.endswith(SEVERAL_DATASETS).any():
        notes.append(
            "several datasets: the golden rewards of each have a unit of their own, so what is "
            "compared is shares of the oracle's improvement."
        )
    if n_done < n_wanted:
        notes.append(f"INCOMPLETE: {n_done:,} of {n_wanted:,} runs are done.")
    if (lines["n_seeds"] < ENOUGH_SEEDS).any():
        notes.append(f"WARNING: fewer than {ENOUGH_SEEDS} seeds, the intervals are too narrow.")
    return notes


def _effect(line: dict[str, Any]) -> str:
    if line["verdict"] == "not tested":
        return str(line["reason"])
    effect, low, high = (f"{line[name]:+z.3g}" for name in ("effect", "low", "high"))
    interval = "no interval" if np.isnan(line["low"]) else f"{low}, {high}"
    return f"{effect} [{interval}] {line['of']}"


def counts_text(line: dict[str, Any]) -> str:
    """Return in words how many seeds, prompts, pairs and points a line of `verdict_table` has."""
    names = [name for name in EFFECT_COUNTS if not pd.isna(line[name])]
    return ", ".join(f"{line[name]:,} {name.removeprefix('n_')}" for name in names)
