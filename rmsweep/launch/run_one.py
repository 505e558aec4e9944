"""One run, here: it is fitted unless its row is there, and its row is returned."""

import dataclasses
from dataclasses import dataclass

import pandas as pd

from rmsweep import machine
from rmsweep.cache import inputs
from rmsweep.config import compose, launchers, loggers, sweep_specs
from rmsweep.config.loggers import Wandb
from rmsweep.config.spec import Item
from rmsweep.launch import progress
from rmsweep.launch.launchers import launcher_of
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset
from rmsweep.results.failures import latest_failures


@dataclass(frozen=True)
class RunEnded:
    """How a run ended: its done row, or its latest failure with `error` and `traceback`."""

    key: str
    row: pd.Series
    logger: Wandb | None


def run_one(config: compose.Config) -> RunEnded:
    """Do one run in outputs/single, unless it is done there; ValueError for what cannot be run."""
    values = compose.interpolated(config.values)
    if (values.get("sweep") or {}).get("axes"):
        raise ValueError("sweeps=NAME is a sweep of many runs: rmsweep run -m sweeps=NAME")
    launcher = launcher_of(values["launcher"], values.get("device"))
    if not launcher.runs_here:
        raise ValueError("launcher=slurm is for sweeps: rmsweep run -m ...; one run is run here")
    spec = sweep_specs.config_spec(compose.Config(values, config.choices, ()), launcher.device)
    machine.require_native(spec.precision, launcher.device)
    logger = loggers.logger_of(values.get("logger"))
    root, saves = sweep_specs.cache_root(values), sweep_specs.true_or_false(values, "save_model")
    if saves:
        sweep_specs.require_savable([spec])
    (item,) = inputs.keyed_items([spec], root)
    folder = SweepFolder.named("single")
    dataset.require_writable(folder)
    row = _done_row(folder, item)
    if row is None or (saves and item.key not in dataset.saved_keys(folder)):
        from rmsweep.launch.worker import run_pack  # here: it loads torch

        place = launchers.place_of_one(spec.loss.options, root, launcher.device, saves)
        with progress.ERR.status(f"fitting {spec.loss.name} on {spec.quantity} pairs"):
            run_pack([item], place, folder)
        row = _done_row(folder, item)
    if row is None:
        row = latest_failures(folder).set_index("key").loc[item.key]
    return RunEnded(item.key, row, logger and dataclasses.replace(logger, per="run"))


def _done_row(folder: SweepFolder, item: Item) -> pd.Series | None:
    done = dataset.read_done(folder).set_index("key")
    return done.loc[item.key] if item.key in done.index else None
