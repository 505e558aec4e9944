"""What ran where: code, versions, machine."""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("rmsweep", "torch", "lightgbm", "numpy", "scikit-learn", "hydra-core", "pandas")


@functools.cache
def provenance() -> dict[str, Any]:
    """Columns of a row: git_commit, git_dirty (of rmsweep's checkout; null from a wheel), versions
    (JSON by package), host, slurm_job.
    """
    root = Path(__file__).resolve().parents[1]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    return {
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git(root, "status", "--porcelain")),
        "versions": json.dumps(versions()),
        "host": platform.node(),
        "slurm_job": slurm_job(),
    }


def slurm_job() -> str | None:
    """Of this process: JOB, or ARRAY_TASK; null outside Slurm."""
    array, task = map(os.environ.get, ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"))
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | found


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", root, *command], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
