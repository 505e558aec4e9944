"""What of a sweep is mirrored to W&B: one W&B run of all its runs, or one of each."""

import contextlib
import json
import math
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from rmsweep import files
from rmsweep.analysis import claims, verdicts
from rmsweep.analysis.figures import catalogue, write
from rmsweep.analysis.units import is_in_golden_reward, unit_ids
from rmsweep.config import columns
from rmsweep.config.loggers import Wandb
from rmsweep.errors import MissingData, one_line
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema, sweep_record
from rmsweep.tracking import wandb_client
from rmsweep.tracking.wandb_client import MirroredRun

LEFT_OUT = {"traceback", "canonical", "loss.options"}  # of tables: long
SENT_METRICS = (*schema.SCALARS, *schema.JUDGED)


def mirror(name: str, logger: Wandb, keys: Collection[str] | None = None) -> str:
    """Send a sweep's done runs, or those of these keys, and return one line on what came of it.

    It raises nothing of W&B's, nor an OSError or ValueError of what is prepared for it: the results
    are in files, whatever happens.
    """
    try:
        return _mirror(name, logger, keys)
    except (OSError, ValueError) as error:  # such as a full disk
        why = f"{type(error).__name__}: {one_line(error)}"
        return f"W&B: not sent ({why}); the results are in {SweepFolder.named(name)}"


def _mirror(name: str, logger: Wandb, keys: Collection[str] | None) -> str:
    folder, rows = SweepFolder.named(name), dataset.load(name)
    rows = rows if keys is None else rows[rows["key"].isin(keys)]
    if rows.empty:
        return "W&B: no run is done yet; the same command sends what is done by then"
    state = _read_state(folder)
    _write_state(folder, state)  # or what is sent could not be continued
    if logger.per == "sweep":
        runs = [_sweep(name, rows, state["id"])]
    else:
        target = f"{logger.mode} {logger.entity} {logger.project}"
        sent = state["sent"].setdefault(target, [])
        left = rows[~rows["key"].isin(sent)]
        runs = [_run(name, row) for row in left.to_dict("records")]
    n_sent, failure = wandb_client.send(logger, folder, runs)
    if logger.per == "run":
        sent += [run.id for run in runs[:n_sent]]
    _write_state(folder, state)
    if failure is not None:
        return f"W&B: {n_sent} of {len(runs)} sent ({failure}); the results are in {folder}"
    if logger.mode == "offline":
        return f"W&B: {n_sent} kept; `wandb sync {folder}/wandb/offline-run-*` sends them"
    return f"W&B: {n_sent} sent to project {logger.project}"


def _sweep(name: str, rows: pd.DataFrame, id: str) -> MirroredRun:
    """All rows, the verdicts on the claims, and every figure that they have the data for."""
    wanted = sweep_record.wanted_runs(name)
    published = claims.published_claims()
    done, _, _ = sweep_record.load_sweeps([name], claims.claim_columns(published))
    counts = {"runs_done": len(rows), "runs_wanted": len(wanted)}
    images = _figures(name)
    tables = {"rows": _scalars(rows), "claims": verdicts.verdict_table(done, published)}
    config = {"sweep": name}
    for launch in sweep_record.launches(SweepFolder.named(name))[-1:]:
        config |= {"overrides": launch["overrides"], "axes": launch["axes"]}
    return MirroredRun(id, name, None, config, counts | mean_metrics(rows), (), tables, images)


def mean_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """Return each metric's mean over runs, as `mean_` and its name, where it means something.

    It does not for golden rewards of several datasets, each of which has a unit of its own.
    """
    means = {}
    for metric in SENT_METRICS:
        has_value = rows[metric].notna().to_numpy()
        n_units = len(set(unit_ids(rows, metric)[has_value]))
        if n_units == 1 or (n_units > 1 and not is_in_golden_reward(metric)):
            means[f"mean_{metric}"] = rows[metric].mean()
    return means


def _figures(name: str) -> dict[str, Path]:
    """Every figure that the sweep has the data for, drawn into a PNG: the file by its name."""
    images, rows = {}, write.read_runs([name], {})
    for figure in catalogue.FIGURES:
        with contextlib.suppress(MissingData):
            (path,) = write.write_figure(rows, figure, SweepFolder.named(name).figures, ["png"], 0)
            images[figure] = path
    return images


def _run(name: str, row: dict[str, Any]) -> MirroredRun:
    """One run: its spec, its metrics, and where they were recorded its losses by epoch."""
    config = {field: _value(row[field]) for field in columns.column_types()}
    metrics = {metric: _value(row[metric]) for metric in (*SENT_METRICS, "epochs", "wall_s")}
    curves = [row[curve] for curve in schema.CURVES]
    by_epoch = [] if any(curve is None for curve in curves) else zip(*curves, strict=True)
    history = [
        {"epoch": epoch, **dict(zip(schema.CURVES, map(float, losses), strict=True))}
        for epoch, losses in enumerate(by_epoch, 1)
    ]
    summary = {metric: value for metric, value in metrics.items() if value is not None}
    label = f"{row['loss']} seed={row['seed']} {row['key'][:6]}"
    return MirroredRun(row["key"], label, name, config, summary, history)


def _value(value: Any) -> Any:
    """A value as JSON can hold it: null where absent, and infinity as text."""
    if value is None or value != value:
        return None
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _scalars(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that are one value, and not absent everywhere."""
    lists = {field.name for field in schema.SCHEMA if pa.types.is_list(field.type)}
    kept = [n for n in rows if n not in lists | LEFT_OUT and rows[n].notna().any()]
    return rows[kept].assign(finished_at=rows["finished_at"].astype(str))


def _read_state(folder: SweepFolder) -> dict[str, Any]:
    """The id of the sweep's W&B run, and `sent`: keys by where they went, so that none goes twice.

    A new state where the file is not there yet, or not whole; then runs are sent once more.
    """
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(folder.sent.read_text())
        kinds = {"id": str, "sent": dict}
        if isinstance(state, dict) and kinds == {name: type(v) for name, v in state.items()}:
            return state
    return {"id": secrets.token_hex(8), "sent": {}}


def _write_state(folder: SweepFolder, state: dict[str, Any]) -> None:
    with files.whole(folder.sent) as unfinished:
        unfinished.write_text(json.dumps(state))
