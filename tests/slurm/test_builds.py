"""`rmsweep cache build launcher=slurm`: an array a stage, the cache of a build on this machine."""

import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.commands import RMSWEEP

SLURM = ["--shards", "2", "launcher=slurm", "launcher.cpus=1", "launcher.mem_gb=2"]
SLURM += ["launcher.time_min=5"]


@pytest.fixture
def build(tmp_path, inside):
    """Return build(out, *more, status=0), of 8 prompts with 3 responses; what it prints.

    One that is refused is asked for in this process: each start of a build takes seconds.
    """
    tiny_models.make(tmp_path / "scorer", "GPT2", "ForSequenceClassification", 1, num_labels=1)
    tiny_models.make(tmp_path / "backbone", "Llama", "Model", 2)
    rows = [{"prompt": f"Question {i}?", "response": f"answer {k}"} for i in range(8)
            for k in range(3)]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    given = ["--train", "t.parquet", "--test-prompts", "4", "--base-llm-name", "x"]
    given += ["--reward-model", "scorer", "--backbone", "backbone", "--precision", "fp32"]
    given += ["--part-responses", "6"]

    def call(out, *more, status=0):
        command = ["cache", "build", *given, "--out", out, *more]
        if status:
            said = inside(*command, status=status)
            return said.stdout + said.stderr
        done = subprocess.run(
            [RMSWEEP, *command],
            cwd=tmp_path, capture_output=True, text=True, timeout=600,
            env=os.environ | {"OMP_NUM_THREADS": "1"},  # as many as a task has cores
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def files(out):
    return {path.name: np.load(path) for path in out.glob("*.npy")}


def assert_same(out, other):
    """Bit for bit."""
    found, expected = files(out), files(other)
    assert found.keys() == expected.keys() and len(found) == 4
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def submitted(said):
    """{stage: job id}"""
    return dict(re.findall(r"(rewards|embeddings|join) (\d+)", said))


def test_shards_go_through_the_stages(cluster, build, tmp_path):
    said = build("there", *SLURM, "+launcher.sbatch.hold=true")
    made = submitted(said)
    assert "submitted 2 tasks a stage" in said and list(made) == ["rewards", "embeddings", "join"]
    shown = cluster.slurm("squeue", "--array", "--noheader", "--format=%i|%E")
    waits = dict(line.split("|") for line in shown.splitlines())
    for shard in (0, 1):
        assert f"aftercorr:{made['rewards']}_" in waits[f"{made['embeddings']}_{shard}"], waits
    assert f"afterok:{made['embeddings']}_" in waits[made["join"]], waits
    for launcher in (SLURM, []):
        assert "tasks of a build in" in build("there", *launcher, status=2)
    cluster.slurm("scontrol", "release", ",".join(made.values()))
    build("here")
    cluster.wait_until(lambda: not cluster.squeue(), 300)
    assert_same(tmp_path / "there", tmp_path / "here")


def test_sbatch_refuses_a_build(cluster, build, tmp_path):
    said = build("there", *SLURM, "launcher.partition=none", status=1)
    assert "sbatch refused a job" in said and "nothing is submitted" in said
    assert not list(tmp_path.glob("there/jobs/*.parquet")) and not cluster.squeue()


@pytest.mark.soak
def test_warned_and_broken_tasks(cluster, build, tmp_path):
    """A task that is warned goes on by itself; one that fails takes what waits for it with it."""
    made = submitted(build("there", *SLURM))
    cluster.slurm("scontrol", "hold", made["embeddings"])
    task = f"{made['rewards']}_0"
    cluster.wait_for_state(task, "RUNNING")
    log = tmp_path / f"there/jobs/submitit/{task}_0_log.out"
    cluster.wait_until(lambda: log.exists() and "test: " in log.read_text())
    cluster.warn(task)
    cluster.start_again(task)
    rewards = f"{made['rewards']}_"
    cluster.wait_until(lambda: not any(t.startswith(rewards) for t, *_ in cluster.squeue()), 300)
    assert "queued again" in log.read_text()
    (tmp_path / "backbone").rename(tmp_path / "aside")
    cluster.slurm("scontrol", "release", made["embeddings"])
    cluster.wait_until(lambda: not cluster.squeue(), 300)
    cluster.wait_for_sacct(made["join"], {made["join"]: ("CANCELLED", "0:0")})
    assert not files(tmp_path / "there")
    (tmp_path / "aside").rename(tmp_path / "backbone")
    build("there", *SLURM)
    build("here")
    cluster.wait_until(lambda: not cluster.squeue(), 300)
    assert_same(tmp_path / "there", tmp_path / "here")
    assert "all done before" in build("there", *SLURM) and not cluster.squeue()
