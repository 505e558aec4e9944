"""What a GPU waits for: CPU time of the host for one MLP run of a pack, by its parts.

Of a run at the paper's scale: 10,000 pairs of 40,000 prompts x 10 responses, D = 2048, test
2,000 x 500, in a pack of 64 that shares one pass over the test file. "On the host" is work that a
GPU does now where the training embeddings are on it. Each part on one thread, in milliseconds.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from rmsweep.annotation import pairing, splits
from rmsweep.cache.checks import first_nonfinite
from rmsweep.config.spec import Annotation
from rmsweep.evaluation import best_of_n as bon
from rmsweep.evaluation import risks
from rmsweep.training import predict
from rmsweep.training.reward_models import mlp_network

TEST_PROMPTS, TEST_RESPONSES, DIM, PACK = 2_000, 500, 2048, 64
BLOCK = predict.BLOCK_ROWS // TEST_RESPONSES
WIDTHS = (DIM, 1024, 512, 1)


def ms(work: Callable[[], object], repeats: int = 5) -> float:
    """CPU time of one call, the first one left out."""
    work()
    started = time.process_time()
    for _ in range(repeats):
        work()
    return 1000 * (time.process_time() - started) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quantity", type=int, default=10_000)
    quantity = parser.parse_args().quantity
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    train_golden = rng.normal(size=(40_000, 10))
    cache = rng.standard_normal((20_000, DIM), np.float32).astype(np.float16)
    block = cache[: BLOCK * TEST_RESPONSES]
    golden = rng.normal(size=(BLOCK, TEST_RESPONSES))
    predicted = (golden + rng.normal(size=(PACK, *golden.shape))).astype(np.float32)
    annotation = Annotation("simulated", 1.0, "logistic", None)
    n_blocks, n_rows, n_validation = TEST_PROMPTS / BLOCK, 2 * quantity, quantity // 5
    rows = rng.integers(len(cache), size=n_rows)
    orders, pairs = bon.descending_orders(predicted), rows.reshape(-1, 2)

    def select(pairs: str = "similar") -> np.ndarray:
        stream = np.random.default_rng(1)
        return pairing.pairs_to_annotate(train_golden, pairs, "cross_prompt", quantity, stream)

    def epochs() -> list:
        rngs = np.random.default_rng(2), np.random.default_rng(3)
        split = splits.split_by_pairs(pairs, n_validation, 5120, *rngs)
        return [next(split.epochs) for _ in range(15)]

    def measured() -> None:
        orders = bon.descending_orders(predicted)
        bon.best_of_n(predicted, golden, [2**i for i in range(9)], orders)
        bon.spearman_within_prompt(predicted, golden, orders)
        for of_run in predicted:
            risks.risks_by_prompt(of_run, golden, annotation)

    def accuracy() -> None:
        bon.pairwise_accuracy_within_prompt(predicted, golden, orders)

    def to_bf16(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).to(torch.bfloat16)

    held_out = rows[: 2 * n_validation]
    parts = {
        "selection and pairing": ms(select),
        "split and batches of 15 epochs": ms(epochs),
        "initial weights": ms(
            lambda: mlp_network.initial_parameters([np.random.default_rng(0)], WIDTHS, "cpu")
        ),
        "Best-of-N, Spearman, risks": ms(measured) * n_blocks / PACK,
        "pairwise accuracy": ms(accuracy) * n_blocks / PACK,
        "finiteness of test embeddings": ms(lambda: first_nonfinite(block[:, None]))
        * n_blocks / PACK,
    }  # fmt: skip
    were = {
        "training rows gathered, checked": ms(lambda: first_nonfinite(cache[rows][:, None])),
        "gathered again, in bf16": ms(
            lambda: mlp_network.gather_rows(cache, [pairs], "bf16", "cpu")
        ),
        "held-out rows, in bf16": ms(lambda: to_bf16(cache[held_out])),
        "test embeddings, in bf16": ms(lambda: to_bf16(block)) * n_blocks / PACK,
    }
    for name, found in (("on the host", parts), ("on the host before, on the GPU now", were)):
        print(f"{name}: {sum(found.values()):.0f} ms a run of {quantity} pairs")
        for part, milliseconds in found.items():
            print(f"  {part}: {milliseconds:.1f}")


if __name__ == "__main__":
    main()
