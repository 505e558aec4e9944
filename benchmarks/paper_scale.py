"""A pack at paper scale: fit and score against the device's own matrix-multiply peak.

Cross-prompt pairs, D = 2048, test 400 x 500, MLP 1024-512, all cores or a GPU; everything from
reading to writing is in the time. The arithmetic counted is what the fit and the scoring need: per
response 2 flop a weight forward, 2 for each weight's gradient, and 2 for the second layer's input
gradient. The peak is that of `a @ b` of the first layer's shape in the same precision, the median
of 9, the mean of before and after. On a CPU that other work shares, the second utilisation, by CPU
time, is the one to read.

    python benchmarks/paper_scale.py --quantity 40000
    python benchmarks/paper_scale.py --device cuda:0 --runs 200 --test-prompts 2000
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rmsweep import machine
from rmsweep.cache import inputs
from rmsweep.cache.synthetic import SyntheticSource
from rmsweep.cache.write_synthetic import write_cache
from rmsweep.config import compose, launchers, sweep_specs
from rmsweep.config.spec import Item, RunSpec
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SweepFolder
from rmsweep.results.dataset import read_rows
from rmsweep.training.reward_models.mlp_network import DTYPES

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "CPU": time.process_time}


@dataclass
class Scale:
    """Of the data. Sizes of RBT: 2048, 40,000, 2,000, 500."""

    dim: int = 2048
    train_prompts: int = 12_000
    test_prompts: int = 400
    test_responses: int = 500


@dataclass
class Measured:
    """Seconds a run, flop a run, and scores, of one pack."""

    spec: RunSpec
    fit_s: float
    score_s: float
    cpu_s: float
    flop: float
    epochs: list[int]
    improvement: dict[int, float]  # by seed

    @property
    def wall_s(self) -> float:
        return self.fit_s + self.score_s

    def seconds(self, clock: str) -> float:
        return {"wall": self.wall_s, "CPU": self.cpu_s}[clock]


def peak(
    precision: str, device: str, dim: int = 2048, rows: int = 10240, products: int = 1
) -> dict[str, float]:
    """Flop/s of (rows, D) @ (D, 1024) by each clock: the median of 9, each of some products.

    On a CPU of one thread, as a fit has.
    """
    a = torch.randn(rows, dim, device=device).to(DTYPES[precision])
    b = torch.randn(dim, 1024, device=device).to(DTYPES[precision])
    seconds: dict[str, list[float]] = {name: [] for name in CLOCKS}
    for _ in range(10):
        started = {name: clock() for name, clock in CLOCKS.items()}
        with machine.threads(1):
            for _ in range(products):
                a @ b
        if device != "cpu":
            torch.cuda.synchronize(device)
        for name, clock in CLOCKS.items():
            seconds[name].append(clock() - started[name])
    flop = products * 2 * rows * dim * 1024
    return {name: flop / statistics.median(s[1:]) for name, s in seconds.items()}


def arithmetic(n_train: int, n_held_out: int, epochs: int, n_scored: int, dim: int) -> float:
    """Flop of one run; n_* in responses."""
    first, second = dim * 1024, 1024 * 512
    forward, backward = 2 * (first + second), 2 * first + 4 * second
    return epochs * (n_train * (forward + backward) + n_held_out * forward) + n_scored * forward


def data(scale: Scale, root: Path) -> None:
    """A synthetic cache in float16 under root."""
    with compose.hydra_at_conf():
        config = compose.compose_one([compose.search_path([])])
    fields = config.values["dataset"]["synthetic"] | vars(scale) | {"train_responses": 4}
    stems = dict.fromkeys(("base_llm", "backbone", "dataset"), "synthetic")
    write_cache(root, SyntheticSource(**stems, **fields), "float16", lambda n: None)


def items_of(root: Path, device: str, n_runs: int, overrides: list[str]) -> list[Item]:
    """Runs of n_runs seeds on the data under root."""
    fixed = ["dataset=synthetic", "dataset.synthetic=null", "pairing=cross_prompt", *overrides]
    with compose.hydra_at_conf():
        configs = [
            compose.compose_one([*fixed, f"seed={seed}", compose.search_path([])])
            for seed in range(n_runs)
        ]
        return inputs.keyed_items([sweep_specs.config_spec(c, device) for c in configs], str(root))


def measure(root: Path, scale: Scale, device: str, n_runs: int, overrides: list[str]) -> Measured:
    """One pack of n_runs seeds on the data under root."""
    items = items_of(root, device, n_runs, overrides)
    place = launchers.Place(str(root), device, at_once=1 if device == "cpu" else machine.cores())
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        outcome = run_pack(items, place, SweepFolder(Path(folder)))
        cpu_s = time.process_time() - started
        rows = read_rows(SweepFolder(Path(folder)))
    assert outcome.done == n_runs, rows["error"].dropna().tolist()
    spec = items[0].spec
    n_train, n_held_out = 2 * (spec.quantity - spec.n_validation), 2 * spec.n_validation
    epochs = [] if spec.loss.reward_model != "mlp" else sorted(map(int, rows["epochs"]))
    n_scored = scale.test_prompts * scale.test_responses
    flop = sum(arithmetic(n_train, n_held_out, e, n_scored, scale.dim) for e in epochs) / n_runs
    improvement = dict(zip(rows["seed"], rows["improvement"], strict=True))
    return Measured(
        spec, outcome.fit_s / n_runs, outcome.score_s / n_runs, cpu_s / n_runs, flop, epochs,
        improvement,
    )  # fmt: skip


def add_scale(parser: argparse.ArgumentParser, scale: Scale, quantity: int) -> None:
    """--quantity, --dim, --test-prompts and --test-responses, and what they are if not given."""
    parser.add_argument("--quantity", type=int, default=quantity)
    parser.add_argument("--dim", type=int, default=scale.dim)
    parser.add_argument("--test-prompts", type=int, default=scale.test_prompts)
    parser.add_argument("--test-responses", type=int, default=scale.test_responses)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--loss", default="bt_mlp")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default=None, help="default: bf16 where it is native")
    add_scale(parser, Scale(), 10_000)
    args = parser.parse_args()
    scale = Scale(args.dim, 12_000, args.test_prompts, args.test_responses)
    overrides = [f"quantity={args.quantity}", f"loss={args.loss}"]
    overrides += [f"precision={args.precision}"] if args.precision else []
    precision = machine.precision(args.precision, args.device)
    with tempfile.TemporaryDirectory() as folder:
        data(scale, Path(folder))
        before = peak(precision, args.device, args.dim)
        pack = measure(Path(folder), scale, args.device, args.runs, overrides)
        after = peak(precision, args.device, args.dim)
    top = {name: (before[name] + after[name]) / 2 for name in CLOCKS}
    where = machine.gpu(args.device) or f"{machine.cpu()}, one thread"
    print(f"{args.loss}, {args.quantity} pairs, {args.runs} runs, {precision}, {where}")
    print(f"peak of a @ b: {top['wall'] / 1e12:.2f} Tflop/s (before {before['wall'] / 1e12:.2f})")
    print(f"epochs: {pack.epochs}")
    print(f"a run: {pack.wall_s:.2f} s, fit {pack.fit_s:.2f}, score {pack.score_s:.2f}")
    print(f"utilisation: {pack.flop / pack.wall_s / top['wall']:.0%} of the peak by wall time")
    if args.device == "cpu":
        print(f"by CPU time: {pack.flop / pack.cpu_s / top['CPU']:.0%}, {pack.cpu_s:.2f} s a run")
    else:
        print(f"GPU memory: {torch.cuda.max_memory_allocated(args.device) / 2**30:.2f} GiB")
    print(f"peak RSS: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
