"""What import-linter does not see: which commands load torch, and when."""

import ast
import subprocess
import sys

from rmsweep.paths import CHECKOUT

PACKAGE = CHECKOUT / "rmsweep"
FACE = {"__version__", "load"}  # what `import rmsweep` offers
HEAVY = ("torch", "hydra", "lightgbm", "sklearn")
READERS = (
    "rmsweep",
    "rmsweep.analysis.claims",
    "rmsweep.analysis.contrasts",
    "rmsweep.analysis.figures.rbt_pairings",
    "rmsweep.analysis.figures.theory",
    "rmsweep.analysis.figures.write",
    "rmsweep.analysis.report.page",
    "rmsweep.analysis.tables",
    "rmsweep.cli.main",
    "rmsweep.launch.status",
    "rmsweep.results.dataset",
)


def printed_by(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_init_files_are_empty_but_for_the_face_of_the_package():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert path.read_text() == "", f"{path} holds code that each import would run"
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    names = [
        node.targets[0].id if isinstance(node, ast.Assign) else node.name
        for node in body[1:]
        if not isinstance(node, ast.ImportFrom)  # what that loads is seen below
    ]
    assert set(names) <= FACE and "__version__" in names


def test_what_reads_results_loads_no_engine():
    """One process imports one module after the other, and says after which an engine was there."""
    code = f"""
import importlib, sys
for name in {READERS}:
    importlib.import_module(name)
    print(name, *({set(HEAVY)} & set(sys.modules)))
"""
    assert printed_by(code).splitlines() == list(READERS)


def test_a_launch_has_its_pool_load_torch_before_it_does_so_itself():
    code = "import sys, rmsweep.launch.run_sweep, rmsweep.launch.slurm.task;"
    code += "print('torch' in sys.modules)"
    assert printed_by(code) == "False\n", "a launch waits for torch twice, one time after the other"


def test_commands_start_without_what_draws_and_sets_pages():
    code = "import sys, rmsweep.cli.main; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    assert printed_by(code) == "set()\n", "`rmsweep list` would wait for it"
