"""What tests share: the command, installed or in this process, in a folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest
from filelock import FileLock
from helpers.commands import RMSWEEP
from helpers.small_sweep import PATIENCE_S, dataset, launch
from hydra.core.global_hydra import GlobalHydra

from rmsweep.cli import main


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep a file's tests in one process, and all that use Slurm in one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return "slurm" if path.startswith("tests/slurm/") else path

    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """Put the tests on Slurm first: they wait most of the time, while others compute."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/slurm/"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder, and leave the process as the command found it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGPIPE)
    yield tmp_path
    signal.signal(signal.SIGPIPE, before)
    GlobalHydra.instance().clear()


def tree(root):
    """Return all files and folders under root, with the bytes of the files."""
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.fixture
def refused(here, capfd):
    """Return refused(arguments, *words), which asserts that the command is refused, traceless.

    It ends with status 2 and one line on stderr, which has the words; no file is changed.
    """

    def call(arguments, *words):
        before = tree(here)
        with pytest.raises(SystemExit) as stop:
            main.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert stop.value.code == 2, f"{stop.value.code}\n{out}{err}"
        lines = err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("rmsweep"), err
        assert all(word in lines[0] for word in words), err
        assert "Traceback" not in out + err
        assert tree(here) == before

    return call


@pytest.fixture
def inside(here, capfd, monkeypatch):
    """Return inside(*arguments, status=0), which runs the command in this process; its output.

    Use it where another test starts the installed command: that takes seconds, to import torch.
    """
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments, status=0):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main.main([str(argument) for argument in arguments])
        GlobalHydra.instance().clear()
        said = SimpleNamespace(**dict(zip(("stdout", "stderr"), capfd.readouterr(), strict=True)))
        assert (end.value.code or 0) == status, said
        return said

    return call


@pytest.fixture
def rmsweep(tmp_path):
    """Return rmsweep(*arguments, status=0), which runs the installed command; its output."""

    def call(*arguments, status=0, timeout=300, **environment):
        process = subprocess.run(
            [RMSWEEP, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert process.returncode == status, process.stdout + process.stderr
        return process

    return call


@pytest.fixture
def tiny():
    """Return overrides of a run that takes milliseconds."""
    shape = {"train_prompts": 40, "train_responses": 3, "test_prompts": 12, "test_responses": 6}
    shape |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
    source = [f"dataset.synthetic.{name}={value}" for name, value in shape.items()]
    return [*source, "quantity=30", "training.max_epochs=3"]


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory):
    """Return a folder whose outputs/small is the small sweep, made once in a test run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which the processes of a test run share
    root = base / "small_sweep"
    with FileLock(base / "small_sweep.lock"):
        if not root.exists():
            make = base / "small_sweep_unfinished"
            make.mkdir()
            out, err = launch(make).communicate(timeout=PATIENCE_S)
            assert "24 of 24 runs done" in out, out + err
            make.rename(root)
    return root


@pytest.fixture(scope="session")
def undisturbed(small_sweep):
    """Return the dataset of the small sweep, made in one go."""
    return dataset(small_sweep)


@pytest.fixture
def small(small_sweep, here):
    """Work in a folder with a copy of the small sweep, in outputs/small; the folder's path."""
    shutil.copytree(small_sweep / "outputs", here / "outputs")
    return here


@pytest.fixture
def not_root(monkeypatch):
    """Work in an empty folder, as a user whom permissions bind, also where root tests."""
    was = os.geteuid()
    with tempfile.TemporaryDirectory() as path:  # others may not enter the folders above tmp_path
        with monkeypatch.context() as here:
            here.chdir(path)
            if was == 0:
                os.chown(path, 65534, -1)
                os.seteuid(65534)
            yield
            for folder, _, _ in os.walk("."):
                os.chmod(folder, 0o755)
            os.seteuid(was)
