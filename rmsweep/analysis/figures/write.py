"""Figures of sweeps on disk: read the results, draw, write the files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.analysis import fields
from rmsweep.analysis.figures import catalogue
from rmsweep.analysis.figures.style import save_figure
from rmsweep.results import dataset, schema, sweep_record

# The columns that the figures read, beside the spec's fields.
COLUMNS = ["key", "status", *schema.SCALARS, *schema.RISKS, *schema.JUDGED, "wall_s", "dim"]
COLUMNS += ["bon_n", "bon_golden_by_n", "oracle_by_n", "improvement_by_prompt", "base_by_prompt"]
COLUMNS += [*schema.DIAGNOSTICS, *schema.CORRELATIONS, *schema.BY_DISTANCE]
COLUMNS += ["subset", "subset_pairs", "correct_by_pair"]


def read_runs(
    names: Sequence[str], conditions: Mapping[str, Any], columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Return all runs that the sweeps want and that meet the conditions, in order; one a key.

    status is done, and the metrics are there, where a run is done. columns: to read beside COLUMNS.
    """
    wanted = pd.concat([sweep_record.wanted_runs(name) for name in names], ignore_index=True)
    wanted = wanted.drop_duplicates("key").drop(columns="canonical", errors="ignore")
    if conditions:
        wanted = fields.select_specs(wanted, conditions)
    read = list(dict.fromkeys([*COLUMNS, *columns]))
    done = pd.concat([dataset.load(name, read) for name in names])
    return wanted.merge(done.drop_duplicates("key"), on="key", how="left")


def write_figure(
    rows: pd.DataFrame,
    name: str,
    folder: Path,
    formats: Sequence[str],
    seed: int,
    error_bars: str = "interval",
    metric: str | None = None,
) -> list[Path]:
    """Write one figure in each format and return the files; MissingData where rows lack data."""
    rng = np.random.default_rng(seed)
    figure = catalogue.draw_figure(name, rows, rng, error_bars, metric)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in formats]
    for path in paths:
        save_figure(figure, path)
    return paths
