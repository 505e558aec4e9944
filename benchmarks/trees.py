"""LightGBM: bins once a cache against bins of each run, training, quantized gradients, scoring.

Seconds of CPU time on one thread, which other work on the machine does not change. --rows 20000
--dim 2048 --rounds 100 is a run of 10,000 pairs at the paper's scale; the cache has twice the rows.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np

from rmsweep.training.reward_models import trees


def timed(what: str, work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    found = work()
    seconds = time.process_time() - started
    print(f"{what}: {seconds:.2f} s", flush=True)
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--scored", type=int, default=4096)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    cache = rng.standard_normal((2 * args.rows, args.dim), dtype=np.float32).astype(np.float16)
    golden = cache[:, :32].astype(float).sum(axis=1) / 4
    pairs = rng.permutation(2 * args.rows)[: args.rows].reshape(-1, 2)
    is_first = rng.random(len(pairs)) < 1 / (1 + np.exp(golden[pairs[:, 1]] - golden[pairs[:, 0]]))
    pairs = np.where(is_first[:, None], pairs, pairs[:, ::-1])
    rows, label = pairs.T.reshape(-1), np.repeat([1.0, 0.0], len(pairs))
    params = trees.SAME_TREES | {"num_threads": 1, "objective": "binary"}

    def own() -> lightgbm.Dataset:
        x = cache[rows].astype(np.float32)
        return lightgbm.Dataset(x, label=label, params=params).construct()

    data, own_s = timed(f"fresh Dataset of {args.rows} x {args.dim}", own)
    bins, _ = timed("all of the cache in bins, once", lambda: trees.binned_embeddings(cache, "", 1))
    order = np.sort(rows)
    _, subset_s = timed("subset", lambda: bins.subset(order).construct())
    print(f"ratio: {own_s / max(subset_s, 1e-3):.0f} x")
    model, plain_s = timed("training", lambda: lightgbm.train(params, data, args.rounds))
    of_cache, _ = timed(
        "fit with loss.bins=cache",
        lambda: trees.fit_trees(
            cache, pairs, objective="binary", rounds=args.rounds, seed=0, threads=1, bins=bins
        ),
    )
    quantized = params | {"use_quantized_grad": True}
    other, quick_s = timed(
        "training with use_quantized_grad", lambda: lightgbm.train(quantized, own(), args.rounds)
    )
    print(f"  less its Dataset {quick_s - own_s:.2f} s: {plain_s / (quick_s - own_s):.2f} x")
    x = cache[: args.scored]

    def scored(model: lightgbm.Booster) -> np.ndarray:
        return model.predict(x.astype(np.float32), raw_score=True, num_threads=1)

    whole, whole_s = timed(f"Booster.predict of {args.scored} rows", lambda: scored(model))
    scorer = trees.scorer_of(model)
    found, found_s = timed(
        f"by the {len(scorer.features)} features used", lambda: trees.predict_trees([scorer], x, 1)
    )
    print(f"ratio: {whole_s / found_s:.1f} x, equal: {np.array_equal(found[0], whole)}")
    held_out = np.setdiff1d(np.arange(len(cache)), rows)[: args.scored]
    for name, one in (("own bins", model), ("cache bins", of_cache), ("quantized", other)):
        rewards = one.predict(cache[held_out].astype(np.float32), raw_score=True)
        correlation = np.corrcoef(rewards, golden[held_out])[0, 1]
        print(f"{name}: correlation of unseen responses with golden rewards {correlation:.4f}")


if __name__ == "__main__":
    main()
