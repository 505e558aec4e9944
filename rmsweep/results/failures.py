"""The failed runs of a sweep: the latest failure of each, and failures by kind."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from rmsweep.paths import SweepFolder
from rmsweep.results.dataset import read_rows


def latest_failures(folder: SweepFolder) -> pd.DataFrame:
    """Return the latest failed row of each key that has no done row."""
    rows = read_rows(folder, ["key", "status", "error", "traceback", "finished_at"])
    done = set(rows.loc[rows["status"] == "done", "key"])
    failures = rows[(rows["status"] == "failed") & ~rows["key"].isin(done)]
    return failures.sort_values("finished_at").drop_duplicates("key", keep="last")


def failures_by_kind(folder: SweepFolder, keys: set[str]) -> list[dict[str, Any]]:
    """Return n, error, place (at) and a key of each kind of failure, the most frequent first."""
    if not keys:
        return []
    rows = latest_failures(folder)
    rows = rows[rows["key"].isin(keys)]
    kind = rows["error"].map(lambda error: error.partition(":")[0])
    places = rows["traceback"].map(_raised_at)
    failures = [
        {"n": len(group), "error": group["error"].iloc[0], "at": place, "key": group["key"].iloc[0]}
        for (_, place), group in rows.groupby([kind, places], sort=False)
    ]
    return sorted(failures, key=lambda failure: -failure["n"])


def _raised_at(traceback: object) -> str:
    """Return file, line and function of the innermost frame; empty without a traceback."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(traceback))
    if not frames:
        return ""
    file, line, function = frames[-1]
    return f"{'/'.join(Path(file).parts[-2:])}:{line} in {function}"
