"""What a report is asked for, and the commands that make its parts again."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rmsweep.analysis import claims, fields, metrics, table_fields
from rmsweep.analysis.figures import write
from rmsweep.results import sweep_record

REPORTED = [name for name, metric in metrics.METRICS.items() if metric.in_report]  # a table each
ORIGIN_COLUMNS = ["git_commit", "git_dirty", "versions", "host", "device", "slurm_job"]
ORIGIN_COLUMNS += ["fingerprint", "git_diff", "cpu", "gpu", "dim", "test_responses", "threads"]
ORIGIN_COLUMNS += ["semantics", "command", "wall_s"]


@dataclass(frozen=True)
class ReportRequest:
    """What a report is asked for: sweeps, conditions as typed and read, seed, files of claims."""

    names: tuple[str, ...]
    where: tuple[str, ...]
    conditions: Mapping[str, Any]
    seed: int
    files: tuple[str, ...] = ()

    def command(self, verb: str, *options: str) -> str:
        """Return the command line, for a shell, of `verb` on the same runs with the same seed."""
        words = ["rmsweep", verb, *self.names, *options]
        for text in self.where:
            words += ["--where", text]
        for path in self.files if verb in ("claims", "report") else ():
            words += ["--file", path]
        if self.seed != 0:
            words += ["--seed", str(self.seed)]
        return shlex.join(words)


class Runs:
    """The runs of a request: `done` rows, `wanted` specs, and `all`, wanted with what is done.

    Each is what `rmsweep table`, `claims` and `figure` read, in the same order, so that the numbers
    are the same to the last digit.
    """

    def __init__(self, request: ReportRequest) -> None:
        of_metrics = [column for name in REPORTED for column in metrics.metric_columns(name)]
        self.claims = claims.published_and_own_claims(request.files)
        read = [*claims.claim_columns(self.claims), *of_metrics, *write.COLUMNS, *ORIGIN_COLUMNS]
        done, wanted, _ = sweep_record.load_sweeps(request.names, list(dict.fromkeys(read)))
        if wanted.empty:
            names = " ".join(request.names)
            raise ValueError(f"no runs in {names}; `rmsweep run -m ... name=NAME` makes some")
        if request.conditions:
            wanted = fields.select_specs(wanted, request.conditions)
            done = done[done["key"].isin(wanted["key"])].reset_index(drop=True)
        self.done, self.wanted = done, wanted
        self.is_done = wanted["key"].isin(done["key"]).to_numpy()
        again = [name for name in done if name in wanted and name != "key"]
        self.all = wanted.merge(done.drop_duplicates("key").drop(columns=again), "left", "key")

    def default_fields(self, metric: str) -> tuple[list[str], list[str]]:
        """Return the row and the column fields of a table, as `rmsweep table` chooses them."""
        rows = table_fields.default_rows(self.wanted, metric)
        return rows, table_fields.default_columns(self.wanted, metric, rows)
