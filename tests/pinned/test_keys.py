"""Keys and numbers that users already have stay theirs: a change is made on purpose, and said."""

import json
import re

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from pinned import keys

from rmsweep import machine, provenance
from rmsweep.config.spec import SEMANTICS
from rmsweep.paths import CHECKOUT
from rmsweep.results import schema

CHANGELOG = (CHECKOUT / "CHANGELOG.md").read_text()
TOLERANCE = 0.02  # of max(1, |number|), with other versions or on another CPU


@pytest.fixture(autouse=True)
def no_hydra_left():
    yield
    GlobalHydra.instance().clear()


def test_keys_change_only_with_semantics():
    semantics, committed = keys.read_keys()
    assert len(committed) == len({key for *_, key in committed}) >= 200
    assert semantics == SEMANTICS, (
        "SEMANTICS was raised: `python tests/pinned/keys.py` writes both tables"
    )
    made = keys.keys()
    assert len(made) == len(committed), (
        "`python tests/pinned/keys.py` adds what is new to the tables"
    )
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


def test_fingerprints_of_files_are_those_that_keys_hold():
    """A file's fingerprint is in every key of its runs; the large cache's blocks are sampled."""
    assert keys.fingerprints() == json.loads(keys.TINY_RUNS.read_text())["fingerprints"]


def test_tiny_runs_have_their_numbers():
    """Bit for bit with the versions and the CPU model of the committed ones."""
    committed = json.loads(keys.TINY_RUNS.read_text())
    origin, runs = committed["origin"], committed["runs"]
    assert len(runs) >= 20 and origin["semantics"] == SEMANTICS
    here = provenance.versions()
    is_alike = origin["cpu"] == machine.cpu()
    is_alike &= all(origin["versions"][name] == here[name] for name in provenance.NUMERIC)
    made = keys.tiny_runs()
    assert made.keys() == runs.keys()
    for asked, was in runs.items():
        now = made[asked]
        assert now.keys() == was.keys() and now["key"] == was["key"], asked
        for name in was:
            assert now[name] == was[name] or not is_alike and is_near(now[name], was[name]), (
                f"{asked}: {name} is {now[name]}, was {was[name]}"
            )


def is_near(now, was):
    """Within the tolerance; of text, such as the digest of a long list, nothing can be said."""
    if isinstance(was, str):
        return True
    before, after = np.array(was), np.array(now)
    return bool((np.abs(after - before) <= TOLERANCE * np.maximum(1, np.abs(before))).all())


def test_every_number_of_a_row_is_pinned_by_some_tiny_run():
    runs = json.loads(keys.TINY_RUNS.read_text())["runs"].values()
    pinned = set().union(*runs)
    # Sections need their subsets, which RewardBench's own pairs have: test_labelled_pairs.py
    known = {"section_safety", "prior_sets", "rewardbench"}
    assert {*schema.NUMBERS} - pinned == known


def test_the_writer_refuses_a_key_that_changed_without_semantics():
    before = {"a": "1", "b": "2"}
    keys.refuse_change("keys", before, before | {"c": "3"}, SEMANTICS)
    keys.refuse_change("keys", before, {"a": "0"}, SEMANTICS - 1)
    for after in ({"a": "1"}, {"a": "1", "b": "0"}):
        with pytest.raises(SystemExit, match="1 keys changed and SEMANTICS did not, as of b"):
            keys.refuse_change("keys", before, after, SEMANTICS)
