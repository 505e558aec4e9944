"""What the sweeps on a real Slurm are made of: two losses of a user's own, and tiny data."""

LOSSES = '''\
"""A loss that a file holds up in tasks of Slurm, and one that fails while a file says so."""

import os
import time
from pathlib import Path

from rmsweep.objectives.bradley_terry import bradley_terry


def slow(batch, state):
    time.sleep(0.02)
    while Path("wait").exists() and "SLURM_JOB_ID" in os.environ:
        time.sleep(0.1)
    return bradley_terry(batch, state)


def failing(batch, state):
    if Path("broken").exists():
        raise RuntimeError("this objective is broken")
    return bradley_terry(batch, state)
'''
BROKEN_LINE = 1 + LOSSES.partition("raise")[0].count("\n")
YAML = "label: {0}\nobjective: {{_target_: my_losses.{0}, _partial_: true}}\n"
YAML += "reward_model: mlp\nhidden: [16]\n"
SHAPE = {"train_prompts": 60, "train_responses": 3, "test_prompts": 20, "test_responses": 6}
SHAPE |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
BASE = [f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()]
BASE += ["quantity=60", "training.max_epochs=8", "precision=fp32"]
# A pack has a run, and a task 3; two tasks run at a time
SLURM = ["launcher=slurm", "launcher.cpus=1", "launcher.mem_gb=2", "launcher.time_min=5"]
SLURM += ["launcher.pack_runs=1", "launcher.target_minutes=4.1e-7", "launcher.max_parallel=2"]
