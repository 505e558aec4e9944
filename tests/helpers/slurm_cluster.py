"""What tests do to the one-node Slurm, and what they ask of it."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from rmsweep.paths import CHECKOUT

START = CHECKOUT / "tests/slurm/start_cluster.sh"
PID_FILES = Path("/run/slurm")
ARRAY_JOB, ARRAY_TASK = b"SLURM_ARRAY_JOB_ID", b"SLURM_ARRAY_TASK_ID"
OURS = b"SLURM_CLUSTER_NAME=local\0"  # in the environment of all that this Slurm runs


def start(**settings):
    """Start Slurm with settings such as MAX_ARRAY_SIZE=4; None, or the reason why it cannot."""
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    # Its daemons keep what they inherit, so their output goes to a file and not into a pipe
    log = Path("/tmp") / f"start_cluster.{os.getpid()}.log"
    with log.open("w+") as output:
        process = subprocess.run(
            [START], env=environment, stdout=output, stderr=output, timeout=600
        )
        output.seek(0)
        said = output.read().strip()
    log.unlink()
    return None if process.returncode == 0 else said


def slurm(*command, refused=False):
    """Run a Slurm command; its output, or the standard error of one that must be refused."""
    process = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert (process.returncode != 0) == refused, process
    return (process.stderr if refused else process.stdout).strip()


def wait_until(holds, seconds=30.0, every=0.1):
    """Wait for the first true answer of holds(), and return it."""
    end = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(every)
    return answer


def sbatch(*arguments, refused=False):
    """Submit a job, and return its id as text."""
    return slurm("sbatch", "--parsable", "--output=/dev/null", *arguments, refused=refused)


def is_refused(*options):
    """Return whether sbatch refuses a job that would wait for ever; cancel one it accepts."""
    command = ["sbatch", "--parsable", "--hold", "--output=/dev/null", *options, "--wrap=true"]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode == 0:
        slurm("scancel", process.stdout.strip())
    return process.returncode != 0


def squeue():
    """Return (task, name, state) of each task in the queue, as ("12_0", "name", "RUNNING")."""
    lines = slurm("squeue", "--array", "--noheader", "--format=%i|%j|%T").splitlines()
    return [tuple(line.split("|")) for line in lines]


def state(task):
    """Return the state of a task in the queue, None once it is gone."""
    return next((its_state for name, _, its_state in squeue() if name == task), None)


def wait_for_state(task, wanted, seconds=30.0):
    wait_until(lambda: state(task) == wanted, seconds)


def sacct(job, steps=False):
    """Return {task or step: (state, exit code)} from accounting, of the last start of each.

    It lags by a second or two. For a while, the task that was split off its array last is listed
    under the number of the array alone.
    """
    only = [] if steps else ["-X"]
    command = ["sacct", *only, "-nP", "--format=JobID,State,ExitCode", "--jobs", str(job)]
    rows = (line.split("|") for line in slurm(*command).splitlines())
    return {task: (its_state, code) for task, its_state, code in rows}


def wait_for_sacct(job, expected, seconds=30.0, steps=False):
    """Wait until accounting says {task or step: (state, exit code)}, and maybe others."""
    wait_until(lambda: expected.items() <= sacct(job, steps).items(), seconds, every=0.3)


def stop(daemon):
    """End slurmctld or slurmd, as an administrator would. Running tasks go on."""
    file = PID_FILES / f"{daemon}.pid"
    process = int(file.read_text())
    os.kill(process, signal.SIGTERM)
    wait_until(lambda: not is_alive(process))


def restart(daemon):
    """Start slurmctld or slurmd again; back when it answers."""
    null = subprocess.DEVNULL
    subprocess.run([daemon], check=True, stdin=null, stdout=null, stderr=null)
    wait_until(lambda: not is_down())


def is_down():
    """Return whether slurmctld does not answer; at once, where squeue tries for 9 seconds."""
    return subprocess.run(["scontrol", "ping"], stdout=subprocess.DEVNULL).returncode != 0


def end_at(task, seconds=0):
    """Move the time limit to so many seconds from now; Slurm looks at limits every 30 s."""
    slurm("scontrol", "update", f"JobId={task}", f"EndTime=now+{seconds}")


def is_confined():
    """Return whether tasks live in cgroups; confinement() in start_cluster.sh says where not."""
    return "task/cgroup" in slurm("scontrol", "show", "config")


def is_alive(process):
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def processes(job, task):
    """Return {process id: command line} of one task of an array: shell, srun, its children."""
    wanted = {ARRAY_JOB + b"=" + str(job).encode(), ARRAY_TASK + b"=" + str(task).encode()}
    commands = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # Some processes end meanwhile, and some may not be looked at even by root
        with contextlib.suppress(OSError):
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                commands[int(folder.name)] = command
    return commands


def pythons(job, task):
    """Return the ids of a task's Python processes, parents first: the task itself leads."""
    commands = processes(job, task)
    programs = {i: Path(command.split(" ")[0]).name for i, command in commands.items()}
    return sorted(i for i, program in programs.items() if program.startswith("python"))


def kill_task(job, task, number=signal.SIGKILL, seconds=30.0):
    """Signal the task's own Python process alone, its workers not; waits until there is one."""
    process = wait_until(lambda: pythons(job, task), seconds)[0]
    os.kill(process, number)
    return process


def requeue(task):
    """Preempt a running task, and let it start again in 2 s, not after CRED_EXPIRE."""
    slurm("scontrol", "requeue", task)
    start_again(task)


def start_again(task, seconds=30.0):
    """Wait for a requeued task to be pending; then cut its delay.

    Not to nothing: slurmd refuses a job ("credential revoked") in the second of its last end.
    """
    wait_for_state(task, "PENDING", seconds)
    slurm("scontrol", "update", f"JobId={task}", "StartTime=now+2")


def warn(task):
    """Send the signal of --signal=USR2@... now, and not shortly before the time limit."""
    slurm("scancel", "--signal=USR2", task)


def fail_node():
    """Take the node down and up: its tasks are NODE_FAIL and, if they may be, requeued."""
    node = slurm("sinfo", "--noheader", "--format=%N", "--partition=main")
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_until(lambda: not any(its_state == "RUNNING" for _, _, its_state in squeue()))
    kill_all_processes()  # else a requeued task could meet its former self, and the node is drained
    # The node may have returned by itself meanwhile; then Slurm refuses to resume it
    resume = ["scontrol", "update", f"NodeName={node}", "State=RESUME"]
    subprocess.run(resume, stderr=subprocess.DEVNULL)
    wait_until(lambda: "down" not in slurm("sinfo", "--noheader", "--format=%T"))


def resume():
    """Undrain the node, as Slurm drains it where a requeued task meets what is left of itself."""
    if slurm("sinfo", "--noheader", "--format=%T", "--partition=main").startswith("drain"):
        node = slurm("sinfo", "--noheader", "--format=%N", "--partition=main")
        slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")


def pull_the_plug():
    """Kill slurmd and all that it started; nobody tells slurmctld."""
    os.kill(int((PID_FILES / "slurmd.pid").read_text()), signal.SIGKILL)
    kill_all_processes()


def kill_all_processes(but=()):
    """Kill all that slurmd started, whatever the job, but for the names to spare."""
    for folder in sorted(Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(OSError):
            name = (folder / "comm").read_text().strip()
            is_ours = name == "slurmstepd" or OURS in (folder / "environ").read_bytes()
            if is_ours and name not in but:
                os.kill(int(folder.name), signal.SIGKILL)


def limit_submitted(n_jobs):
    """Set MaxSubmitJobs of root, above which sbatch refuses an array; -1 is no limit."""
    slurm("sacctmgr", "-Qi", "modify", "user", "root", "set", f"MaxSubmitJobs={n_jobs}")
    # slurmdbd tells slurmctld in a message of its own, which is waited for
    told = "" if n_jobs == -1 else str(n_jobs)
    wait_until(lambda: _max_submit_jobs() == told)


def _max_submit_jobs():
    shown = slurm("scontrol", "-o", "show", "assoc_mgr", "flags=assoc", "users=root")
    of_root = shown.split("UserName=root(")[1].split("MaxSubmitJobs=")[1]
    return of_root.split()[0].split("(")[0] if not of_root[0].isspace() else ""


def settle():
    """Bring Slurm to no job, no limit and an idle node."""
    if squeue():
        slurm("scancel", "--user=root")
        time.sleep(0.2)  # first slurmctld has to know, else it would have failed, and not ended
        # Slurm would give them KillWait seconds, and srun some more
        kill_all_processes(but=["slurmstepd"])
    wait_until(lambda: not squeue(), 60)
    wait_until(lambda: slurm("sinfo", "--noheader", "--format=%T", "--partition=main") == "idle")
    if _max_submit_jobs():
        limit_submitted(-1)
