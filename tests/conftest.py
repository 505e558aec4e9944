"""What the end-to-end tests share: the installed command, in a folder of its own, on tiny data."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers.commands import RMSWEEP
from hydra.core.global_hydra import GlobalHydra

from rmsweep.cli import main


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several processes a file's tests stay in one, and all that use Slurm in one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return "slurm" if path.startswith("tests/slurm/") else path

    return ByFile(config, log)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and a process as the command finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGPIPE)
    yield tmp_path
    signal.signal(signal.SIGPIPE, before)
    GlobalHydra.instance().clear()


def tree(root):
    """All files and folders under root, with their bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.fixture
def refused(here, capfd):
    """refused(arguments, *words): exit status 2, a line on stderr with the words, no trace."""

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
    """As rmsweep, in this process: for commands of which another test starts the installed one."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments, status=0):
        with pytest.raises(SystemExit) as end:
            main.main([str(argument) for argument in arguments])
        said = SimpleNamespace(**dict(zip(("stdout", "stderr"), capfd.readouterr(), strict=True)))
        assert (end.value.code or 0) == status, said
        return said

    return call


@pytest.fixture
def rmsweep(tmp_path):
    """rmsweep(arguments...): runs the installed command in tmp_path, expects an exit status."""

    def call(*arguments, status=0, timeout=300, **environment):
        found = subprocess.run(
            [RMSWEEP, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert found.returncode == status, found.stdout + found.stderr
        return found

    return call


@pytest.fixture
def tiny():
    """Overrides of a run that takes milliseconds."""
    shape = {"train_prompts": 40, "train_responses": 3, "test_prompts": 12, "test_responses": 6}
    shape |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
    source = [f"dataset.synthetic.{name}={value}" for name, value in shape.items()]
    return [*source, "quantity=30", "training.max_epochs=3"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The dataset of the small sweep in one go."""
    from helpers.small_sweep import PATIENCE_S, dataset, launch

    root = tmp_path_factory.mktemp("undisturbed")
    out, err = launch(root).communicate(timeout=PATIENCE_S)
    assert "24 of 24 runs done" in out, out + err
    return dataset(root)


@pytest.fixture
def not_root(tmp_path, monkeypatch):
    """In tmp_path, a folder of ours, as a user whom permissions bind, also where root tests."""
    monkeypatch.chdir(tmp_path)
    was = os.geteuid()
    if was == 0:
        os.chown(tmp_path, 65534, -1)
        os.seteuid(65534)
    yield
    for folder, _, _ in os.walk("."):
        os.chmod(folder, 0o755)
    os.seteuid(was)
