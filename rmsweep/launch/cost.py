"""What runs cost, in seconds of a core or of a GPU: as measured, else by their arithmetic."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.config.columns import loss_options
from rmsweep.config.spec import Item

MEASURED = (
    "loss.reward_model", "loss.options", "loss.ensemble", "training.max_epochs", "quantity", "dim",
    "test_responses", "device", "threads", "wall_s",
)  # fmt: skip
ALIKE = ["kind", "size", "on", "dim", "quantity", "test_responses", "training.max_epochs"]
RATE = {"cpu": 1e11, "cuda": 2e13}  # multiply-adds a second, before anything was measured
PER_CELL = 400  # multiply-adds that take as long as LightGBM needs for a feature of a row


def device_of(item: Item, device: str) -> str:
    """Where a run is fitted: only MLPs use a GPU."""
    return device if item.spec.loss.reward_model == "mlp" else "cpu"


def seconds(items: Sequence[Item], rows: pd.DataFrame, device: str) -> tuple[np.ndarray, int]:
    """Of each run, and how many of them are alike to runs that were measured.

    rows: the columns MEASURED of done runs. Alike: same ALIKE, their mean. Other runs take their
    arithmetic at the rate of runs on the same device with the same kind of reward model, or at a
    RATE if there are none. An ensemble takes as long as its members. A run on a CPU counts its
    threads' seconds. Items need their shapes.
    """
    rows = rows.dropna(subset=["dim", "test_responses", "threads", "wall_s"])
    on = np.where(rows["device"] == "cpu", "cpu", "cuda")
    members = rows["loss.ensemble"].astype(float).fillna(1)
    spent = rows["wall_s"] * np.where(on == "cpu", rows["threads"], 1) / members
    rows = rows.assign(on=on, spent=spent.astype(float), adds=_arithmetic(rows), **_kinds(rows))
    alike = rows.groupby(ALIKE)["spent"].mean().to_dict()
    sums = rows.groupby(["kind", "on"])[["adds", "spent"]].sum()
    rate = (sums["adds"] / sums["spent"]).to_dict()
    wanted = pd.DataFrame([_described(item, device) for item in items], columns=DESCRIPTION)
    wanted = wanted.assign(adds=_arithmetic(wanted), **_kinds(wanted))
    found, n_alike = np.empty(len(items)), 0
    for i, row in enumerate(wanted.to_dict("records")):
        mean = alike.get(tuple(row[name] for name in ALIKE))
        by_kind = rate.get((row["kind"], row["on"]), RATE[row["on"]])
        found[i] = items[i].spec.n_members * (row["adds"] / by_kind if mean is None else mean)
        n_alike += mean is not None
    return found, n_alike


_SIZES = ["loss.options", "training.max_epochs", "quantity", "dim", "test_responses"]
DESCRIPTION = ["loss.reward_model", "on", *_SIZES]


def _described(item: Item, device: str) -> tuple[Any, ...]:
    spec, shape = item.spec, item.shape
    assert shape is not None, "an item with a key from data has its shape"
    on = "cpu" if device_of(item, device) == "cpu" else "cuda"
    sizes = (loss_options(spec.loss), spec.training.max_epochs, spec.quantity)
    return (spec.loss.reward_model, on, *sizes, shape.dim, shape.test_responses)


def _kinds(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Kind of reward model, of a classifier its class; and its size, where one is known."""
    found: dict[str, list[str]] = {"kind": [], "size": []}
    for model, options in zip(runs["loss.reward_model"], runs["loss.options"], strict=True):
        fields = json.loads(options)
        found["kind"].append(fields.get("estimator", {}).get("_target_", model))
        size = fields.get("hidden", fields.get("rounds"))
        found["size"].append(f"{size} {fields.get('bins', '')}")
    return found


def _arithmetic(runs: pd.DataFrame) -> np.ndarray:
    """Multiply-adds of fit and scoring, every epoch counted, of one member."""
    return np.array([_multiply_adds(*row) for row in runs[_SIZES].itertuples(index=False)], float)


def _multiply_adds(options: str, epochs: int, quantity: int, dim: int, n_test: int) -> float:
    fields = json.loads(options)
    if "hidden" not in fields:
        return float(PER_CELL * fields.get("rounds", 100) * 2 * quantity * dim)
    widths = [dim, *fields["hidden"], 1]
    weights = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    return float(weights * (3 * 2 * quantity * epochs + n_test))  # forward, and twice backward
