"""Imports go down only (the levels of DESIGN section 9); what reads results needs no torch."""

import ast
import subprocess
import sys

import pytest

from rmsweep.paths import CHECKOUT

PACKAGE = CHECKOUT / "rmsweep"
LEVELS = (
    "objectives pairing annotation best_of_n ensembling statistics classical theory typed machine "
    "stopping scheduler lock naming arguments progress parquet",
    "losses protocols rewardbench calibration provenance tracking",
    "rules",
    "spec cache reward_models diagnostics launchers",
    "results streams compose cells cost",
    "inputs resident named_code",
    "annotating predicting run_pairs claim_files jobs",
    "fitting",
    "judging status contrasts",
    "scoring",
    "saved_models",
    "execute status_view",
    "sweep dispatch tables table_formats claims",
    "figures slurm reproduce",
    "plan task report verify mirror built_options cache_jobs cache_build_arguments",
    "starting ending",
    "launch relaunch single cache_build",
    "cache_commands result_commands sweep_commands text_demo",
    "cli",
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names.split()}
SIDEWAYS = {("tables", "table_formats"), ("claims", "table_formats")}  # one job in two files
READERS = "tables contrasts claims results cli figures.making figures.pairings figures.theory "
READERS += "report.page status"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def unit(path):
    """A module of the package, or the package within it that holds it."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Modules and packages of rmsweep that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module.split(".")
            if module == ["rmsweep"]:
                found |= {alias.name for alias in node.names}
            elif module[0] == "rmsweep":
                found.add(module[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] for name in names if name[0] == "rmsweep" and name[1:]}
    return found - {"__version__", "load"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    here = unit(path)
    assert here in LEVEL, "give the module its level above"
    for other in imported(path) - {here}:
        is_lower = LEVEL[other] < LEVEL[here]
        assert is_lower or (here, other) in SIDEWAYS, f"{here} imports {other}"


def test_init_files_are_empty_but_for_version_and_load():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert path.read_text() == "", path
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    names = [
        node.targets[0].id if isinstance(node, ast.Assign) else getattr(node, "name", None)
        for node in body[1:]
    ]
    assert set(names) <= {"__version__", "load"} and "__version__" in names


@pytest.mark.parametrize(
    "module",
    ["rmsweep", *(f"rmsweep.{name}" for name in READERS.split())],
)
def test_reading_results_imports_no_engine(module):
    heavy = {"torch", "hydra", "lightgbm", "sklearn"}
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_launch_has_its_pool_import_torch_before_it_does_so_itself():
    code = "import sys, rmsweep.launch.run_sweep, rmsweep.launch.slurm.task;"
    code += "print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
