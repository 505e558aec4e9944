"""What README and CONTRIBUTING tell a reader to type works as written."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
COMMANDS = re.findall(r"`rmsweep ([^`]+)`", README)
SWEEPS = re.findall(r"sweeps=(\w+)", README)


def test_readme_commands_in_order(rmsweep, tmp_path):
    run = [
        c for c in COMMANDS if not {"sweeps=", "DIR", "NAME"} & set(re.findall("sweeps=|[A-Z]+", c))
    ]
    assert len(run) >= 6
    for command in run:
        assert rmsweep(*shlex.split(command)).stdout
    assert (tmp_path / "outputs/first/runs").is_dir()


def test_cache_that_the_readme_writes(rmsweep, tmp_path):
    (command,) = (c for c in COMMANDS if c.startswith("cache synthesize"))
    rmsweep(*shlex.split(command.replace("DIR", str(tmp_path / "cache"))))
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 4


@pytest.mark.parametrize("name", ["rbt_fig1", "rbt_fig16", "rbt_fig20", "normbt"])
def test_published_figures_plan_without_data(rmsweep, name):
    assert name in SWEEPS
    assert "runs" in rmsweep("run", "-m", f"sweeps={name}", "precision=bf16", "--plan").stdout


def test_every_sweep_that_the_readme_names_exists():
    assert set(SWEEPS) <= {file.stem for file in (ROOT / "sweeps").glob("*.yaml")}


def test_the_loss_of_contributing(rmsweep, tmp_path):
    block = CONTRIBUTING.partition("## Add a loss")[2].partition("\n`batch` is")[0]
    lines = [line[4:] for line in block.splitlines() if line.startswith("    ")]
    text = "\n".join(lines)
    code, yaml = re.search(
        r"# mylosses.py\n(.*?)# myconf/loss/hinge.yaml\n(.*?)rmsweep", text, re.S
    ).groups()
    (tmp_path / "mylosses.py").write_text(code)
    (tmp_path / "myconf/loss").mkdir(parents=True)
    (tmp_path / "myconf/loss/hinge.yaml").write_text(yaml)
    for line in lines:
        if line.startswith("rmsweep "):
            out = rmsweep(*shlex.split(line)[1:]).stdout
    assert "hinge" in out and "bt_mlp" in out
