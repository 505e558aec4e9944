"""How runs become packs and tasks, without a cluster."""

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
    by_key = {item.key: seconds for item in items}
    return submit.plan_arrays(items, fields, Place(None, device), by_key, 1001)


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_every_core_of_a_task_has_packs_and_each_run_one_thread(items, cpus):
    (array,) = planned(items, cpus, 60)
    packs = list(itertools.chain(*array.tasks))
    assert sorted(key for pack in packs for key in pack) == sorted(item.key for item in items)
    assert array.workers == cpus and array.place.threads == array.place.at_once == 1
    for task in array.tasks:
        assert len(task) >= min(2 * cpus, len(packs))
        assert sum(len(pack) for pack in task) <= 31 * cpus, "30 minutes on each core"


def test_a_pack_is_no_larger_than_it_was_asked_to_be(items):
    (array,) = planned(items, 1, 60, "launcher.pack_runs=3")
    assert max(len(pack) for task in array.tasks for pack in task) == 3


def test_a_task_on_a_gpu_measures_as_many_blocks_at_once_as_it_has_cores(items):
    (array,) = planned(items, 8, 60, "launcher.gpu=true", device="cuda")
    assert array.workers == 1 and array.place.threads == 1 and array.place.at_once == 8
    assert [len(pack) for task in array.tasks for pack in task] == [15, 1]
