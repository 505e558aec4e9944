"""Small runs, of AlpacaEval's shape: packs of several sizes, and a process a run.

For each loss the CPU or GPU seconds a run of a pack, one thread of a CPU, of `rmsweep run` started
anew for one run, and runs a minute of either; for MLPs the share of the measured matrix-multiply
peak of their shape, scoring and metrics inside the time, and seconds a run where 1, 2, 4, ... are
trained together (what the engine does on a CPU is 1). --root is the folder of the AlpacaEval
embeddings, of which D = 384 is one backbone and 256 the other; without it data are synthetic.
--wall takes wall time, for a machine that nothing else uses or for a GPU.

    python benchmarks/small_runs.py --device cuda:0 --wall --runs 64
    python benchmarks/small_runs.py --wall --runs 16 --root DIR --dim 256 --quantity 2400
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from paper_scale import Measured, Scale, data, measure, peak

from rmsweep.launch import worker
from rmsweep.training.reward_models.mlp import Mlps

BACKBONES = {384: "minilm", 256: "lsa"}


def alone(overrides: list[str], device: str) -> dict[str, float]:
    """Seconds of one process for one run, by each clock."""
    command = [sys.executable, "-m", "rmsweep", "run", *overrides]
    command += ["pairing=cross_prompt", f"device={device}"]
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
    parser.add_argument("--packs", type=int, default=3, help="of each loss; their median is taken")
    parser.add_argument("--together", default="1,2,4", help="sizes of the curve")
    parser.add_argument("--quantity", type=int, default=600)
    parser.add_argument("--dim", type=int, default=384, choices=BACKBONES)
    parser.add_argument("--root", help="folder of the AlpacaEval embeddings")
    parser.add_argument("--wall", action="store_true")
    args = parser.parse_args()
    scale, clock = Scale(args.dim, 600, 205, 15), "wall" if args.wall else "CPU"
    own = [f"dataset.synthetic.{name}={value}" for name, value in vars(scale).items()]
    real: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if args.root is None:
            data(scale, root)
        else:
            root = Path(args.root).resolve()
            real = ["dataset=alpacaeval", "base_llm=alpaca_mid", f"backbone={BACKBONES[args.dim]}"]
            own = [*real, f"cache.root={root}"]

        def pack_of(*overrides: str, n_runs: int = args.runs) -> Measured:
            every = [*real, f"quantity={args.quantity}", *overrides]
            return measure(root, scale, args.device, n_runs, every)

        spec = pack_of("training.max_epochs=1", n_runs=1).spec  # warm
        rows = 2 * (spec.quantity - spec.n_validation)  # what a step multiplies
        for loss in args.losses.split(","):
            packs, tops = [], []
            for _ in range(args.packs):
                tops.append(peak(spec.precision, args.device, args.dim, rows, products=30)[clock])
                packs.append(pack_of(f"loss={loss}"))
            seconds = statistics.median(pack.seconds(clock) for pack in packs)
            one = alone([*own, f"loss={loss}", f"quantity={args.quantity}"], args.device)[clock]
            print(f"{loss}: {60 / seconds:.0f} runs a minute of {clock} time in a pack, ", end="")
            print(f"{60 / one:.1f} with a process each: {one / seconds:.1f} x", flush=True)
            if packs[0].epochs:
                top = statistics.median(tops)
                print(f"  {packs[0].flop / seconds / top:.0%} of the peak of its shape, ", end="")
                print(f"{top / 1e12:.2f} Tflop/s; {statistics.mean(packs[0].epochs):.1f} epochs")
        with mock.patch.object(worker, "runs_between_stops", lambda items, place: len(items)):
            for size in map(int, args.together.split(",")):
                with mock.patch.object(Mlps, "n_together", lambda *_, size=size: size):
                    seconds = statistics.median(pack_of().seconds(clock) for _ in range(args.packs))
                print(f"{size} trained together: {seconds:.3f} s a run", flush=True)


if __name__ == "__main__":
    main()
