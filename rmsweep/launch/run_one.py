"""`rmsweep run`: one run, through Hydra's application."""

import contextlib
import dataclasses
import functools
import io
import os
import sys

import pandas as pd
from rich.console import Console
from rich.table import Table

from rmsweep import machine, paths
from rmsweep.analysis.bootstrap import wilson_interval
from rmsweep.cache import inputs, rewardbench_subsets
from rmsweep.config import compose, launchers, loggers, sweep_specs
from rmsweep.config.launchers import Local
from rmsweep.config.spec import Item
from rmsweep.evaluation.best_of_n import kl_upper_bound
from rmsweep.results import dataset, schema
from rmsweep.results.failures import latest_failures

OUT, ERR = Console(highlight=False), Console(stderr=True, highlight=False)
_say = functools.partial(print, flush=True)  # seen at once in a log, too


def single(arguments: list[str], config_dirs: list[str]) -> int:
    """One run; its metrics are printed, its row is kept in outputs/single."""
    config = _through_hydra([*arguments, compose.search_path(config_dirs)])
    if config is None:  # --help, --cfg and the like
        return 0
    values = compose.interpolated(config.values)
    if (values.get("sweep") or {}).get("axes"):
        raise ValueError("sweeps=NAME is a sweep of many runs: rmsweep run -m sweeps=NAME")
    launcher, device = launchers.settle(values["launcher"], values.get("device"))
    if not isinstance(launcher, Local):
        raise ValueError("launcher=slurm is for sweeps: rmsweep run -m ...; one run is run here")
    spec = sweep_specs.config_spec(compose.Config(values, config.choices, ()), device)
    machine.require_native(spec.precision, device)
    logger = loggers.logger_of(values.get("logger"))
    root, saves = sweep_specs.cache_root(values), sweep_specs.true_or_false(values, "save_model")
    if saves:
        sweep_specs.require_savable([spec])
    (item,) = inputs.keyed_items([spec], root)
    directory = dataset.folder("single")
    dataset.require_writable(directory)
    row = _done_row(item)
    if row is None or (saves and item.key not in dataset.saved_keys(directory)):
        from rmsweep.launch.worker import run_pack

        with ERR.status(f"fitting {spec.loss.name} on {spec.quantity} pairs"):
            place = launchers.Place(root, device, machine.cores(), saves)
            run_pack([item], place, directory)
        row = _done_row(item)
    if row is None:
        failures = latest_failures(directory).set_index("key")
        _complain(f"rmsweep: the run failed: {failures.at[item.key, 'error']}")
        _complain(failures.at[item.key, "traceback"])
        return 1
    _print_row(row)
    if logger is not None:
        from rmsweep.tracking import mirror

        _say(mirror.mirror("single", dataclasses.replace(logger, per="run"), [item.key]))
    return 0


def _through_hydra(arguments: list[str]) -> compose.Config | None:
    """The config that Hydra's application composes; none where it printed what a flag asks for."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    found = []
    application = hydra.main(
        config_path=str(paths.SHIPPED / "conf"), config_name="config", version_base="1.3"
    )(lambda cfg: found.append(compose.as_config(cfg, dict(HydraConfig.get().runtime.choices))))
    argv, sys.argv = sys.argv, ["rmsweep run", *arguments]
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors, do not print them
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            application()
    except SystemExit as stop:
        if stop.code:  # Hydra's argparse has printed usage, then the error
            message = printed.getvalue().strip().rpartition("error: ")[2]
            raise ValueError(f"{message}; see `rmsweep run --help`") from None
        raise
    finally:
        sys.argv = argv
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return found[0] if found else None


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _done_row(item: Item) -> pd.Series | None:
    done = dataset.load("single").set_index("key")
    return done.loc[item.key] if item.key in done.index else None


def _print_row(row: pd.Series) -> None:
    if row["bon_n"] is not None:
        table = Table("n", "KL bound (nats)", "golden reward", title="Best-of-N, exact")
        for n, golden in zip(row["bon_n"], row["bon_golden_by_n"], strict=True):
            table.add_row(str(n), f"{kl_upper_bound(n):.3f}", f"{golden:.4f}")
        OUT.print(table)
    if row["subset"] is not None:
        _print_subsets(row)
    for name in (*schema.METRICS, *schema.JUDGED, "epochs"):
        if not pd.isna(row[name]):
            _say(
                f"{name:>20}  {row[name]:.4f}" if name != "epochs" else f"{name:>20}  {row[name]:g}"
            )
    if isinstance(row["objective_counts"], str):
        _say(f"{'objective_counts':>20}  {row['objective_counts']}")
    if row["subset"] is not None:
        for section, subsets in rewardbench_subsets.missing_subsets(row["subset"]).items():
            _say(f"{section:>20}  without {', '.join(subsets)}, which are not here")
    _say(f"{'key':>20}  {row.name}  (row in {dataset.folder('single')})")


def _print_subsets(row: pd.Series) -> None:
    table = Table("subset", "pairs", "accuracy", "95 % interval", title="Labelled pairs")
    for name, n, accuracy in zip(
        row["subset"], row["subset_pairs"], row["subset_accuracy"], strict=True
    ):
        low, high = wilson_interval(round(accuracy * n), n)
        table.add_row(name, str(n), f"{accuracy:.4f}", f"[{low:.3f}, {high:.3f}]")
    OUT.print(table)
