"""What runs cost, in seconds of a core or of a GPU: as measured, else by their arithmetic."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.config.columns import loss_options
from rmsweep.config.reward_models import options_of_row
from rmsweep.config.spec import Item

SIZES = ["loss.options", "training.max_epochs", "quantity", "dim", "test_responses"]
MEASURED = ["loss.reward_model", *SIZES, "loss.ensemble", "device", "threads", "wall_s"]
DESCRIBED = ["loss.reward_model", "on", *SIZES]
ALIKE = ["kind", "size", "on", "dim", "quantity", "test_responses", "training.max_epochs"]
RATE = {"cpu": 1e11, "cuda": 2e13}  # multiply-adds a second, before anything was measured


def device_of(item: Item, device: str) -> str:
    """Return where a run is fitted: on the CPU, unless its reward model runs on a GPU."""
    return device if item.spec.loss.options.runs_on_gpu else "cpu"


def hours(items: Sequence[Item], seconds: np.ndarray, device: str) -> tuple[float, float]:
    """Return the hours of GPUs and of cores of runs; seconds: (runs,); device: that of MLPs."""
    on_gpu = np.array([device_of(item, device) != "cpu" for item in items])
    return seconds[on_gpu].sum() / 3600, seconds[~on_gpu].sum() / 3600


def estimated_seconds(
    items: Sequence[Item], rows: pd.DataFrame, device: str
) -> tuple[np.ndarray, int]:
    """Return the seconds of each run, and how many runs are like some that were measured.

    rows: the columns MEASURED of done runs. Like them are runs of the same ALIKE, which take their
    mean. Other runs take their arithmetic at the rate of runs on the same device with the same kind
    of reward model, or at a RATE if there are none. An ensemble takes as long as its members. A run
    on a CPU counts its threads' seconds. Items need their shapes.
    """
    rows = rows.dropna(subset=["dim", "test_responses", "threads", "wall_s"])
    on = np.where(rows["device"] == "cpu", "cpu", "cuda")
    members = rows["loss.ensemble"].astype(float).fillna(1)
    spent = rows["wall_s"] * np.where(on == "cpu", rows["threads"], 1) / members
    rows = rows.assign(on=on, spent=spent.astype(float), adds=_arithmetic(rows), **_kinds(rows))
    alike = rows.groupby(ALIKE)["spent"].mean().to_dict()
    sums = rows.groupby(["kind", "on"])[["adds", "spent"]].sum()
    rate = (sums["adds"] / sums["spent"]).to_dict()
    wanted = pd.DataFrame([_described(item, device) for item in items], columns=DESCRIBED)
    wanted = wanted.assign(adds=_arithmetic(wanted), **_kinds(wanted))
    seconds, n_alike = np.empty(len(items)), 0
    for i, row in enumerate(wanted.to_dict("records")):
        mean = alike.get(tuple(row[name] for name in ALIKE))
        by_kind = rate.get((row["kind"], row["on"]), RATE[row["on"]])
        seconds[i] = items[i].spec.n_members * (row["adds"] / by_kind if mean is None else mean)
        n_alike += mean is not None
    return seconds, n_alike


def _described(item: Item, device: str) -> tuple[Any, ...]:
    spec, shape = item.spec, item.shape
    assert shape is not None, "an item with a key from data has its shape"
    on = "cpu" if device_of(item, device) == "cpu" else "cuda"
    fit = (loss_options(spec.loss), spec.training.max_epochs, spec.quantity)
    return (spec.loss.reward_model, on, *fit, shape.dim, shape.test_responses)


def _kinds(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Return each run's kind of reward model, or the class that its options name, and its size."""
    kinds, sizes = [], []
    for model, fields in zip(runs["loss.reward_model"], runs["loss.options"], strict=True):
        options = options_of_row(model, fields)
        named = [code["_target_"] for code in options.code if code and "_target_" in code]
        kinds.append(next(iter(named), model))
        sizes.append(options.size)
    return {"kind": kinds, "size": sizes}


def _arithmetic(runs: pd.DataFrame) -> np.ndarray:
    """Return the multiply-adds of fit and scoring, every epoch counted, of one member: (runs,)."""
    rows = runs[["loss.reward_model", *SIZES]].itertuples(index=False)
    adds = [options_of_row(model, fields).multiply_adds(*sizes) for model, fields, *sizes in rows]
    return np.array(adds, float)
