"""bf16 against fp32: the paired difference of Best-of-N improvement over seeds, with its interval.

The 95 % interval is Student's over the seeds. On data of AlpacaEval's shape, or with --dim 2048
--quantity 10000 --test-responses 500 at the paper's.

    python benchmarks/precision.py --device cuda:0 --dim 2048 --quantity 10000 --test-responses 500
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from paper_scale import Scale, add_scale, data, measure
from scipy.stats import t


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--loss", default="bt_mlp")
    add_scale(parser, Scale(384, 0, 205, 15), 600)
    args = parser.parse_args()
    scale = Scale(args.dim, args.quantity, args.test_prompts, args.test_responses)
    with tempfile.TemporaryDirectory() as folder:
        data(scale, Path(folder))
        bf16, fp32 = (
            measure(
                Path(folder), scale, args.device, args.seeds,
                [f"precision={precision}", f"loss={args.loss}", f"quantity={args.quantity}"],
            )
            for precision in ("bf16", "fp32")
        )  # fmt: skip
    improvement = np.array([fp32.improvement[seed] for seed in range(args.seeds)])
    difference = np.array([bf16.improvement[seed] for seed in range(args.seeds)]) - improvement
    mean, error = difference.mean(), difference.std(ddof=1) / np.sqrt(args.seeds)
    reach = t.ppf(0.975, args.seeds - 1) * error
    print(f"{args.loss}, D = {args.dim}, {args.quantity} pairs, {args.seeds} seeds")
    print(f"improvement of Best-of-{args.test_responses} in fp32: {improvement.mean():.4f}")
    print(f"bf16 - fp32: {mean:+.4f}, 95 % [{mean - reach:+.4f}, {mean + reach:+.4f}], ", end="")
    print(f"{abs(mean) / improvement.mean():.2%} of it")
    print(f"CPU seconds a run: {bf16.cpu_s:.2f} in bf16, {fp32.cpu_s:.2f} in fp32")


if __name__ == "__main__":
    main()
