"""What tests/slurm/ does to a cluster, on plain jobs: each tool does what its name says."""

import sys

import pytest

# As submitit writes it: the shell of the job waits for a step of one Python process
SCRIPT = """#!/bin/bash
#SBATCH --job-name={name} --output={root}/%A_%a.out --open-mode=append
#SBATCH --signal=USR2@30
export SAID={root}/${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID.said
srun --output={root}/%A_%a.out --open-mode=append {python} -u -c '{program}'
"""
SLEEP = "import time; time.sleep(600)"
WORKERS = """
import os, signal, time
def say(*words): print(*words, file=open(os.environ["SAID"], "a", 1))  # srun may lose the last
restart = os.environ.get("SLURM_RESTART_COUNT", "0")
is_worker = os.fork() == 0
def heard(number, frame):
    say("worker" if is_worker else "main", signal.Signals(number).name)
    if number == signal.SIGTERM: os._exit(0)
for number in (signal.SIGUSR2, signal.SIGTERM): signal.signal(number, heard)
say("restart", restart, "worker" if is_worker else "main")
while True: time.sleep(0.1)
"""


@pytest.fixture
def submit(tmp_path):
    """submit(program, sbatch options...): the job's id."""

    def call(cluster, program, *options, **keywords):
        script = tmp_path / "job.sh"
        text = SCRIPT.format(name="tool", root=tmp_path, python=sys.executable, program=program)
        script.write_text(text)
        return cluster.sbatch(*options, script, **keywords)

    return call


def lines(tmp_path, task, of="out"):
    file = tmp_path / f"{task}.{of}"
    return file.read_text().splitlines() if file.exists() else []


def test_array_on_its_own_gpus(cluster, submit, tmp_path):
    program = 'import os, time; print("gpu", os.environ["CUDA_VISIBLE_DEVICES"]); time.sleep(2)'
    job = submit(cluster, program, "--array=0-1", "--gres=gpu:1")
    cluster.wait_for_sacct(job, {f"{job}_{i}": ("COMPLETED", "0:0") for i in range(2)})
    assert sorted(lines(tmp_path, f"{job}_0") + lines(tmp_path, f"{job}_1")) == ["gpu 0", "gpu 1"]


@pytest.mark.soak
def test_requeue_and_its_signal(cluster, submit, tmp_path):
    job = submit(cluster, WORKERS, "--array=0-0")
    task = f"{job}_0"
    cluster.wait_until(lambda: len(lines(tmp_path, task, "said")) == 2)
    cluster.warn(task)
    cluster.wait_until(lambda: "main SIGUSR2" in lines(tmp_path, task, "said"))
    cluster.requeue(task)
    cluster.wait_until(lambda: "restart 1 main" in lines(tmp_path, task, "said"))
    said = lines(tmp_path, task, "said")
    assert said.index("main SIGUSR2") < said.index("main SIGTERM") < said.index("restart 1 main")
    # Signals but the last KILL reach the processes that srun started, and not their children
    assert not cluster.is_confined() or not {"worker SIGUSR2", "worker SIGTERM"} & set(said)


@pytest.mark.soak
def test_kill_one_task_and_cancel_one(cluster, submit):
    job = submit(cluster, SLEEP, "--array=0-2%2")
    cluster.kill_task(job, 0)
    cluster.wait_until(lambda: cluster.pythons(job, 2))
    cluster.slurm("scancel", f"{job}_1")
    expected = {f"{job}_0": ("FAILED", "9:0"), f"{job}_1": ("CANCELLED by 0", "0:0")}
    cluster.wait_for_sacct(job, expected)
    assert (f"{job}_2", "tool", "RUNNING") in cluster.squeue()
    killed = cluster.kill_task(job, 2)
    cluster.wait_until(lambda: not cluster.is_alive(killed))


@pytest.mark.soak
def test_over_memory(cluster, submit):
    program = "import time; much = bytearray(300 << 20); time.sleep(60)"
    job = submit(cluster, program, "--array=0-0", "--mem=50M")
    # The step is what ran out; to the job it is a command of its script that failed
    expected = {f"{job}_0": ("FAILED", "1:0"), f"{job}_0.0": ("OUT_OF_MEMORY", "0:125")}
    if not cluster.is_confined():
        expected = {f"{job}_0": ("FAILED", "9:0"), f"{job}_0.0": ("CANCELLED by 0", "0:9")}
    cluster.wait_for_sacct(job, expected, steps=True)


@pytest.mark.soak
def test_slurmctld_stops_and_starts(cluster, submit):
    job = submit(cluster, "import time; time.sleep(2)", "--array=0-0")
    # Not only RUNNING: srun still has to ask slurmctld for its step
    cluster.wait_until(lambda: cluster.pythons(job, 0))
    cluster.stop("slurmctld")
    assert cluster.is_down()
    cluster.restart("slurmctld")
    cluster.wait_for_sacct(job, {f"{job}_0": ("COMPLETED", "0:0")})


@pytest.mark.soak
def test_node_fails(cluster, submit, tmp_path):
    job = submit(cluster, WORKERS, "--array=0-0")
    task = f"{job}_0"
    cluster.wait_until(lambda: "restart 0 main" in lines(tmp_path, task, "said"))
    cluster.fail_node()
    cluster.start_again(task)
    cluster.wait_until(lambda: "restart 1 main" in lines(tmp_path, task, "said"))


@pytest.mark.soak
def test_refusals(cluster, submit):
    cluster.limit_submitted(3)
    said = submit(cluster, SLEEP, "--array=0-3", refused=True)
    assert "AssocMaxSubmitJobLimit" in said and "Job violates accounting/QOS policy" in said
    submit(cluster, SLEEP, "--array=0-2", "--hold")
    assert [state for _, _, state in cluster.squeue()] == 3 * ["PENDING"]
    cluster.settle()
    assert cluster.start(MAX_ARRAY_SIZE=4) is None
    said = submit(cluster, SLEEP, "--array=4-4", refused=True)
    assert said.endswith("Invalid job array specification")
    submit(cluster, SLEEP, "--array=1-3", "--hold")
