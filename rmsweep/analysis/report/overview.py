"""What was run: axes with counts, failures, and where each number comes from."""

import json
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rmsweep import provenance
from rmsweep.analysis.fields import as_typed, spec_fields
from rmsweep.analysis.figures import shown_runs
from rmsweep.analysis.report.request import ReportRequest, Runs
from rmsweep.paths import SweepFolder
from rmsweep.results import failures, sweep_record

DERIVED = (".stem", "loss.label", "loss.objective", "loss.options")  # fields that say it again
MOST_TYPED = 10  # command lines shown; of more the page says only how many they are
COUNTED_AS_TYPED = {
    "host": "host",
    "device": "device",
    "CPU": "cpu",
    "GPU": "gpu",
    "threads a run": "threads",
    "SEMANTICS": "semantics",
}  # what the page calls a column


@dataclass(frozen=True)
class Overview:
    """What was run. axes: by field and value the runs done and wanted. counts: done, failed,
    missing. fixed: the fields with one value. origins: by name and value the number of runs."""

    axes: dict[str, dict[str, tuple[int, int]]]
    counts: dict[str, int]
    failures: list[dict[str, Any]]
    fixed: dict[str, str]
    origins: dict[str, dict[str, int]]
    data: list[dict[str, Any]]
    span: str
    launches: list[dict[str, Any]]
    made_by: str


def overview(runs: Runs, request: ReportRequest) -> Overview:
    """Return what was run of a request, how it ended, and what it was run with."""
    fields, _ = spec_fields(runs.wanted)
    failed, failures = _failures(runs, request)
    n_done, n_wanted = int(runs.is_done.sum()), len(runs.wanted)
    varying = ["loss", *shown_runs.facets(runs.wanted, []), "seed"]
    one = [f for f in fields if fields[f].nunique(dropna=False) == 1 and not f.endswith(DERIVED)]
    here = provenance.provenance()
    commit = f", {_commit(here)}" if here["git_commit"] else ""
    return Overview(
        axes={f: _values(fields[f], runs) for f in varying if fields[f].nunique(dropna=False) > 1},
        counts={"done": n_done, "failed": failed, "missing": n_wanted - n_done - failed},
        failures=failures,
        fixed={field: as_typed(fields[field].iloc[0]) for field in one},
        origins=_origins(runs.done),
        data=_data(runs.done),
        span=_time_span(runs.done),
        launches=[launch for name in request.names for launch in _launches(name)],
        made_by=f"rmsweep {provenance.versions()['rmsweep']}{commit}",
    )


def _values(values: pd.Series, runs: Runs) -> dict[str, tuple[int, int]]:
    labels = values.map(as_typed).to_numpy()
    wanted, done = Counter(labels), Counter(labels[runs.is_done])
    return {value: (done[value], n) for value, n in wanted.items()}


def _failures(runs: Runs, request: ReportRequest) -> tuple[int, list[dict[str, Any]]]:
    """Number of runs that failed, and those grouped by error, with the sweep each is of."""
    left = set(runs.wanted.loc[~runs.is_done, "key"])
    n, groups = 0, []
    for name in request.names:
        folder = SweepFolder.named(name)
        keys = left & set(failures.latest_failures(folder)["key"])
        left, n = left - keys, n + len(keys)
        groups += [f | {"sweep": name} for f in failures.failures_by_kind(folder, keys)]
    for group in groups:
        group["command"] = shlex.join(["rmsweep", "status", group["sweep"], "--key", group["key"]])
    return n, groups


def _origins(done: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Values by number of runs: commits, hosts, devices, versions, and what was typed."""
    commits = done[["git_commit", "git_dirty", "git_diff"]].dropna(subset="git_commit")
    counts_by_name = {"code": Counter(_commit(commit) for commit in commits.to_dict("records"))}
    for name, column in COUNTED_AS_TYPED.items():
        counts_by_name[name] = Counter(map(as_typed, done[column].dropna()))
    typed = Counter(done["command"].dropna())
    if len(typed) > MOST_TYPED:
        typed = Counter({f"{len(typed):,} command lines": typed.total()})
    counts_by_name["typed"] = typed
    versions: Counter[str] = Counter()
    for text, n in Counter(done["versions"].dropna()).items():
        if not provenance.are_versions(text):
            raise ValueError(
                f"versions of {n} runs must be {provenance.VERSIONS_RULE}, got {text!r}: their "
                "rows are damaged, or not of rmsweep; run them anew"
            )
        versions.update({f"{name} {version}": n for name, version in json.loads(text).items()})
    counts_by_name["versions"] = versions
    if n_jobs := done["slurm_job"].nunique():
        n_runs = int(done["slurm_job"].notna().sum())
        counts_by_name["Slurm"] = Counter({f"{n_jobs:,} tasks": n_runs})
    return {name: dict(counts) for name, counts in counts_by_name.items() if counts}


def _commit(row: dict[str, Any]) -> str:
    dirty = ", with changes that are not committed" if row["git_dirty"] else ""
    dirty += f" (diffs/{row['git_diff'][:12]}…)" if isinstance(row["git_diff"], str) else ""
    return f"commit {row['git_commit'][:12]}{dirty}"


def _data(done: pd.DataFrame) -> list[dict[str, Any]]:
    """Each cache that was read: its fields, fingerprint, shape and number of runs."""
    names = ["dataset", "base_llm", "backbone", "fingerprint", "dim", "test_responses"]
    known = [name for name in names if done[name].notna().any()]
    if not known:
        return []
    groups = done.groupby(known, dropna=False, sort=False).size().reset_index(name="runs")
    return groups.astype(object).where(groups.notna(), None).to_dict("records")


def _time_span(done: pd.DataFrame) -> str:
    """When the runs ended, and how long they took together."""
    if done["finished_at"].isna().all():
        return ""
    first, last = (f"{end(done['finished_at']):%Y-%m-%d %H:%M}" for end in (min, max))
    hours = done["wall_s"].sum() / 3600
    return f"{first} to {last} UTC; {hours:,.2f} hours of worker time"


def _launches(name: str) -> list[dict[str, Any]]:
    return [
        {**launch, "command": shlex.join(["rmsweep", "run", "-m", *launch["overrides"]])}
        for launch in sweep_record.launches(SweepFolder.named(name))
    ]
