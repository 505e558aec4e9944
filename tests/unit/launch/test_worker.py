"""From a pack of specs to rows: alone as in a pack, failures, every option of conf/, parts."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.tiny_runs import (
    FILES,
    MLP_TINY,
    NUMBERS,
    OF_PAIRS,
    SHAPE,
    SHORT,
    TINY,
    assert_same_numbers,
    bytes_read,
    edit_embeddings,
    items_of,
    rows_of,
    spec_of,
    write_files,
)

from rmsweep import machine
from rmsweep.cache.inputs import open_inputs
from rmsweep.cache.layout import embeddings_path
from rmsweep.config.columns import spec_columns
from rmsweep.config.launchers import Place, place_of_one
from rmsweep.evaluation.score import score_runs
from rmsweep.launch import worker
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SHIPPED, SweepFolder
from rmsweep.results import dataset, failures, schema
from rmsweep.training.annotate import annotate_pairs
from rmsweep.training.fit import fit_runs
from rmsweep.training.reward_models import mlp_network
from rmsweep.training.reward_models.interface import reward_model_of

VARIANTS = {
    "bt": ("loss=bt_mlp", *MLP_TINY),
    "bt odd": ("loss=bt_mlp", "loss.hidden=[7,5]"),
    "bt linear": ("loss=bt_mlp", "loss.hidden=[]"),
    "bt bf16": ("loss=bt_mlp", "loss.hidden=[7,5]", "precision=bf16"),
    "clf batches": ("loss=clf_mlp", "loss.hidden=[7,5]", "training.batch_pairs=25"),
    "normbt": ("loss=normbt", "loss.hidden=[7,5]", "training.batch_pairs=25"),
    "lgb": ("loss=clf_lgb", "loss.rounds=5"),
    "lgb bins of the cache": ("loss=clf_lgb", "loss.rounds=5", "loss.bins=cache"),
    "bt scripts": ("loss=bt_mlp", *MLP_TINY, "training.protocol=rbt_scripts"),
    "normbt embedding": ("loss=normbt", *MLP_TINY, "loss.objective.distance=embedding"),
    "golden margin": ("loss=bt_golden_margin", *MLP_TINY, "training.batch_pairs=25"),
    "golden margin scripts": ("loss=bt_golden_margin", *MLP_TINY, "training.protocol=rbt_scripts"),
    "bt lgb": ("loss=bt_lgb", "loss.rounds=5"),
    "logistic": ("loss=clf_logistic",),
    "hgb": ("loss=clf_hgb", "loss.estimator.max_iter=5"),
    "ensemble": ("loss=bt_mlp", "loss.hidden=[7,5]", "loss.ensemble=3", "loss.pick=1"),
    "clf scripts": ("loss=clf_mlp", "loss.hidden=[7,5]", "training.protocol=rbt_scripts"),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_alone_is_the_run_in_a_pack_bit_for_bit_on_any_threads(
    variant, tmp_path, monkeypatch
):
    """Alone it has all cores for what its bits do not hang on: blocks, or LightGBM's threads."""
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setattr("rmsweep.training.predict.BLOCK_ROWS", 2 * SHAPE["test_responses"])
    monkeypatch.setattr(machine, "has_native_bf16", lambda device: True)  # emulated, where not
    overrides = (*TINY, *VARIANTS[variant], "training.max_epochs=3")
    items = items_of([spec_of(*overrides, f"seed={seed}") for seed in range(3)])
    pack = rows_of(tmp_path / "pack", items)
    assert len(pack) == 3 and pack["bon_golden"].nunique() == 3
    place = place_of_one(items[0].spec.loss.options, None, "cpu")
    assert place.threads * place.at_once == (1 if variant in ("logistic", "hgb") else 3)
    for item in items:
        folder = SweepFolder(tmp_path / f"alone-{item.spec.seed}")
        run_pack([item], place, folder)
        alone = dataset.read_rows(folder).iloc[0]
        assert alone["threads"] == place.threads
        assert_same_numbers(pack.loc[item.spec.spec_id], alone)


def test_the_order_of_a_pack_does_not_matter(tmp_path):
    items = items_of([spec_of(*TINY, *MLP_TINY, f"seed={seed}") for seed in range(4)])
    one, other = (rows_of(tmp_path / str(i), p) for i, p in enumerate((items, items[::-1])))
    for item in items:
        assert_same_numbers(one.loc[item.spec.spec_id], other.loc[item.spec.spec_id])


def test_early_stopping_is_each_runs_own(tmp_path):
    overrides = (*TINY, *MLP_TINY, "training.patience=1", "training.max_epochs=15")
    items = items_of([spec_of(*overrides, f"seed={seed}") for seed in range(5)])
    assert rows_of(tmp_path, items)["epochs"].nunique() >= 2


def test_a_row_says_what_ran_and_what_came_out(tmp_path):
    spec = spec_of(*TINY, *MLP_TINY, "evaluation.n=5", "annotation.beta=2")
    items = items_of([spec])
    row = rows_of(tmp_path, items).loc[spec.spec_id]
    for name, value in spec_columns(spec).items():
        assert pd.isna(row[name]) if value is None else row[name] == value, name
    assert row["key"] == items[0].key
    assert list(row["bon_n"]) == [1, 2, 4, 5, 8, 10, 12]  # 10 is of the public scripts
    assert row["bon_golden"] == row["bon_golden_by_n"][3]
    assert row["base"] == row["bon_golden_by_n"][0]
    assert row["improvement"] == pytest.approx(row["bon_golden"] - row["base"])
    assert row["improvement"] == pytest.approx(row["improvement_by_prompt"].mean(), rel=1e-5)
    headroom = row["oracle"] - row["base"]
    assert row["oracle_share"] == pytest.approx(row["improvement"] / headroom)
    assert row["headroom_by_prompt"].mean() == pytest.approx(headroom, rel=1e-5)
    assert len(row["improvement_by_prompt"]) == SHAPE["test_prompts"]
    assert row["spearman"] == pytest.approx(row["spearman_by_prompt"].mean(), rel=1e-5)
    assert 0 < row["pairwise_accuracy"] < 1 and 0 < row["order_consistency"] <= 1
    assert 0 < row["annotation_error"] < 0.5 and row["mean_margin"] > 0
    assert 1 <= row["epochs"] <= 8 and row["wall_s"] > 0
    assert pd.isna(row["error"]) and pd.isna(row["traceback"])
    assert row["device"] == "cpu" and row["finished_at"].tzinfo is not None


def test_blocks_of_the_test_file_do_not_change_the_metrics(tmp_path, monkeypatch):
    items = items_of([spec_of(*TINY, "loss.hidden=[7,5]", f"seed={seed}") for seed in range(2)])
    whole = rows_of(tmp_path / "whole", items)
    monkeypatch.setattr("rmsweep.training.predict.BLOCK_ROWS", 4 * SHAPE["test_responses"])
    blocks = rows_of(tmp_path / "blocks", items)  # of 4, 4 and 1 prompts: 1 joins its neighbour
    for item in items:
        one, other = (rows.loc[item.spec.spec_id] for rows in (whole, blocks))
        np.testing.assert_allclose(
            one[NUMBERS].astype(float), other[NUMBERS].astype(float), rtol=1e-6
        )


def test_a_run_that_meets_a_nan_fails_and_its_pack_mates_are_as_without_it(tmp_path):
    specs = [spec_of(*SHORT, *FILES, *MLP_TINY, "quantity=20", f"seed={s}") for s in range(3)]
    root = tmp_path / "cache"
    write_files(root, specs[0])
    sound = rows_of(tmp_path / "sound", items_of(specs, root), root=root)
    used = [
        set(annotate_pairs(spec, open_inputs(spec, root))[0].ravel().tolist()) for spec in specs
    ]
    response = min(used[1] - used[0] - used[2])
    prompt, k = divmod(response, SHAPE["train_responses"])
    edit_embeddings(root, specs[0], "train", (prompt, k, 3), np.nan)
    items = items_of(specs, root)
    rows = rows_of(tmp_path / "broken", items, root=root)
    assert len(rows) == 3
    failed = rows.loc[specs[1].spec_id]
    assert failed["status"] == "failed"
    expected = f"train embeddings hold NaN or inf at prompt {prompt}, response {k}"
    assert failed["error"].startswith("ValueError: ") and expected in failed["error"]
    assert "_refuse_nonfinite" in failed["traceback"]
    assert np.isnan(failed["bon_golden"]) and failed["bon_golden_by_n"] is None
    for spec in (specs[0], specs[2]):
        assert_same_numbers(rows.loc[spec.spec_id], sound.loc[spec.spec_id])
    assert items[1].key not in set(sound["key"])  # the data changed, so the key did


def test_a_nan_in_the_test_embeddings_names_prompt_and_response(tmp_path):
    specs = [spec_of(*SHORT, *FILES, *MLP_TINY, f"seed={s}") for s in range(2)]
    root = tmp_path / "cache"
    write_files(root, specs[0], "float16")
    edit_embeddings(root, specs[0], "test", (7, 3, 5), np.inf)
    rows = rows_of(tmp_path / "rows", items_of(specs, root), root=root)
    assert list(rows["status"]) == ["failed"] * 2
    assert (
        rows["error"].str.contains("test embeddings hold NaN or inf at prompt 7, response 3").all()
    )


RAISING = """
def raises_on_large_embeddings(batch, state):
    for features in (batch.features_chosen, batch.features_rejected):
        if (features.abs() > 1000).any():
            raise RuntimeError("a bug in a user's loss")
    return (batch.rejected - batch.chosen).exp().log1p(), state
"""


@pytest.fixture
def own_loss(tmp_path, monkeypatch):
    """Overrides for a loss of the user's own that raises on embeddings above 1000."""
    (tmp_path / "own_loss_of_test_execute.py").write_text(RAISING)
    monkeypatch.syspath_prepend(tmp_path)
    target = "own_loss_of_test_execute.raises_on_large_embeddings"
    return (f"loss.objective._target_={target}", "loss.hidden=[]")


def test_a_loss_that_raises_fails_its_run_alone(own_loss, tmp_path):
    specs = [spec_of(*SHORT, *FILES, *own_loss, "quantity=20", f"seed={s}") for s in range(3)]
    root = tmp_path / "cache"
    write_files(root, specs[0])
    sound = rows_of(tmp_path / "sound", items_of(specs, root), root=root)
    assert list(sound["status"]) == ["done"] * 3
    used = [
        set(annotate_pairs(spec, open_inputs(spec, root))[0].ravel().tolist()) for spec in specs
    ]
    prompt, k = divmod(min(used[0] - used[1] - used[2]), SHAPE["train_responses"])
    edit_embeddings(root, specs[0], "train", (prompt, k), 2000.0)
    rows = rows_of(tmp_path / "rows", items_of(specs, root), root=root)
    assert list(rows.loc[[spec.spec_id for spec in specs], "status"]) == ["failed", "done", "done"]
    failed = rows.loc[specs[0].spec_id]
    assert failed["error"] == "RuntimeError: a bug in a user's loss"
    assert "own_loss_of_test_execute.py" in failed["traceback"]
    for spec in specs[1:]:
        assert_same_numbers(rows.loc[spec.spec_id], sound.loc[spec.spec_id])


def test_a_loss_that_is_not_finite_is_a_failed_row(tmp_path):
    spec = spec_of(*TINY, "loss=clf_mlp", *MLP_TINY, "training.learning_rate=1e30")
    row = rows_of(tmp_path, items_of([spec])).loc[spec.spec_id]
    assert row["status"] == "failed"
    assert row["error"].startswith("FloatingPointError: the loss is not finite in epoch ")


def test_outcome_counts_what_was_done(tmp_path):
    good, bad = spec_of(*TINY, *MLP_TINY), spec_of(*TINY, *MLP_TINY, "training.learning_rate=1e30")
    outcome = run_pack(items_of([good, bad]), Place(None, "cpu", 1), SweepFolder(tmp_path))
    assert (outcome.done, outcome.failed) == (1, 1)
    assert outcome.wall_s >= outcome.fit_s + outcome.score_s > 0


OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted((SHIPPED / "conf").glob("*/*.yaml"))
    if path.stem not in OF_PAIRS
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_runs_one_tiny_fit(group, option, tmp_path):
    """On synthetic data, or on files of the option's stem."""
    is_synthetic = option == "synthetic" or group not in ("base_llm", "backbone", "dataset")
    files = () if is_synthetic else ("dataset=alpacaeval",) * (group != "dataset")
    shape = TINY if is_synthetic else SHORT
    text = (SHIPPED / "conf" / group / f"{option}.yaml").read_text()
    sizes = {"rounds: ": "loss.rounds=3", "hidden: [1": "loss.hidden=[8]"}
    size = [small for name, small in sizes.items() if name in text] if group == "loss" else MLP_TINY
    spec = spec_of(*shape, *files, f"{group}={option}", "quantity=30", *size)
    root = None if is_synthetic else tmp_path / "cache"
    if root is not None:
        write_files(root, spec)
    row = rows_of(tmp_path, items_of([spec], root), root=root).loc[spec.spec_id]
    assert row["status"] == "done", row["traceback"]
    assert row["base"] < row["oracle"]
    assert all(math.isfinite(row[name]) for name in schema.SCALARS if name != "spearman")
    if group in ("base_llm", "backbone", "dataset", "selection", "pairing", "loss"):
        assert row[group] == option


def test_parts_with_null_and_other_columns_side_by_side_read_back_whole(tmp_path):
    mlp_run = spec_of(*TINY, *MLP_TINY)
    trees_run = spec_of(*TINY, "loss=clf_lgb", "loss.rounds=3")  # no epochs
    failing = spec_of(*TINY, *MLP_TINY, "training.learning_rate=1e30")  # no metrics
    unlike = spec_of(*TINY, *MLP_TINY, "training.patience=null", "evaluation.n=3")
    found = [mlp_run, trees_run, failing, unlike]
    for spec in found:
        run_pack(items_of([spec]), Place(None, "cpu", 1), SweepFolder(tmp_path))
    assert len(list((tmp_path / "runs").glob("part-*.parquet"))) == 4
    rows = dataset.read_rows(SweepFolder(tmp_path)).set_index("spec_id")
    assert set(rows.index) == {spec.spec_id for spec in found}
    assert [*rows.columns] == [name for name in schema.SCHEMA.names if name != "spec_id"]
    assert rows.at[mlp_run.spec_id, "epochs"] >= 1
    assert np.isnan(rows.at[trees_run.spec_id, "epochs"])
    assert rows.at[failing.spec_id, "improvement_by_prompt"] is None
    assert len(rows.at[trees_run.spec_id, "improvement_by_prompt"]) == SHAPE["test_prompts"]
    assert pd.isna(rows.at[mlp_run.spec_id, "error"])
    assert "not finite" in rows.at[failing.spec_id, "error"]
    assert np.isnan(rows.at[unlike.spec_id, "training.patience"])
    assert rows.at[mlp_run.spec_id, "training.patience"] == 3
    assert rows.at[unlike.spec_id, "evaluation.n"] == 3


def test_parts_of_failed_rows_alone_read_back(tmp_path):
    failing = spec_of(*TINY, *MLP_TINY, "training.learning_rate=1e30")
    rows = rows_of(tmp_path, items_of([failing]))
    assert list(rows["status"]) == ["failed"]
    assert failures.latest_failures(SweepFolder(tmp_path))["error"].iloc[0] == rows["error"].iloc[0]


def test_pairs_of_equal_responses_are_counted_and_normbt_stays_finite(tmp_path):
    options = ("loss=normbt", *MLP_TINY, "training.patience=null", "training.max_epochs=3")
    spec = spec_of(*SHORT, *FILES, *options)
    write_files(tmp_path, spec)
    edit_embeddings(tmp_path, spec, "train", slice(0, 8), 0.5)
    row = rows_of(tmp_path, items_of([spec], tmp_path), root=tmp_path).loc[spec.spec_id]
    assert row["status"] == "done" and math.isfinite(row["bon_golden"])
    counts = json.loads(row["objective_counts"])
    assert counts["n_zero_distances"] % 3 == 0 and counts["n_zero_distances"] > 0


def test_golden_margins_are_in_units_of_the_reward_scale(tmp_path):
    """Half the scale is twice the margin; labels are those of noise-free annotators in both."""
    options = ("loss=bt_golden_margin", *MLP_TINY, "annotation.beta=.inf")
    rows = [
        rows_of(tmp_path / str(i), items_of([spec_of(*TINY, *options, *more)])).iloc[0]
        for i, more in enumerate([
            ("dataset.reward_scale=2", "loss.objective.factor=2"),
            ("dataset.reward_scale=1", "loss.objective.factor=1"),
            ("dataset.reward_scale=1", "loss.objective.factor=2"),
        ])
    ]  # fmt: skip
    assert rows[0]["bon_golden_by_n"].tolist() == rows[1]["bon_golden_by_n"].tolist()
    assert rows[0]["improvement_by_prompt"].tolist() == rows[1]["improvement_by_prompt"].tolist()
    assert rows[2]["spearman"] != rows[1]["spearman"]


def test_responses_are_fitted_as_the_scripts_do(tmp_path):
    """rows=responses and rows=pairs are two training sets of the same annotations."""
    specs = [
        spec_of(*TINY, "loss=clf_mlp", *MLP_TINY, "training.protocol=rbt_scripts", f"loss.rows={r}")
        for r in ("responses", "pairs")
    ]
    rows = rows_of(tmp_path, items_of(specs)).loc[[spec.spec_id for spec in specs]]
    assert rows["annotation_error"].nunique() == 1
    assert rows["bon_golden"].nunique() == 2


def test_losses_meet_the_same_annotations_in_their_rows(tmp_path):
    specs = [
        spec_of(*TINY, f"loss={loss}", *MLP_TINY) for loss in ("bt_mlp", "clf_mlp", "normbt")
    ] + [spec_of(*TINY, "loss=clf_lgb", "loss.rounds=3")]
    found = [rows_of(tmp_path / str(i), items_of([spec])).iloc[0] for i, spec in enumerate(specs)]
    for one, other in itertools.pairwise(found):
        assert one["annotation_error"] == other["annotation_error"]
        assert one["mean_margin"] == other["mean_margin"]
        assert one["oracle"] == other["oracle"]
        assert one["base"] == pytest.approx(other["base"], rel=1e-12)


def test_precisions_are_those_of_the_engine():
    assert {spec_of(*TINY, f"precision={name}").precision for name in mlp_network.DTYPES} == {
        "bf16",
        "fp32",
    }


def test_flushing_after_every_run_changes_nothing(tmp_path, monkeypatch):
    items = items_of([spec_of(*TINY, *MLP_TINY, f"seed={seed}") for seed in range(3)])
    once = rows_of(tmp_path / "once", items)
    monkeypatch.setattr(worker, "FLUSH_S", 0.001)
    thrice = rows_of(tmp_path / "thrice", items)
    assert len(list((tmp_path / "thrice/runs").iterdir())) == 3
    for spec_id, row in once.iterrows():
        assert_same_numbers(row, thrice.loc[spec_id])
        assert row["fingerprint"] == thrice.loc[spec_id, "fingerprint"] != ""


def test_data_that_changed_after_the_plan_is_not_recorded_under_the_old_key(tmp_path):
    spec = spec_of(*FILES, *SHORT, *MLP_TINY)
    write_files(tmp_path, spec)
    items = items_of([spec], tmp_path)
    edit_embeddings(tmp_path, spec, "train", (0, 0, 0), 1.0)
    (row,) = rows_of(tmp_path, items, root=tmp_path).to_dict("records")
    assert row["status"] == "failed" and "changed after the launch" in row["error"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_a_pack_goes_on_in_halves(error, tmp_path, monkeypatch):
    items = items_of([spec_of(*TINY, *MLP_TINY, f"seed={seed}") for seed in range(5)])
    expected, sizes, fit = rows_of(tmp_path / "all", items), [], worker.fit_runs

    def fit_in_little_memory(runs, inputs, place):
        sizes.append(len(runs))
        if len(runs) > 2:
            raise error("no memory left")
        return fit(runs, inputs, place)

    monkeypatch.setattr(worker, "fit_runs", fit_in_little_memory)
    monkeypatch.setattr(machine, "free_bytes", lambda on: 2**33)
    monkeypatch.setattr(machine, "gpu", lambda on: "none")
    folder = SweepFolder(tmp_path / "halved")
    worker.run_pack(items, Place(None, "cpu:0", 1), folder)  # as a GPU takes a pack: at once
    found = dataset.read_rows(folder).set_index("spec_id")
    assert sizes == [5, 3, 2, 1, 2]
    for spec_id, row in expected.iterrows():
        assert_same_numbers(row, found.loc[spec_id])


def test_a_run_that_finds_no_memory_alone_is_a_failed_row(tmp_path, monkeypatch):
    items = items_of([spec_of(*TINY, *MLP_TINY, f"seed={seed}") for seed in range(2)])

    def fit(runs, inputs, place):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(worker, "fit_runs", fit)
    rows = rows_of(tmp_path, items)
    assert set(rows["status"]) == {"failed"}
    assert set(rows["error"]) == {"OutOfMemoryError: no memory left"}


def test_a_gpu_trains_together_what_its_free_memory_holds(monkeypatch):
    def at_once(gib, *overrides, device="cuda"):
        monkeypatch.setattr(machine, "free_bytes", lambda on: gib * 2**30)
        spec = spec_of(*TINY, *overrides)
        return reward_model_of(spec.loss).n_together(spec, 2048, Place(None, device, 1))

    assert at_once(80, device="cpu") == at_once(80, "loss=clf_lgb") == at_once(0) == 1
    small, large = "quantity=10000", "quantity=40000"
    assert at_once(80, small) > at_once(80, large) > at_once(20, large) >= 1
    assert at_once(80, small) > at_once(80, small, "training.protocol=rbt_scripts")
    assert at_once(80, small) > at_once(80, small, "loss.hidden=[4096]")
    wide = small, "loss=normbt", "loss.hidden=[4096]"
    for more in ("loss.norm=layer", "loss.objective.distance=mahalanobis"):
        assert at_once(80, *wide) > at_once(80, *wide, more)


def test_a_packs_runs_are_scored_in_one_pass_over_the_test_file(tmp_path):
    """Bytes that this process asks the system for; the golden rewards are read before."""
    spec = spec_of(*FILES, *SHORT, *MLP_TINY)
    write_files(tmp_path, spec, shape={"test_prompts": 800, "test_responses": 40, "dim": 32})
    items = items_of([spec, spec_of(*FILES, *SHORT, *MLP_TINY, "seed=1")], tmp_path)
    inputs, place = open_inputs(spec, str(tmp_path)), Place(str(tmp_path), "cpu", 1)
    fitted = fit_runs(items, inputs, place)
    before = bytes_read()
    assert len(score_runs(fitted, inputs, place)) == 2
    stems = (spec.base_llm.stem, spec.backbone.stem, spec.dataset.stem)
    size = embeddings_path(tmp_path, *stems, "test").stat().st_size
    assert 0.99 * size < bytes_read() - before < 1.01 * size
