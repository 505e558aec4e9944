"""What a paper reports of the two sides of a claim's contrast: the field `published` of a claim.

It has a `source`, the `metric`, conditions common to all (`where`) and `values`, each with a and b
and its own conditions (`where`), or in words (`data`) the model and data, where rmsweep has no name
for them. A number that is known as a range is a list of its ends.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rmsweep.analysis.metrics import METRICS
from rmsweep.config.columns import column_types
from rmsweep.config.schema import from_mapping
from rmsweep.errors import check_name


@dataclass(frozen=True)
class PublishedValue:
    """What a paper reports of both sides of a contrast, a number or the ends of a range each.

    where: the conditions that a run of the same setting meets; data: other data, in words.
    """

    a: float | tuple[float, ...]
    b: float | tuple[float, ...]
    where: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: str | None = None

    def __post_init__(self) -> None:
        if bool(self.where) == bool(self.data):
            raise ValueError("a published value has either where or data")
        if not all(isinstance(side, float) or len(side) == 2 for side in (self.a, self.b)):
            raise ValueError("a and b of a published value are a number or the two ends of a range")

    @property
    def effect(self) -> tuple[float, float]:
        """The least and the greatest difference a - b."""
        a, b = ([side] if isinstance(side, float) else side for side in (self.a, self.b))
        return min(a) - max(b), max(a) - min(b)


@dataclass(frozen=True)
class Published:
    """What a paper reports on a claim."""

    source: str
    metric: str
    values: tuple[PublishedValue, ...]
    where: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("metric", self.metric, METRICS)
        for value in self.values:
            for field in {**self.where, **value.where}:
                check_name("field", field, column_types())


def read_published(values: Any) -> Any:
    """Return the field `published` of a claim; what is no mapping stays, for the claim to refuse.

    ValueError names what is unknown, missing or of another type.
    """
    if not isinstance(values, dict):
        return values
    entries = values.get("values")
    if isinstance(entries, list):
        optional: dict[str, Any] = {"where": {}, "data": None}
        entries = [optional | entry if isinstance(entry, dict) else entry for entry in entries]
    return from_mapping(Published, {"where": {}, **values, "values": entries}, "published")
