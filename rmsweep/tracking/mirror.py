"""What of a sweep is mirrored to W&B: one run of all, or one each."""

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
from rmsweep.analysis import claims as claim_files
from rmsweep.analysis import verdicts as claims
from rmsweep.analysis.figures import catalogue, write
from rmsweep.config import columns
from rmsweep.config.loggers import Wandb
from rmsweep.errors import MissingData, one_line
from rmsweep.launch import progress
from rmsweep.results import dataset, schema, sweep_record
from rmsweep.tracking import wandb_client
from rmsweep.tracking.wandb_client import Mirrored

LEFT_OUT = {"traceback", "canonical", "loss.options"}  # of tables: long


def mirror(name: str, logger: Wandb, keys: Collection[str] | None = None) -> str:
    """Send a sweep's done runs, or those of these keys; what to say of it, one line. It raises
    nothing of W&B's, nor of what is prepared for it.
    """
    progress.say("sending to W&B" if logger.mode == "online" else "writing for W&B")
    try:
        return _mirror(name, logger, keys)
    except (OSError, ValueError) as error:  # such as a full disk
        why = f"{type(error).__name__}: {one_line(error)}"
        return f"W&B: not sent ({why}); the results are in {dataset.folder(name)}"


def _mirror(name: str, logger: Wandb, keys: Collection[str] | None) -> str:
    directory = dataset.folder(name)
    rows = dataset.load(name)
    rows = rows if keys is None else rows[rows["key"].isin(keys)]
    if rows.empty:
        return "W&B: no run is done yet; the same command sends what is done by then"
    state = _state(directory)
    _keep(directory, state)  # or what is sent could not be continued
    if logger.per == "sweep":
        runs = [_sweep(name, rows, state["id"])]
    else:
        target = f"{logger.mode} {logger.entity} {logger.project}"
        sent = state["sent"].setdefault(target, [])
        left = rows[~rows["key"].isin(sent)]
        runs = [_run(name, row) for row in left.to_dict("records")]
    n_sent, failure = wandb_client.send(logger, directory, runs)
    if logger.per == "run":
        sent += [run.id for run in runs[:n_sent]]
    _keep(directory, state)
    if failure is not None:
        return f"W&B: {n_sent} of {len(runs)} sent ({failure}); the results are in {directory}"
    if logger.mode == "offline":
        return f"W&B: {n_sent} kept; `wandb sync {directory}/wandb/offline-run-*` sends them"
    return f"W&B: {n_sent} sent to project {logger.project}"


def _sweep(name: str, rows: pd.DataFrame, id: str) -> Mirrored:
    """All rows, the verdicts on the claims, and every figure that they have the data for."""
    wanted = sweep_record.wanted_runs(name)
    known = claim_files.published()
    verdicts = claims.judge(sweep_record.load_sweeps([name], claim_files.columns(known))[0], known)
    counts = {"runs_done": len(rows), "runs_wanted": len(wanted)}
    means = {
        f"mean_{m}": rows[m].mean()
        for m in (*schema.METRICS, *schema.JUDGED)
        if rows[m].notna().any()
    }
    images = _figures(name)
    tables = {"rows": _scalars(rows), "claims": verdicts}
    config = {"sweep": name, **_launches(dataset.folder(name))}
    return Mirrored(id, name, None, config, counts | means, (), tables, images)


def _figures(name: str) -> dict[str, Path]:
    found = {}
    rows = write.read_runs([name], {})
    for figure in catalogue.FIGURES:
        try:
            (found[figure],) = write.write_figure(
                rows, figure, dataset.folder(name) / "figures", ["png"], 0
            )
        except MissingData:
            continue
    return found


def _run(name: str, row: dict[str, Any]) -> Mirrored:
    """One run: its spec, its metrics, and where they were recorded its losses by epoch."""
    config = {field: _value(row[field]) for field in columns.column_types()}
    metrics = {
        metric: _value(row[metric])
        for metric in (*schema.METRICS, *schema.JUDGED, "epochs", "wall_s")
    }
    curves = [row[curve] for curve in schema.CURVES]
    history = [
        {"epoch": i, **dict(zip(schema.CURVES, map(float, losses), strict=True))}
        for i, losses in enumerate(zip(*curves, strict=True), 1)
    ] if all(curve is not None for curve in curves) else []  # fmt: skip
    summary = {metric: value for metric, value in metrics.items() if value is not None}
    label = f"{row['loss']} seed={row['seed']} {row['key'][:6]}"
    return Mirrored(row["key"], label, name, config, summary, history)


def _value(value: Any) -> Any:
    """Null where absent; inf as text, which JSON has not."""
    if value is None or value != value:
        return None
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _scalars(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that are one value, and not absent everywhere."""
    lists = {field.name for field in schema.SCHEMA if pa.types.is_list(field.type)}
    kept = [n for n in rows if n not in lists | LEFT_OUT and rows[n].notna().any()]
    return rows[kept].assign(finished_at=rows["finished_at"].astype(str))


def _launches(directory: Path) -> dict[str, Any]:
    """Overrides and axes of the last launch."""
    last = (sweep_record.launches(directory) or [{}])[-1]
    return {name: last[name] for name in ("overrides", "axes") if name in last}


def _state(directory: Path) -> dict[str, Any]:
    """id: of the sweep's W&B run. sent: keys by where they went, so that none goes twice."""
    path = directory / "wandb.json"
    with contextlib.suppress(OSError, ValueError):  # none yet, or not whole: sent once more
        found = json.loads(path.read_text())
        if isinstance(found, dict) and {"id": str, "sent": dict} == {
            name: type(value) for name, value in found.items()
        }:
            return found
    return {"id": secrets.token_hex(8), "sent": {}}


def _keep(directory: Path, state: dict[str, Any]) -> None:
    with files.whole(directory / "wandb.json") as unfinished:
        unfinished.write_text(json.dumps(state))
