"""Small runs (600 pairs, D = 384, as of AlpacaEval): packs of several sizes, and a process a run.

For each loss the CPU or GPU seconds a run of a pack on this many threads, of `rmsweep run` started
anew for one run, and runs a minute of either; for MLPs the share of the measured matrix-multiply
peak of their shape, and seconds a run where 1, 2, 4, ... are trained together (what the engine does
on a CPU is 1). --wall takes wall time, for a machine that nothing else uses or for a GPU.

    python benchmarks/small_runs.py --device cuda:0 --wall --runs 64
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from paper_scale import CLOCKS, Scale, data, measure

from rmsweep import fitting


def peak(precision: str, device: str, rows: int, dim: int) -> dict[str, float]:
    """Flop/s of (rows, D) @ (D, 1024) by each clock, over 30 products."""
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    a = torch.randn(rows, dim, device=device).to(dtype)
    b = torch.randn(dim, 1024, device=device).to(dtype)
    a @ b
    started = {name: clock() for name, clock in CLOCKS.items()}
    for _ in range(30):
        a @ b
    if device != "cpu":
        torch.cuda.synchronize(device)
    return {n: 30 * 2 * rows * dim * 1024 / (clock() - started[n]) for n, clock in CLOCKS.items()}


def alone(loss: str, scale: Scale, quantity: int, device: str) -> dict[str, float]:
    """Seconds of one process for one run, by each clock."""
    shape = [f"dataset.synthetic.{name}={value}" for name, value in vars(scale).items()]
    command = [sys.executable, "-m", "rmsweep.cli", "run", f"loss={loss}", f"quantity={quantity}"]
    command += [*shape, "pairing=cross_prompt", f"device={device}"]
    with tempfile.TemporaryDirectory() as folder:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall_s, "CPU": cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--losses", default="bt_mlp,clf_mlp,normbt,clf_lgb")
    parser.add_argument("--runs", type=int, default=4, help="of a pack")
    parser.add_argument("--together", default="1,2,4", help="sizes of the curve")
    parser.add_argument("--quantity", type=int, default=600)
    parser.add_argument("--wall", action="store_true")
    args = parser.parse_args()
    scale, clock = Scale(384, 600, 205, 15), "wall" if args.wall else "CPU"
    chosen = fitting._at_once
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data(scale, root)
        measure(root, scale, args.device, 1, ["training.max_epochs=1"])  # warm
        for loss in args.losses.split(","):
            overrides = [f"loss={loss}", f"quantity={args.quantity}"]
            pack = measure(root, scale, args.device, args.runs, overrides)
            seconds = pack.wall_s if args.wall else pack.cpu_s
            one = alone(loss, scale, args.quantity, args.device)[clock]
            print(f"{loss}: {60 / seconds:.0f} runs a minute of {clock} time in a pack, ", end="")
            print(f"{60 / one:.1f} with a process each: {one / seconds:.1f} x", flush=True)
            if not pack.epochs:
                continue
            rows = 2 * (args.quantity - pack.spec.n_validation)
            top = peak(pack.spec.precision, args.device, rows, scale.dim)[clock]
            share = pack.flop / seconds / top
            print(f"  {share:.0%} of the peak of its shape, {top / 1e12:.2f} Tflop/s", flush=True)
        for size in map(int, args.together.split(",")):
            fitting._at_once = lambda spec, dim, place, size=size: size
            pack = measure(root, scale, args.device, args.runs, [f"quantity={args.quantity}"])
            seconds = pack.wall_s if args.wall else pack.cpu_s
            print(f"{size} trained together: {seconds:.3f} s a run", flush=True)
        fitting._at_once = chosen


if __name__ == "__main__":
    main()
