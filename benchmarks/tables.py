"""Tables, claims and report of rbt_full: 12,960 runs, values for 2,000 prompts, written here first.

Prints the size of the dataset, then for each command its seconds and peak resident set, imports
included: each is a process of its own. The aims for a table are 5 s and 2 GiB, for the page of
`rmsweep report` 10 MB.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema

AXES = {
    "base_llm": ["gemma2b", "gemma7b", "llama3_8b", "gemma2b_sft", "gemma7b_sft", "llama3_8b_sft"],
    "dataset": ["hh_harmless", "hh_helpful"],
    "selection": ["random", "similar", "diversified"],
    "annotation.beta": [0.3, 0.5, 0.7, 1.0, 3.0, 10.0],
    "quantity": [5000, 10000, 20000, 40000],
    "loss": ["bt_mlp", "clf_mlp", "clf_lgb"],
    "seed": range(5),
}
N_PROMPTS = 2000
RUNS_A_PART = 90
N_OF_BEST = [1, 2, 4, 8, 16, 32, 64, 128, 256, 500]
SHARE = ("--metric", "oracle_share")  # improvement is not averaged over datasets
COMMANDS = (
    ["table", "full", *SHARE, "--rows", "loss", "--columns", "base_llm"],
    ["table", "full", *SHARE, "--against", "bt_mlp", "--columns", "annotation.beta,quantity"],
    ["table", "full", "--where", "dataset=hh_helpful"],
    ["claims", "full"],
    ["report", "full"],
)


def write_sweep(directory: Path) -> None:
    """A finished sweep whose numbers are noise, and what it wanted."""
    specs = [dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())]
    rng = np.random.default_rng(0)
    for i, spec in enumerate(specs):
        spec |= {"key": f"{i:016x}", "spec_id": f"{i:016x}", "pairing": "same_prompt"}
        spec |= {"loss.reward_model": "trees" if spec["loss"] == "clf_lgb" else "mlp"}
        spec |= {"training.protocol": "pairs", "training.patience": 3}
    wanted = pa.Table.from_pylist(specs, schema=schema.WANTED)
    parquet.write_table(wanted, directory / "specs.parquet")
    for start in range(0, len(specs), RUNS_A_PART):
        part = specs[start : start + RUNS_A_PART]
        numbers = rng.normal(size=(len(part), 5, N_PROMPTS)).astype(np.float32)
        by_prompt = [dict(zip(schema.BY_PROMPT, run, strict=True)) for run in numbers]
        rows = [
            {**s, **v, **scalars(s, rng), "status": "done"}
            for s, v in zip(part, by_prompt, strict=True)
        ]
        dataset.write_part(SweepFolder(directory), rows)


def scalars(spec: dict[str, object], rng: np.random.Generator) -> dict[str, object]:
    """What the figures read besides values by prompt."""
    curve = np.log(N_OF_BEST) + rng.normal(0, 0.1, len(N_OF_BEST))
    return {
        "annotation_error": 0.5 / (1 + float(str(spec["annotation.beta"]))) + rng.normal(0, 0.01),
        "mean_margin": rng.uniform(1, 3), "order_consistency": rng.uniform(0.6, 0.9),
        "wall_s": rng.uniform(1, 20), "bon_n": N_OF_BEST, "bon_golden_by_n": curve,
        "oracle_by_n": 2 * np.log(N_OF_BEST),
    }  # fmt: skip


def main() -> None:
    rmsweep = Path(sys.executable).with_name("rmsweep")
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "outputs" / "full"
        write_sweep(directory)
        size = sum(part.stat().st_size for part in directory.glob("runs/*"))
        print(f"{size / 1e9:.2f} GB in {len(list(directory.glob('runs/*')))} parts")
        for options in COMMANDS:
            started = time.perf_counter()
            command = subprocess.Popen([rmsweep, *options], cwd=root, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(command.pid, 0)
            assert status == 0, status
            seconds = time.perf_counter() - started
            print(f"{seconds:5.1f} s {usage.ru_maxrss / 2**20:5.2f} GiB  {' '.join(options)}")
        print(f"report.html: {(directory / 'report.html').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
