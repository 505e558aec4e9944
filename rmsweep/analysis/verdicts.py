"""Verdicts on claims (claims.py): each is tested on the runs of a sweep, and put into words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis import contrasts
from rmsweep.analysis.claims import ENTRY, Claim
from rmsweep.analysis.fields import conditions_text, id_fields, meets_conditions, spec_fields
from rmsweep.analysis.means import ENOUGH_SEEDS, N_DRAWS
from rmsweep.analysis.table_text import render_text_grid
from rmsweep.config.columns import column_types
from rmsweep.config.reward_models import kind_of
from rmsweep.errors import Absent

EFFECT_COUNTS = ("n_seeds", "n_prompts", "n_pairs", "n_points")
ENOUGH_POINTS = 5  # of a correlation: of four unrelated ones, a tenth correlate beyond 0.9


def verdict_table(rows: pd.DataFrame, claims: list[Claim], seed: int = 0) -> pd.DataFrame:
    """Return the verdict on each claim, a line a claim and way of training.

    rows: done runs, one a key, with `claim_columns(claims)`. seed: of the bootstrap, which begins
    anew with each line. Ways of training that can test a claim do so on the settings that all of
    them were run on.

    The columns: name, claim, source and training; verdict, which is holds, fails, undecided or "not
    tested"; of, what the effect is a difference in; effect, low, high; n_seeds, n_prompts, n_pairs,
    and n_points of a correlation; reason, why a claim is not tested.
    """
    lines = []
    for claim in claims:
        ways = _ways(rows, claim) if claim.protocols else {"": rows}
        judged = {way: _judge(part, claim, seed) for way, part in ways.items()}
        tested = [way for way in judged if judged[way]["verdict"] != "not tested"]
        for way, part in _on_common_settings({way: ways[way] for way in tested}, claim).items():
            line = _judge(part, claim, seed)
            judged[way] = judged[way] if line["verdict"] == "not tested" else line
        lines += [judged[way] | {"training": way} for way in tested]
        if not tested:
            lines.append(next(iter(judged.values())) | {"training": ""})
    names = ["name", "claim", "source", "training", "verdict", "of", "effect", "low", "high"]
    table = pd.DataFrame(lines, columns=[*names, *EFFECT_COUNTS, "reason"])
    return table.astype(dict.fromkeys(EFFECT_COUNTS, "Int64"))


def render_verdicts(
    lines: pd.DataFrame, verdict_notes: Sequence[str], format: str, width: int = 120
) -> str:
    """Return the verdicts as text, md, html or json (a list of objects, full precision).

    lines: of `verdict_table`. verdict_notes: to stand under them, but for json. width: of text.
    """
    if format == "json":
        return lines.to_json(orient="records", indent=1) + "\n"
    is_again = lines["name"].eq(lines["name"].shift())
    grid = lines[["training", "verdict"]].copy()
    grid.insert(0, "claim", (lines["claim"] + " (" + lines["source"] + ")").mask(is_again, ""))
    grid["effect [95 % interval]"] = [_effect(line) for line in lines.to_dict("records")]
    grid["n"] = [counts_text(line) for line in lines.to_dict("records")]
    return render_text_grid(grid, verdict_notes, format, width)


def verdict_notes(lines: pd.DataFrame, n_done: int, n_wanted: int) -> list[str]:
    """Return the lines to stand under the verdicts: how they come about, what is missing.

    lines: of `verdict_table`. n_done, n_wanted: runs of the sweep.
    """
    n_of = lines["verdict"].value_counts()
    verdicts = [f"{n_of.get(v, 0)} {v}" for v in ("holds", "fails", "undecided", "not tested")]
    notes = [
        f"{', '.join(verdicts)}.",
        "holds: the 95 % interval lies on the claimed side of 0; fails: on the other; undecided: 0 "
        f"is within. Paired, crossed bootstrap over seeds and prompts, B = {N_DRAWS:,}.",
    ]
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


def _judge(rows: pd.DataFrame, claim: Claim, seed: int) -> dict[str, Any]:
    line = {"name": claim.name, "claim": claim.claim, "source": claim.source, "of": claim.of}
    if claim.not_tested is not None:
        return line | {"verdict": "not tested", "reason": claim.not_tested, "of": ""}
    try:
        kept = _with_numbers(_kept(rows, claim.where), claim)
        effects = _contrast(kept, claim, np.random.default_rng(seed))
        if effects.empty:
            raise Absent(f"no two runs differ in {claim.field} alone")
        if np.isnan(effects["estimate"][0]):
            moved = claim.x if claim.kind == "correlation" else claim.along
            raise Absent(f"the sweep has one {moved}")
    except Absent as absent:
        return line | {"verdict": "not tested", "reason": str(absent).partition(";")[0]}
    (numbers,) = effects.rename(columns={"estimate": "effect"}).to_dict("records")
    low, high = numbers["low"], numbers["high"]
    if str(claim.test).endswith("less"):
        low, high = -high, -low
    verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
    return line | numbers | {"verdict": verdict, "reason": ""}


def _contrast(rows: pd.DataFrame, claim: Claim, rng: np.random.Generator) -> pd.DataFrame:
    assert claim.contrast is not None
    field = claim.field
    a, b = ({field: _option(rows, field, claim.contrast[side])} for side in ("a", "b"))
    if a == b:
        raise Absent(f"the sweep has one {field}, {a[field]}")
    sides = (rows, a, b, claim.metric)
    if claim.kind == "slope":
        return contrasts.paired_slope(*sides, str(claim.x), str(claim.along), rng)
    if claim.kind == "correlation":
        points, line = contrasts.correlation_points(*sides, str(claim.x), claim.by or [], rng)
        if 0 < len(points) < ENOUGH_POINTS:
            raise Absent(f"a correlation needs {ENOUGH_POINTS} points, the sweep has {len(points)}")
        return line.assign(n_points=len(points))
    if claim.here is not None and claim.there is not None:
        return contrasts.paired_interaction(*sides, claim.here, claim.there, rng)
    return contrasts.paired_differences(*sides, rng)


def _option(rows: pd.DataFrame, field: str, option: Any) -> Any:
    if option == "largest":
        return rows[field].max()
    return rows[field].min() if option == "smallest" else option


def _kept(rows: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    """The rows that meet the conditions; Absent where none does."""
    bounds = {field: value for field, value in where.items() if isinstance(value, dict)}
    values = {field: value for field, value in where.items() if field not in bounds}
    is_kept = np.ones(len(rows), dtype=bool)
    if values:
        fields = rows[["key", *(name for name in column_types() if name in rows)]]
        is_kept &= meets_conditions(spec_fields(fields)[0], values)
    for field, bound in bounds.items():
        number = rows[field].to_numpy(dtype=float)
        is_kept &= (number < bound.get("below", np.inf)) & (number > bound.get("above", -np.inf))
    if not is_kept.any():
        words = [f"{f} {side} {x}" for f, bound in bounds.items() for side, x in bound.items()]
        words += [conditions_text(values)] if values else []
        raise Absent(f"no run has {' and '.join(words)}")
    return rows[is_kept].reset_index(drop=True)


def _with_numbers(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows with the columns that the metric and x are, where these are worked out here."""
    if claim.x is not None and claim.x.startswith("log2 "):
        rows = rows.assign(**{claim.x: np.log2(rows[claim.x.removeprefix("log2 ")])})
    if entry := ENTRY.fullmatch(claim.metric):
        first, i, second, j = entry.groups()
        if rows[first].isna().all():
            raise Absent(f"the sweep has no {first}; evaluation.diagnostics=true records it")
        number = rows[first].map(lambda values: _entry(values, int(i)))
        if second:
            number -= rows[second].map(lambda values: _entry(values, int(j)))
        rows = rows.assign(**{claim.metric: number.astype(float)})
    for column in (*claim.columns(), *([claim.metric] if entry else [])):
        if rows[column].isna().all():
            raise Absent(f"the sweep has no {column}")
    return rows


def _entry(values: np.ndarray | None, i: int) -> float:
    """nan where the run has no list, or a shorter one."""
    return np.nan if values is None or i >= len(values) else values[i]


def _ways(rows: pd.DataFrame, claim: Claim) -> dict[str, pd.DataFrame]:
    """The rows of each way of training, protocol and early stopping or fixed epochs.

    Only MLPs know both, so where losses are compared other reward models stand against each way.
    """
    is_other = ~_trains_in_epochs(rows)
    is_fixed = rows["training.patience"].isna()
    trained = rows[~is_other]
    ways = {}
    for (protocol, fixed), part in trained.groupby(["training.protocol", is_fixed[~is_other]]):
        others = rows[is_other & (rows["training.protocol"] == protocol) & (is_fixed == fixed)]
        if others.empty and claim.contrast and claim.field == "loss":
            fields = [field for field in part if field.startswith("training.")]
            same = {f: part[f].iloc[0] for f in fields if part[f].nunique(dropna=False) == 1}
            others = rows[is_other].assign(**same)
        way = f"{protocol}, {'fixed epochs' if fixed else 'early stopping'}"
        ways[way] = pd.concat([part, others], ignore_index=True)
    return ways or {"": rows}


def _trains_in_epochs(rows: pd.DataFrame) -> pd.Series:
    """Return, for each row, whether its reward model knows protocols and early stopping."""
    return rows["loss.reward_model"].map(lambda name: kind_of(name).trains_in_epochs).astype(bool)


def _on_common_settings(ways: dict[str, pd.DataFrame], claim: Claim) -> dict[str, pd.DataFrame]:
    """The rows of each way whose settings all ways have, where that leaves any and drops some.

    A setting: the fields of the spec but those of training and the seed; of the loss its name, or
    nothing where losses are contrasted, since other reward models stand against every way.
    """
    kept = {}
    settings = {way: _settings(part, claim) for way, part in ways.items()}
    trained = {way: settings[way][_trains_in_epochs(ways[way])] for way in ways}
    common = set.intersection(*map(set, trained.values())) if len(ways) > 1 else set()
    for way, part in ways.items():
        is_common = settings[way].isin(common).to_numpy()
        if common and not is_common.all():
            kept[way] = part[is_common].reset_index(drop=True)
    return kept


def _settings(rows: pd.DataFrame, claim: Claim) -> pd.Series:
    """Each row's setting, as one tuple."""
    left_out = ("training.", "loss.", "seed")
    fields = [name for name in id_fields(rows) if not name.startswith(left_out)]
    if claim.field == "loss":
        fields.remove("loss")
    settings = rows[fields].astype(object).where(rows[fields].notna(), None)
    return pd.Series(list(settings.itertuples(index=False, name=None)), rows.index, dtype=object)
