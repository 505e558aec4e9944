"""One launch at a time, whatever two processes do between each other's steps."""

import contextlib
import datetime
import json
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from rmsweep.launch import lock
from rmsweep.launch.lock import holder, only_launch
from rmsweep.launch.slurm import cache_jobs, scheduler
from rmsweep.paths import LaunchFolder, SweepFolder

PATIENCE_S = 60
STEPS = {"open", "fcntl.flock", "os.link", "os.remove", "os.rename", "os.truncate"}
HOST = platform.node()


@pytest.fixture(scope="module")
def processes():
    """The way to start processes that need not import all of pytest again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "rmsweep.launch.lock"])
    return context


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    return gone.pid


def write(folder, **said):
    """Write the record that another launch would have left."""
    folder.mkdir(exist_ok=True)
    (folder / ".launch").write_text(json.dumps({"host": HOST} | said))
    return folder / ".launch"


def assert_taken(folder):
    """Launch: the record is ours meanwhile, and removed in the end."""
    record = folder / ".launch"
    with only_launch(SweepFolder(folder)):
        assert json.loads(record.read_text())["pid"] == os.getpid()
    assert not record.exists()


def assert_refused(folder, *words):
    """Launch: it is refused in these words, and nothing is changed."""
    record = folder / ".launch"
    before = record.read_bytes()
    with pytest.raises(ValueError, match="another launch of this sweep runs") as refusal:
        with only_launch(SweepFolder(folder)):
            pass
    assert all(word in str(refusal.value) for word in (*words, str(record))), refusal.value
    assert record.read_bytes() == before


# ---- two launches, of which one goes on between any two steps of the other


def contend(folder, driver, host, flock_is_shared):
    """Launch once, and wait for the driver before each step that touches a file of the lock."""

    def wait(event, args):
        if event in STEPS and (event == "fcntl.flock" or ".launch" in str(args[0])):
            driver.send("waits")
            driver.recv()

    platform.node = lambda: host
    if not flock_is_shared:  # each host has a flock of its own, as with NFS's local_lock=flock
        lock.FileLock = lambda path, **how: FileLock(f"{path}.{host}", **how)
    sys.addaudithook(wait)
    driver.recv()
    try:
        with only_launch(SweepFolder(folder)):
            driver.send("holds")
            driver.recv()
        driver.send("ended")
    except ValueError:
        driver.send("refused")


class Contender:
    """A launch in a process of its own, which goes one step at a time."""

    def __init__(self, processes, folder, host=HOST, flock_is_shared=True):
        self.driver, end = processes.Pipe()
        arguments = (folder, end, host, flock_is_shared)
        self.process = processes.Process(target=contend, args=arguments, daemon=True)
        self.process.start()
        end.close()
        self.state = "waits"

    def step(self):
        if not self.is_over():
            self.driver.send("go")
            assert self.driver.poll(PATIENCE_S), "a launch is stuck"
            self.state = self.driver.recv()

    def take(self):
        """Go on until the lock is held or refused."""
        while self.state == "waits":
            self.step()

    def is_over(self):
        return self.state in ("ended", "refused")

    def end(self):
        while not self.is_over():
            self.step()
        self.process.join(PATIENCE_S)


def test_two_launches_that_interrupt_each_other_do_not_both_take_a_stale_lock(
    tmp_path, processes, dead
):
    for i in range(8):
        for j in range(8):
            folder = tmp_path / f"{i}-{j}"
            write(folder, pid=dead)
            one, other = (Contender(processes, folder) for _ in range(2))
            for launch, n_steps in ((one, i), (other, j)):
                for _ in range(n_steps):
                    if launch.state == "waits":
                        launch.step()
            one.take()
            other.take()
            states = sorted([one.state, other.state])
            one.end()
            other.end()
            assert states == ["holds", "refused"], f"after {i} and {j} steps"


@pytest.mark.parametrize("flock_is_shared", [True, False])
def test_of_four_launches_on_two_hosts_never_two_hold_the_lock(
    flock_is_shared, tmp_path, processes, dead
):
    n_held = {HOST: 0, "elsewhere": 0}
    for seed in range(20):
        folder, rng = tmp_path / str(seed), random.Random(seed)
        write(folder, pid=dead)
        hosts = [HOST, HOST, "elsewhere", "elsewhere"]
        launches = [Contender(processes, folder, host, flock_is_shared) for host in hosts]
        while not all(launch.is_over() for launch in launches):
            before = [launch.state for launch in launches]
            chosen = rng.randrange(4)
            for _ in range(rng.randrange(1, 8)):
                launches[chosen].step()
                after = [launch.state for launch in launches]
                assert after.count("holds") <= 1, f"seed {seed}: {before}, then {after}"
                n_held[hosts[chosen]] += after[chosen] == "holds"
        for launch in launches:
            launch.end()
        assert_taken(folder)  # also where all four were refused, each while another one looked
    assert all(n_held.values()), n_held


def launch_often(folder, log, n_rounds, seed):
    """Launch until the lock was held n_rounds times; every second holder is killed."""
    rng = random.Random(seed)
    for i in range(n_rounds):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        while True:
            with contextlib.suppress(ValueError), only_launch(SweepFolder(folder)):
                os.write(log, b"takes\n")
                time.sleep(0.002 * rng.random())
                os.write(log, b"leaves\n")
                if i % 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                break
            time.sleep(0.005 * rng.random())
        os._exit(0)


def start_often(folder, path, n_rounds, seed):
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    launch_often(folder, log, n_rounds, seed)


def test_of_many_launches_of_which_half_are_killed_never_two_hold_the_lock(tmp_path, processes):
    log = tmp_path / "log"
    log.touch()
    launches = [
        processes.Process(target=start_often, args=(tmp_path / "sweep", log, 20, seed))
        for seed in range(8)
    ]
    for launch in launches:
        launch.start()
    for launch in launches:
        launch.join(2 * PATIENCE_S)
    assert [launch.exitcode for launch in launches] == [0] * 8
    assert log.read_text() == "takes\nleaves\n" * 8 * 20


# ---- who holds it


def test_another_process_reads_who_holds_the_lock_and_since_when(tmp_path, processes):
    launch = Contender(processes, tmp_path)
    assert holder(SweepFolder(tmp_path)) is None
    launch.take()
    said = holder(SweepFolder(tmp_path))
    assert (said["pid"], said["host"], said["runs"]) == (launch.process.pid, HOST, True)
    began = datetime.datetime.fromisoformat(said["since"])
    assert abs(datetime.datetime.now(datetime.UTC) - began).total_seconds() < PATIENCE_S
    assert lock.is_here(said)
    assert_refused(tmp_path, f"process {launch.process.pid} on {HOST}")
    launch.end()
    assert holder(SweepFolder(tmp_path)) is None
    assert_taken(tmp_path)


def test_the_lock_of_a_killed_process_is_taken_over_without_a_word(tmp_path, processes, capfd):
    launch = Contender(processes, tmp_path)
    launch.take()
    launch.process.kill()
    launch.process.join(PATIENCE_S)
    assert (tmp_path / ".launch").exists() and holder(SweepFolder(tmp_path)) is None
    assert_taken(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_the_lock_of_a_zombie_is_taken_over(tmp_path):
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
    write(tmp_path, pid=zombie.pid, started="1")
    assert holder(SweepFolder(tmp_path)) is None
    assert_taken(tmp_path)
    zombie.wait()


def test_the_lock_of_a_living_process_is_left(tmp_path):
    write(tmp_path, pid=os.getppid())  # as an older rmsweep, which holds no flock, writes it
    assert_refused(tmp_path, f"process {os.getppid()} on {HOST}")
    write(tmp_path, pid=os.getppid(), started=lock.start_of_process(os.getppid()))
    assert_refused(tmp_path, f"process {os.getppid()} on {HOST}")


def test_a_process_whose_id_another_process_has_now_holds_nothing(tmp_path):
    write(tmp_path, pid=os.getppid(), started="1")
    assert holder(SweepFolder(tmp_path)) is None
    assert_taken(tmp_path)
    write(tmp_path, pid=os.getpid(), started=lock.start_of_process(os.getpid()))
    assert_taken(tmp_path)  # it could not be removed, and this process launches once more


def test_the_lock_of_another_host_says_so(tmp_path, dead):
    write(tmp_path, pid=dead, host="elsewhere")
    assert_refused(tmp_path, f"process {dead} on elsewhere", "delete")
    assert holder(SweepFolder(tmp_path))["host"] == "elsewhere" and not lock.is_here(
        holder(SweepFolder(tmp_path))
    )


def test_one_process_holds_the_lock_once(tmp_path):
    with only_launch(SweepFolder(tmp_path)):
        assert_refused(tmp_path, f"process {os.getpid()} on {HOST}")


def test_a_build_that_is_refused_is_told_of_a_build(tmp_path, monkeypatch):
    """Another one may be about to submit its tasks."""
    monkeypatch.setattr(scheduler, "max_array_size", lambda: 1001)  # without a Slurm
    shards, build = [(0, 1)], LaunchFolder(tmp_path)
    with only_launch(build):
        with pytest.raises(ValueError, match="^another build of this cache runs .process ") as said:
            cache_jobs.submit_stages(build, ["embeddings"], shards, None, None)
    assert str(tmp_path / ".launch") in str(said.value)


def test_the_clock_does_not_matter(tmp_path, dead):
    for second in (0, 2**33):
        os.utime(write(tmp_path, pid=dead), (second, second))
        assert_taken(tmp_path)
        os.utime(write(tmp_path, pid=os.getppid()), (second, second))
        assert_refused(tmp_path, f"process {os.getppid()}")
        (tmp_path / ".launch").unlink()


# ---- records and folders that are not as they should be


@pytest.mark.parametrize("text", ["[1, 2", "[1, 2]", "null", "{}", '{"pid": 3}', '{"pid": 3, "ho'])
def test_a_damaged_record_is_named(text, tmp_path):
    (tmp_path / ".launch").write_text(text)
    with pytest.raises(ValueError, match=r"\.launch is no lock file; delete it if no launch runs"):
        with only_launch(SweepFolder(tmp_path)):
            pass
    with pytest.raises(ValueError, match="no lock file"):
        holder(SweepFolder(tmp_path))
    assert (tmp_path / ".launch").read_text() == text


def test_an_empty_record_may_be_that_of_a_launch_elsewhere(tmp_path):
    (tmp_path / ".launch").touch()
    os.utime(tmp_path / ".launch", (0, 0))
    assert holder(SweepFolder(tmp_path)) is None
    assert_refused(tmp_path, "a process that has not said its name", "delete")


def test_a_record_that_may_not_be_read_is_named(not_root):
    write(Path("sweep"), pid=1).chmod(0)
    for read in (lambda folder: holder(SweepFolder(folder)), assert_taken):
        with pytest.raises(PermissionError, match=r"sweep/\.launch'"):
            read(Path("sweep"))


@pytest.mark.parametrize("launches_before", [0, 1])
def test_a_folder_that_may_not_be_written_is_named(launches_before, not_root):
    folder = Path("sweep")
    folder.mkdir()
    for _ in range(launches_before):
        assert_taken(folder)
    folder.chmod(0o555)
    with pytest.raises(PermissionError, match=r"sweep/\.launch"), only_launch(SweepFolder(folder)):
        pass


def test_who_may_write_the_folder_may_launch_after_another_user(tmp_path):
    for mode in (0o755, 0o775, 0o777):
        folder = tmp_path / oct(mode)
        folder.mkdir()
        folder.chmod(mode)
        assert_taken(folder)
        assert (folder / ".launch.lock").stat().st_mode & 0o777 == mode & 0o666
