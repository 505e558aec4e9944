"""The record of a sweep's launches: the specs they asked for, and sweep.yaml."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from rmsweep.config import columns, parse
from rmsweep.config import spec as specs
from rmsweep.errors import one_line
from rmsweep.paths import SweepFolder
from rmsweep.results import parquet
from rmsweep.results.dataset import load, read_all_done, require_sweep
from rmsweep.results.schema import WANTED


def wanted_runs(name: str) -> pd.DataFrame:
    """Return the specs that launches asked for, a row a key; of outputs/single its done rows."""
    require_sweep(name)
    wanted = read_wanted(SweepFolder.named(name)).to_pandas()
    names = [column for column in WANTED.names if column not in ("canonical", "diagnostics")]
    return (wanted if len(wanted) else load(name, names))[names]


def load_sweeps(
    names: Sequence[str], columns: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, set[str]]:
    """Return done rows, with these columns, and wanted runs of several sweeps, each a row a key.

    And the keys that have several done rows, of which the first by finished_at is returned.
    """
    for name in names:
        require_sweep(name)
    own = [read_all_done(SweepFolder.named(name), columns) for name in names]
    done = pd.concat(own, ignore_index=True)
    asked = pd.concat([wanted_runs(name) for name in names]).drop_duplicates("key")
    is_repeated = done.sort_values("finished_at", kind="stable")["key"].duplicated().sort_index()
    repeated = set(done.loc[is_repeated, "key"])
    return done[~is_repeated].reset_index(drop=True), asked.reset_index(drop=True), repeated


def wanted_keys(name: str) -> set[str]:
    """Return the keys of `wanted_runs`."""
    path = SweepFolder.named(name).specs
    if not path.exists():
        return set(load(name, ["key"])["key"])
    return set(parquet.read_table(path, ["key"], kind="wanted")["key"].to_pylist())


def read_wanted(folder: SweepFolder) -> pa.Table:
    """Return what a sweep wants, with the columns of schema.WANTED; empty where nothing is kept."""
    path = folder.specs
    tables = [parquet.read_table(path, kind="wanted")] if path.exists() else []
    return pa.concat_tables([WANTED.empty_table(), *tables], promote_options="permissive")


def wanted_items(folder: SweepFolder, keys: Collection[str]) -> dict[str, specs.Item]:
    """Return what a sweep wants of these keys, as it was launched, by key."""
    table = read_wanted(folder).select(["key", "canonical", "loss.label", "diagnostics"])
    return {
        key: specs.Item(key, stored_spec(canonical, label, bool(diagnostics)))
        for key, canonical, label, diagnostics in zip(*table.to_pydict().values(), strict=True)
        if key in keys
    }


def stored_spec(canonical: str, label: str, diagnostics: bool) -> specs.RunSpec:
    """Return the spec that a data file holds; ValueError where it is none. Imports nothing."""
    try:
        return parse.from_canonical(canonical, label, diagnostics)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"a spec is not as it was written ({type(error).__name__}: {one_line(error, 200)})"
        ) from None


def launches(folder: SweepFolder) -> list[dict[str, Any]]:
    """Return what sweep.yaml, if any, says of each launch; ValueError where no launch wrote it."""
    path = folder.launches
    try:
        recorded = yaml.safe_load(path.read_text())["launches"] if path.exists() else []
        for launch in recorded:
            kinds = {"at": str, "overrides": list, "axes": dict, "runs": int, "settings": dict}
            for name, kind in kinds.items():
                if not isinstance(launch[name], kind):
                    raise ValueError(f"{name} is no {kind.__name__}")
            if not all(isinstance(override, str) for override in launch["overrides"]):
                raise ValueError("an override is no text")
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(
            f"{path} is not as a launch wrote it ({one_line(e, 200)}); delete it, the launch's "
            "command writes it anew"
        ) from None
    return list(recorded)


def add_wanted(folder: SweepFolder, items: list[specs.Item]) -> None:
    """Add runs to what the sweep wants; one that it wants already, as it is asked for now."""
    before = read_wanted(folder)
    again = pa.array([item.key for item in items], pa.string())
    before = before.filter(pc.invert(pc.is_in(before["key"], again)))
    rows = [
        {
            "key": item.key,
            "spec_id": item.spec.spec_id,
            "canonical": item.spec.canonical,
            "diagnostics": item.spec.evaluation.diagnostics,
            **columns.spec_columns(item.spec),
        }
        for item in items
    ]
    wanted = pa.Table.from_pylist(rows, schema=WANTED)
    parquet.write_table(pa.concat_tables([before, wanted]), folder.specs)
