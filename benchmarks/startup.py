"""Start-up: what the commands that a user types most take, as whole processes.

Makes the sweep of `rmsweep demo` once in a temporary folder. Then prints for each command the
medians of its CPU seconds (user and system) and of its wall time, and the ratio of its CPU seconds
to those of `python -c "import torch"`. All commands take turns, that one among them, so that a
change of the machine's speed meets all of them.
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RMSWEEP = str(Path(sys.executable).with_name("rmsweep"))
BASELINE = 'python -c "import torch"'
COMMANDS = {
    BASELINE: [sys.executable, "-c", "import torch"],
    "rmsweep list": [RMSWEEP, "list"],
    "rmsweep status demo": [RMSWEEP, "status", "demo"],
    "rmsweep table demo": [RMSWEEP, "table", "demo"],
    "rmsweep run --help": [RMSWEEP, "run", "--help"],
    "rmsweep run dataset=synthetic": [RMSWEEP, "run", "dataset=synthetic"],
    "rmsweep report demo": [RMSWEEP, "report", "demo"],
}


def seconds(command: list[str], root: str) -> tuple[float, float]:
    """Run a command to its end and return its CPU seconds and its wall time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL, check=True)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as root:
        seconds([RMSWEEP, "run", "-m", "sweeps=demo"], root)
        for _ in range(args.times):
            for name, command in COMMANDS.items():
                found[name].append(seconds(command, root))
            shutil.rmtree(Path(root) / "outputs" / "single")  # else the run is done already
    print(f"{f'medians of {args.times}':<30}   CPU s  wall s   ratio")
    torch_s = statistics.median(cpu_s for cpu_s, _ in found[BASELINE])
    for name, pairs in found.items():
        cpu_s, wall_s = (statistics.median(numbers) for numbers in zip(*pairs, strict=True))
        print(f"{name:<30} {cpu_s:7.2f} {wall_s:7.2f} {cpu_s / torch_s:7.2f}")


if __name__ == "__main__":
    main()
