"""How runs become packs and tasks, without a cluster."""

import dataclasses
import itertools

import pytest
from helpers.composing import composed
from helpers.tiny_runs import TINY, items_of, spec_of

from rmsweep.config import launchers
from rmsweep.config.launchers import Place
from rmsweep.launch.slurm import submit


@pytest.fixture(scope="module")
def items():
    return items_of([spec_of(*TINY, f"seed={seed}") for seed in range(16)])


def planned(items, cpus, seconds, *overrides, device="cpu"):
    """The arrays of runs that take so many seconds each, on nodes of so many cores."""
    config = composed("launcher=slurm", f"launcher.cpus={cpus}", *overrides)
    fields, _ = launchers.slurm_of(config.values["launcher"], None)
    by_key = seconds if isinstance(seconds, dict) else {item.key: seconds for item in items}
    return submit.plan_arrays(items, fields, Place(None, device), by_key, 1001)


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_every_core_of_a_task_has_packs_and_each_run_one_thread(items, cpus):
    (array,) = planned(items, cpus, 60)
    packs = list(itertools.chain(*array.tasks))
    assert sorted(key for pack in packs for key in pack) == sorted(item.key for item in items)
    assert array.workers == cpus and array.place.threads == array.place.at_once == 1
    for task in array.tasks:
        assert len(task) >= min(cpus, len(packs))
        assert sum(len(pack) for pack in task) <= 31 * cpus, "30 minutes on each core"


def many(items, n_runs):
    spec = items[0].spec
    return items_of([dataclasses.replace(spec, seed=seed) for seed in range(n_runs)])


@pytest.mark.parametrize("n_runs, cpus, n_packs", [(180, 64, 60), (100, 4, 7), (8, 64, 8)])
def test_a_sweep_reads_its_test_file_once_a_worker_and_no_oftener(items, n_runs, cpus, n_packs):
    """Of more packs than workers none would end the sweep sooner."""
    ((task,),) = (array.tasks for array in planned(many(items, n_runs), cpus, 60))
    assert len(task) == n_packs


def test_slow_runs_are_spread_over_the_workers_and_fast_ones_go_together(items):
    """A pack has about a worker's part of the work, whatever its runs take."""
    fast = many(items, 40)
    slow = items_of([spec_of(*TINY, "loss=clf_lgb", f"seed={seed}") for seed in range(4)])
    seconds = {item.key: 1 for item in fast} | {item.key: 100 for item in slow}
    ((task,),) = (array.tasks for array in planned([*fast, *slow], 8, seconds))
    assert sorted(len(pack) for pack in task) == [1, 1, 1, 1, 8, 16, 16]


def test_a_pack_is_no_larger_than_it_was_asked_to_be(items):
    (array,) = planned(items, 1, 60, "launcher.pack_runs=3")
    assert max(len(pack) for task in array.tasks for pack in task) == 3


def test_a_task_on_a_gpu_measures_as_many_blocks_at_once_as_it_has_cores(items):
    (array,) = planned(items, 8, 60, "launcher.gpu=true", device="cuda")
    assert array.workers == 1 and array.place.threads == 1 and array.place.at_once == 8
    assert [len(pack) for task in array.tasks for pack in task] == [15, 1]
