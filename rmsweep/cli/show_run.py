"""What `rmsweep run` prints of one run: its metrics, or its failure."""

import sys

import pandas as pd
from rich.table import Table

from rmsweep.analysis.bootstrap import wilson_interval
from rmsweep.cache import rewardbench_subsets
from rmsweep.cli.show_sweep import OUT, print_mirrored
from rmsweep.evaluation.best_of_n import kl_upper_bound
from rmsweep.launch.progress import say
from rmsweep.launch.run_one import RunEnded
from rmsweep.paths import SweepFolder
from rmsweep.results import schema


def print_run(run: RunEnded) -> int:
    """Print how a run ended, and mirror it where that is asked for; return the exit status."""
    if run.row["status"] != "done":
        print(f"rmsweep: the run failed: {run.row['error']}", file=sys.stderr)
        print(run.row["traceback"], file=sys.stderr)
        return 1
    _print_row(run.row)
    print_mirrored("single", run.logger, [run.key])
    return 0


def _print_row(row: pd.Series) -> None:
    if row["bon_n"] is not None:
        table = Table("n", "KL bound (nats)", "golden reward", title="Best-of-N, exact")
        for n, golden in zip(row["bon_n"], row["bon_golden_by_n"], strict=True):
            table.add_row(str(n), f"{kl_upper_bound(n):.3f}", f"{golden:.4f}")
        OUT.print(table)
    if row["subset"] is not None:
        _print_subsets(row)
    names = [name for name in (*schema.SCALARS, *schema.JUDGED) if not pd.isna(row[name])]
    lines = [(name, f"{row[name]:.4f}") for name in names]
    if not pd.isna(row["epochs"]):
        lines.append(("epochs", f"{row['epochs']:g}"))
    if isinstance(row["objective_counts"], str):
        lines.append(("objective_counts", row["objective_counts"]))
    if row["subset"] is not None:
        for section, subsets in rewardbench_subsets.missing_subsets(row["subset"]).items():
            lines.append((section, f"without {', '.join(subsets)}, which are not here"))
    lines.append(("key", f"{row.name}  (row in {SweepFolder.named('single')})"))
    for name, text in lines:
        say(f"{name:>20}  {text}")


def _print_subsets(row: pd.Series) -> None:
    table = Table("subset", "pairs", "accuracy", "95 % interval", title="Labelled pairs")
    columns = (row["subset"], row["subset_pairs"], row["subset_accuracy"])
    for name, n, accuracy in zip(*columns, strict=True):
        low, high = wilson_interval(round(accuracy * n), n)
        table.add_row(name, str(n), f"{accuracy:.4f}", f"[{low:.3f}, {high:.3f}]")
    OUT.print(table)
