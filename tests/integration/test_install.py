"""tests/helpers/install.sh on a made-up fresh machine, with a stand-in for apt-get."""

import os
import shutil
import subprocess

import pytest

from rmsweep.paths import CHECKOUT

INSTALL = CHECKOUT / "tests/helpers/install.sh"
TOOLS = ("bash", "cat", "flock", "grep", "mkdir", "mktemp", "rm", "rmdir", "sleep", "tail", "tr")
PROGRAMS = ("slurmctld", "slurmdbd", "munged", "mariadbd", "chromium", "pdflatex", "gcc")

# Like the real one, `update` gives up at once where another apt-get updates.
APT_GET = """#!/bin/bash
cd "$MACHINE"
echo "$*" >>calls
case "$*" in
*update*)
  mkdir lists_lock 2>/dev/null || { echo "E: Could not get lock lists/lock" >&2; exit 100; }
  sleep 0.2
  rmdir lists_lock;;
*install*)
  for program in $PROGRAMS; do printf '#!/bin/bash\\n' >"bin/$program"; done
  /bin/chmod +x bin/*;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A folder whose bin/ has the tools that install.sh calls, root as user, and that apt-get."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    program(tmp_path, "id", "#!/bin/bash\necho 0\n")
    program(tmp_path, "apt-get", APT_GET)
    return tmp_path


def program(machine, name, text):
    (machine / "bin" / name).write_text(text)
    (machine / "bin" / name).chmod(0o755)


def start(machine):
    """Start install.sh with a PATH that has nothing else."""
    environment = {"PATH": str(machine / "bin"), "TMPDIR": str(machine), "RETRY_S": "0.05"}
    environment |= {"MACHINE": str(machine), "PROGRAMS": " ".join(PROGRAMS)}
    command = [shutil.which("bash"), INSTALL]
    return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True)


def install(machine):
    process = start(machine)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return out


def calls(machine):
    path = machine / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_one_line_says_what_is_installed_and_why(machine):
    out = install(machine)
    assert out == (
        f"tests need {' '.join(PROGRAMS)}; installing with apt-get (10 packages, about 3 minutes)\n"
    )
    update, installation = calls(machine)
    assert "chromium fonts-dejavu-core" in installation and "slurm-wlm" in installation
    assert install(machine) == "", "a second time all is there"
    assert calls(machine) == [update, installation]


def test_only_what_is_absent_is_installed(machine):
    for name in PROGRAMS[1:]:
        program(machine, name, "#!/bin/bash\n")
    assert "tests need slurmctld; installing with apt-get (1 packages" in install(machine)
    assert calls(machine)[-1].endswith("--no-install-recommends slurm-wlm")


def test_two_at_once_both_succeed(machine):
    """The reason why a fresh machine had no Slurm: the second `apt-get update` gave up."""
    both = [start(machine) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert not any("cannot be installed" in out for out, _ in said), said
    assert len(calls(machine)) == 2, "the one that waited found all installed"


def test_it_waits_for_an_update_that_is_not_ours(machine):
    (machine / "lists_lock").mkdir()
    process = start(machine)
    while len(calls(machine)) < 3:
        assert process.poll() is None, process.communicate()
    (machine / "lists_lock").rmdir()
    out, err = process.communicate(timeout=60)
    assert "cannot be installed" not in out + err and calls(machine)[-1].endswith("gcc libc6-dev")


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("apt-get", None, "there is no apt-get"),
        ("id", "#!/bin/bash\necho 1000\n", "not root; run 'apt-get install slurm-wlm "),
        ("apt-get", "#!/bin/bash\necho no network; exit 100\n", "apt-get failed: no network"),
        ("apt-get", "#!/bin/bash\n", "apt-get installed other packages"),
    ],
    ids=["no_apt_get", "not_root", "no_network", "other_packages"],
)
def test_where_it_cannot_it_says_why_and_goes_on(name, text, reason, machine):
    (machine / "bin" / name).unlink()
    if text:
        program(machine, name, text)
    last = install(machine).splitlines()[-1]
    assert last.startswith("tests need slurmctld ") and reason in last


def test_make_test_installs_before_it_tests():
    plan = subprocess.run(
        ["make", "--dry-run", "test"], cwd=CHECKOUT, env=os.environ, capture_output=True, text=True
    ).stdout
    assert plan.index("tests/helpers/install.sh") < plan.index("-m pytest")
