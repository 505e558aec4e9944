"""The built wheel, installed into a virtual environment of its own, works from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from rmsweep.paths import CHECKOUT

IN_THE_BUILD = ("pyproject.toml", "README.md", "LICENSE", "rmsweep", "conf", "sweeps", "claims")


def call(*command, cwd):
    """Its output; no PYTHONPATH, so that the checkout is not found."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy so that the checkout stays as it is."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    for name in IN_THE_BUILD:
        if (CHECKOUT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, copy / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out]
    call(*build, copy, cwd=copy)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def binaries(wheel, tmp_path_factory):
    """bin/ of an environment with the wheel; the dependencies are those of this one."""
    root = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", root, cwd=root)
    python = root / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(call(python, "-c", ask, cwd=root).strip())
    here = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    call(*here, "--quiet", wheel, cwd=root)
    # A folder that a .pth file names is not searched for .pth files: the checkout stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "bin"


def test_the_wheel_holds_what_is_composed(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("rmsweep", "conf", "sweeps", "claims"):
        at = "" if folder == "rmsweep" else "rmsweep/"
        for path in (CHECKOUT / folder).rglob("*.*"):
            if path.suffix in (".py", ".yaml", ".j2", ".css", ".js"):
                assert f"{at}{path.relative_to(CHECKOUT)}" in names
    assert not [
        name for name in names if name.startswith(("tests", "outputs", "conf", "sweeps", "claims"))
    ]


def test_the_installed_wheel_works_elsewhere(binaries, tiny, tmp_path):
    rmsweep = binaries / "rmsweep"
    where = call(binaries / "python", "-c", "import rmsweep; print(rmsweep.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(binaries.parent)
    assert "rbt_full" in call(rmsweep, "list", cwd=tmp_path)
    assert "normbt" in call(rmsweep, "run", "--help", cwd=tmp_path)
    sweep = ["run", "-m", "loss=bt_mlp,clf_lgb", "seed=0,1", "name=small", *tiny]
    assert "4 of 4 runs done" in call(rmsweep, *sweep, cwd=tmp_path)
    said = call(rmsweep, "report", "small", cwd=tmp_path)
    page = tmp_path / "outputs/small/report.html"
    assert "4 of 4 runs done" in page.read_text() and str(page.relative_to(tmp_path)) in said
    plan = call(rmsweep, "run", "-m", "sweeps=rbt_fig1", "--plan", cwd=tmp_path)
    assert "sweep rbt_fig1: 180 runs" in plan
    found = call(rmsweep, "claims", "small", cwd=tmp_path)
    assert "CLF-MLP" in found and "NormBT" in found
    assert os.listdir(tmp_path) == ["outputs"]
