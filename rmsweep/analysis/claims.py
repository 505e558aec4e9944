"""Claims: sentences of the papers, or of a user's file, as tests on the runs of a sweep.

A file maps names to claims. A claim is a sentence (`claim`), its `source`, and a test of a paired
contrast (contrasts.py): `contrast: {field: loss, a: clf_mlp, b: bt_mlp}` is a minus b, where
`largest` and `smallest` stand for a number's extremes. Sides that differ in several fields are
mappings: `contrast: {a: {loss.norm: layer, ...}, b: {loss.norm: null, ...}}`. Without a contrast
the metric itself is tested, such as a difference of two entries. Optional: `metric` (improvement),
`where` (runs that count: field to value, list, or {below: x} or {above: x}, which a result has to
be in its mean over the seeds), `tune` (a field, of which each cell takes the value with the lowest
validation loss: tuned.py), and `protocols: true`, one line for each way of training that the sweep
has. The tests:

    greater, less                   of the mean difference; with `here` and `there` (conditions), of
                                    how much larger it is here than there
    size_less                       of the size of the mean difference: smaller `here` than `there`
    not_worse                       a is at most `margin` below b (non-inferiority)
    equal_within                    a is at most `margin` from b, on either side (equivalence)
    slope_greater, slope_less       of the difference over the column `x`, which the field `along`
                                    moves; x may be `log2 quantity`
    correlation_greater, _less      of the difference with the mean of the column `x`, over groups
                                    that share the fields `by`

A metric is one of `metrics.METRICS`, a column of numbers, or an entry of a list column or a
difference of two: `decile_accuracy[0] - decile_accuracy[9]`. Golden rewards of several datasets are
compared in shares of the oracle's improvement. A margin is in the unit of its metric, such as 0.05
of oracle_share; that of mean_margin is a share of b's mean. A claim that has `not_tested` instead
gives the reason. A claim holds where the 95 % interval lies on the claimed side of 0, or of the
margin, fails where it lies on the other, and is undecided where it does neither.

`published` has what the paper reports of both sides, as published.py says.
"""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from rmsweep.analysis import tuned
from rmsweep.analysis.fields import id_fields
from rmsweep.analysis.metrics import METRICS, OF_SUBSET, metric_columns
from rmsweep.analysis.published import Published, read_published
from rmsweep.analysis.units import HAVE_SHARE, SHARE, is_in_golden_reward
from rmsweep.config.columns import column_types
from rmsweep.config.schema import from_mapping
from rmsweep.errors import check_name, one_line
from rmsweep.paths import SHIPPED
from rmsweep.results.schema import SCHEMA

KIND_OF_TEST = {
    "greater": "mean",
    "less": "mean",
    "size_less": "size",
    "not_worse": "margin",
    "equal_within": "margin",
    "slope_greater": "slope",
    "slope_less": "slope",
    "correlation_greater": "correlation",
    "correlation_less": "correlation",
}
OPTIONS_OF_KIND = {
    "mean": (),
    "size": (),
    "margin": ("margin",),
    "slope": ("x", "along"),
    "correlation": ("x", "by"),
}
LIST_COLUMNS = [field.name for field in SCHEMA if pa.types.is_list(field.type)]
NUMBER_TESTS = (pa.types.is_floating, pa.types.is_integer)
NUMBER_COLUMNS = [c.name for c in SCHEMA if any(test(c.type) for test in NUMBER_TESTS)]
IMPROVEMENT = "improvement"  # what is compared where neither the claim nor the user says
ENTRY = re.compile(r"(\w+)\[(\d+)\](?: - (\w+)\[(\d+)\])?")


@dataclass(frozen=True)
class Claim:
    """A sentence and its test, or the reason why it is not tested; the module says what each is."""

    name: str
    claim: str
    source: str
    metric: str | None = None
    contrast: dict[str, Any] | None = None
    test: str | None = None
    margin: float | None = None
    where: dict[str, Any] = dataclasses.field(default_factory=dict)
    here: dict[str, Any] | None = None
    there: dict[str, Any] | None = None
    x: str | None = None
    along: str | None = None
    by: list[Any] | None = None
    tune: str | None = None
    protocols: bool = False
    not_tested: str | None = None
    published: Published | None = None

    def __post_init__(self) -> None:
        if self.not_tested is None:
            self._check_test()
            self._check_here_and_there()
            self._check_fields()
            self._check_metric()

    def _check_test(self) -> None:
        if self.test not in KIND_OF_TEST:
            raise ValueError(f"test must be one of {', '.join(KIND_OF_TEST)}; got {self.test}")
        self._check_contrast()
        for option in ("x", "along", "by", "margin"):
            is_needed = option in OPTIONS_OF_KIND[self.kind]
            if (getattr(self, option) is not None) != is_needed:
                rule = "is missing" if is_needed else "must be left out"
                raise ValueError(f"{option} {rule} where test is {self.test}")
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin must be above 0, got {self.margin}")

    def _check_contrast(self) -> None:
        names, (a, b) = set(self.contrast or {}), self.sides
        if self.contrast is None:
            if self.kind != "mean" or self.here is not None:
                raise ValueError("contrast is missing; only greater and less do without")
        elif names not in ({"field", "a", "b"}, {"a", "b"}) or not isinstance(a, dict) or not a:
            raise ValueError(
                "contrast must be a mapping of field, a and b, or of a and b, each a mapping of "
                f"fields; got {self.contrast}"
            )
        elif not isinstance(b, dict) or set(a) != set(b):
            raise ValueError(f"a and b of contrast must name the same fields; got {self.contrast}")

    def _check_here_and_there(self) -> None:
        kinds = {"mean", "size"} if self.here else {*KIND_OF_TEST.values()} - {"size"}
        if (self.here is None) != (self.there is None) or self.kind not in kinds:
            raise ValueError("here and there go together, with test greater, less or size_less")
        if set(self.here or {}) != set(self.there or {}):
            raise ValueError("here and there must name the same fields")
        if both := set(self.fields) & set(self.here or {}):
            raise ValueError(f"here and there must not name the field of the contrast, {min(both)}")

    def _check_fields(self) -> None:
        for field, value in [pair for side in self.sides for pair in side.items()]:
            if value in ("largest", "smallest") and field not in NUMBER_COLUMNS:
                raise ValueError(
                    f"largest and smallest are for numbers, contrast has field {field}"
                )
        named = [*self.fields, *self.where, *(self.here or {}), *(self.by or [])]
        for field in [*named, *filter(None, (self.along, self.tune))]:
            if not field.startswith("loss."):  # its own fields are as many as there are losses
                check_name("field", field, [*column_types(), *NUMBER_COLUMNS])
        for field, value in self.where.items():
            if isinstance(value, dict):
                if not (value and set(value) <= {"below", "above"}):
                    raise ValueError(f"where: {field} must have below or above; got {value}")
                check_name("number", field, NUMBER_COLUMNS)

    def _check_metric(self) -> None:
        if self.x is not None:
            check_name("x", self.x.removeprefix("log2 "), NUMBER_COLUMNS)
        if self.margin is not None and (self.metric is None or self._is_margin_in_golden_reward):
            raise ValueError(f"a margin needs a metric, which may be {SHARE}; got {self.metric}")
        if self.metric is None:
            return
        if entry := ENTRY.fullmatch(self.metric):
            for column in filter(None, entry.group(1, 3)):
                check_name("column", column, LIST_COLUMNS)
        elif not self.metric.startswith(OF_SUBSET):
            check_name("metric", self.metric, dict.fromkeys([*METRICS, *NUMBER_COLUMNS]))

    @property
    def sides(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The two sides of the contrast, fields to values; empty where the metric is tested."""
        contrast = self.contrast or {}
        if "field" in contrast:
            field = contrast["field"]
            return {field: contrast.get("a")}, {field: contrast.get("b")}
        return contrast.get("a", {}), contrast.get("b", {})

    @property
    def fields(self) -> list[str]:
        """The fields that are contrasted."""
        return list(self.sides[0])

    @property
    def kind(self) -> str:
        """What is tested of the difference: mean, size, margin, slope or correlation."""
        return KIND_OF_TEST.get(str(self.test), "")

    @property
    def is_relative(self) -> bool:
        """Whether the effect is the difference as a share of b's mean."""
        return self.margin is not None and self.metric == "mean_margin"

    @property
    def _is_margin_in_golden_reward(self) -> bool:
        return is_in_golden_reward(str(self.metric)) and not self.is_relative

    @property
    def of(self) -> str:
        """What the effect is a difference in, or a slope or correlation of that difference."""
        metric = self.metric or IMPROVEMENT
        chosen = "" if self.tune is None else f", {self.tune} tuned"
        if self.kind == "slope":
            x = str(self.x)
            per = f"doubling of {x[5:]}" if x.startswith("log2 ") else f"unit of {x}"
            return f"{metric} per {per}{chosen}"
        if self.margin is not None:
            of_b = f" as a share of {', '.join(map(str, self.sides[1].values()))}'s"
            return f"{metric}{of_b if self.is_relative else ''}, margin {self.margin:g}{chosen}"
        words = {"size": ", size of the difference", "correlation": f", correlation with {self.x}"}
        return f"{metric}{words.get(self.kind, '')}{chosen}"

    def own_columns(self) -> list[str]:
        """Return the columns of results that the test reads, where all runs share a dataset."""
        metric = self.metric or IMPROVEMENT
        if entry := ENTRY.fullmatch(metric):
            columns = [name for name in entry.group(1, 3) if name]
        else:
            columns = metric_columns(metric)
        numbers = [self.x.removeprefix("log2 ")] if self.x else []
        numbers += [] if self.tune is None else [tuned.COLUMN]
        bounds = [field for field, value in self.where.items() if isinstance(value, dict)]
        return [*columns, *numbers, *bounds]

    def columns(self) -> list[str]:
        """Return all columns of results that the claim reads, but for the fields of the spec."""
        has_share = (self.metric or IMPROVEMENT) in HAVE_SHARE
        reported = metric_columns(self.published.metric) if self.published else []
        return [*self.own_columns(), *(metric_columns(SHARE) if has_share else []), *reported]


def published_claims() -> list[Claim]:
    """Return the claims of both papers, from the files that rmsweep brings along."""
    paths = sorted((SHIPPED / "claims").glob("*.yaml"), reverse=True)
    return [claim for path in paths for claim in read_claims(path)]


def read_claims(path: Path) -> list[Claim]:
    """Return the claims of a file.

    ValueError, in one line, names the file and, where one of them is at fault, the claim, the field
    and the rule.
    """
    try:
        by_name = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not yaml: {one_line(error)}") from None
    if not isinstance(by_name, dict) or not all(isinstance(v, dict) for v in by_name.values()):
        raise ValueError(f"{path} must map names to claims, each a mapping")
    optional = [f for f in dataclasses.fields(Claim) if f.default is not dataclasses.MISSING]
    defaults = {field.name: field.default for field in optional} | {"where": {}}
    claims = []
    for name, values in by_name.items():
        try:
            published = read_published(values.get("published"))
            fields = {**defaults, "name": str(name), **values, "published": published}
            claims.append(from_mapping(Claim, fields))
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return claims


def with_metric(claims: list[Claim], metric: str) -> list[Claim]:
    """Return the claims, those without a metric of their own with this one."""
    return [
        claim if claim.metric or claim.not_tested else dataclasses.replace(claim, metric=metric)
        for claim in claims
    ]


def published_and_own_claims(paths: Iterable[str]) -> list[Claim]:
    """Return the published claims, and after them those of a user's files."""
    return [*published_claims(), *(claim for path in paths for claim in read_claims(Path(path)))]


def claim_columns(claims: list[Claim]) -> list[str]:
    """Return the columns of the results that the claims need, key first."""
    own = [column for claim in claims if not claim.not_tested for column in claim.columns()]
    return list(dict.fromkeys(["key", *id_fields(column_types()), *own]))
