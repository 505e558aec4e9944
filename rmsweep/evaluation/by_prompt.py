"""Metrics of several runs by test prompt, filled in block by block, and a row's means of them."""

from typing import Any

import numpy as np

from rmsweep.cache.layout import Cache
from rmsweep.config.spec import RunSpec
from rmsweep.evaluation import best_of_n as metrics
from rmsweep.evaluation.risks import risks_by_prompt

N_GROUPS = 10  # of a prompt's pairs by distance
SCRIPTS_NS = (5, 10, 30, 50, 100, 300)  # N of arXiv:2411.04991's scripts beside powers of 2


class MetricsByPrompt:
    """The metrics of several runs on every test prompt of a cache.

    Its arrays are made whole before the first block: small ones kept from each block would lie in
    the space that the block before has freed, and the heap would grow with the file.
    """

    def __init__(self, specs: list[RunSpec], cache: Cache, reward_scale: float):
        self.specs, self.golden, self.reward_scale = specs, cache.test_golden, reward_scale
        m, prompts = cache.test_responses, cache.test_prompts
        shape = (len(specs), prompts)
        self.n = specs[0].evaluation.n or m  # the runs of a pack have one evaluation
        of_scripts = {n for n in SCRIPTS_NS if n <= m}
        self.ns = sorted({1, self.n, m} | {2**i for i in range(m.bit_length())} | of_scripts)
        self.best_of_n = np.empty((*shape, len(self.ns)))  # golden reward of the response picked
        self.oracle = np.empty((prompts, len(self.ns)))  # the same where golden rewards pick
        self.spearman, self.pairwise_accuracy = np.empty(shape), np.empty(shape)
        self.risks = np.empty((*shape, 2))  # truncated KL risk, margin error
        self.distance = np.empty((prompts, N_GROUPS))  # of pairs, nearest first
        self.accuracy_by_distance = np.empty((*shape, N_GROUPS))

    def fill(self, prompts: slice, predicted: np.ndarray, x: np.ndarray | None) -> None:
        """Fill in a block: predicted (runs, responses), and x (prompts, M, D) if it is wanted."""
        golden = self.golden[prompts]
        predicted = predicted.reshape(len(self.specs), *golden.shape)
        orders = metrics.descending_orders(predicted)
        self.best_of_n[:, prompts] = metrics.best_of_n(predicted, golden, self.ns, orders)
        self.spearman[:, prompts] = metrics.spearman_within_prompt(predicted, golden, orders)
        accuracy = metrics.pairwise_accuracy_within_prompt(predicted, golden, orders)
        self.pairwise_accuracy[:, prompts] = accuracy
        for i, spec in enumerate(self.specs):
            scaled = golden / self.reward_scale
            self.risks[i, prompts] = risks_by_prompt(predicted[i], scaled, spec.annotation)
        self.oracle[prompts] = metrics.best_of_n(golden[None], golden, self.ns)[0]
        if x is not None:
            self.distance[prompts], self.accuracy_by_distance[:, prompts] = (
                metrics.accuracies_by_distance(predicted, golden, x, N_GROUPS)
            )

    def columns_of_run(self, i: int) -> dict[str, Any]:
        """Return the columns of run i that every filled block goes into."""
        by_n, spearman, accuracy = self.best_of_n[i], self.spearman[i], self.pairwise_accuracy[i]
        at_n, base = by_n[:, self.ns.index(self.n)], by_n[:, self.ns.index(1)]
        oracle = self.oracle[:, self.ns.index(self.n)]
        improvement, headroom = at_n - base, oracle - base
        kl_risk, margin_error = (None if np.isnan(r) else r for r in self.risks[i].mean(axis=0))
        share = improvement.mean() / headroom.mean() if headroom.mean() > 0 else None
        columns = {
            "bon_golden": at_n.mean(),
            "base": base.mean(),
            "oracle": oracle.mean(),
            "improvement": improvement.mean(),
            "oracle_share": share,
            "spearman": None if np.isnan(spearman).all() else np.nanmean(spearman),
            "spearman_excluded": int(np.isnan(spearman).sum()),
            "pairwise_accuracy": None if np.isnan(accuracy).all() else np.nanmean(accuracy),
            "kl_risk": kl_risk,
            "margin_error": margin_error,
            "bon_n": self.ns,
            "bon_golden_by_n": by_n.mean(axis=0),
            "oracle_by_n": self.oracle.mean(axis=0),
            "base_by_prompt": base.astype(np.float32),
            "improvement_by_prompt": improvement.astype(np.float32),
            "headroom_by_prompt": headroom.astype(np.float32),
            "spearman_by_prompt": spearman.astype(np.float32),
            "pairwise_accuracy_by_prompt": accuracy.astype(np.float32),
        }
        if self.specs[i].evaluation.diagnostics:
            columns["test_decile_distance"] = _mean_over_prompts(self.distance)
            columns["test_decile_accuracy"] = _mean_over_prompts(self.accuracy_by_distance[i])
        return columns


def _mean_over_prompts(groups: np.ndarray) -> np.ndarray:
    """Return the mean of (prompts, N_GROUPS) over prompts, empty groups (nan) left out."""
    n = (~np.isnan(groups)).sum(axis=0)
    return np.divide(np.nansum(groups, axis=0), n, out=np.full(len(n), np.nan), where=n > 0)
