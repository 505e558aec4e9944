"""A sweep of trivial fits through Slurm: what submitting, files, pickles and scheduler calls cost.

Needs a cluster that sees this machine's temporary folder: tests/slurm/start_cluster.sh starts one.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

RMSWEEP = Path(sys.executable).with_name("rmsweep")
ASKED = ("sbatch", "squeue", "sacct", "scontrol", "scancel")
BETAS = (0.3, 1, 3, 10)
SHAPE = {"train_prompts": 40, "train_responses": 3, "test_prompts": 8, "test_responses": 6}
SHAPE |= {"dim": 8, "n_clusters": 2, "intrinsic_dim": 4}
PLUGIN_FILES, PLUGIN_BYTES = 8, 47_000  # a run, by Hydra's submitit plugin (measured once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12_960)
    parser.add_argument("--cpus", type=int, default=1, help="of a task")
    args = parser.parse_args()
    sweep = ["name=trivial", f"seed=range({args.runs // len(BETAS)})", "loss.hidden=[]"]
    sweep += [f"annotation.beta={','.join(map(str, BETAS))}", "quantity=20", "precision=fp32"]
    sweep += ["training.max_epochs=1", "launcher=slurm", f"launcher.cpus={args.cpus}"]
    sweep += ["launcher.mem_gb=2", "launcher.target_minutes=0.0001", "launcher.pack_runs=64"]
    sweep += [f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environment = _counting(root)
        started = time.perf_counter()
        _call(root, environment, "run", "-m", *sweep)
        submitted_s = time.perf_counter() - started
        print(f"submitted {args.runs} runs in {submitted_s:.1f} s; calls: {_calls(root)}")
        jobs = root / "outputs/trivial/jobs"
        n_files = sum(path.is_file() for path in (root / "outputs/trivial").rglob("*"))
        n_bytes = sum(path.stat().st_size for path in jobs.rglob("*_submitted.pkl"))
        tasks = len(list(jobs.rglob("*_submitted.pkl")))
        while subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout:
            time.sleep(1)
        wall_s = time.perf_counter() - started
        ended = [p for p in (root / "outputs/trivial").rglob("*") if p.is_file()]
        besides = [path for path in ended if path.parent.name != "runs"]
        print(
            f"{tasks} tasks; pickled {n_bytes} bytes, {n_bytes / args.runs:.2f} a run "
            f"(Hydra's plugin: {PLUGIN_BYTES}, {PLUGIN_BYTES * args.runs / n_bytes:,.0f} x)"
        )
        per_100 = 100 * len(besides) / args.runs
        print(
            f"files besides the dataset: {n_files} at submission, {len(besides)} at the end: "
            f"{per_100:.2f} a hundred runs (the plugin: {100 * PLUGIN_FILES}); parts: "
            f"{len(ended) - len(besides)}"
        )
        print(f"all ran in {wall_s:.0f} s: {1000 * wall_s / args.runs:.1f} ms a run, fits included")
        before = _calls(root)
        seconds = [_seconds(root, environment, "status", "trivial") for _ in range(5)]
        print(f"rmsweep status: {sorted(seconds)[2]:.2f} s (median of 5); calls: "
              f"{dict(_calls(root) - before)}")  # fmt: skip
        print(_call(root, environment, "status", "trivial"))


def _counting(root: Path) -> dict[str, str]:
    """An environment in which each question to Slurm leaves a line in root/calls."""
    shims = root / "bin"
    shims.mkdir()
    for name in ASKED:
        shim = shims / name
        shim.write_text(f'#!/bin/sh\necho {name} >>{root}/calls\nexec {shutil.which(name)} "$@"\n')
        shim.chmod(0o755)
    return os.environ | {"PATH": f"{shims}:{os.environ['PATH']}"}


def _calls(root: Path) -> Counter[str]:
    calls = root / "calls"
    return Counter(calls.read_text().split() if calls.exists() else [])


def _call(root: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [RMSWEEP, *arguments], cwd=root, env=environment, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def _seconds(root: Path, environment: dict[str, str], *arguments: str) -> float:
    started = time.perf_counter()
    _call(root, environment, *arguments)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
