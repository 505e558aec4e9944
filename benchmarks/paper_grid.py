"""What the 12,960 runs of sweeps=rbt_full cost on this machine, from one pack of each kind.

Measured: a pack of each loss, and of the MLP with half of each size, so that growth is seen. Fit
time is taken to grow with the pairs (at the pack's epochs), scoring with the test responses, which
are 2,000 x 500 in RBT. GPU hours for the MLP losses, CPU hours of one core for LightGBM.

    python benchmarks/paper_grid.py --device cuda:0 --runs 64 --trees 2
    python benchmarks/paper_grid.py --dim 256 --quantity 2000 --test-prompts 20    # a quick look
"""

import argparse
import dataclasses
import resource
import statistics
import tempfile
from pathlib import Path

from paper_scale import Measured, Scale, add_scale, data, measure, peak

from rmsweep import machine

QUANTITIES = (5_000, 10_000, 20_000, 40_000)
CELLS = 6 * 2 * 3 * 6 * 5  # base LLMs, datasets, selections, betas, seeds: runs a loss and quantity
MLP_LOSSES = ("bt_mlp", "clf_mlp")
TEST_RESPONSES = 2_000 * 500
TEST_BYTES = TEST_RESPONSES * 2048 * 2
PACK_RUNS = {"cpu": 16, "cuda": 64}


def of_grid(pack: Measured, quantity: int, scale: Scale, seconds: float) -> float:
    """Hours of a loss's 4,320 runs, where a run of the pack took `seconds`."""
    share = pack.fit_s / pack.wall_s
    fit_s = share * seconds * sum(QUANTITIES) / quantity
    scored = scale.test_prompts * scale.test_responses
    score_s = (1 - share) * seconds * len(QUANTITIES) * TEST_RESPONSES / scored
    return CELLS * (fit_s + score_s) / 3600


def run(folder: Path, loss: str, scale: Scale, quantity: int, args: argparse.Namespace) -> Measured:
    """One pack of a loss, on data of that scale, which is written once."""
    root = folder / f"{scale.dim}_{scale.test_prompts}"
    if not root.exists():
        root.mkdir()
        data(scale, root)
    overrides = [f"loss={loss}", f"quantity={quantity}"]
    if loss == "clf_lgb":
        return measure(root, scale, "cpu", args.trees, [*overrides, f"loss.rounds={args.rounds}"])
    return measure(root, scale, args.device, args.runs, overrides)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=2, help="of an MLP pack")
    parser.add_argument("--trees", type=int, default=1, help="runs of a LightGBM pack")
    parser.add_argument("--rounds", type=int, default=100, help="of LightGBM; others are scaled")
    add_scale(parser, Scale(), 10_000)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    clock = "CPU" if args.device == "cpu" else "wall"
    full = Scale(args.dim, 12_000, args.test_prompts, args.test_responses)
    half_d = dataclasses.replace(full, dim=args.dim // 2)
    half_test = dataclasses.replace(full, test_prompts=args.test_prompts // 2)
    where = machine.gpu(args.device) or f"{machine.cpu()}, one thread"
    print(f"{where}; D = {args.dim}, {args.quantity} pairs, ", end="")
    print(f"{args.test_prompts} x {args.test_responses} responses")
    with tempfile.TemporaryDirectory() as name:
        folder, mlp_hours, shares = Path(name), 0.0, []
        packs = {loss: run(folder, loss, full, args.quantity, args) for loss in MLP_LOSSES}
        top = peak(packs["bt_mlp"].spec.precision, args.device, args.dim)
        for loss, pack in packs.items():
            print(
                f"{loss}: fit {pack.fit_s:.2f} + score {pack.score_s:.2f} s a run (wall), ", end=""
            )
            print(f"{pack.cpu_s:.2f} CPU s, {pack.epochs} epochs, {pack.flop / 1e12:.1f} Tflop")
            mlp_hours += of_grid(pack, args.quantity, full, pack.seconds(clock))
            shares.append(pack.flop / pack.seconds(clock) / top[clock])
        bt = packs["bt_mlp"]
        for what, scale, quantity in [
            ("D", half_d, args.quantity),
            ("pairs", full, args.quantity // 2),
            ("test responses", half_test, args.quantity),
        ]:
            half = run(folder, "bt_mlp", scale, quantity, args)
            ratio = bt.seconds(clock) / half.seconds(clock)
            print(f"twice the {what}: {ratio:.2f} x the time, ", end="")
            print(f"{bt.flop / half.flop:.2f} x the arithmetic", flush=True)
        trees = run(folder, "clf_lgb", full, args.quantity, args)
    cpu_s = trees.cpu_s * 100 / args.rounds
    print(f"clf_lgb: {cpu_s:.1f} CPU s a run ({trees.fit_s / trees.wall_s:.0%} of it the fit)")
    trees_hours = of_grid(trees, args.quantity, full, cpu_s)
    unit = "core hours" if args.device == "cpu" else "GPU hours"
    print(
        f"8,640 MLP runs: {mlp_hours:.1f} {unit}; 4,320 LightGBM runs: {trees_hours:.0f} core hours"
    )
    pack_runs = PACK_RUNS[args.device.partition(":")[0]]
    n_packs = [len(MLP_LOSSES) * 4 * CELLS / pack_runs, 4 * CELLS / PACK_RUNS["cpu"]]
    tb = " + ".join(f"{n * TEST_BYTES / 1e12:.1f}" for n in n_packs)
    print(f"bytes of test files in packs of {pack_runs} and {PACK_RUNS['cpu']}: {tb} TB")
    print(f"by {clock} time {statistics.mean(shares):.0%} of the matrix-multiply peak; ", end="")
    print("what is far below it binds elsewhere: reading, metrics, LightGBM's cores")
    print(f"peak RSS: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
