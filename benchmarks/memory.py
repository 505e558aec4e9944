"""Peak memory of a worker that scores a large test file: 2,000 x 500 x 2048 float16, 4.1 GB.

Prints the resident set before the pack (imports, golden rewards), its peak, and the file's size.
"""

import argparse
import resource
import tempfile
from pathlib import Path

from paper_scale import Scale, data, items_of

from rmsweep.config import launchers
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SweepFolder


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument(
        "--dir", default=None, help="where the file goes (default: a temporary one)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as root:
        data(Scale(train_prompts=1000, test_prompts=args.prompts), Path(root))
        items = items_of(Path(root), "cpu", args.runs, ["training.max_epochs=2"])
        size = max(file.stat().st_size for file in Path(root).glob("embd_*.npy"))
        before = peak_gib()
        place = launchers.Place(root, "cpu")
        outcome = run_pack(items, place, SweepFolder(Path(root)))
        assert outcome.done == args.runs, outcome
    print(f"test file {size / 1e9:.2f} GB, {args.runs} runs scored in {outcome.score_s:.1f} s")
    print(f"peak RSS {peak_gib():.2f} GiB, {before:.2f} GiB of it before the pack")


if __name__ == "__main__":
    main()
