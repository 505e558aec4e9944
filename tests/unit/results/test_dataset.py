"""The Parquet dataset of a sweep: one schema, whole parts, and which row counts."""

import datetime
import itertools
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rmsweep
from rmsweep import files
from rmsweep.config import columns
from rmsweep.launch.slurm import arrays
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, failures, parquet, schema, sweep_record

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """The folder of a sweep named small, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = SweepFolder.named("small").path
    dataset.require_writable(SweepFolder(folder))
    return folder


def row(key, minute=0, status="done", **more):
    """A row as a worker writes it; what it lacks is null."""
    at = START + datetime.timedelta(minutes=minute)
    return {"key": key, "spec_id": key, "status": status, "finished_at": at, **more}


def full_row(key):
    """A row with a value in every column."""
    examples = {pa.string(): "text", pa.int64(): 3, pa.float64(): 0.1, pa.bool_(): True}
    examples |= {pa.list_(pa.int64()): [1, 2], pa.list_(pa.float64()): [0.1, 0.2]}
    examples |= {pa.list_(pa.string()): ["a", "b"]}
    examples |= {pa.list_(pa.float32()): [0.5, math.nan], pa.timestamp("us", tz="UTC"): START}
    return {field.name: examples[field.type] for field in schema.SCHEMA} | row(key)


def test_the_schema_has_what_is_promised():
    metrics = "bon_golden base oracle improvement oracle_share spearman pairwise_accuracy"
    metrics += " order_consistency annotation_error mean_margin"
    assert tuple(metrics.split()) == schema.SCALARS
    types = {field.name: field.type for field in schema.SCHEMA}
    assert all(types[name] == pa.float64() for name in (*schema.SCALARS, "wall_s"))
    assert types["epochs"] == pa.int64() and types["bon_n"] == pa.list_(pa.int64())
    assert types["bon_golden_by_n"] == pa.list_(pa.float64())
    assert types["improvement_by_prompt"] == pa.list_(pa.float32())
    assert types["finished_at"] == pa.timestamp("us", tz="UTC") and types["git_dirty"] == pa.bool_()
    text = "key spec_id status error traceback loss loss.options base_llm dataset pairing precision"
    text += " versions host device slurm_job git_commit"
    assert all(types[name] == pa.string() for name in text.split())
    assert types["annotation.beta"] == pa.float64() and types["quantity"] == pa.int64()
    assert set(columns.column_types()) <= set(types)
    assert len(set(schema.SCHEMA.names)) == len(schema.SCHEMA.names)


def test_null_and_other_parts_read_back_whole(sweep):
    written = [full_row("a"), row("b"), row("c", status="failed", error="E: no"), full_row("d")]
    for one in written:
        dataset.write_part(SweepFolder(sweep), [one])
    dataset.write_part(SweepFolder(sweep), [full_row("e"), row("f")])
    rows = dataset.read_rows(SweepFolder(sweep)).set_index("key")
    assert list(rows.reset_index().columns) == schema.SCHEMA.names and len(rows) == 6
    for one in written:
        for name in schema.SCHEMA.names[1:]:
            found = rows.at[one["key"], name]
            if name not in one:
                assert found is None or pd.isna(found), name
            elif isinstance(one[name], list):
                np.testing.assert_array_equal(found, np.asarray(one[name], found.dtype))
            else:
                assert found == one[name], name
    assert len(pq.read_table(sweep / "runs")) == len(pd.read_parquet(sweep / "runs")) == 6
    assert not [path for path in (sweep / "runs").iterdir() if not path.name.startswith("part-")]


@pytest.mark.slow
def test_the_first_done_row_of_a_key_counts_in_any_order(sweep):
    written = [
        row("a", 3, improvement=3.0),
        row("a", 1, improvement=1.0),
        row("a", 0, "failed", error="E: earlier"),
        row("b", 2, improvement=2.0),
        row("c", 5, "failed", error="E: once more"),
        row("c", 4, "failed", error="E: at first"),
    ]
    seen = []
    for order in itertools.islice(itertools.permutations(written), 0, None, 97):
        for path in (sweep / "runs").iterdir():
            path.unlink()
        for one in order:
            dataset.write_part(SweepFolder(sweep), [one])
        done = dataset.load("small").set_index("key").sort_index()
        assert done["improvement"].to_dict() == {"a": 1.0, "b": 2.0}
        failed = failures.latest_failures(SweepFolder(sweep)).set_index("key")
        assert failed["error"].to_dict() == {"c": "E: once more"}, "what has no done row, latest"
        seen.append(done)
    for other in seen[1:]:
        pd.testing.assert_frame_equal(other, seen[0])
    pd.testing.assert_frame_equal(rmsweep.load("small").set_index("key").sort_index(), seen[0])
    done = rmsweep.load("small", columns=["improvement"])
    assert "improvement" in done and "error" not in done and len(done) == 2


def test_nothing_yet_and_no_such_sweep(sweep):
    assert dataset.load("small").empty and failures.latest_failures(SweepFolder(sweep)).empty
    assert sweep_record.wanted_runs("small").empty
    with pytest.raises(FileNotFoundError, match="absent"):
        dataset.load("absent")


def test_parts_older_than_some_columns_are_null_there(sweep):
    newer = ["loss.ensemble", "loss.pick", "loss.member", "objective_counts", "kl_risk", "dim"]
    dataset.write_part(SweepFolder(sweep), [full_row("a")])
    dataset.write_part(SweepFolder(sweep), [full_row("b")])
    path = sorted((sweep / "runs").iterdir())[0]
    whole = pq.read_table(path, partitioning=None)
    older = whole.drop_columns(newer).replace_schema_metadata(None)  # nor had it a hash of them
    pq.write_table(older, path)
    for names in (None, ["improvement", *newer]):
        rows = dataset.load("small", names)
        assert len(rows) == 2
        for name in newer:
            assert rows[name].isna().tolist().count(True) >= 1


def test_a_part_cut_short_is_named(sweep):
    dataset.write_part(SweepFolder(sweep), [full_row("a")])
    dataset.write_part(SweepFolder(sweep), [full_row("b")])
    path = sorted((sweep / "runs").iterdir())[1]
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"{path.name} is not a whole Parquet file.*delete"):
            dataset.load("small")
    path.write_bytes(whole)
    assert len(dataset.load("small")) == 2


def test_the_unfinished_part_of_a_killed_process_is_removed_and_no_other(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    mine = files.writer(17)
    names = [f".part-a.parquet.0a1b.{mine}", f".part-b.parquet.0a1b.{files.writer(117)}"]
    names += ["part-17.parquet", ".part-c.parquet.0a1b.another.17"]
    names += [f".part-d.parquet.0a1b.another.{mine}"]  # a machine whose name ends with this one's
    for name in names:
        (runs / name).touch()
    dataset.remove_unfinished(SweepFolder(tmp_path), 17)
    left = sorted(path.name for path in runs.iterdir())
    assert left == sorted(names[1:]), "only the part of process 17 of this machine goes"
    dataset.remove_unfinished(SweepFolder(tmp_path / "absent"), 17)


def test_unfinished_parts_are_ignored(sweep):
    dataset.write_part(SweepFolder(sweep), [full_row("a")])
    (sweep / "runs" / ".part-00.parquet.12").write_bytes(b"PAR1")
    assert len(dataset.load("small")) == 1 and len(pd.read_parquet(sweep / "runs")) == 1


def test_a_part_that_cannot_be_written_leaves_nothing(sweep):
    with pytest.raises(pa.ArrowException):
        dataset.write_part(SweepFolder(sweep), [row("a", epochs="many")])
    with pytest.raises(OSError):
        parquet.write_table(schema.SCHEMA.empty_table(), sweep)  # a folder is in the way
    assert not list((sweep / "runs").iterdir())
    assert [path.name for path in sweep.parent.iterdir()] == ["small"]


def test_what_may_not_be_read_is_not_absent(not_root):
    folder = SweepFolder.named("small").path
    dataset.write_part(SweepFolder(folder), [row("a")])
    (part,) = (folder / "runs").iterdir()
    part.chmod(0)
    with pytest.raises(ValueError, match=f"{part.name} cannot be read .*Permission denied") as said:
        dataset.read_done(SweepFolder(folder))
    assert "delete" not in str(said.value)
    part.chmod(0o644)
    (folder / "runs").chmod(0o333)  # parts can be written and opened, but not listed
    with pytest.raises(PermissionError, match="runs"):
        dataset.read_done(SweepFolder(folder))
    with pytest.raises(PermissionError, match="runs"):
        dataset.done_rows(SweepFolder(folder), ["a"])
    SweepFolder(folder).jobs.mkdir()
    SweepFolder(folder).jobs.chmod(0o333)
    with pytest.raises(PermissionError, match="jobs"):
        arrays.submitted_arrays(SweepFolder(folder))
