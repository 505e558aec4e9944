"""What runs for a GPU, with the CPU by another name: cpu:0 is a device that is not "cpu".

All but pinned memory and the GPU's own arithmetic is what a CUDA device runs.
"""

import importlib
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_runs import (
    FILES,
    SHAPE,
    SHORT,
    TINY,
    assert_same_numbers,
    edit_embeddings,
    items_of,
    rows_of,
    spec_of,
    write_files,
)

from rmsweep import machine
from rmsweep.cache.inputs import open_inputs
from rmsweep.config.launchers import Place
from rmsweep.launch import pool, worker
from rmsweep.launch.worker import run_pack
from rmsweep.paths import CHECKOUT, SweepFolder
from rmsweep.results import dataset
from rmsweep.training import gpu_embeddings
from rmsweep.training.annotate import annotate_pairs
from rmsweep.training.reward_models import mlp_network

pytestmark = pytest.mark.slow
GPU = "cpu:0"
WIDE = ("loss.hidden=[64,32]",)  # of these widths a run in a pack is the run alone, bit for bit


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A device of 8 GiB that holds nothing yet."""
    monkeypatch.setattr(machine, "free_bytes", lambda on: 8 * 2**30)
    monkeypatch.setattr(machine, "gpu", lambda on: None if on == "cpu" else "none")
    gpu_embeddings.resident.clear()
    yield
    gpu_embeddings.resident.clear()


def gpu_rows(directory, items, root=None):
    place = Place(root and str(root), GPU, at_once=3)
    outcome = run_pack(items, place, SweepFolder(directory))
    assert outcome.done + outcome.failed == len(items)
    return dataset.read_rows(SweepFolder(directory)).set_index("spec_id")


VARIANTS = {
    "bt": ("loss=bt_mlp", "training.batch_pairs=25", "training.patience=1"),
    "clf scripts": ("loss=clf_mlp", "training.protocol=rbt_scripts"),
    "normbt": ("loss=normbt", "training.batch_pairs=25"),
    "golden margin": ("loss=bt_golden_margin",),
    "ensemble": ("loss=bt_mlp", "loss.ensemble=2", "loss.pick=1"),
    "diagnostics": ("loss=bt_mlp", "evaluation.diagnostics=true"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pack_for_a_gpu_has_the_numbers_of_runs_on_a_cpu(variant, tmp_path, monkeypatch):
    monkeypatch.setattr("rmsweep.training.predict.BLOCK_ROWS", 2 * SHAPE["test_responses"])
    options = (*TINY, *WIDE, "training.max_epochs=9", *VARIANTS[variant])
    items = items_of([spec_of(*options, f"seed={seed}") for seed in range(4)])
    on_cpu = rows_of(tmp_path / "cpu", items)
    on_gpu = gpu_rows(tmp_path / "gpu", items)
    assert list(gpu_embeddings.resident) == [(open_inputs(items[0].spec, None).fingerprint, GPU)]
    for spec_id, row in on_cpu.iterrows():
        assert_same_numbers(row, on_gpu.loc[spec_id])
        assert row["order_consistency"] == on_gpu.loc[spec_id, "order_consistency"]
    assert set(on_gpu["device"]) == {GPU} and set(on_gpu["threads"]) == {1}


def test_training_embeddings_are_copied_once_for_all_packs_of_a_cache():
    found = np.arange(24, dtype=np.float16).reshape(8, 3)
    held = gpu_embeddings.embeddings_on_gpu(found, "one", GPU, 8)
    assert isinstance(held, torch.Tensor) and held.dtype == torch.float16
    np.testing.assert_array_equal(held.numpy(), found)
    assert (
        gpu_embeddings.embeddings_on_gpu(found, "one", GPU, 1) is held
    )  # there already, so read there
    other = gpu_embeddings.embeddings_on_gpu(found.astype(np.float32), "two", GPU, 8)
    assert other.dtype == torch.float32 and list(gpu_embeddings.resident) == [("two", GPU)]


def test_training_embeddings_stay_in_the_hosts_memory_where_a_copy_does_not_pay(monkeypatch):
    found = np.zeros((8, 3), np.float16)
    assert gpu_embeddings.embeddings_on_gpu(found, "few rows wanted", GPU, 7) is found
    monkeypatch.setattr(machine, "free_bytes", lambda on: 4 * found.nbytes - 1)
    assert gpu_embeddings.embeddings_on_gpu(found, "little memory", GPU, 8) is found
    assert not gpu_embeddings.resident


@pytest.mark.parametrize("precision", mlp_network.DTYPES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_read_on_the_device_are_those_read_by_the_host(precision, dtype):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(50, 6)).astype(dtype)
    pairs = [rng.integers(50, size=(7, 2)) for _ in range(3)]
    singles = [
        np.where(rng.random((7, 1)) < 0.5, p * [1, 0] - [0, 1], p * [0, 1] - [1, 0]) for p in pairs
    ]
    for rows in (pairs, singles):
        by_host = mlp_network.gather_rows(embeddings, rows, precision, "cpu")
        on_device = mlp_network.gather_rows(torch.from_numpy(embeddings), rows, precision, GPU)
        assert by_host.x.dtype == on_device.x.dtype == mlp_network.DTYPES[precision]
        assert torch.equal(by_host.x, on_device.x)


def test_a_nan_is_found_on_the_device_and_fails_its_run_alone(tmp_path):
    options = (*SHORT, *FILES, *WIDE, "quantity=80")
    specs = [spec_of(*options, f"seed={seed}") for seed in range(3)]
    root = tmp_path / "cache"
    write_files(root, specs[0], "float16")
    used = [
        set(annotate_pairs(spec, open_inputs(spec, root))[0].ravel().tolist()) for spec in specs
    ]
    prompt, k = divmod(min(used[1] - used[0] - used[2]), SHAPE["train_responses"])
    edit_embeddings(root, specs[0], "train", (prompt, k, 3), np.inf)
    rows = gpu_rows(tmp_path / "rows", items_of(specs, root), root)
    assert len(gpu_embeddings.resident) == 1
    assert list(rows.loc[[s.spec_id for s in specs], "status"]) == ["done", "failed", "done"]
    said = rows.loc[specs[1].spec_id, "error"]
    assert f"train embeddings hold NaN or inf at prompt {prompt}, response {k} " in said


def test_a_model_that_diverges_in_a_later_block_fails_its_run(tmp_path, monkeypatch):
    """Blocks are measured by other threads, whose errors must not be lost."""
    monkeypatch.setattr("rmsweep.training.predict.BLOCK_ROWS", 2 * SHAPE["test_responses"])
    spec = spec_of(*SHORT, *FILES, *WIDE)
    root = tmp_path / "cache"
    write_files(root, spec, "float32")
    edit_embeddings(root, spec, "test", (7, 3), 3e38)  # finite, but not what is predicted of it
    rows = gpu_rows(tmp_path / "rows", items_of([spec], root), root)
    assert rows["error"].str.contains("predicted rewards hold NaN or inf").all()


def test_packs_on_a_gpu_run_while_the_others_run_on_the_cpu(tmp_path, monkeypatch):
    mlps = items_of([spec_of(*TINY, *WIDE, f"seed={seed}") for seed in range(2)])
    trees = items_of([spec_of(*TINY, "loss=clf_lgb", "loss.rounds=3")])
    seen, real = [], worker.run_pack

    def parts():
        return len(list(Path(tmp_path).glob("runs/part-*")))

    def run_pack(items, place, directory):
        seen.append((place.device, place.at_once, parts()))
        end = time.monotonic() + 120
        while not parts() and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(parts())
        return real(items, place, directory)

    monkeypatch.setattr(worker, "run_pack", run_pack)  # of this process, where GPU packs run
    outcomes = []
    pool.run_packs([trees, mlps], Place(None, GPU, 1), 2, SweepFolder(tmp_path), outcomes.append)
    assert seen == [(GPU, 1, 0), 1], "the other thread is the pool's"
    assert sorted(outcome.done for outcome in outcomes) == [1, 2]
    rows = dataset.read_rows(SweepFolder(tmp_path)).set_index("loss")
    assert set(rows["status"]) == {"done"}
    assert rows.loc["clf_lgb", "device"] == "cpu" and set(rows.loc["bt_mlp", "device"]) == {GPU}
    pool.run_packs([mlps], Place(None, GPU, 1), 2, SweepFolder(tmp_path), outcomes.append)
    assert seen[2][:2] == (GPU, min(2, machine.cores()))


def test_the_benchmark_of_parity_finds_the_cpu_equal_to_itself(monkeypatch, capsys):
    monkeypatch.syspath_prepend(CHECKOUT / "benchmarks")
    parity = importlib.import_module("parity")
    sizes = {"seeds": 1, "dim": 16, "quantity": 200, "test-prompts": 6, "test-responses": 10}
    monkeypatch.setattr(machine, "cores", lambda: 1)  # several would wait for each other
    monkeypatch.setattr(sys, "argv", ["", *(f"--{name}={size}" for name, size in sizes.items())])
    with pytest.raises(SystemExit) as stop:
        parity.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert stop.value.code == 0 and last == "0 metrics of runs beyond what is allowed"
    n_precisions = 1 + machine.has_native_bf16("cpu")
    compared = [line for line in lines if "largest" in line]
    assert len(compared) == len(parity.VARIANTS) * n_precisions * len(parity.OF_MODEL)
    assert all(line.endswith("mean +0.0e+00  largest 0.0e+00  beyond 0") for line in compared)
