"""The results of a sweep: outputs/NAME/runs/part-*.parquet, a row a run, and what was wanted."""

import os
import platform
import secrets
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from rmsweep import files
from rmsweep.config import spec as specs
from rmsweep.results import parquet

OUTPUTS = Path("outputs")
METRICS = (
    "bon_golden", "base", "oracle", "improvement", "oracle_share", "spearman", "pairwise_accuracy",
    "order_consistency", "annotation_error", "mean_margin",
)  # fmt: skip
RISKS = ("kl_risk", "margin_error")  # null for annotators without logits, and in older parts
JUDGED = (  # on labelled pairs; null without any
    "accuracy", "section_chat", "section_chat_hard", "section_safety", "section_reasoning",
    "prior_sets", "rewardbench", "ece", "brier", "nll", "temperature",
)  # fmt: skip
BY_PROMPT = (
    "base_by_prompt", "improvement_by_prompt", "headroom_by_prompt", "spearman_by_prompt",
    "pairwise_accuracy_by_prompt",
)  # fmt: skip
DIAGNOSTICS = (
    "decile_distance", "decile_gradient_norm", "decile_accuracy", "pair_distance",
    "pair_gradient_norm", "pair_error",
)  # fmt: skip
BY_DISTANCE = (
    "test_decile_distance", "test_decile_accuracy", "distance_by_pair", "reliability_confidence",
    "reliability_accuracy",
)  # fmt: skip
PROVENANCE = (  # text; null in parts older than the column
    "git_commit", "versions", "host", "device", "slurm_job", "fingerprint", "git_diff", "cpu",
    "gpu", "command", "cache_root", "canonical",
)  # fmt: skip
CURVES = ("train_loss_by_epoch", "validation_loss_by_epoch")  # of MLPs that are no ensemble
ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}

SCHEMA = pa.schema(
    [("key", pa.string()), ("spec_id", pa.string()), ("status", pa.string())]
    + [(name, ARROW[kind]) for name, kind in specs.column_types().items()]
    + [(name, pa.float64()) for name in (*METRICS, *RISKS, *JUDGED)]
    + [("epochs", pa.int64()), ("spearman_excluded", pa.int64())]
    + [("objective_counts", pa.string())]  # JSON, such as {"n_zero_distances": 3}, over all epochs
    + [("bon_n", pa.list_(pa.int64())), ("bon_golden_by_n", pa.list_(pa.float64()))]
    + [("oracle_by_n", pa.list_(pa.float64()))]
    + [(name, pa.list_(pa.float32())) for name in (*BY_PROMPT, *DIAGNOSTICS, *CURVES)]
    + [(name, pa.list_(pa.float32())) for name in ("correct_by_pair", *BY_DISTANCE)]
    + [("reliability_pairs", pa.list_(pa.int64())), ("subset", pa.list_(pa.string()))]
    + [("subset_pairs", pa.list_(pa.int64())), ("subset_accuracy", pa.list_(pa.float64()))]
    + [("error", pa.string()), ("traceback", pa.string()), ("wall_s", pa.float64())]
    + [("finished_at", pa.timestamp("us", tz="UTC"))]
    + [(name, pa.string()) for name in PROVENANCE]
    + [("git_dirty", pa.bool_())]
    + [(name, pa.int64()) for name in ("dim", "test_responses", "threads", "semantics")]
)
# What a run's spec determines: all columns but these, so a metric that is added later is in it.
NO_NUMBERS = {*specs.column_types(), *PROVENANCE, "key", "spec_id", "status", "error", "traceback"}
NO_NUMBERS |= {"wall_s", "finished_at", "git_dirty", "dim", "test_responses", "threads"}
NUMBERS = tuple(name for name in SCHEMA.names if name not in NO_NUMBERS | {"semantics"})
WANTED = pa.schema(
    [("key", pa.string()), ("spec_id", pa.string()), ("canonical", pa.string())]
    + [(name, ARROW[kind]) for name, kind in specs.column_types().items()]
    + [("diagnostics", pa.bool_())]
)


def folder(name: str) -> Path:
    return OUTPUTS / name


def model_folder(directory: Path, key: str) -> Path:
    """Where save_model=true keeps a run's reward model; saved_models.py says what is in it."""
    return directory / "models" / key


def with_model(directory: Path) -> set[str]:
    """Keys of the runs whose reward models are kept."""
    folder = directory / "models"
    return {name for name in os.listdir(folder) if name[0] != "."} if folder.is_dir() else set()


def write_part(directory: Path, rows: list[dict[str, Any]]) -> None:
    """One part of the dataset, whole or not at all; a column that a row lacks is null."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    parquet.replace(table, directory / "runs" / f"part-{secrets.token_hex(8)}.parquet")


def remove_unfinished(directory: Path, pid: int | None) -> None:
    """Remove the part that a process of this machine, which was killed, had not finished."""
    for path in (directory / "runs").glob(".part-*.parquet.*"):
        if path.name.partition(".parquet.")[2] == f"{platform.node()}.{pid}":
            path.unlink(missing_ok=True)


def parts(directory: Path) -> list[Path]:
    """The files of the dataset; OSError where they may not be listed (glob would find none)."""
    folder = directory / "runs"
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    names = [name for name in names if name.startswith("part-") and name.endswith(".parquet")]
    return [folder / name for name in names]


def read_parts(directory: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """All rows of a sweep, done and failed; ValueError names a part that cannot be read."""
    tables = [parquet.read(path, columns) for path in parts(directory)]
    empty = SCHEMA.empty_table().select(columns or SCHEMA.names)
    try:
        return pa.concat_tables([empty, *tables], promote_options="permissive").to_pandas()
    except parquet.UNREADABLE as error:
        raise ValueError(
            f"{directory / 'runs'} has parts whose columns are of other types "
            f"({parquet.short(error)})"
        ) from None


def load(name: str, columns: list[str] | None = None) -> pd.DataFrame:
    """The done runs of sweep `name`, a row a key: the first by finished_at.

    columns: only these (and key, status, finished_at), which is faster. FileNotFoundError without
    such a sweep in outputs/.
    """
    require_sweep(name)
    return read_done(folder(name), columns)


def require_sweep(name: str) -> None:
    """FileNotFoundError, which names those that are there, without such a sweep in outputs/."""
    if not files.is_name(name) or not folder(name).is_dir():
        there = ", ".join(sorted(path.parent.name for path in OUTPUTS.glob("*/runs"))) or "none"
        raise FileNotFoundError(f"no sweep {name!r} in {OUTPUTS.resolve()}; there: {there}")


def read_done(directory: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """As `load`, of the sweep in this folder; empty where there is none."""
    needed = {"key", "status", "finished_at"}
    rows = read_parts(directory, columns and list(dict.fromkeys([*columns, *needed])))
    done = rows[rows["status"] == "done"].sort_values("finished_at", kind="stable")
    return done.drop_duplicates("key").reset_index(drop=True)


def done_row(name: str, key: str) -> pd.Series:
    """All columns of a sweep's done run; ValueError where none, or more than one, has this key.

    key: of the run, or the first digits of it.
    """
    done = load(name, ["key"])["key"]
    matching = [known for known in done if known.startswith(key)]
    if len(matching) != 1:
        found = f"{len(matching)} start with that" if matching else f"none of {len(done)} has it"
        raise ValueError(f"--key must be that of one done run of {name!r}, got {key!r}: {found}")
    return done_rows(folder(name), matching).iloc[0]


def done_rows(directory: Path, keys: Collection[str]) -> pd.DataFrame:
    """All columns of the done runs of these keys, a row a key; reads only parts that hold them."""
    wanted = pa.array(sorted(keys), pa.string())
    tables = [SCHEMA.empty_table()]
    for path in parts(directory):
        if pc.any(pc.is_in(parquet.read(path, ["key"])["key"], wanted)).as_py():
            table = parquet.read(path)
            tables.append(table.filter(pc.is_in(table["key"], wanted)))
    rows = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    done = rows[rows["status"] == "done"].sort_values("finished_at", kind="stable")
    return done.drop_duplicates("key").reset_index(drop=True)


def load_all(columns: list[str]) -> pd.DataFrame:
    """These columns of the done rows of every sweep in outputs/."""
    names = sorted(path.parent.name for path in OUTPUTS.glob("*/runs"))
    tables = [load(name, columns) for name in names]
    return pd.concat(tables) if tables else SCHEMA.empty_table().to_pandas()


def require_writable(directory: Path) -> None:
    """ValueError, before any work, where results cannot be written."""
    try:
        (directory / "runs").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory / "runs"):
            pass
    except OSError as error:
        raise ValueError(
            f"results cannot be written to {directory} ({error}); run where you may write"
        ) from None


def failed(directory: Path) -> pd.DataFrame:
    """The latest failure of each key that has no done row."""
    rows = read_parts(directory, ["key", "status", "error", "traceback", "finished_at"])
    done = set(rows.loc[rows["status"] == "done", "key"])
    failures = rows[(rows["status"] == "failed") & ~rows["key"].isin(done)]
    return failures.sort_values("finished_at").drop_duplicates("key", keep="last")


def wanted(name: str) -> pd.DataFrame:
    """The specs that the sweep's launches asked for, with keys; of outputs/single its done rows."""
    require_sweep(name)
    wanted = read_wanted(folder(name)).to_pandas()
    names = [column for column in WANTED.names if column not in ("canonical", "diagnostics")]
    return (wanted if len(wanted) else load(name, names))[names]


def of_sweeps(names: Sequence[str], columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Done rows, with these columns, and wanted runs of several sweeps; each a line a key."""
    done = pd.concat([load(name, columns) for name in names]).drop_duplicates("key")
    asked = pd.concat([wanted(name) for name in names]).drop_duplicates("key")
    return done.reset_index(drop=True), asked.reset_index(drop=True)


def wanted_keys(name: str) -> set[str]:
    """Keys of `wanted`."""
    path = folder(name) / "specs.parquet"
    if not path.exists():
        return set(load(name, ["key"])["key"])
    return set(parquet.read(path, ["key"], kind="wanted")["key"].to_pylist())


def read_wanted(directory: Path) -> pa.Table:
    path = directory / "specs.parquet"
    tables = [parquet.read(path, kind="wanted")] if path.exists() else []
    return pa.concat_tables([WANTED.empty_table(), *tables], promote_options="permissive")


def wanted_items(directory: Path, keys: Collection[str]) -> dict[str, specs.Item]:
    """By key, what the sweep wants of these keys, as it was launched."""
    table = read_wanted(directory).select(["key", "canonical", "loss.label", "diagnostics"])
    return {
        key: specs.Item(key, spec_of(canonical, label, bool(diagnostics)))
        for key, canonical, label, diagnostics in zip(*table.to_pydict().values(), strict=True)
        if key in keys
    }


def spec_of(canonical: str, label: str, diagnostics: bool) -> specs.RunSpec:
    """The spec that a data file holds; ValueError where it is none, and nothing is imported."""
    try:
        return specs.from_canonical(canonical, label, diagnostics)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"a spec is not as it was written ({type(error).__name__}: {parquet.short(error)})"
        ) from None


def launches(directory: Path) -> list[dict[str, Any]]:
    """What sweep.yaml says of each launch; empty without one, ValueError where it is another's."""
    path = directory / "sweep.yaml"
    try:
        found = yaml.safe_load(path.read_text())["launches"] if path.exists() else []
        for launch in found:
            kinds = {"at": str, "overrides": list, "axes": dict, "runs": int, "settings": dict}
            for name, kind in kinds.items():
                if not isinstance(launch[name], kind):
                    raise ValueError(f"{name} is no {kind.__name__}")
            if not all(isinstance(override, str) for override in launch["overrides"]):
                raise ValueError("an override is no text")
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(
            f"{path} is not as a launch wrote it ({parquet.short(e)}); delete it, the launch's "
            "command writes it anew"
        ) from None
    return list(found)


def add_wanted(directory: Path, items: list[specs.Item]) -> None:
    """Add runs to what the sweep wants; one that it wants already, as it is asked for now."""
    before = read_wanted(directory)
    again = pa.array([item.key for item in items], pa.string())
    before = before.filter(pc.invert(pc.is_in(before["key"], again)))
    rows = [
        {
            "key": item.key,
            "spec_id": item.spec.spec_id,
            "canonical": item.spec.canonical,
            "diagnostics": item.spec.evaluation.diagnostics,
            **specs.columns(item.spec),
        }
        for item in items
    ]
    table = pa.concat_tables([before, pa.Table.from_pylist(rows, schema=WANTED)])
    parquet.replace(table, directory / "specs.parquet")
