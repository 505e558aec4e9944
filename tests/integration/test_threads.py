"""A run has the numbers of its key however many cores lend a hand; the rows of two that differ."""

import itertools
import json
import sys

import numpy as np
import pytest

from rmsweep import machine
from rmsweep.config.launchers import Place
from rmsweep.config.spec import Item
from rmsweep.launch.reproduce import recorded_spec
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema

NUMBER = itertools.count()
OWN = ["--config-dir", "groups"]
LOSS = """
import torch

def counted(batch, state):
    n = torch.get_num_threads()
    counts = torch.full_like(batch.chosen[:, 0], n, dtype=torch.int64)
    loss = torch.nn.functional.softplus(batch.rejected - batch.chosen)
    return loss * (1 + 0.1 * n * batch.chosen.sigmoid()), {"n_threads": counts}
"""


@pytest.fixture
def counted(here, tiny, monkeypatch):
    """Return the overrides of a run whose numbers hang on torch's threads, as some products do."""
    name = f"counted_{next(NUMBER)}"
    (here / "groups/loss").mkdir(parents=True)
    objective = f"objective: {{_target_: {name}.counted, _partial_: true}}\n"
    text = f"label: Counted\n{objective}reward_model: mlp\nhidden: [8]\n"
    (here / "groups/loss/counted.yaml").write_text(text)
    (here / f"{name}.py").write_text(LOSS)
    monkeypatch.setattr(sys, "path", [str(here), *sys.path])
    monkeypatch.setattr(machine, "cores", lambda: 2)
    return [*OWN, "loss=counted", "precision=fp32", *tiny]


def test_a_run_alone_has_the_numbers_of_a_sweep_and_is_verified(counted, inside):
    inside("run", *counted)
    inside("run", "-m", *counted, "name=swept")
    alone, swept = dataset.load("single").iloc[0], dataset.load("swept").iloc[0]
    assert json.loads(alone["objective_counts"]) == {"n_threads": 1} and alone["threads"] == 1
    for name in schema.NUMBERS:
        np.testing.assert_array_equal(alone[name], swept[name], err_msg=name)
    assert "1 of 1 runs match" in inside("verify", "single", *OWN).stdout


def test_a_row_of_two_threads_is_verified_on_two(counted, inside):
    inside("run", *counted)
    row = dataset.load("single").iloc[0].to_dict()
    item = Item(row["key"], recorded_spec(row))
    run_pack([item], Place(None, "cpu", 2), SweepFolder.named("two"))
    two = dataset.load("two").iloc[0]
    assert two["threads"] == 2 and two["improvement_by_prompt"].shape == (12,)
    assert not np.array_equal(two["train_loss_by_epoch"], row["train_loss_by_epoch"])
    assert "1 of 1 runs match" in inside("verify", "two", *OWN).stdout
    notes = inside("reproduce", "two", row["key"], *OWN).stderr
    assert "note: threads 2 then, 1 here" in notes
    run_pack([item], Place(None, "cpu", 3), SweepFolder.named("three"))
    line, _ = inside("verify", "three", "--key", row["key"], *OWN, status=1).stdout.splitlines()
    assert "cannot be compared: threads 3 then, 2 here" in line and "then" in line


def test_threads_of_lightgbm_change_no_number_and_are_no_difference(here, tiny, inside):
    inside("run", "loss=clf_lgb", "loss.rounds=3", *tiny)
    row = dataset.load("single").iloc[0]
    assert row["threads"] == machine.cores()
    assert "1 of 1 runs match" in inside("verify", "single").stdout
    assert "threads" not in inside("reproduce", "single", row["key"]).stderr
    changed = {"threads": machine.cores() + 1, "spearman": row["spearman"] + 0.5}
    dataset.write_part(SweepFolder.named("larger"), [_stored(row) | changed])
    line, _ = inside("verify", "larger", "--key", row["key"], status=1).stdout.splitlines()
    assert f"{row['key']}  differs: spearman " in line and "threads" not in line


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_no_run_can_have_are_a_damaged_row(threads, here, tiny, inside):
    inside("run", "loss.hidden=[4]", *tiny)
    row = _stored(dataset.load("single").iloc[0])
    dataset.write_part(SweepFolder.named("bad"), [row | {"threads": threads}])
    said = inside("verify", "bad", "--key", row["key"], status=1).stdout
    assert "threads of run" in said and "must be a whole number >= 1" in said


def test_a_process_that_had_more_threads_has_them_again(here, tiny, inside):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside("run", "loss.hidden=[4]", *tiny)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def _stored(row):
    """Return a row as a worker would write it, without what is absent."""
    return {k: v for k, v in row.to_dict().items() if isinstance(v, np.ndarray) or v == v}
