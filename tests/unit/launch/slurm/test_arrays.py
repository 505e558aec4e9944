"""Records of arrays: what is written is read again, also what an older rmsweep wrote."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from rmsweep.config.launchers import Place
from rmsweep.launch.slurm import arrays
from rmsweep.launch.slurm.scheduler import Task
from rmsweep.paths import SweepFolder

TASKS = [[["k1", "k2"], ["k3"]], [["k4"]]]
ARRAY = arrays.JobArray(
    "1a2b3c4d-0", TASKS, "2026-11-21T21:05:28.000000+00:00", Place("/data", "cpu", 1), 4,
    "/home/me", {"cluster": "slurm", "mem_gb": 16}, ["run", "-m"], "7",
)  # fmt: skip
# As the code before the packages wrote it
OLDER = {
    "id": "1a2b3c4d-0",
    "launched_at": "2026-11-21T21:05:28.000000+00:00",
    "place": {"cache_root": "/data", "device": "cpu", "threads": 1, "save_models": False},
    "workers": 4,
    "cwd": "/home/me",
    "launcher": {"cluster": "slurm", "mem_gb": 16},
    "command": ["run", "-m"],
    "job": "7",
}


def test_an_array_is_read_as_it_was_written(tmp_path):
    arrays.write_array(SweepFolder(tmp_path), ARRAY)
    assert arrays.read_array(SweepFolder(tmp_path), ARRAY.id) == ARRAY
    assert arrays.submitted_arrays(SweepFolder(tmp_path)) == [ARRAY]
    assert ARRAY.keys_of_task(0) == {"k1", "k2", "k3"}
    arrays.remove_array(SweepFolder(tmp_path), ARRAY.id)
    assert arrays.submitted_arrays(SweepFolder(tmp_path)) == []


def test_a_record_of_the_code_before_the_packages_is_read(tmp_path):
    rows = [("task", [0, 0, 0, 1]), ("pack", [0, 0, 1, 0]), ("key", ["k1", "k2", "k3", "k4"])]
    table = pa.table(dict(rows)).replace_schema_metadata({"array": json.dumps(OLDER)})
    SweepFolder(tmp_path).jobs.mkdir()
    pq.write_table(table, SweepFolder(tmp_path).jobs / "1a2b3c4d-0.parquet")
    assert arrays.submitted_arrays(SweepFolder(tmp_path)) == [ARRAY]


def test_a_line_for_the_whole_array_stands_for_the_tasks_that_have_none(tmp_path):
    name = arrays.job_name(SweepFolder(tmp_path), ARRAY.id)
    whole = Task("7", 0, name, "CANCELLED", is_single=True)
    first, other = Task("7", 0, name, "RUNNING"), Task("8", 0, "another job", "RUNNING")
    pairs = arrays.tasks_of(SweepFolder(tmp_path), [ARRAY], [whole, first, other])
    assert [(task.id, task.state) for _, task in pairs] == [
        ("7_0", "RUNNING"),
        ("7_1", "CANCELLED"),
    ]
    assert arrays.keys_in(pairs[1:]) == {"k4"}
