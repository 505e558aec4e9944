"""The released layout of cached embeddings: names of files, and reading them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rmsweep import files
from rmsweep.cache import checks
from rmsweep.cache.checks import Header
from rmsweep.cache.fingerprint import fingerprint
from rmsweep.errors import one_line

SPLITS = ("train", "test")
TEXTS = ("prompt", "chosen", "rejected", "subset")  # of pairs; only the last may be absent


@dataclass(frozen=True, eq=False)
class Cache:
    """A cache of embeddings with golden rewards, from files or synthetic, which can be pickled.

    train_embeddings(): (prompts, K, D) float16 or float32, read-only, a memory map for files.
    read_test(first, last): embeddings of test prompts [first, last), (last - first, M, D), a new
    array; nothing is kept, so a caller that goes block by block reads each byte once.
    """

    fingerprint: str
    train_prompts: int
    train_responses: int
    test_prompts: int
    test_responses: int
    dim: int
    train_golden: np.ndarray  # (prompts, K) golden rewards, float64, read-only
    test_golden: np.ndarray  # (prompts, M)
    train_embeddings: Callable[[], np.ndarray]
    read_test: Callable[[int, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Pairs that people labelled, with their embeddings."""

    path: Path  # of the embeddings, for messages
    fingerprint: str
    n_pairs: int
    dim: int
    embeddings: Callable[[], np.ndarray]  # (n_pairs, 2, D), chosen first, a memory map
    table: pd.DataFrame  # a row a pair: prompt, chosen, rejected and, where the file has it, subset


def embeddings_path(root: Path, base_llm: str, backbone: str, dataset: str, split: str) -> Path:
    """Return the path of a split's embeddings, (prompts, K, D)."""
    files.require_stems(base_llm=base_llm, backbone=backbone, dataset=dataset)
    return Path(root) / f"embd_{base_llm}_{backbone}_{dataset}_{split}.npy"


def rewards_path(root: Path, base_llm: str, backbone: str, dataset: str, split: str) -> Path:
    """Return the path of a split's golden rewards, (prompts, K, 1)."""
    files.require_stems(base_llm=base_llm, backbone=backbone, dataset=dataset)
    return Path(root) / f"reward_{base_llm}_{backbone}_{dataset}_{split}.npy"


def pair_embeddings_path(root: Path, dataset: str, backbone: str) -> Path:
    """Return the path of the embeddings of labelled pairs, (pairs, 2, D)."""
    files.require_stems(dataset=dataset, backbone=backbone)
    return Path(root) / f"embd_pairs_{dataset}_{backbone}.npy"


def pair_table_path(root: Path, dataset: str) -> Path:
    """Return the path of the table of labelled pairs, a row a pair."""
    files.require_stems(dataset=dataset)
    return Path(root) / f"pairs_{dataset}.parquet"


def open_files(root: Path, base_llm: str, backbone: str, dataset: str) -> Cache:
    """Return the cache of three file stems under root, checked and fingerprinted.

    It reads headers, the reward files and at most 8 MiB of embeddings. FileNotFoundError for a
    missing file, ValueError for one that is not sound.
    """
    embeddings, rewards = [], []
    for split in SPLITS:
        path = embeddings_path(root, base_llm, backbone, dataset, split)
        checks.require_file(path, f"embeddings of {dataset} by {backbone}")
        embeddings.append(checks.read_header(path, checks.EMBEDDING_DTYPES))
        path = rewards_path(root, base_llm, backbone, dataset, split)
        checks.require_file(path, f"golden rewards of {dataset} for {base_llm}")
        rewards.append(checks.read_header(path, checks.REWARD_DTYPES))
        checks.check_split(embeddings[-1], rewards[-1])
    train, test = embeddings
    checks.check_dims(train, test)
    train_golden, test_golden = (checks.read_rewards(header) for header in rewards)
    return Cache(
        fingerprint=fingerprint(embeddings, [header.path for header in rewards]),
        train_prompts=train.shape[0],
        train_responses=train.shape[1],
        test_prompts=test.shape[0],
        test_responses=test.shape[1],
        dim=train.shape[2],
        train_golden=train_golden,
        test_golden=test_golden,
        train_embeddings=partial(_memory_map, train),
        read_test=partial(_read_block, test),
    )


def open_pairs(root: Path, dataset: str, backbone: str) -> LabelledPairs:
    """Return the labelled pairs of two file stems under root, checked and fingerprinted.

    FileNotFoundError for a missing file, ValueError for one that is not sound.
    """
    path = pair_embeddings_path(root, dataset, backbone)
    checks.require_file(path, f"embeddings of {dataset} by {backbone}")
    header = checks.read_header(path, checks.EMBEDDING_DTYPES)
    if header.shape[1] != 2:
        fix = "save it as (pairs, 2, D)"
        raise checks.unsound(path, "axis 1", "2 (chosen, rejected)", header.shape[1], fix)
    table_path = pair_table_path(root, dataset)
    checks.require_file(table_path, f"texts of the pairs of {dataset}")
    table = read_texts(table_path)
    if len(table) != header.shape[0]:
        expected = f"{header.shape[0]}, the pairs in {path.name}"
        raise checks.unsound(table_path, "rows", expected, len(table), "embed these texts again")
    check_texts(table, table_path)
    return LabelledPairs(
        path=path,
        fingerprint=fingerprint([header], [table_path]),
        n_pairs=header.shape[0],
        dim=header.shape[2],
        embeddings=partial(_memory_map, header),
        table=table,
    )


def read_texts(path: Path) -> pd.DataFrame:
    """Return the text columns of a file of pairs; ValueError if one is missing or not all text."""
    try:
        available = pq.read_schema(path).names
        names = [name for name in TEXTS if name in available]
        table = pq.read_table(path, columns=names)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ValueError(
            f"{path}: must be a Parquet file, found {one_line(error, 160)}; write it again"
        ) from None
    require_columns(available, path)
    for name in names:
        column = table.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise checks.unsound(path, name, "text", column.type, "write it as text")
        if column.null_count:
            row = column.is_null().index(True).as_py()
            raise ValueError(
                f"{path}: {name} must have no nulls, found {column.null_count}, the first in row "
                f"{row}; drop these pairs from table and embeddings"
            )
    return table.to_pandas(ignore_metadata=True).astype(str)  # categories too


def require_columns(available: Iterable[str], path: Path) -> None:
    """Raise ValueError where a file of pairs lacks one of the columns that all must have."""
    available = list(available)
    if missing := [name for name in TEXTS[:3] if name not in available]:
        raise checks.unsound(path, f"columns {missing}", "there", available, "add them")


def check_texts(table: pd.DataFrame, path: Path) -> None:
    """Raise ValueError for a pair of equal responses, which has no label."""
    is_same = (table["chosen"] == table["rejected"]).to_numpy()
    if is_same.any():
        raise ValueError(
            f"{path}: chosen and rejected must differ, found the same text in {is_same.sum()} "
            f"pairs, the first in row {is_same.argmax()}; drop these from table and embeddings"
        )


def _memory_map(header: Header) -> np.ndarray:
    return np.load(header.path, mmap_mode="r", allow_pickle=False)


def _read_block(header: Header, first: int, last: int) -> np.ndarray:
    """Return embeddings of prompts [first, last), read, not mapped: the pages would stay."""
    n_prompts, *rest = header.shape
    assert 0 <= first < last <= n_prompts, (first, last, n_prompts)
    block = np.empty((last - first, *rest), header.dtype)
    unread = block.data.cast("B")
    with open(header.path, "rb", buffering=0) as file:
        file.seek(header.offset + first * math.prod(rest) * header.dtype.itemsize)
        while unread:  # Linux reads at most 2 GiB a call
            n_read = file.readinto(unread)
            if not n_read:
                fix = "the file was changed while in use: start again"
                field, value = f"prompt {last - 1}", "its end before"
                raise checks.unsound(header.path, field, "in the file", value, fix)
            unread = unread[n_read:]
    return block
