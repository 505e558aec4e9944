"""The alpacaeval sweep as a user runs it: runs a minute by loss, and overhead a run.

Overhead is all that is not fitting or scoring: (wall time - sum of wall_s / workers) / runs, with
start-up, planning and workers idle at the end. Without --root, on synthetic data of that shape.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rmsweep
from rmsweep.machine import cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder of the AlpacaEval embeddings")
    parser.add_argument("--loss", default="bt_mlp,clf_mlp,normbt")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    shape = {"train_prompts": 600, "test_prompts": 205, "test_responses": 15, "dim": 384}
    data = [f"cache.root={Path(args.root).resolve()}"] if args.root else [
        "dataset=synthetic", "base_llm=synthetic", "backbone=synthetic",
        *(f"dataset.synthetic.{name}={value}" for name, value in shape.items()),
    ]  # fmt: skip
    command = [sys.executable, "-m", "rmsweep", "run", "-m", "sweeps=alpacaeval", "name=b", *data]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [*command, f"loss={args.loss}", f"seed=range({args.seeds})"], cwd=folder, check=True
        )
        wall_s = time.perf_counter() - started
        os.chdir(folder)
        rows = rmsweep.load("b", columns=["loss", "quantity", "wall_s"])
    mean_s = rows.groupby("loss")["wall_s"].mean()
    for loss, seconds in mean_s.items():
        print(f"{loss}: {60 * cores() / seconds:.0f} runs a minute on {cores()} workers")
    overhead_s = (wall_s - rows["wall_s"].sum() / cores()) / len(rows)
    print(f"{len(rows)} runs in {wall_s:.1f} s, {60 * len(rows) / wall_s:.0f} a minute in all")
    print(f"overhead: {1000 * overhead_s:.1f} ms a run")


if __name__ == "__main__":
    main()
