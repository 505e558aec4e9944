"""Metrics of fitted reward models, in one pass over the blocks of what they are tested on."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.inputs import Inputs
from rmsweep.cache.layout import Cache
from rmsweep.config.launchers import Place
from rmsweep.evaluation import best_of_n as bon
from rmsweep.evaluation import labelled_pairs
from rmsweep.evaluation.risks import risks_by_prompt
from rmsweep.training.annotate import reward_scale
from rmsweep.training.predict import (
    Array,
    FittedRun,
    Stacked,
    begun,
    blocks,
    finished,
    nonfinite,
    stack,
)

GPU_BLOCKS_AHEAD = 4  # a read takes longer than a GPU takes for a block
N_GROUPS = 10  # of a prompt's pairs by distance


def score(
    runs: list[FittedRun], inputs: Inputs, place: Place
) -> list[tuple[FittedRun, dict[str, Any]]]:
    """Each run with its metrics; the bytes of a test file are read once."""
    models, spec = stack(runs), runs[0].item.spec
    found: list[dict[str, Any]] = [{} for _ in runs]
    if inputs.scored is not None:
        found = _best_of_n(runs, models, inputs, inputs.scored, place)
    if inputs.judged:
        margins = labelled_pairs.margins(models, inputs.judged, spec, place)
        for i, run in enumerate(runs):
            of_run = [m[i] for m in margins]
            found[i].update(labelled_pairs.judge(of_run, inputs.judged, run.held_out_margins))
    return list(zip(runs, found, strict=True))


def _best_of_n(
    runs: list[FittedRun], models: Stacked, inputs: Inputs, cache: Cache, place: Place
) -> list[dict[str, Any]]:
    """Metrics of each run on the cache's test split."""
    spec = runs[0].item.spec
    m = cache.test_responses
    n = spec.evaluation.n or m
    ns = sorted({1, n, m, *(2**i for i in range(m.bit_length()) if 2**i <= m)})
    # Made before the loop: small arrays kept from each block would lie in the space that the block
    # before has freed, the next block would not fit there, and the heap would grow with the file.
    shape = (len(runs), cache.test_prompts)
    by_n, oracle = np.empty((*shape, len(ns))), np.empty((cache.test_prompts, len(ns)))
    spearman, accuracy, risks = np.empty(shape), np.empty(shape), np.empty((*shape, 2))
    by_distance, distance = np.empty((*shape, N_GROUPS)), np.empty((shape[1], N_GROUPS))
    scale = 1.0 if inputs.golden is None else reward_scale(spec, inputs.golden)

    def measure(here: slice, rewards: Array, x: Array | None) -> None:
        """Fill in a block of prompts, of what `begun` gave."""
        golden = cache.test_golden[here]
        predicted = finished(rewards, models, spec).reshape(len(runs), *golden.shape)
        orders = bon.descending(predicted)
        by_n[:, here] = bon.best_of_n(predicted, golden, ns, orders)
        spearman[:, here] = bon.spearman_within_prompt(predicted, golden, orders)
        accuracy[:, here] = bon.pairwise_accuracy_within_prompt(predicted, golden, orders)
        for i, run in enumerate(runs):
            risks[i, here] = risks_by_prompt(predicted[i], golden / scale, run.item.spec.annotation)
        oracle[here] = bon.best_of_n(golden[None], golden, ns)[0]
        if x is not None:
            distance[here], by_distance[:, here] = bon.accuracy_by_distance(
                predicted, golden, np.asarray(x), N_GROUPS
            )

    n_waiting = 0 if place.device == "cpu" else 2 * place.threads  # while a GPU goes on
    with ThreadPoolExecutor(place.threads) as pool:
        blocks_left: deque[Future[None]] = deque()
        for here, x in _read_ahead(cache, place):
            rewards = begun(models, x.reshape(-1, cache.dim), spec, place)
            kept = x if spec.evaluation.diagnostics else None
            blocks_left.append(pool.submit(measure, here, rewards, kept))
            while len(blocks_left) > n_waiting:
                blocks_left.popleft().result()
        for block in blocks_left:
            block.result()
    found = [
        _metrics(by_n[i], oracle, spearman[i], accuracy[i], risks[i], ns, ns.index(n))
        for i in range(len(runs))
    ]
    if spec.evaluation.diagnostics:
        for i, metrics in enumerate(found):
            metrics["test_decile_distance"] = _mean_over_prompts(distance)
            metrics["test_decile_accuracy"] = _mean_over_prompts(by_distance[i])
    return found


def _read_ahead(cache: Cache, place: Place) -> Iterator[tuple[slice, Array]]:
    """Each block's prompts and embeddings; the next is read meanwhile, several for a GPU."""
    edges = blocks(cache.test_prompts, cache.test_responses)
    n_ahead = 1 if place.device == "cpu" else GPU_BLOCKS_AHEAD
    with ThreadPoolExecutor(n_ahead) as readers:
        coming = deque(readers.submit(_read, cache, *edge, place) for edge in edges[:n_ahead])
        for i, edge in enumerate(edges):
            x = coming.popleft().result()
            coming.extend(
                readers.submit(_read, cache, *later, place)
                for later in edges[i + n_ahead : i + n_ahead + 1]
            )
            yield slice(*edge), x


def _read(cache: Cache, first: int, last: int, place: Place) -> Array:
    """Embeddings of test prompts [first, last), for a GPU in memory that it copies from unasked."""
    x = cache.read_test(first, last)
    if (bad := first_nonfinite(x)) is not None:
        raise ValueError(nonfinite("test", first + bad[0], bad[1]))
    return torch.from_numpy(x).pin_memory() if place.device.startswith("cuda") else x


def _mean_over_prompts(groups: np.ndarray) -> np.ndarray:
    """(N_GROUPS,) from (prompts, N_GROUPS), empty groups left out."""
    n = (~np.isnan(groups)).sum(axis=0)
    return np.divide(np.nansum(groups, axis=0), n, out=np.full(len(n), np.nan), where=n > 0)


def _metrics(
    by_n: np.ndarray,
    oracle: np.ndarray,
    spearman: np.ndarray,
    accuracy: np.ndarray,
    risks: np.ndarray,
    ns: list[int],
    at: int,
) -> dict[str, Any]:
    """A row's metrics; by_n, oracle: (prompts, len(ns)), `at` is evaluation.n's column."""
    base = by_n[:, ns.index(1)]
    kl_risk, margin_error = (None if np.isnan(r) else r for r in risks.mean(axis=0))
    improvement, headroom = by_n[:, at] - base, oracle[:, at] - base
    return {
        "bon_golden": by_n[:, at].mean(),
        "base": base.mean(),
        "oracle": oracle[:, at].mean(),
        "improvement": improvement.mean(),
        "oracle_share": improvement.mean() / headroom.mean() if headroom.mean() > 0 else None,
        "spearman": None if np.isnan(spearman).all() else np.nanmean(spearman),
        "spearman_excluded": int(np.isnan(spearman).sum()),
        "pairwise_accuracy": None if np.isnan(accuracy).all() else np.nanmean(accuracy),
        "kl_risk": kl_risk,
        "margin_error": margin_error,
        "bon_n": ns,
        "bon_golden_by_n": by_n.mean(axis=0),
        "oracle_by_n": oracle.mean(axis=0),
        "base_by_prompt": base.astype(np.float32),
        "improvement_by_prompt": improvement.astype(np.float32),
        "headroom_by_prompt": headroom.astype(np.float32),
        "spearman_by_prompt": spearman.astype(np.float32),
        "pairwise_accuracy_by_prompt": accuracy.astype(np.float32),
    }
