"""Keys and numbers that users already have stay theirs: a change is made on purpose, and said."""

import json
import re
from pathlib import Path

import keys
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

from rmsweep import machine, provenance
from rmsweep.spec import SEMANTICS

CHANGELOG = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
TOLERANCE = 0.02  # of max(1, |number|), with other versions or on another CPU


@pytest.fixture(autouse=True)
def no_hydra_left():
    yield
    GlobalHydra.instance().clear()


def test_keys_change_only_with_semantics():
    semantics, committed = keys.read_keys()
    assert len(committed) == len({key for *_, key in committed}) == 200
    assert semantics == SEMANTICS, "SEMANTICS was raised: `python tests/keys.py` writes both tables"
    made = keys.keys()
    changed = [
        f"{a[0]}: {a[1:]} was {b[1:]}" for a, b in zip(made, committed, strict=True) if a != b
    ]
    assert not changed, (
        f"{len(changed)} keys changed, so that results that users have would be computed again: "
        f"raise SEMANTICS and say so in CHANGELOG.md, or keep them; {changed[:3]}"
    )


def test_the_changelog_says_what_semantics_is():
    said = [int(number) for number in re.findall(r"SEMANTICS = (\d+)", CHANGELOG)]
    assert said and max(said) == SEMANTICS, "CHANGELOG.md must say what changed with SEMANTICS"


def test_tiny_runs_have_their_numbers():
    """Bit for bit with the versions and the CPU model of the committed ones."""
    committed = json.loads(keys.TINY_RUNS.read_text())
    origin, runs = committed["origin"], committed["runs"]
    assert len(runs) == 20 and origin["semantics"] == SEMANTICS
    here = provenance.versions()
    is_alike = origin["cpu"] == machine.cpu()
    is_alike &= all(origin["versions"][name] == here[name] for name in provenance.NUMERIC)
    made = keys.tiny_runs()
    assert made.keys() == runs.keys()
    for asked, was in runs.items():
        now = made[asked]
        assert now["key"] == was["key"], asked
        for name in was.keys() - {"key"}:
            if is_alike:
                assert now[name] == was[name], (asked, name)
            elif was[name] is not None:
                before, after = np.array(was[name]), np.array(now[name])
                near = np.abs(after - before) <= TOLERANCE * np.maximum(1, np.abs(before))
                assert near.all() or name == "epochs", (asked, name)
