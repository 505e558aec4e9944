"""Reading tables of text from files and from data sets on a hub, and their columns."""

import csv
import gzip
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rmsweep.cache import rewardbench_subsets
from rmsweep.cache.building import hub
from rmsweep.errors import one_line

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+(@\S+)?")  # a data set
ABOUT = ("dataset_infos.json", "dataset_info.json", "state.json", "config.json")
ASSISTANT = "\n\nAssistant:"


def locate_file(source: str) -> Path:
    """Return the file that is meant: a path, or ORG/NAME[@REVISION][:FILE] on a hub.

    FileNotFoundError or ValueError, which says what is possible, where there is none.
    """
    path = Path(source)
    if not path.exists() and ":" in source:
        path = hub.dataset_file(*source.split(":", 1))
    elif not path.exists() and ON_HUB.fullmatch(source) and not source.endswith(SUFFIXES):
        path = hub.dataset_file(source, _only_file(source))
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {source}; give a {', '.join(SUFFIXES[:4])} file, or ORG/NAME or "
            "ORG/NAME:FILE of a data set on the Hugging Face hub"
        )
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{source}: must be one of {', '.join(SUFFIXES)}")
    return path


def _only_file(name: str) -> str:
    """Return the one file of data of a data set; ValueError names them where it has others."""
    files = sorted(file for file in hub.dataset_files(name) if file.endswith(SUFFIXES))
    files = [file for file in files if Path(file).name not in ABOUT]
    if len(files) != 1:
        some = ", ".join([*files[:8], *(["..."] if len(files) > 8 else [])])
        raise ValueError(
            f"the data set {name} has {len(files)} files of data, and one must be named, "
            f"{name}:FILE; there: {some or 'none'}"
        )
    return files[0]


def read_source(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a file, with its columns renamed, such as {"question": "prompt"}."""
    try:
        table = _read(path)
    except (ValueError, pa.ArrowException, csv.Error, EOFError, gzip.BadGzipFile) as error:
        reason = one_line(error, 160)
        raise ValueError(f"{path} cannot be read as {path.suffix}: {reason}") from None
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {_names(table)}")
    replaced = [name for name in columns.values() if name not in columns]
    table = table.drop(columns=replaced, errors="ignore").rename(columns=dict(columns))
    if "prompt" not in table and "instruction" in table:  # UltraFeedback's name
        table = table.rename(columns={"instruction": "prompt"})
    if table.empty:
        raise ValueError(f"{path} has no rows")
    return table


def _read(path: Path) -> pd.DataFrame:
    if path.name.endswith(".parquet"):
        return pd.read_parquet(path)
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        if ".jsonl" in path.name:
            return pd.DataFrame([json.loads(line) for line in file if line.strip()], dtype=object)
        if ".json" in path.name:
            return pd.DataFrame(json.load(file), dtype=object)
        csv.field_size_limit(sys.maxsize)
        return pd.DataFrame(list(csv.DictReader(file, strict=True)), dtype=object)


def prompts_of(table: pd.DataFrame, path: Path) -> list[str]:
    """Return the prompt of each row: column prompt, else of HH-RLHF's transcripts in chosen."""
    if "prompt" not in table and "chosen" in table:
        return [prompt for prompt, _ in _split_column(table, "chosen", path)]
    return text_column(table, "prompt", path)


def responses_of(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int]:
    """Return a row for each response, and how many prompts have none.

    The columns are prompt, response and, where the file has them, golden_reward and prompt_id.
    UltraFeedback's column completions, a list of responses with an overall_score, is unfolded.
    """
    n_bare = 0
    if "response" not in table and "completions" in table:
        table, n_bare = _unfolded(table, path)
    columns: dict[str, Any] = {"prompt": text_column(table, "prompt", path)}
    columns["response"] = text_column(table, "response", path)
    if "prompt_id" in table:
        columns["prompt_id"] = table["prompt_id"].to_numpy()
    if "golden_reward" in table:
        golden = pd.to_numeric(table["golden_reward"], errors="coerce")
        bad = golden.isna() | golden.abs().eq(float("inf"))
        if bad.any():
            row = int(bad.to_numpy().argmax())
            value = table["golden_reward"].iloc[row]
            raise ValueError(
                f"{path}: golden_reward must be a finite number, got {value!r} in row {row}; "
                f"{int(bad.sum())} of {len(table)} are not"
            )
        columns["golden_reward"] = golden.to_numpy(float)
    return pd.DataFrame(columns), n_bare


def _unfolded(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int]:
    """Return a row for each of a row's completions, and how many rows have none."""
    for row, completions in enumerate(table["completions"]):
        is_list = isinstance(completions, list | np.ndarray)
        if not is_list or not all(isinstance(one, dict) for one in completions):
            raise ValueError(
                f"{path}: completions must be a list of maps with response and overall_score, got "
                f"{str(completions)[:60]!r} in row {row}"
            )
    table = table.reset_index(names="prompt_id") if "prompt_id" not in table else table
    is_bare = table["completions"].map(len) == 0
    table = table[~is_bare].explode("completions", ignore_index=True)
    folded = pd.DataFrame(list(table.pop("completions")))
    names = {"response": "response", "overall_score": "golden_reward"}
    folded = folded[[name for name in names if name in folded]].rename(columns=names)
    return pd.concat([table, folded], axis=1), int(is_bare.sum())


def pairs_of(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int]:
    """Return labelled pairs, and how many were dropped.

    The columns are prompt, chosen, rejected and, where the file has it, subset.
    Without a column prompt, chosen and rejected are HH-RLHF's transcripts; pairs that part before
    the last turn are dropped. ValueError for a subset that is none of RewardBench's.
    """
    if "prompt" in table:
        names = ("prompt", "chosen", "rejected")
        pairs = pd.DataFrame({name: text_column(table, name, path) for name in names})
        is_kept = pd.Series(True, pairs.index)
    else:
        pairs = pd.DataFrame(_split_column(table, "chosen", path), columns=["prompt", "chosen"])
        rejected = pd.DataFrame(_split_column(table, "rejected", path))
        pairs["rejected"], is_kept = rejected[1], pairs["prompt"] == rejected[0]
    if "subset" in table:
        pairs["subset"] = text_column(table, "subset", path)
        rewardbench_subsets.check_subsets(pairs["subset"].unique(), path)
    return pairs[is_kept].reset_index(drop=True), int((~is_kept).sum())


def text_column(table: pd.DataFrame, name: str, path: Path) -> list[str]:
    """Return a column of text; of a list of chat messages, the last one's text.

    ValueError for anything else, and for a prompt of several messages, whose last says little.
    """
    if name not in table:
        raise ValueError(
            f"{path} has no column {name!r}; it has {_names(table)}: name it with "
            f"--columns {name}=COLUMN"
        )
    for row, value in enumerate(table[name] if name == "prompt" else []):
        if _is_chat(value) and len(value) > 1:
            raise ValueError(
                f"{path}: prompt must be text or one message, got a chat of {len(value)} messages "
                f"in row {row}: join them to one text"
            )
    texts = [_text(value) for value in table[name]]
    bad = [row for row, text in enumerate(texts) if text is None]
    if bad:
        raise ValueError(
            f"{path}: {name} must be text, got {table[name].iloc[bad[0]]!r} in row {bad[0]}; "
            f"{len(bad)} of {len(texts)} are not"
        )
    return [text for text in texts if text is not None]


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    content = value[-1].get("content") if _is_chat(value) else None
    return content if isinstance(content, str) else None


def _is_chat(value: Any) -> bool:
    return isinstance(value, list | np.ndarray) and len(value) > 0 and isinstance(value[-1], dict)


def _split_column(table: pd.DataFrame, name: str, path: Path) -> list[tuple[str, str]]:
    """Return prompts, up to the last "Assistant:", and responses of a column of transcripts."""
    parts = [text.rpartition(ASSISTANT) for text in text_column(table, name, path)]
    for row, (_, marker, text) in enumerate(parts):
        if not marker:
            raise ValueError(
                f"{path}: without a column prompt, chosen must be a transcript with "
                f"{ASSISTANT!r}, got {text[:60]!r} in row {row}"
            )
    return [(head + marker, response) for head, marker, response in parts]


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))
