"""What Slurm says of tasks is kept for half a minute, and no longer where the clock was changed."""

import json
import time

import pytest

from rmsweep.errors import Unavailable
from rmsweep.launch.slurm import arrays, task_states
from rmsweep.paths import SweepFolder


def keep_answer(directory, age_s):
    kept = {"at": time.time() - age_s, "numbers": [], "keeps_accounts": False, "tasks": []}
    SweepFolder(directory).jobs.mkdir(parents=True)
    (SweepFolder(directory).jobs / ".scheduler.json").write_text(json.dumps(kept))


def test_slurm_is_not_asked_again_within_half_a_minute(tmp_path, monkeypatch):
    keep_answer(tmp_path, age_s=1)
    monkeypatch.setenv("PATH", "")  # so that Slurm cannot answer
    assert task_states.known_tasks(SweepFolder(tmp_path), []) == []


@pytest.mark.parametrize("age_s", [31, -3600], ids=["old", "from before the clock was set back"])
def test_slurm_is_asked_again(age_s, tmp_path, monkeypatch):
    keep_answer(tmp_path, age_s)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable):
        task_states.known_tasks(SweepFolder(tmp_path), [])


@pytest.mark.parametrize("text", ["", "[1]", '{"tasks": [3]}', '{"tasks": [], "at": "now"}'])
def test_an_answer_that_is_not_whole_is_asked_for_again(text, tmp_path, monkeypatch):
    keep_answer(tmp_path, age_s=1)
    (SweepFolder(tmp_path).jobs / ".scheduler.json").write_text(text)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable):
        task_states.known_tasks(SweepFolder(tmp_path), [])


def test_the_end_of_a_log_is_the_tasks_own_line(tmp_path):
    array = arrays.JobArray("a-0", [[["k"]]], "now", None, 1, ".", {}, [], "7")
    assert task_states.end_of_log(SweepFolder(tmp_path), array, 0) == "no log: it never started"
    SweepFolder(tmp_path).logs.mkdir(parents=True)
    log = SweepFolder(tmp_path).logs / "7_0_log.out"
    log.write_text("submitit INFO (1) - Starting\n1 runs done\nsrun: error: vm: task 0: Exited\n\n")
    assert task_states.end_of_log(SweepFolder(tmp_path), array, 0) == f"{log}: 1 runs done"
