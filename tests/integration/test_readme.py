"""What README and docs/ tell a reader to type works as written (more: test_docs_commands.py)."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from rmsweep.paths import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
ADD_A_LOSS = (CHECKOUT / "docs/add-a-loss.md").read_text()
COMMANDS = re.findall(r"`rmsweep ([^`]+)`", README)
SWEEPS = re.findall(r"sweeps=(\w+)", README)


@pytest.mark.soak  # tests/integration/test_docs_commands.py has them one by one, on tiny data
def test_readme_commands_in_order(rmsweep, tmp_path):
    run = [
        c for c in COMMANDS if not {"sweeps=", "DIR", "NAME"} & set(re.findall("sweeps=|[A-Z]+", c))
    ]
    assert len(run) >= 6
    for command in run:
        assert rmsweep(*shlex.split(command)).stdout
    assert (tmp_path / "outputs/first/runs").is_dir()


def test_cache_that_the_readme_writes(inside, tmp_path):
    (command,) = (c for c in COMMANDS if c.startswith("cache synthesize"))
    inside(*shlex.split(command.replace("DIR", str(tmp_path / "cache"))))
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 4


def test_every_sweep_that_the_readme_names_exists():
    assert set(SWEEPS) <= {file.stem for file in (CHECKOUT / "sweeps").glob("*.yaml")}


def test_add_a_loss_as_written(rmsweep, inside, tmp_path):
    block = ADD_A_LOSS.partition("\nEvery field of the yaml")[0]
    lines = [line[4:] for line in block.splitlines() if line.startswith("    ")]
    commands = [line for line in lines if line.startswith("rmsweep ")]
    text = "\n".join(line for line in lines if line not in commands)
    code, yaml = re.search(
        r"# mylosses.py\n(.*)# myconf/loss/squared.yaml\n(.*)", text, re.S
    ).groups()
    assert len((code + yaml).splitlines()) <= 10
    (tmp_path / "mylosses.py").write_text(code)
    (tmp_path / "myconf/loss").mkdir(parents=True)
    (tmp_path / "myconf/loss/squared.yaml").write_text(yaml)
    assert len(commands) == 4
    words = [shlex.split(command)[1:] for command in commands]
    said = [(rmsweep if i == 2 else inside)(*words[i]).stdout for i in range(4)]
    assert "squared" in said[1] and "bt_mlp" in said[1]
    assert "2 of 2 runs done" in said[2]
    listed = inside("list", "loss", "--config-dir", "myconf").stdout
    assert yaml.partition("\n")[0].removeprefix("# ") in listed


def test_the_page_of_losses_is_up_to_date(tmp_path):
    made = subprocess.run(
        [sys.executable, CHECKOUT / "tools/losses.py"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert made.stdout == (CHECKOUT / "docs/losses.md").read_text(), "run `make docs`"
    for path in (CHECKOUT / "conf/loss").glob("*.yaml"):
        assert f"\n## {path.stem}\n" in made.stdout
        assert path.read_text().startswith("# ")


def test_the_readme_counts_the_losses():
    n_more = int(re.search(r"\[(\d+) more\]\(docs/losses.md\)", README)[1])
    assert len(list((CHECKOUT / "conf/loss").glob("*.yaml"))) == n_more + 4
