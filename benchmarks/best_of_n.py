"""Exact Best-of-N and Spearman of a pack, against the loop of 100 resamples of the public scripts.

64 runs x 2,000 prompts x 500 responses, 8 prompts at a time. The loop draws n of a prompt's M
responses 100 times and takes the golden reward of the top predicted one, and calls
scipy.stats.spearmanr; it is timed on some prompts. Seconds are of the process's CPU time, which
other work on the machine does not change. Errors are of one prompt's Best-of-N against its exact
expectation, in units of golden reward. Pairwise accuracy, which the loop lacks, stands apart.
"""

import argparse
import resource
import time

import numpy as np
from scipy.stats import spearmanr

from rmsweep.evaluation import best_of_n as bon

BLOCK = 8  # prompts, as in training/predict.py
RESAMPLES = 100


def loop(predicted: np.ndarray, golden: np.ndarray, n: int, rng: np.random.Generator) -> tuple:
    """Best-of-n and Spearman of one prompt of one run."""
    top = []
    for _ in range(RESAMPLES):
        drawn = rng.choice(len(golden), n, replace=False)
        top.append(golden[drawn[predicted[drawn].argmax()]])
    return np.mean(top), spearmanr(predicted, golden).statistic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--responses", type=int, default=500)
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--looped", type=int, default=100, help="prompts that the loop is timed on")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    ns = sorted({2**i for i in range(args.responses.bit_length())} - {args.n}) + [args.n]
    ns = [n for n in ns if n <= args.responses]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exact_s = accuracy_s = 0.0
    first = None
    for start in range(0, args.prompts, BLOCK):
        golden = rng.normal(size=(min(BLOCK, args.prompts - start), args.responses))
        noise = rng.normal(size=(args.runs, *golden.shape))
        predicted = (golden + noise).astype(np.float32)
        began = time.process_time()
        orders = bon.descending_orders(predicted)
        by_n = bon.best_of_n(predicted, golden, ns, orders)
        correlation = bon.spearman_within_prompt(predicted, golden, orders)
        exact_s += time.process_time() - began
        began = time.process_time()
        bon.pairwise_accuracy_within_prompt(predicted, golden, orders)
        accuracy_s += time.process_time() - began
        first = first or (predicted, golden, by_n[..., -1], correlation)
    predicted, golden, exact, correlation = first
    cells = [(run, prompt) for run in range(args.runs) for prompt in range(len(golden))]
    cells = cells[: args.looped]
    began = time.process_time()
    looped = [loop(predicted[c], golden[c[1]], args.n, rng) for c in cells]
    n_cells = args.runs * args.prompts
    loop_s = (time.process_time() - began) / len(cells) * n_cells
    resampled, ranked = np.array(looped).T
    error = resampled - [exact[c] for c in cells]
    off = np.abs(ranked - [correlation[c] for c in cells]).max()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{args.runs} runs x {args.prompts} prompts x {args.responses} responses")
    print(f"exact: {exact_s:.1f} CPU s for Best-of-N at {len(ns)} n and Spearman")
    print(f"loop of {RESAMPLES} resamples at n = {args.n}: {loop_s:.0f} CPU s, from {len(cells)}")
    print(f"ratio: {loop_s / exact_s:.0f} x; pairwise accuracy besides {accuracy_s:.1f} CPU s")
    print(f"the loop's error: {np.sqrt((error**2).mean()):.4f} (rms), the exact sum has none")
    print(f"largest difference of Spearman from scipy's: {off:.1e}")
    print(f"peak RSS {rss / 2**20:.2f} GiB, {(rss - before) / 2**10:.0f} MiB of it for blocks")


if __name__ == "__main__":
    main()
