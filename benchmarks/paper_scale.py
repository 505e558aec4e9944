"""One run at paper scale on this machine: fit and score against its own matrix-multiply peak.

10,000 cross-prompt pairs, D = 2048, test 400 x 500, MLP 1024-512, all cores. The arithmetic counted
is what the fit and the scoring need: per response 2 flop a weight forward, 2 for each weight's
gradient, and 2 for the second layer's input gradient. The peak is that of `a @ b` of the first
layer's shape in the same precision, the median of 9, the mean of before and after.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from rmsweep import compose, machine, sweep
from rmsweep.cache.synthetic import Synthetic
from rmsweep.cache.write import write
from rmsweep.execute import run_pack
from rmsweep.results import read_parts


def peak(dtype: torch.dtype) -> float:
    """Flop/s of (10240, 2048) @ (2048, 1024)."""
    a, b = torch.randn(10240, 2048).to(dtype), torch.randn(2048, 1024).to(dtype)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * 10240 * 2048 * 1024 / statistics.median(seconds[1:])


def arithmetic(n_train: int, n_held_out: int, epochs: int, n_scored: int, dim: int) -> float:
    """Flop of one run; n_* in responses."""
    first, second = dim * 1024, 1024 * 512
    forward, backward = 2 * (first + second), 2 * first + 4 * second
    return epochs * (n_train * (forward + backward) + n_held_out * forward) + n_scored * forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quantity", type=int, default=10_000)
    parser.add_argument("--loss", default="bt_mlp")
    args = parser.parse_args()
    shape = ["train_prompts=12000", "test_prompts=400", "test_responses=500", "dim=2048"]
    overrides = ["dataset=synthetic", *(f"dataset.synthetic.{s}" for s in shape)]
    overrides += ["pairing=cross_prompt", f"quantity={args.quantity}", f"loss={args.loss}"]
    with tempfile.TemporaryDirectory() as root, compose.hydra_at_conf():
        config = compose.compose_one([*overrides, compose.search_path([])])
        synthetic = config.values["dataset"]["synthetic"]
        source = Synthetic(
            base_llm="synthetic", backbone="synthetic", dataset="synthetic", **synthetic
        )
        write(Path(root), source, "float16", lambda n: None)
        items = []
        for seed in range(args.runs):
            overrides_of_run = [*overrides, "dataset.synthetic=null", f"seed={seed}"]
            config = compose.compose_one([*overrides_of_run, compose.search_path([])])
            items += sweep.keyed([sweep.spec_of(config, "cpu")], root)
        precision = items[0].spec.precision
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        before = peak(dtype)
        outcome = run_pack(items, machine.Place(root, "cpu", machine.cores()), Path(root))
        top = statistics.mean([before, peak(dtype)])
        rows = read_parts(Path(root))
    held_out = items[0].spec.n_validation
    flop = sum(
        arithmetic(2 * (args.quantity - held_out), 2 * held_out, epochs, 400 * 500, 2048)
        for epochs in rows["epochs"]
    )
    print(f"{args.loss}, {args.quantity} pairs, {precision}, {machine.cores()} cores")
    print(f"peak of a @ b: {top / 1e12:.2f} Tflop/s (before {before / 1e12:.2f})")
    print(f"epochs: {sorted(rows['epochs'])}")
    print(
        f"a run: {outcome.wall_s / args.runs:.2f} s, fit {outcome.fit_s / args.runs:.2f}, ", end=""
    )
    print(f"score {outcome.score_s / args.runs:.2f}")
    print(f"utilisation: {flop / outcome.wall_s / top:.0%} of the peak")
    print(f"peak RSS: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
