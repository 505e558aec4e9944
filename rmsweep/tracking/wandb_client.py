"""The one module that imports the client of Weights & Biases; it fails no run."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rmsweep.config.loggers import Wandb
from rmsweep.errors import one_line
from rmsweep.paths import SweepFolder

# For a server that does not answer; the client's own would take five minutes.
INIT_TIMEOUT_S = 60
REQUEST_TIMEOUT_S = 15
RETRIES = 2


@dataclass(frozen=True)
class MirroredRun:
    """The content of one W&B run; one of the same id continues it. history: a line a step."""

    id: str
    name: str
    group: str | None  # the sweep
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)


def send(logger: Wandb, folder: SweepFolder, runs: Sequence[MirroredRun]) -> tuple[int, str | None]:
    """Send runs to W&B in order, and return how many went well and why no more, None if all did.

    folder: of the sweep; W&B keeps its own files in folder/wandb.
    """
    for n_sent, mirrored in enumerate(runs):
        try:
            _send(logger, folder, mirrored)
        except Exception as error:  # noqa: BLE001  whatever happens there, the results are in files
            return n_sent, f"{type(error).__name__}: {one_line(error)}"
    return len(runs), None


def _send(logger: Wandb, folder: SweepFolder, mirrored: MirroredRun) -> None:
    import wandb

    folder.path.mkdir(parents=True, exist_ok=True)
    if logger.mode == "offline":  # what is sent now holds what was kept before
        for before in folder.wandb.glob(f"offline-run-*-{mirrored.id}"):
            shutil.rmtree(before)
    run = wandb.init(
        project=logger.project,
        entity=logger.entity,
        mode="offline" if logger.mode == "offline" else "online",
        id=mirrored.id,
        name=mirrored.name,
        group=mirrored.group,
        resume="allow",
        dir=str(folder),
        config=dict(mirrored.config),
        settings=wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            init_timeout=INIT_TIMEOUT_S,
            login_timeout=INIT_TIMEOUT_S,
            x_graphql_retry_max=RETRIES,
            x_graphql_timeout_seconds=REQUEST_TIMEOUT_S,
            x_file_stream_retry_max=RETRIES,
            x_file_stream_timeout_seconds=INIT_TIMEOUT_S,
            x_file_transfer_retry_max=RETRIES,
            x_disable_stats=True,
            x_disable_meta=True,
        ),
    )
    try:
        for step in mirrored.history:
            run.log(dict(step))
        media: dict[str, Any] = {}
        for name, table in mirrored.tables.items():
            cells = table.astype(object).where(table.notna(), None).to_numpy().tolist()
            media[name] = wandb.Table(columns=list(table), data=cells)
        media |= {name: wandb.Image(str(path)) for name, path in mirrored.images.items()}
        if media:
            run.log(media)
        run.summary.update(dict(mirrored.summary))
    finally:
        run.finish()
