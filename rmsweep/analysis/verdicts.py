"""Verdicts on claims (claims.py): each is tested on the runs of a sweep."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis import contrasts
from rmsweep.analysis.claims import ENTRY, IMPROVEMENT, Claim
from rmsweep.analysis.fields import (
    combination_ids,
    conditions_text,
    id_fields,
    meets_conditions,
    spec_fields,
    trains_in_epochs,
)
from rmsweep.analysis.tuned import tuned_runs
from rmsweep.analysis.units import HAVE_SHARE, SHARE, is_in_golden_reward, unit_ids
from rmsweep.config.columns import column_types
from rmsweep.errors import Absent

SEVERAL_DATASETS = ", several datasets"  # of which the units differ
EFFECT_COUNTS = ("n_seeds", "n_prompts", "n_pairs", "n_points")
ENOUGH_POINTS = 5  # of a correlation: of four unrelated ones, a tenth correlate beyond 0.9


def verdict_table(rows: pd.DataFrame, claims: list[Claim], seed: int = 0) -> pd.DataFrame:
    """Return the verdict on each claim, a line a claim and way of training.

    rows: done runs, one a key, with `claim_columns(claims)`. seed: of the bootstrap, which begins
    anew with each line. Ways of training that can test a claim do so on the settings that all of
    them were run on.

    The columns: name, claim, source and training; verdict, which is holds, fails, undecided or "not
    tested"; of, what the effect is a difference in, and its margin; effect, low, high; n_seeds,
    n_prompts, n_pairs, and n_points of a correlation; reason, why a claim is not tested.
    """
    lines = []
    for claim in claims:
        ways = ways_of_training(rows, claim)
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


def _judge(rows: pd.DataFrame, claim: Claim, seed: int) -> dict[str, Any]:
    line = {"name": claim.name, "claim": claim.claim, "source": claim.source, "of": claim.of}
    if claim.not_tested is not None:
        return line | {"verdict": "not tested", "reason": claim.not_tested, "of": ""}
    try:
        kept = _with_numbers(kept_rows(rows, claim, claim.where), claim)
        kept = kept if claim.tune is None else tuned_runs(kept, claim.tune)
        tested = _in_one_unit(kept, claim)
        effects = _contrast(kept, tested, np.random.default_rng(seed))
        if effects.empty:
            raise Absent(f"no two runs differ in {' and '.join(claim.fields)} alone")
        if np.isnan(effects["estimate"][0]) and claim.kind in ("slope", "correlation"):
            moved = claim.x if claim.kind == "correlation" else claim.along
            raise Absent(f"the sweep has one {moved}")
    except Absent as absent:
        return line | {"verdict": "not tested", "reason": str(absent).partition(";")[0]}
    (numbers,) = effects.rename(columns={"estimate": "effect"}).to_dict("records")
    verdict = _verdict(claim, numbers["low"], numbers["high"])
    several = "" if tested.metric in (claim.metric, IMPROVEMENT) else SEVERAL_DATASETS
    return line | numbers | {"of": tested.of + several, "verdict": verdict, "reason": ""}


def _verdict(claim: Claim, low: float, high: float) -> str:
    """The verdict that the ends of an interval give; of nan, undecided."""
    margin = claim.margin or 0.0
    if claim.test == "equal_within":
        is_within, is_beyond = -margin < low and high < margin, low > margin or high < -margin
    elif str(claim.test).endswith("less"):
        is_within, is_beyond = high < 0, low > 0
    else:
        is_within, is_beyond = low > -margin, high < -margin
    return "holds" if is_within else "fails" if is_beyond else "undecided"


def _in_one_unit(rows: pd.DataFrame, claim: Claim) -> Claim:
    """The claim with the metric that it is tested in: shares, where the rows' units differ.

    A relative difference has no unit. Absent for a metric in golden reward that has no share.
    """
    metric = claim.metric or IMPROVEMENT
    claim = dataclasses.replace(claim, metric=metric)
    if claim.is_relative or not is_in_golden_reward(metric):
        return claim
    column = metric if metric in rows else claim.own_columns()[0]
    if len(np.unique(unit_ids(rows, metric)[rows[column].notna()])) < 2:
        return claim
    if metric not in HAVE_SHARE:
        raise Absent(
            f"{metric} is in golden reward, of which each dataset has a unit of its own: "
            "--where dataset=NAME takes one"
        )
    return dataclasses.replace(claim, metric=SHARE)


def _contrast(rows: pd.DataFrame, claim: Claim, rng: np.random.Generator) -> pd.DataFrame:
    if claim.contrast is None:
        return contrasts.metric_means(rows, str(claim.metric), rng)
    a, b = ({f: _option(rows, f, v) for f, v in side.items()} for side in claim.sides)
    if a == b:
        raise Absent(f"the sweep has one {claim.fields[0]}, {a[claim.fields[0]]}")
    sides = (rows, a, b, str(claim.metric))
    if claim.kind == "slope":
        return contrasts.paired_slope(*sides, str(claim.x), str(claim.along), rng)
    if claim.kind == "correlation":
        points, line = contrasts.correlation_points(*sides, str(claim.x), claim.by or [], rng)
        if 0 < len(points) < ENOUGH_POINTS:
            raise Absent(f"a correlation needs {ENOUGH_POINTS} points, the sweep has {len(points)}")
        return line.assign(n_points=len(points))
    if claim.here is not None and claim.there is not None:
        halves = claim.here, claim.there
        return contrasts.paired_interaction(*sides, *halves, rng, of_size=claim.kind == "size")
    if claim.is_relative:
        return contrasts.paired_relative_difference(*sides, rng)
    return contrasts.paired_differences(*sides, rng)


def _option(rows: pd.DataFrame, field: str, option: Any) -> Any:
    if option == "largest":
        return rows[field].max()
    return rows[field].min() if option == "smallest" else option


def kept_rows(rows: pd.DataFrame, claim: Claim, where: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows that meet the conditions of a claim; Absent where none does.

    A bound of a result, such as annotation_error, is one of its mean over the seeds and both sides
    of the contrast, so that a cell is kept whole or not at all.
    """
    bounds = {field: value for field, value in where.items() if isinstance(value, dict)}
    values = {field: value for field, value in where.items() if field not in bounds}
    is_kept = np.ones(len(rows), dtype=bool)
    if values:
        fields = rows[["key", *(name for name in column_types() if name in rows)]]
        is_kept &= meets_conditions(spec_fields(fields)[0], values)
    for field, bound in bounds.items():
        number = rows[field].astype(float)
        if field not in column_types():
            number = number.groupby(_cells(rows, claim)).transform("mean")
        is_kept &= (number < bound.get("below", np.inf)) & (number > bound.get("above", -np.inf))
    if not is_kept.any():
        words = [f"{f} {side} {x}" for f, bound in bounds.items() for side, x in bound.items()]
        words += [conditions_text(values)] if values else []
        raise Absent(f"no run has {' and '.join(words)}")
    return rows[is_kept].reset_index(drop=True)


def _cells(rows: pd.DataFrame, claim: Claim) -> np.ndarray:
    """The number of the cell of each row: its spec but for the seed and what is contrasted."""
    contrasted, own = ("seed", *claim.fields), tuple(f"{field}." for field in claim.fields)
    fields = [f for f in id_fields(rows) if f not in contrasted and not f.startswith(own)]
    return combination_ids(rows, fields)


def _with_numbers(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows with the columns that the metric and x are, where these are worked out here."""
    metric = claim.metric or IMPROVEMENT
    if claim.x is not None and claim.x.startswith("log2 "):
        rows = rows.assign(**{claim.x: np.log2(rows[claim.x.removeprefix("log2 ")])})
    if entry := ENTRY.fullmatch(metric):
        first, i, second, j = entry.groups()
        if rows[first].isna().all():
            raise Absent(f"the sweep has no {first}; evaluation.diagnostics=true records it")
        number = rows[first].map(lambda values: _entry(values, int(i)))
        if second:
            number -= rows[second].map(lambda values: _entry(values, int(j)))
        rows = rows.assign(**{metric: number.astype(float)})
    for column in (*claim.own_columns(), *([metric] if entry else [])):
        if rows[column].isna().all():
            raise Absent(f"the sweep has no {column}")
    return rows


def _entry(values: np.ndarray | None, i: int) -> float:
    """nan where the run has no list, or a shorter one."""
    return np.nan if values is None or i >= len(values) else values[i]


def ways_of_training(rows: pd.DataFrame, claim: Claim) -> dict[str, pd.DataFrame]:
    """Return the rows of each way of training, protocol and early stopping or fixed epochs.

    Only MLPs know both, so where losses are compared other reward models stand against each way. A
    claim that does not ask for them has one way, without a name.
    """
    if not claim.protocols:
        return {"": rows}
    is_other = ~trains_in_epochs(rows)
    is_fixed = rows["training.patience"].isna()
    trained = rows[~is_other]
    ways = {}
    for (protocol, fixed), part in trained.groupby(["training.protocol", is_fixed[~is_other]]):
        others = rows[is_other & (rows["training.protocol"] == protocol) & (is_fixed == fixed)]
        if others.empty and "loss" in claim.fields:
            fields = [field for field in part if field.startswith("training.")]
            same = {f: part[f].iloc[0] for f in fields if part[f].nunique(dropna=False) == 1}
            others = rows[is_other].assign(**same)
        way = f"{protocol}, {'fixed epochs' if fixed else 'early stopping'}"
        ways[way] = pd.concat([part, others], ignore_index=True)
    return ways or {"": rows}


def _on_common_settings(ways: dict[str, pd.DataFrame], claim: Claim) -> dict[str, pd.DataFrame]:
    """The rows of each way whose settings all ways have, where that leaves any and drops some.

    A setting: the fields of the spec but those of training and the seed; of the loss its name, or
    nothing where losses are contrasted, since other reward models stand against every way.
    """
    kept = {}
    settings = {way: _settings(part, claim) for way, part in ways.items()}
    trained = {way: settings[way][trains_in_epochs(ways[way])] for way in ways}
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
    if "loss" in claim.fields:
        fields.remove("loss")
    settings = rows[fields].astype(object).where(rows[fields].notna(), None)
    return pd.Series(list(settings.itertuples(index=False, name=None)), rows.index, dtype=object)
