"""A hundred faults at random moments: nothing is lost, and the numbers are those of a quiet run."""

import json
import random
import subprocess
import time

import pandas as pd
import pytest
from helpers.commands import RMSWEEP
from helpers.datasets import assert_same, dataset
from helpers.slurm_sweeps import BASE, LOSSES, SLURM, YAML

from rmsweep.launch.slurm import scheduler

SWEEP = ["name=small", "loss=slow", "seed=range(250)", "annotation.beta=1,10", *BASE]
N_FAULTS = 100


def prepared(root):
    (root / "own/loss").mkdir(parents=True)
    (root / "my_losses.py").write_text(LOSSES)
    (root / "own/loss/slow.yaml").write_text(YAML.format("slow"))
    return root


def launch(root, *more, status=(0,)):
    command = [RMSWEEP, "run", "-m", "--config-dir", "own", *SWEEP, *more]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode in status, done.stdout + done.stderr


def running(cluster):
    return [task for task, _, state in cluster.squeue() if state == "RUNNING" and "_" in task]


def requeue(cluster, task):
    cluster.slurm("scontrol", "requeue", task)


def kill(cluster, task):
    cluster.kill_task(*task.split("_"), seconds=5)


def scancel(cluster, task):
    cluster.slurm("scancel", task)


def warn(cluster, task):
    cluster.warn(task)


def scheduler_restarts(cluster, task):
    cluster.stop("slurmctld")
    time.sleep(1)
    cluster.restart("slurmctld")


def node_fails(cluster, task):
    cluster.fail_node()


FAULTS = (requeue, kill, scancel, warn, scheduler_restarts, node_fails)


@pytest.mark.soak
def test_a_hundred_faults(cluster, tmp_path):
    quiet, root = (prepared(tmp_path / name) for name in ("quiet", "disturbed"))
    launch(quiet)
    expected = dataset(quiet, "small")
    rng, injected = random.Random(0), dict.fromkeys((fault.__name__ for fault in FAULTS), 0)
    erased = 0
    some = [*SLURM, "launcher.target_minutes=0.05"]  # a task of a dozen runs, once measured
    launch(root, *some)
    while sum(injected.values()) < N_FAULTS:
        time.sleep(3 * rng.random())
        for task, _, state in cluster.squeue():
            if state == "PENDING":  # requeued: not after minutes
                command = ["scontrol", "update", f"JobId={task}", "StartTime=now"]
                subprocess.run(command, capture_output=True)  # it may just have started
        cluster.resume()
        tasks = running(cluster)
        if all(task.is_held for task in scheduler.queued()) and cluster.squeue():
            command = [RMSWEEP, "retry", "small", "--config-dir", "own"]
            done = subprocess.run(command, cwd=root, capture_output=True)
            assert done.returncode == 0, done  # Slurm holds a task whose start failed
        elif not cluster.squeue():
            for part in (root / "outputs/small/runs").glob("part-*"):
                if rng.random() < 0.5:  # so that there is work to disturb
                    erased += len(pd.read_parquet(part, columns=["key"]))
                    part.unlink()
            launch(root, *some)
        elif tasks:
            fault = rng.choice(FAULTS)
            try:
                fault(cluster, rng.choice(tasks))
            except (AssertionError, ProcessLookupError):
                continue  # the task had just ended
            injected[fault.__name__] += 1
    while queue := scheduler.queued():
        cluster.resume()
        scheduler.release([task for task in queue if task.is_held])
        time.sleep(1)
    launch(root, *some, "wait=true")
    rows = pd.read_parquet(root / "outputs/small/runs", columns=["key", "status"])
    done = rows.loc[rows["status"] == "done", "key"]
    report = {"faults": injected, "runs": len(expected), "erased and run again": erased}
    report |= {
        "lost": len(set(expected["key"]) - set(done)),
        "done twice": len(done) - len(set(done)),
    }
    print(json.dumps(report))
    assert_same(root, "small", expected)
