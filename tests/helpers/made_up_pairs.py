"""Labelled pairs that a linear model learns, on disk."""

import numpy as np
import pandas as pd

from rmsweep.cache.layout import pair_embeddings_path, pair_table_path

N, D = 300, 16


def write_pairs(root, stem="hh-harmless", n=N, seed=0, *, dim=D, prompts=None, subsets=None):
    """Write pairs whose chosen response mostly lies further along one direction; embeddings."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, 2, dim))
    ahead = np.where(rng.random(n) < 0.95, 4, -4)
    embeddings[:, 0, 0] += ahead
    root.mkdir(exist_ok=True)
    np.save(pair_embeddings_path(root, stem, "minilm"), embeddings.astype(np.float16))
    prompts = np.arange(n) if prompts is None else prompts
    texts = {"prompt": [f"{stem} prompt {i}" for i in prompts]}
    texts |= {name: [f"{name} {i}" for i in range(n)] for name in ("chosen", "rejected")}
    table = pd.DataFrame(texts | ({} if subsets is None else {"subset": subsets}))
    table.to_parquet(pair_table_path(root, stem))
    return embeddings.astype(np.float16)
