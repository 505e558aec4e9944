"""Claims: sentences of the papers, or of a user's file, as tests on the runs of a sweep.

A file maps names to claims. A claim is a sentence (`claim`), its `source`, and a test of a paired
contrast (contrasts.py): `contrast: {field: loss, a: clf_mlp, b: bt_mlp}` is a minus b, where
`largest` and `smallest` stand for a number's extremes. Optional: `metric` (improvement), `where`
(runs that count: field to value, list, or {below: x} or {above: x}), and `protocols: true`, one
line for each way of training that the sweep has. The tests:

    greater, less                   of the mean difference; with `here` and `there` (conditions), of
                                    how much larger it is here than there
    slope_greater, slope_less       of the difference over the column `x`, which the field `along`
                                    moves; x may be `log2 quantity`
    correlation_greater, _less      of the difference with the mean of the column `x`, over groups
                                    that share the fields `by`

A metric is a column of numbers, one of `cells.PER_PROMPT`, or an entry of a list column or a
difference of two: `decile_accuracy[0] - decile_accuracy[9]`. A claim that has `not_tested` instead
gives the reason. A claim holds where the 95 % interval lies on the claimed side of 0, fails where
it lies on the other, and is undecided where 0 is within; an equality can only stay undecided.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from rmsweep import contrasts
from rmsweep.cells import (
    ENOUGH_SEEDS,
    N_DRAWS,
    PER_PROMPT,
    Absent,
    check_name,
    describe,
    matches,
    needs,
    spec_fields,
)
from rmsweep.results import SCHEMA
from rmsweep.spec import NOT_IN_ID, column_types
from rmsweep.table_formats import render_strings
from rmsweep.typed import build

PACKAGE = Path(__file__).parent
FOLDERS = [folder / "claims" for folder in (PACKAGE, PACKAGE.parent)]  # a wheel's, a checkout's
TESTS = (
    *("greater", "less", "slope_greater", "slope_less"),
    *("correlation_greater", "correlation_less"),
)
NEEDED = {"": (), "slope": ("x", "along"), "correlation": ("x", "by")}  # by the kind of test
DEFAULTS: dict[str, Any] = {
    "metric": "improvement", "contrast": None, "test": None, "where": {}, "here": None,
    "there": None, "x": None, "along": None, "by": None, "protocols": False, "not_tested": None,
}  # fmt: skip
NUMBERS = [
    field.name
    for field in SCHEMA
    if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
]
ENTRY = re.compile(r"(\w+)\[(\d+)\](?: - (\w+)\[(\d+)\])?")


@dataclass(frozen=True)
class Claim:
    name: str
    claim: str
    source: str
    metric: str
    contrast: dict | None
    test: str | None
    where: dict
    here: dict | None
    there: dict | None
    x: str | None
    along: str | None
    by: list | None
    protocols: bool
    not_tested: str | None

    def __post_init__(self) -> None:
        if self.not_tested is not None:
            return
        if self.test not in TESTS:
            raise ValueError(f"test must be one of {', '.join(TESTS)}; got {self.test}")
        if set(self.contrast or {}) != {"field", "a", "b"}:
            raise ValueError(f"contrast must be a mapping of field, a and b; got {self.contrast}")
        for option in ("x", "along", "by"):
            is_needed = option in NEEDED[self.kind]
            if (getattr(self, option) is not None) != is_needed:
                rule = "is missing" if is_needed else "must be left out"
                raise ValueError(f"{option} {rule} where test is {self.test}")
        if (self.here is None) != (self.there is None) or (self.here is not None and self.kind):
            raise ValueError("here and there go together, and with test greater or less")
        for field in self._fields():
            if not field.startswith("loss."):  # its own fields are as many as there are losses
                check_name("field", field, [*column_types(), *NUMBERS])
        for field, value in self.where.items():
            if isinstance(value, dict) and not (value and set(value) <= {"below", "above"}):
                raise ValueError(f"where: {field} must have below or above; got {value}")
            if isinstance(value, dict):
                check_name("number", field, NUMBERS)
        if self.x is not None:
            check_name("x", self.x.removeprefix("log2 "), NUMBERS)
        if not ENTRY.fullmatch(self.metric):
            check_name("metric", self.metric, [*PER_PROMPT, *NUMBERS])
        for column in self.columns():
            check_name("column", column, SCHEMA.names)

    @property
    def kind(self) -> str:
        return (self.test or "").rpartition("_")[0]

    @property
    def of(self) -> str:
        """What the effect is a difference in, or a slope or correlation of that difference."""
        if self.kind == "slope":
            x = str(self.x)
            per = f"doubling of {x[5:]}" if x.startswith("log2 ") else f"unit of {x}"
            return f"{self.metric} per {per}"
        return f"{self.metric}, correlation with {self.x}" if self.kind else self.metric

    def columns(self) -> list[str]:
        """Columns of the results that the test reads, without the fields of the spec."""
        entry = ENTRY.fullmatch(self.metric)
        metric = [name for name in entry.group(1, 3) if name] if entry else [self.metric]
        metric = needs(self.metric)[1:] if self.metric in PER_PROMPT else metric
        numbers = [self.x.removeprefix("log2 ")] if self.x else []
        return [*metric, *numbers, *(field for field in self.where if field in NUMBERS)]

    def _fields(self) -> Iterator[str]:
        assert self.contrast is not None
        yield self.contrast["field"]
        for conditions in (self.where, self.here or {}, self.there or {}, self.by or []):
            yield from conditions
        if self.along is not None:
            yield self.along


def published() -> list[Claim]:
    """The claims of both papers, from the files that rmsweep brings along."""
    folder = next(folder for folder in FOLDERS if folder.is_dir())
    return [claim for path in sorted(folder.glob("*.yaml"), reverse=True) for claim in read(path)]


def read(path: Path) -> list[Claim]:
    """The claims of a file; ValueError, in one line, names the file, the claim, field and rule."""
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not yaml: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise ValueError(f"{path} must map names to claims, each a mapping")
    claims = []
    for name, values in found.items():
        try:
            claims.append(build(Claim, {"name": str(name), **DEFAULTS, **values}))
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return claims


def columns(claims: list[Claim]) -> list[str]:
    """Columns of the results that the claims need."""
    fields = [name for name in column_types() if name not in NOT_IN_ID]
    own = [column for claim in claims if not claim.not_tested for column in claim.columns()]
    return list(dict.fromkeys(["key", *fields, *own]))


def judge(rows: pd.DataFrame, claims: list[Claim], seed: int = 0) -> pd.DataFrame:
    """A line a claim and way of training: name, claim, source, training, verdict, of, effect, low,
    high, n_seeds, n_prompts, n_pairs, reason.

    rows: done runs, one a key, with `columns(claims)`. verdict: holds, fails, undecided or "not
    tested", and then the reason. seed: of the bootstrap, which begins anew with each line.
    """
    lines = []
    for claim in claims:
        ways = _ways(rows, claim) if claim.protocols else {"": rows}
        found = [_judge(part, claim, seed) | {"training": way} for way, part in ways.items()]
        tested = [line for line in found if line["verdict"] != "not tested"]
        lines += tested or [found[0] | {"training": ""}]
    names = ["name", "claim", "source", "training", "verdict", "of", "effect", "low", "high"]
    counts = ["n_seeds", "n_prompts", "n_pairs"]
    table = pd.DataFrame(lines, columns=[*names, *counts, "reason"])
    return table.astype(dict.fromkeys(counts, "Int64"))


def render(lines: pd.DataFrame, notes: Sequence[str], format: str, width: int = 120) -> str:
    """What `judge` returns as text, md, html or json (a list of objects, full precision)."""
    if format == "json":
        return lines.to_json(orient="records", indent=1) + "\n"
    is_again = lines["name"].eq(lines["name"].shift())
    grid = pd.DataFrame(
        {
            "claim": (lines["claim"] + " (" + lines["source"] + ")").mask(is_again, ""),
            "training": lines["training"],
            "verdict": lines["verdict"],
            "effect [95 % interval]": [_effect(line) for line in lines.to_dict("records")],
            "n": [_counts(line) for line in lines.to_dict("records")],
        }
    )
    return render_strings(grid, notes, format, width)


def notes(lines: pd.DataFrame, n_done: int, n_wanted: int) -> list[str]:
    """Lines to stand under the verdicts: how they come about, what is missing."""
    counts = lines["verdict"].value_counts()
    verdicts = [f"{counts.get(v, 0)} {v}" for v in ("holds", "fails", "undecided", "not tested")]
    how = (
        "holds: the 95 % interval lies on the claimed side of 0; fails: on the other; undecided: 0"
    )
    found = [
        f"{', '.join(verdicts)}.",
        f"{how} is within. Paired, crossed bootstrap over seeds and prompts, B = {N_DRAWS:,}.",
    ]
    if n_done < n_wanted:
        found.append(f"INCOMPLETE: {n_done:,} of {n_wanted:,} runs are done.")
    if (lines["n_seeds"] < ENOUGH_SEEDS).any():
        found.append(f"WARNING: fewer than {ENOUGH_SEEDS} seeds, the intervals are too narrow.")
    return found


def _effect(line: dict[str, Any]) -> str:
    if line["verdict"] == "not tested":
        return str(line["reason"])
    numbers = [f"{line[name]:+z.3g}" for name in ("effect", "low", "high")]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}] {line['of']}"


def _counts(line: dict[str, Any]) -> str:
    words = [
        f"{line[name]:,} {name[2:]}"
        for name in ("n_seeds", "n_prompts", "n_pairs")
        if not pd.isna(line[name])
    ]
    return ", ".join(words)


def _judge(rows: pd.DataFrame, claim: Claim, seed: int) -> dict[str, Any]:
    line = {"name": claim.name, "claim": claim.claim, "source": claim.source, "of": claim.of}
    if claim.not_tested is not None:
        return line | {"verdict": "not tested", "reason": claim.not_tested, "of": ""}
    try:
        kept = _with_numbers(_kept(rows, claim.where), claim)
        found = _contrast(kept, claim, np.random.default_rng(seed))
        _require_effect(found, claim)
    except Absent as absent:
        return line | {"verdict": "not tested", "reason": str(absent).partition(";")[0]}
    numbers = found.rename(columns={"estimate": "effect"}).iloc[0].to_dict()
    low, high = numbers["low"], numbers["high"]
    if str(claim.test).endswith("less"):
        low, high = -high, -low
    verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
    return line | numbers | {"verdict": verdict, "reason": ""}


def _contrast(rows: pd.DataFrame, claim: Claim, rng: np.random.Generator) -> pd.DataFrame:
    assert claim.contrast is not None
    field = claim.contrast["field"]
    a, b = ({field: _option(rows, field, claim.contrast[side])} for side in ("a", "b"))
    if a == b:
        raise Absent(f"the sweep has one {field}, {a[field]}")
    sides = (rows, a, b, claim.metric)
    if claim.kind == "slope":
        return contrasts.paired_slope(*sides, str(claim.x), str(claim.along), rng)
    if claim.kind == "correlation":
        return contrasts.correlation_points(*sides, str(claim.x), claim.by or [], rng)[1]
    if claim.here is not None and claim.there is not None:
        return contrasts.paired_interaction(*sides, claim.here, claim.there, rng)
    return contrasts.paired_differences(*sides, rng)


def _require_effect(found: pd.DataFrame, claim: Claim) -> None:
    assert claim.contrast is not None
    if found.empty:
        raise Absent(f"no two runs differ in {claim.contrast['field']} alone")
    if np.isnan(found["estimate"][0]):
        lacks = "fewer than three groups" if claim.kind == "correlation" else f"one {claim.along}"
        raise Absent(f"the sweep has {lacks}")


def _option(rows: pd.DataFrame, field: str, value: Any) -> Any:
    if value == "largest":
        return rows[field].max()
    return rows[field].min() if value == "smallest" else value


def _kept(rows: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    """The rows that meet the conditions; Absent where none does."""
    bounds = {field: value for field, value in where.items() if isinstance(value, dict)}
    plain = {field: value for field, value in where.items() if field not in bounds}
    is_kept = np.ones(len(rows), dtype=bool)
    if plain:
        fields = rows[["key", *(name for name in column_types() if name in rows)]]
        is_kept &= matches(spec_fields(fields)[0], plain)
    for field, bound in bounds.items():
        number = rows[field].to_numpy(dtype=float)
        is_kept &= (number < bound.get("below", np.inf)) & (number > bound.get("above", -np.inf))
    if not is_kept.any():
        words = [f"{f} {side} {x}" for f, bound in bounds.items() for side, x in bound.items()]
        raise Absent(f"no run has {' and '.join([*words, *([describe(plain)] if plain else [])])}")
    return rows[is_kept].reset_index(drop=True)


def _with_numbers(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows with the columns that the metric and x are, where these are worked out here."""
    if claim.x is not None and claim.x.startswith("log2 "):
        rows = rows.assign(**{claim.x: np.log2(rows[claim.x.removeprefix("log2 ")])})
    entry = ENTRY.fullmatch(claim.metric)
    if entry:
        first, i, second, j = entry.groups()
        if rows[first].isna().all():
            raise Absent(f"the sweep has no {first}; evaluation.diagnostics=true records it")
        number = rows[first].map(lambda values: np.nan if values is None else values[int(i)])
        if second:
            number -= rows[second].map(lambda v: np.nan if v is None else v[int(j)])
        rows = rows.assign(**{claim.metric: number.astype(float)})
    for column in claim.columns():
        if rows[column].isna().all():
            raise Absent(f"the sweep has no {column}")
    return rows


def _ways(rows: pd.DataFrame, claim: Claim) -> dict[str, pd.DataFrame]:
    """The rows of each way of training, protocol and early stopping or fixed epochs.

    Only MLPs know both, so where losses are compared other reward models stand against each way.
    """
    is_other = rows["loss.reward_model"] != "mlp"
    is_fixed = rows["training.patience"].isna()
    trained = rows[~is_other]
    ways = {}
    for (protocol, fixed), part in trained.groupby(["training.protocol", is_fixed[~is_other]]):
        others = rows[is_other & (rows["training.protocol"] == protocol) & (is_fixed == fixed)]
        if others.empty and claim.contrast and claim.contrast["field"] == "loss":
            fields = [field for field in part if field.startswith("training.")]
            same = {f: part[f].iloc[0] for f in fields if part[f].nunique(dropna=False) == 1}
            others = rows[is_other].assign(**same)
        ways[f"{protocol}, {'fixed epochs' if fixed else 'early stopping'}"] = pd.concat(
            [part, others], ignore_index=True
        )
    return ways or {"": rows}
