"""Sweeps on a real Slurm, disturbed: in the end the dataset is that of an undisturbed local one."""

import json
import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import RMSWEEP
from helpers.datasets import assert_same, dataset
from helpers.slurm_sweeps import BASE, BROKEN_LINE, LOSSES, SLURM, YAML

from rmsweep.launch.slurm import arrays
from rmsweep.paths import SweepFolder

SWEEP = ["name=small", "loss=slow", "seed=range(6)", "annotation.beta=1,10", *BASE]
N = 12


@pytest.fixture
def folder(tmp_path):
    """Where sweeps are launched: with a user's own losses."""
    (tmp_path / "my_losses.py").write_text(LOSSES)
    (tmp_path / "own/loss").mkdir(parents=True)
    for name in ("slow", "failing"):
        (tmp_path / f"own/loss/{name}.yaml").write_text(YAML.format(name))
    return tmp_path


@pytest.fixture
def call(folder, inside):
    """Return call(*arguments, status=0, error=False), which runs the command; what it prints.

    `status` is asked in this process: each start of a command takes seconds.
    """

    def call(*arguments, status=0, error=False):
        if arguments[0] == "status":
            return inside(*arguments, status=status).stdout
        done = subprocess.run(
            [RMSWEEP, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if error else done.stdout

    return call


@pytest.fixture
def launch(call, cluster):
    """Submit the sweep; the numbers of its jobs."""

    def launch(*more):
        said = call("run", "-m", "--config-dir", "own", *SWEEP, *SLURM, *more)
        return re.search("jobs ([0-9, ]+)", said).group(1).split(", ")

    return launch


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The dataset of the same sweep on this machine, undisturbed."""
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "my_losses.py").write_text(LOSSES)
    (root / "own/loss").mkdir(parents=True)
    (root / "own/loss/slow.yaml").write_text(YAML.format("slow"))
    command = [RMSWEEP, "run", "-m", "--config-dir", "own", *SWEEP]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    return dataset(root, "small")


@pytest.fixture
def ends(call, cluster, folder, expected):
    """Wait until no job is left; then all runs are done, with the undisturbed numbers."""

    def ends():
        cluster.wait_until(lambda: not cluster.squeue(), 90)
        assert "12 of 12 runs done" in call("status", "small")
        assert_same(folder, "small", expected)

    return ends


def n_done(folder):
    return len(dataset(folder, "small")) if list(folder.glob("outputs/small/runs/part-*")) else 0


def fresh_status(call, folder):
    """What `rmsweep status` says while runs are missing, Slurm asked anew."""
    (folder / "outputs/small/jobs/.scheduler.json").unlink(missing_ok=True)
    return json.loads(call("status", "small", "--json", status=1))


def records(folder):
    return arrays.submitted_arrays(SweepFolder(folder / "outputs/small"))


def test_submit_status_done(launch, call, cluster, folder, ends):
    planned = call("run", "-m", "--config-dir", "own", *SWEEP, *SLURM, "--plan")
    assert "arrays: 1, tasks: 4, packs: 12" in planned, planned
    (job,) = launch()
    cluster.wait_until(lambda: n_done(folder))
    (folder / "wait").touch()  # so that runs are left to be seen
    report = fresh_status(call, folder)
    while not report["runs"]["running"]:  # accounting lags
        report = fresh_status(call, folder)
    runs = report["runs"]
    assert "RUNNING" in report["jobs"] and runs["missing"] == runs["failed"] == 0, report
    assert sum(runs.values()) == report["wanted"] == N
    assert set(report["jobs"]) <= {"RUNNING", "PENDING", "COMPLETED"}, report
    assert sum(report["jobs"].values()) == 4
    again = call("run", "-m", "--config-dir", "own", *SWEEP, *SLURM)
    assert "runs are in jobs that are queued or running" in again and "submitted" not in again
    (folder / "wait").unlink()
    ends()
    script = (folder / f"outputs/small/jobs/submitit/{job}_submission.sh").read_text()
    header = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    identity = re.compile(r"--job-name=\S+")
    shown = [line for line in planned.splitlines() if line.startswith("#SBATCH")]
    assert [identity.sub("", line) for line in header] == [identity.sub("", s) for s in shown]
    pickles = list(folder.glob("outputs/small/jobs/submitit/*_submitted.pkl"))
    assert len(pickles) == 4 and all(file.stat().st_size < 1000 for file in pickles)
    rows = pd.read_parquet(folder / "outputs/small/runs")
    assert set(rows["slurm_job"]) == {f"{job}_{i}" for i in range(4)}
    key = rows["key"].iloc[0]
    one = call("status", "small", "--key", key[:10])
    assert f"run {key} of small: done" in one and "loss" in one and "runs done" in one


def test_arrays_no_larger_than_the_cluster_takes(launch, cluster, folder, ends):
    problem = cluster.start(MAX_ARRAY_SIZE=3)
    assert problem is None, problem
    assert len(launch()) == 2
    assert [len(array.tasks) for array in records(folder)] == [3, 1]
    ends()


def test_no_more_jobs_than_the_cluster_accepts(launch, cluster, folder, call, ends):
    cluster.limit_submitted(2)
    cluster.wait_until(lambda: cluster.is_refused("--array=0-2"))
    (folder / "wait").touch()  # so that no run ends before the second launch has looked
    launch()
    (array,) = records(folder)
    assert [len(task) for task in array.tasks] == [6, 6]
    assert sum(len(array.keys_of_task(i)) for i in range(2)) == N
    assert len(list(folder.glob("outputs/small/jobs/submitit/*.pkl"))) == 2, "none of refused ones"
    again = call("run", "-m", "--config-dir", "own", *SWEEP, *SLURM)
    assert "runs are in jobs that are queued or running" in again and "submitted" not in again
    (folder / "wait").unlink()
    ends()
    assert len(pd.read_parquet(folder / "outputs/small/runs")) == N, "no run was done twice"


@pytest.mark.soak
def test_held_tasks_are_said_and_retry_releases_them(launch, cluster, folder, call, ends):
    (job,) = launch()
    cluster.slurm("scontrol", "hold", job)
    cluster.wait_until(lambda: {state for _, _, state in cluster.squeue()} == {"PENDING"}, 60)
    report = fresh_status(call, folder)
    assert report["held"] == report["jobs"]["PENDING"] > 0, report
    assert "`rmsweep retry small` lets them go on" in call("status", "small", status=1)
    assert f"released {report['held']} tasks" in call("retry", "small")
    ends()
    assert len(pd.read_parquet(folder / "outputs/small/runs")) == N, "no run was done twice"


@pytest.mark.soak
def test_requeue_in_the_middle(launch, cluster, folder, ends):
    (job,) = launch()
    cluster.wait_until(lambda: n_done(folder))
    cluster.requeue(f"{job}_0")
    ends()


@pytest.mark.soak  # a minute
def test_time_limits_again_and_again(launch, cluster, folder, ends):
    """submitit takes each warning under a limit of ten minutes for a time-out and counts 3."""
    (job,) = launch("launcher.target_minutes=1")
    parts = folder / "outputs/small/runs"
    for _ in range(4):
        before = len(list(parts.glob("part-*")))
        cluster.wait_until(lambda n=before: len(list(parts.glob("part-*"))) > n, every=0.02)
        cluster.warn(job)
        cluster.start_again(job)
    ends()
    log = (folder / f"outputs/small/jobs/submitit/{job}_0_log.out").read_text()
    assert log.count("queued again, to go on with what is left") == 4
    assert len(pd.read_parquet(folder / "outputs/small/runs")) == N, "no run was done twice"


def test_kill_a_task_and_retry(launch, cluster, folder, call, ends):
    (job,) = launch("launcher.pack_runs=4", "launcher.target_minutes=1.1e-6")
    cluster.wait_until(lambda: cluster.pythons(job, 0))
    cluster.kill_task(job, 0)
    cluster.wait_until(lambda: not cluster.squeue(), 60)
    report = call("status", "small", status=1)
    assert "missing" in report and "FAILED" in report, report
    said = call("retry", "small", "--wait", "--config-dir", "own")
    assert "in packs of at most 2, with 4 GB" in said and "12 of 12 runs done" in said, said
    assert records(folder)[-1].launcher["mem_gb"] == 4
    ends()


@pytest.mark.soak
def test_cancel_half_of_the_array(launch, cluster, folder, call, ends):
    (job,) = launch()
    cluster.wait_until(lambda: n_done(folder))
    cluster.slurm("scancel", f"{job}_[2-3]")
    cluster.wait_until(lambda: not cluster.squeue(), 60)
    report = fresh_status(call, folder)
    while report["jobs"].get("CANCELLED") != 2:  # accounting lags
        report = fresh_status(call, folder)
    assert report["runs"]["missing"] == 6, report
    launch()
    assert sum(len(pack) for task in records(folder)[-1].tasks for pack in task) == 6
    ends()


@pytest.mark.soak
def test_cancel(launch, cluster, folder, call, ends):
    launch()
    cluster.wait_until(lambda: n_done(folder))
    assert "cancelled" in call("cancel", "small")
    cluster.wait_until(lambda: not cluster.squeue(), 60)
    report = json.loads(call("status", "small", "--json", status=1))
    assert 0 < report["runs"]["done"] < N
    assert report["runs"]["missing"] == N - report["runs"]["done"]
    assert report["runs"]["failed"] == 0
    launch()
    ends()


@pytest.mark.soak
def test_slurmctld_stops_and_starts(launch, cluster, folder, call, ends):
    launch()
    cluster.wait_until(lambda: n_done(folder))
    cluster.stop("slurmctld")
    refused = call("run", "-m", "--config-dir", "own", *SWEEP, *SLURM, status=2, error=True)
    assert "Unable to contact slurm controller" in refused and len(refused.splitlines()) == 1
    Path(folder / "outputs/small/jobs/.scheduler.json").unlink(missing_ok=True)
    report = call("status", "small", status=1)
    assert "of 12 runs done" in report, report
    cluster.restart("slurmctld")
    ends()


@pytest.mark.soak
def test_the_node_fails(launch, cluster, folder, ends):
    (job,) = launch()
    cluster.wait_until(lambda: n_done(folder))
    cluster.fail_node()
    for task in {task for task, _, state in cluster.squeue() if state == "PENDING"}:
        cluster.slurm("scontrol", "update", f"JobId={task}", "StartTime=now")
    ends()


def test_one_loss_raises(cluster, folder, call):
    sweep = ["name=some", "loss=slow,failing", "seed=0,1", *BASE, *SLURM]
    call("run", "-m", "--config-dir", "own", *sweep)
    (folder / "broken").touch()  # now, as an objective is tried before a launch
    cluster.wait_until(lambda: not cluster.squeue(), 60)
    report = json.loads(call("status", "some", "--json", status=1))
    assert report["runs"]["done"] == report["runs"]["failed"] == 2, report
    (failure,) = report["failures"]
    assert failure["n"] == 2 and f"my_losses.py:{BROKEN_LINE} in failing" in failure["at"], failure
    one = call("status", "some", "--key", failure["key"], status=1)
    assert "raise RuntimeError" in one and "log, the last" in one
    (folder / "broken").unlink()
    assert "4 of 4 runs done" in call("retry", "some", "--wait", "--config-dir", "own")


@pytest.mark.soak
def test_two_launches_at_once(cluster, folder, ends):
    command = [RMSWEEP, "run", "-m", "--config-dir", "own", *SWEEP, *SLURM]
    both = [
        subprocess.Popen(command, cwd=folder, stdout=-1, stderr=-1, text=True) for _ in range(2)
    ]
    said = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert sum("submitted 12 runs" in out for out, *_ in said) == 1, said
    assert {status for *_, status in said} <= {0, 2}, said
    ends()
    assert len(pd.read_parquet(folder / "outputs/small/runs")) == N, "no run was done twice"


@pytest.mark.soak
def test_results_cannot_be_written_for_a_while(launch, cluster, folder, call, ends):
    launch()
    cluster.wait_until(lambda: n_done(folder))
    runs = folder / "outputs/small/runs"
    os.rename(runs, folder / "aside")
    runs.write_text("no folder")
    cluster.wait_until(lambda: not cluster.squeue(), 60)
    runs.unlink()
    os.rename(folder / "aside", runs)
    report = call("status", "small", status=1)
    assert "FAILED" in report and "results cannot be written" in report, report
    launch()
    ends()


@pytest.mark.soak
def test_a_job_of_higher_priority_preempts(launch, cluster, folder, ends):
    (job,) = launch("launcher.target_minutes=1")
    cluster.wait_until(lambda: n_done(folder))
    cluster.sbatch("-p", "urgent", "-c", "2", "--wrap", "sleep 3")
    cluster.wait_until(lambda: cluster.state(job) == "PENDING", 30)
    ends()
    assert len(pd.read_parquet(folder / "outputs/small/runs")) == N, "no run was done twice"


@pytest.mark.soak
def test_the_disk_is_full_for_a_while(launch, cluster, folder, call, ends):
    (folder / "outputs").mkdir()
    disk = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder / "outputs"]
    subprocess.run(disk, check=True)
    try:
        launch()
        (folder / "outputs/filler").write_bytes(bytes(900_000))
        filler = subprocess.run(["dd", "if=/dev/zero", f"of={folder}/outputs/rest"], check=False,
                                capture_output=True)  # fmt: skip
        assert b"No space left" in filler.stderr
        cluster.wait_until(lambda: not cluster.squeue(), 90)
        n = n_done(folder)
        assert n < N, "some run ended when the disk was full"
        for name in ("filler", "rest"):
            (folder / "outputs" / name).unlink()
        assert f"{n} of 12 runs done" in call("status", "small", status=1)
        launch()
        ends()
    finally:
        subprocess.run(["umount", "-l", folder / "outputs"], check=True)


def test_sbatch_refuses(call, cluster, folder, launch, ends):
    refused = call(
        "run", "-m", "--config-dir", "own", *SWEEP, *SLURM, "launcher.partition=none", status=1,
        error=True,
    )  # fmt: skip
    assert "sbatch refused a job" in refused and "invalid partition" in refused, refused
    assert json.loads(call("status", "small", "--json", status=1))["runs"]["missing"] == N
    leftovers = list(folder.glob("outputs/small/jobs/submitit/*.pkl"))
    assert not leftovers and not records(folder)
    launch()
    ends()


@pytest.mark.soak
def test_gpu_tasks_ask_for_gpus(cluster, folder, call):
    sweep = ["name=two", "loss=bt_mlp,clf_lgb", "seed=range(4)", *BASE, *SLURM, "wait=true"]
    sweep += ["launcher.gpu=true", "launcher.setup=['echo gpus $CUDA_VISIBLE_DEVICES']"]
    said = call("run", "-m", *sweep, status=1)
    assert "4 of 8 runs done" in said, said  # there is no CUDA behind these GPUs
    on = {
        array.place.device: array
        for array in arrays.submitted_arrays(SweepFolder(folder / "outputs/two"))
    }
    assert set(on) == {"cpu", "cuda"} and on["cuda"].workers == 1
    scripts = {
        device: (folder / f"outputs/two/jobs/submitit/{array.job}_submission.sh").read_text()
        for device, array in on.items()
    }
    assert "#SBATCH --gres=gpu:1" in scripts["cuda"] and "gres" not in scripts["cpu"]
    logs = [
        path.read_text()
        for path in folder.glob(f"outputs/two/jobs/submitit/{on['cuda'].job}_*.out")
    ]
    shown = {found for log in logs for found in re.findall(r"gpus (\d)", log)}
    assert shown == {"0", "1"}, logs
