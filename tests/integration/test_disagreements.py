"""Two done rows of one run that do not have the same numbers: status, table and claims say so."""

import datetime
import json

import numpy as np
import pytest

from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, disagreements, sweep_record

SAID = "done rows with other numbers"


@pytest.fixture
def repeated(small):
    """Return repeated(n, into="small", **changes), which writes rows of n runs again, changed."""

    def write(n, into="small", **changes):
        rows = dataset.load("small").sort_values("key").head(n).to_dict("records")
        rows = [
            {k: v for k, v in row.items() if isinstance(v, np.ndarray) or v == v} for row in rows
        ]
        later = rows[0]["finished_at"] + datetime.timedelta(days=1)
        again = [
            row | {name: change(row[name]) for name, change in changes.items()} for row in rows
        ]
        dataset.write_part(SweepFolder.named(into), [row | {"finished_at": later} for row in again])
        return [row["key"] for row in rows]

    return write


def nudged(value):
    return np.nextafter(value, 9)


def test_rows_that_agree_are_no_matter(repeated, inside):
    repeated(3)
    repeated(2, wall_s=lambda s: s + 1, host=lambda _: "elsewhere")
    assert SAID not in inside("status", "small").stdout
    assert inside("table", "small").stderr == ""


def test_the_least_difference_is_said_once_with_the_way_out(repeated, inside):
    before = inside("table", "small").stdout
    keys = repeated(2, spearman=nudged)
    status = inside("status", "small").stdout
    (line,) = [line for line in status.splitlines() if SAID in line]
    assert line.startswith("2 runs have done rows") and keys[0] in line
    command = f"rmsweep verify small --key {keys[0]}"
    assert f"`{command}`" in line
    for words in (["table", "small"], ["claims", "small"]):
        assert inside(*words).stderr == f"rmsweep: {line}\n"
    assert inside("table", "small").stdout == before, "the first row by finished_at counts"
    assert json.loads(inside("status", "small", "--json").stdout)["disagreeing"] == keys
    assert f"{keys[0]}  match" in inside(*command.split()[1:]).stdout


def test_a_number_of_a_list_and_two_sweeps(repeated, inside):
    def last_nudged(values):
        return np.append(values[:-1], nudged(values[-1]))

    (key,) = repeated(1, "other", improvement_by_prompt=last_nudged)
    assert SAID not in inside("status", "small").stdout + inside("status", "other").stdout
    said = inside("table", "small", "other").stderr
    assert said.startswith(f"rmsweep: 1 run has {SAID}") and f"verify small --key {key}" in said


def test_of_two_sweeps_the_row_that_finished_first_counts_whichever_is_named_first(
    repeated, inside
):
    (key,) = repeated(1, "other", improvement=nudged)
    for names in (["small", "other"], ["other", "small"]):
        done, _, repeated_keys = sweep_record.load_sweeps(names, ["key", "improvement"])
        first = dataset.done_row("small", key)
        assert repeated_keys == {key} and done["key"].is_unique
        assert done.set_index("key").loc[key, "improvement"] == first["improvement"]
        assert f"verify small --key {key}" in inside("table", *names).stderr


def test_on_a_gpu_a_difference_within_its_tolerance_is_none(repeated):
    cuda = {"device": lambda _: "cuda"}
    keys = repeated(1, spearman=lambda s: s + 0.019, **cuda)
    assert disagreements.disagreeing_runs(["small"], keys) == {}
    repeated(1, spearman=lambda s: s + 0.021, **cuda)
    assert disagreements.disagreeing_runs(["small"], keys) == {keys[0]: "small"}


def test_what_a_row_has_not_recorded_is_no_difference(repeated, inside):
    repeated(1, kl_risk=lambda _: None, base_by_prompt=lambda _: None)
    assert SAID not in inside("status", "small").stdout


def test_no_row_is_read_whole_where_no_key_is_repeated(small, monkeypatch):
    done, _, repeated = sweep_record.load_sweeps(["small"], ["key", "improvement"])
    assert len(done) == 24 and repeated == set()
    monkeypatch.setattr(dataset, "all_done_rows", None)
    assert disagreements.disagreeing_runs(["small"], repeated) == {}
