"""The same specs on the CPU and on another device: paired differences of each metric.

Data, annotations, initial weights and batches are the same; sums on a GPU have another order, which
training carries on. What is allowed is what `rmsweep verify` allows: CUDA_TOLERANCE of
max(1, |metric|), run by run. With --device cpu all differences are 0. Exit status 1 beyond that.

    python benchmarks/parity.py --device cuda:0
    python benchmarks/parity.py --dim 32 --quantity 200 --test-prompts 10 --test-responses 20
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from paper_scale import Scale, add_scale, data, items_of

from rmsweep import machine
from rmsweep.config import launchers
from rmsweep.config.spec import Item
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema
from rmsweep.results.disagreements import CUDA_TOLERANCE
from rmsweep.training.reward_models.mlp_network import DTYPES

VARIANTS = {
    "BT-MLP": ["loss=bt_mlp"],
    "CLF-MLP": ["loss=clf_mlp"],
    "NormBT": ["loss=normbt"],
    "CLF-MLP, rbt_scripts": ["loss=clf_mlp", "training.protocol=rbt_scripts"],
}
OF_DATA = ("base", "oracle", "annotation_error", "mean_margin")  # no model is in these
OF_MODEL = [name for name in schema.SCALARS if name not in OF_DATA]


def rows_of(root: Path, items: list[Item], device: str) -> pd.DataFrame:
    """Metrics and epochs of a pack's runs, in the order of the items."""
    with tempfile.TemporaryDirectory() as folder:
        place = launchers.place_of_one(items[0].spec.loss.options, str(root), device)
        run_pack(items, place, SweepFolder(Path(folder)))
        rows = (
            dataset.read_rows(SweepFolder(Path(folder)))
            .set_index("key")
            .loc[[i.key for i in items]]
        )
    assert (rows["status"] == "done").all(), rows["error"].dropna().tolist()
    return rows[[*OF_MODEL, "epochs"]].astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=5)
    add_scale(parser, Scale(256, 0, 100, 100), 2000)
    args = parser.parse_args()
    scale = Scale(args.dim, args.quantity, args.test_prompts, args.test_responses)
    devices = ["cpu", args.device]
    shared = [
        name
        for name in DTYPES
        if all(name == "fp32" or machine.has_native_bf16(d) for d in devices)
    ]
    where = machine.gpu(args.device) or machine.cpu()
    print(
        f"{where} minus CPU, {args.seeds} runs each; allowed: {CUDA_TOLERANCE} x max(1, |metric|)"
    )
    n_beyond = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data(scale, root)
        for name, overrides in VARIANTS.items():
            for precision in shared:
                fixed = [*overrides, f"quantity={args.quantity}", f"precision={precision}"]
                items = items_of(root, "cpu", args.seeds, fixed)
                was, now = (rows_of(root, items, device) for device in devices)
                print(f"{name}, {precision}: epochs {was['epochs'].astype(int).tolist()}", end="")
                print(f" and {now['epochs'].astype(int).tolist()}")
                for metric in OF_MODEL:
                    gap = (now[metric] - was[metric]).to_numpy()
                    near = np.abs(gap) <= CUDA_TOLERANCE * np.maximum(1, was[metric].abs())
                    beyond = ~near & ~(was[metric].isna() & now[metric].isna())
                    n_beyond += int(beyond.sum())
                    print(
                        f"  {metric:>18} {was[metric].mean():+.4f}  mean {gap.mean():+.1e}", end=""
                    )
                    print(f"  largest {np.abs(gap).max():.1e}  beyond {beyond.sum()}")
    print(f"{n_beyond} metrics of runs beyond what is allowed")
    sys.exit(n_beyond > 0)


if __name__ == "__main__":
    main()
