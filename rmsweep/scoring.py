"""Metrics of fitted reward models, in one pass over the blocks of the test embeddings."""

from typing import Any

import numpy as np

from rmsweep import best_of_n as bon
from rmsweep import theory
from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.layout import Cache
from rmsweep.fitting import FittedRun, nonfinite, predict, reward_scale, stack
from rmsweep.machine import Place
from rmsweep.spec import Annotation

BLOCK_ROWS = 4096  # responses of a block of test prompts


def score(
    runs: list[FittedRun], cache: Cache, place: Place
) -> list[tuple[FittedRun, dict[str, Any]]]:
    """Each run with its metrics; the test file's bytes are read once."""
    spec = runs[0].item.spec
    m = cache.test_responses
    n = spec.evaluation.n or m
    ns = sorted({1, n, m, *(2**i for i in range(m.bit_length()) if 2**i <= m)})
    models = stack(runs)
    # Made before the loop: small arrays kept from each block would lie in the space that the block
    # before has freed, the next block would not fit there, and the heap would grow with the file.
    shape = (len(runs), cache.test_prompts)
    by_n, oracle = np.empty((*shape, len(ns))), np.empty((cache.test_prompts, len(ns)))
    spearman, accuracy, risks = np.empty(shape), np.empty(shape), np.empty((*shape, 2))
    scale = reward_scale(spec, cache)
    for first, last in _blocks(cache.test_prompts, m):
        here = slice(first, last)
        x, golden = cache.read_test(first, last), cache.test_golden[here]
        if (bad := first_nonfinite(x)) is not None:
            raise ValueError(nonfinite("test", first + bad[0], bad[1]))
        predicted = predict(models, x.reshape(-1, cache.dim), spec, place)
        predicted = predicted.reshape(len(runs), last - first, m)
        by_n[:, here] = bon.best_of_n(predicted, golden, ns)
        spearman[:, here] = bon.spearman_within_prompt(predicted, golden)
        accuracy[:, here] = bon.pairwise_accuracy_within_prompt(predicted, golden)
        for i, run in enumerate(runs):
            risks[i, here] = _risks(predicted[i], golden / scale, run.item.spec.annotation)
        oracle[here] = bon.best_of_n(golden[None], golden, ns)[0]
    return [
        (run, _metrics(by_n[i], oracle, spearman[i], accuracy[i], risks[i], ns, ns.index(n)))
        for i, run in enumerate(runs)
    ]


def _blocks(n_prompts: int, m: int) -> list[tuple[int, int]]:
    """First and last (exclusive) prompt of each block; under 16 last rows join the block before."""
    size = max(1, BLOCK_ROWS // m)
    edges = list(range(0, n_prompts, size))
    if len(edges) > 1 and (n_prompts - edges[-1]) * m < 16:
        edges.pop()
    return list(zip(edges, [*edges[1:], n_prompts], strict=True))


def _risks(predicted: np.ndarray, golden: np.ndarray, annotation: Annotation) -> np.ndarray:
    """Mean truncated KL risk and |true - predicted margin| of each prompt's pairs: (prompts, 2).

    Theorem 20 and Corollary 7 of arXiv:2411.04991 on unseen same-prompt pairs: a prompt's first and
    second response as cached, its third and fourth, and so on. predicted: (prompts, M). golden:
    (prompts, M) in units of reward_scale; a true margin is beta times theirs, the logit of the
    annotator's preference. nan where that is no finite logit (beta = inf) or not a logit (probit).
    """
    if annotation.link != "logistic" or np.isinf(annotation.beta):
        return np.full((len(golden), 2), np.nan)
    even = golden.shape[1] // 2 * 2
    first, second = slice(0, even, 2), slice(1, even, 2)
    true = annotation.beta * (golden[:, first] - golden[:, second])
    estimate = predicted[:, first].astype(float) - predicted[:, second]
    terms = theory.truncated_kl_risk(true, estimate), np.abs(true - estimate)
    return np.stack(terms, axis=-1).mean(axis=1)


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
