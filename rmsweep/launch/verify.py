"""Runs of a sweep are done once more, alone and in another pack, and compared with their rows."""

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmsweep import machine, provenance
from rmsweep.cache import inputs
from rmsweep.config import launchers
from rmsweep.config.launchers import Place
from rmsweep.config.losses import source_hash_of
from rmsweep.config.spec import Item
from rmsweep.launch import pool, reproduce
from rmsweep.launch.packs import packs_of
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset
from rmsweep.results.disagreements import differing_numbers

OTHER_SEED = 1000  # added to a run's seed: a pack-mate that it did not have
LOCAL = {"cluster": "local", "workers": None, "pack_runs": None}
SHOWN = 3  # differences of a run


@dataclass
class RunVerdict:
    """The comparison of one row with what its run gives now."""

    key: str
    differs: list[str] = field(default_factory=list)  # columns, and from what to what
    unlike: list[str] = field(default_factory=list)  # why it need not be equal, or was not run
    is_run: bool = False

    @property
    def state(self) -> str:
        """Return `match`, `differs` or `cannot be compared`."""
        if self.is_run and not self.differs:
            return "match"
        return "cannot be compared" if self.unlike else "differs"


def row_of(name: str, key: str) -> pd.DataFrame:
    """Return the done row of a sweep whose key begins with these digits."""
    return dataset.done_rows(SweepFolder.named(name), [dataset.done_row(name, key)["key"]])


def drawn_rows(name: str, n_rows: int, seed: int | None) -> tuple[pd.DataFrame, int, Any]:
    """Return `n_rows` done rows of a sweep at random, of how many, and the seed that draws them.

    seed: of the draw; None takes another each time. ValueError where nothing can be drawn.
    """
    dataset.require_sweep(name)
    drawn_with = np.random.SeedSequence(seed)
    if n_rows < 1:
        raise ValueError(f"--sample must be >= 1, got {n_rows}")
    keys = sorted(dataset.load(name, ["key"])["key"])
    if not keys:
        raise ValueError(f"no done runs in {name}; `rmsweep run -m ...` makes some")
    rng = np.random.default_rng(drawn_with)
    drawn = rng.choice(keys, min(n_rows, len(keys)), replace=False).tolist()
    return dataset.done_rows(SweepFolder.named(name), drawn), len(keys), drawn_with.entropy


def verify_rows(rows: pd.DataFrame, config_dirs: Sequence[str]) -> list[RunVerdict]:
    """Run each row's spec again, in datasets that are removed afterwards; return verdicts.

    Once alone, once in a pack with a run of another seed and with others of these rows.
    """
    verdicts = {row["key"]: RunVerdict(row["key"]) for row in rows.to_dict("records")}
    rows = rows.set_index("key", drop=False)
    made_by = ["cache_root", "device", "threads"]
    for (root, device, threads), group in rows.groupby(made_by, dropna=False):
        n_threads = 1 if pd.isna(threads) else min(int(threads), machine.cores())
        place = Place(root if isinstance(root, str) else None, str(device), n_threads)
        items = []
        for row in group.to_dict("records"):
            items += _runnable(row, place, config_dirs, verdicts[row["key"]])
        for how, again in _run(items, place).items():
            for item in items:
                verdict = verdicts[item.key]
                verdict.is_run = True
                texts = _compared(rows.loc[item.key], again.get(item.key), place.device)
                verdict.differs += [f"{text} ({how})" for text in texts]
    return list(verdicts.values())


def _runnable(
    row: dict[str, Any], place: Place, config_dirs: Sequence[str], verdict: RunVerdict
) -> list[Item]:
    """Return the run to do again; nothing, and why in the verdict, where this machine cannot."""
    try:
        row = provenance.parsed_row(row)
        spec = reproduce.recorded_spec(row)
        threads = None if spec.loss.options.same_on_any_threads else place.threads
        verdict.unlike += provenance.differences(row, machine.device(place.device), threads)
        reproduce.overrides_of(row, spec, config_dirs)
        if spec.loss.source_sha256 != source_hash_of(spec.loss):
            raise ValueError(f"the source of loss={spec.loss.name} has changed since")
        if spec.loss.options.reads_precision:
            machine.require_native(spec.precision, place.device)
        (item,) = inputs.keyed_items([spec], place.cache_root)
        if item.key != row["key"]:
            raise ValueError("the embeddings are others now")
    except (ValueError, OSError) as error:
        verdict.unlike.insert(0, str(error))
        return []
    return [item]


def _run(items: Sequence[Item], place: Place) -> dict[str, dict[str, pd.Series]]:
    """Return rows by key, of the runs alone and in a pack."""
    if not items:
        return {}
    launcher, _ = launchers.local_of(LOCAL, place.device)
    together = []
    for pack in packs_of(items, lambda runs: launcher.pack_runs):
        first = pack[0].spec
        mate = dataclasses.replace(first, seed=first.seed + OTHER_SEED)
        together.append([*inputs.keyed_items([mate], place.cache_root), *pack])
    packed = {"alone": [[item] for item in items], "in another pack": together}
    rows_by_key = {}
    for how, packs in packed.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = SweepFolder(Path(temporary))
            workers = max(1, launcher.workers // place.threads)
            pool.run_packs(packs, place, workers, folder, lambda outcome: None)
            rows = dataset.read_rows(folder)
        rows_by_key[how] = {row["key"]: row for _, row in rows.iterrows()}
    return rows_by_key


def _compared(then: pd.Series, now: pd.Series | None, device: str) -> list[str]:
    """Return in words the numbers that differ; a column that the row lacks was not recorded."""
    if now is None or now["status"] != "done":
        return ["no row now" if now is None else f"it failed now: {now['error']}"]
    texts = differing_numbers(then, now, exact=device == "cpu")
    more = [f"{len(texts) - SHOWN} more columns"] if len(texts) > SHOWN else []
    return texts[:SHOWN] + more
