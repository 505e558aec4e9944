"""Descriptions of the caches in a folder: embeddings with golden rewards, and labelled pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmsweep.cache import checks
from rmsweep.cache.building import records
from rmsweep.cache.fingerprint import fingerprint
from rmsweep.cache.inspecting import cautions, embeddings, rewards
from rmsweep.cache.layout import SPLITS, open_pairs


def find_caches(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return (folder, name) of each cache that paths hold or are: folders, or embd_*.npy files.

    FileNotFoundError or ValueError where a path is neither.
    """
    caches: dict[tuple[Path, str], None] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"nothing is at {path}; give a folder or an embd_*.npy file")
        files = sorted(path.glob("embd_*.npy")) if path.is_dir() else [path]
        for file in files:
            if not (file.name.startswith("embd_") and file.suffix == ".npy"):
                raise ValueError(f"{file} must be named embd_*.npy; or give the folder it is in")
            split_off = file.stem.removesuffix("_train").removesuffix("_test")  # one cache
            caches[file.parent, split_off.removeprefix("embd_")] = None
        if not files:
            raise FileNotFoundError(f"{path} holds no embd_*.npy; is it the cache.root you mean?")
    return list(caches)


def describe_cache(folder: Path, name: str) -> dict[str, Any]:
    """Return all there is to know of one cache, as plain JSON; each byte is read once."""
    if name.startswith("pairs_"):
        return _describe_pairs(folder, name)
    headers = _headers(folder, name)
    splits, hashes = {}, {}
    for split, (embedded, rewarded) in headers.items():
        golden = checks.read_rewards(rewarded)
        described, hashes[split] = embeddings.embedding_statistics(embeddings.read_blocks(embedded))
        splits[split] = _shape(embedded) | {
            "built": records.origin(embedded.path),
            "reward_dtype": rewarded.dtype.name,
            "rewards": rewards.reward_statistics(golden),
            "embeddings": described | embeddings.duplicate_shares(hashes[split]),
        }
    is_whole = len(headers) == len(SPLITS)
    if is_whole:
        overlap = np.isin(hashes["test"], hashes["train"]).mean()
        splits["test"]["embeddings"]["share_in_train"] = float(overlap)
    files = [file for file, _ in headers.values()], [file.path for _, file in headers.values()]
    return {
        "name": name,
        "folder": str(folder),
        "kind": "golden",
        "fingerprint": fingerprint(*files) if is_whole else None,
        "splits": splits,
        "cautions": cautions.golden_cautions(splits),
    }


def _headers(folder: Path, name: str) -> dict[str, tuple[checks.Header, checks.Header]]:
    """Return headers of embeddings and rewards of each split, checked as before a run."""
    headers = {}
    for split in SPLITS:
        path = folder / f"embd_{name}_{split}.npy"
        if not path.exists():
            continue
        embedded = checks.read_header(path, checks.EMBEDDING_DTYPES)
        path = folder / f"reward_{name}_{split}.npy"
        checks.require_file(path, "golden rewards")
        headers[split] = (embedded, checks.read_header(path, checks.REWARD_DTYPES))
        checks.check_split(*headers[split])
    if not headers:
        raise ValueError(f"{folder}: embd_{name}.npy must end in _train.npy or _test.npy; rename")
    if len(headers) == 2:
        checks.check_dims(headers["train"][0], headers["test"][0])
    return headers


def _shape(header: checks.Header) -> dict[str, Any]:
    shape = dict(zip(("prompts", "responses", "dim"), header.shape, strict=True))
    return shape | {"dtype": header.dtype.name, "bytes": header.path.stat().st_size}


def _describe_pairs(folder: Path, name: str) -> dict[str, Any]:
    pairs = open_pairs(folder, *_pair_stems(folder, name.removeprefix("pairs_")))
    header = checks.read_header(pairs.path, checks.EMBEDDING_DTYPES)
    described, hashes = embeddings.embedding_statistics(embeddings.read_blocks(header))
    distances = np.concatenate([_distances(block) for block in embeddings.read_blocks(header)])
    described |= {
        "share_equal_pairs": float((hashes[:, 0] == hashes[:, 1]).mean()),
        "share_duplicate": float(1 - len(np.unique(hashes, axis=0)) / len(hashes)),
        "distance_mean": float(distances.mean()),
        "distance_quantiles": np.quantile(distances, (0.05, 0.5, 0.95)).tolist(),
    }
    report = {
        "name": name,
        "folder": str(folder),
        "kind": "pairs",
        "pairs": pairs.n_pairs,
        **_shape(header),
        "built": records.origin(header.path),
        "fingerprint": pairs.fingerprint,
        "embeddings": described,
        "texts": _texts(pairs.table),
    }
    return report | {"cautions": cautions.pair_cautions(report)}


def _pair_stems(folder: Path, stems: str) -> tuple[str, str]:
    """Return dataset and backbone of stems, parted where a table pairs_{dataset}.parquet is."""
    tables = (path.stem.removeprefix("pairs_") for path in folder.glob("pairs_*.parquet"))
    datasets = [table for table in tables if stems.startswith(f"{table}_")]
    if not datasets:
        raise FileNotFoundError(
            f"{folder}: no table pairs_DATASET.parquet beside embd_pairs_{stems}.npy; it holds the "
            "texts (prompt, chosen, rejected)"
        )
    dataset = max(datasets, key=len)
    return dataset, stems.removeprefix(f"{dataset}_")


def _distances(block: np.ndarray) -> np.ndarray:
    """Return Euclidean distances of chosen from rejected, (pairs,); NaN or inf counts as 0."""
    difference = np.nan_to_num(block[:, 0].astype(np.float32) - block[:, 1].astype(np.float32))
    return np.linalg.norm(difference, axis=1)


def _texts(table: pd.DataFrame) -> dict[str, Any]:
    chosen, rejected = (table[name].str.len() for name in ("chosen", "rejected"))
    subset = table["subset"] if "subset" in table else pd.Series(dtype=str)
    return {
        "prompts": int(table["prompt"].nunique()),
        "characters_chosen": float(chosen.mean()),
        "characters_rejected": float(rejected.mean()),
        "share_chosen_longer": float(((chosen > rejected) + 0.5 * (chosen == rejected)).mean()),
        "n_empty": int((chosen == 0).sum() + (rejected == 0).sum()),
        "n_equal": int((table["chosen"] == table["rejected"]).sum()),
        "subsets": {str(name): int(n) for name, n in subset.value_counts(sort=False).items()},
    }
