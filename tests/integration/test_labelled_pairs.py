"""Labelled pairs: trained on, held out by prompt, judged by subset, section and distance."""

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest
from helpers.made_up_pairs import D, N, write_pairs
from helpers.shared_data import SHARED, needs
from helpers.tiny_runs import OF_PAIRS, assert_same_numbers, items_of, rows_of, spec_of, write_files

from rmsweep.cache import inputs
from rmsweep.cache.inputs import open_inputs
from rmsweep.cache.layout import pair_embeddings_path, pair_table_path
from rmsweep.config.launchers import Place
from rmsweep.config.spec import Item
from rmsweep.paths import CHECKOUT, SHIPPED
from rmsweep.training.annotate import annotate_pairs, split_pairs
from rmsweep.training.fit import fit_members

DATA = SHARED / "pairs"
BASE = (
    *("backbone=minilm", "loss.hidden=[8]", "training.max_epochs=40", "quantity=150"),
    "training.learning_rate=0.01",
)
LABELS = ("dataset=hh_harmless_pairs", *BASE)


@pytest.fixture
def root(tmp_path):
    write_pairs(tmp_path / "cache", prompts=np.arange(N) // 3)
    return tmp_path / "cache"


def row_of(tmp_path, root, *overrides):
    spec = spec_of(*overrides)
    row = rows_of(tmp_path / "out", items_of([spec], root), root=root).loc[spec.spec_id]
    assert row["status"] == "done", row["traceback"]
    return row


@pytest.mark.parametrize(
    "loss", ["bt_mlp", "normbt_linear", "clf_lgb", "clf_logistic", "bt_margin", "bt_flip_robust"]
)
def test_a_run_learns_from_labels_and_is_judged_on_prompts_it_has_not_seen(tmp_path, root, loss):
    size = ["loss.hidden=[8]"] if loss == "bt_mlp" else []
    overrides = [o for o in LABELS if "hidden" not in o]
    row = row_of(tmp_path, root, *overrides, f"loss={loss}", *size)
    n = round(0.2 * N)
    assert len(row["correct_by_pair"]) == n == row["subset_pairs"][0]
    assert row["accuracy"] == pytest.approx(row["correct_by_pair"].mean())
    assert row["accuracy"] > 0.7 and list(row["subset"]) == ["hh-harmless"]
    assert row["test_responses"] == 2 * n
    for name in (
        "base_llm",
        "selection",
        "pairing",
        "bon_golden",
        "annotation_error",
        "rewardbench",
    ):
        assert pd.isna(row[name]), name
    assert 0 < row["brier"] < 0.25 and 0 <= row["ece"] < 0.5 and row["nll"] < np.log(2)
    assert row["reliability_pairs"].sum() == n
    rows = open_inputs(spec_of(*overrides, f"loss={loss}", *size), root).judged[0].rows
    x = np.load(pair_embeddings_path(root, "hh-harmless", "minilm"))[rows].astype("f4")
    np.testing.assert_allclose(row["distance_by_pair"], np.linalg.norm(x[:, 0] - x[:, 1], axis=1))


def test_no_prompt_is_on_two_sides(root):
    for seed in range(5):
        spec = spec_of(*LABELS, f"seed={seed}")
        read = open_inputs(spec, root)
        pairs, _ = annotate_pairs(spec, read)
        parts = split_pairs(spec, pairs, read)
        assert len(parts.validation_pairs) == spec.n_validation == 30
        sides = [
            read.judged[0].rows,
            parts.train_pairs[:, 0] // 2,
            parts.validation_pairs[:, 0] // 2,
        ]
        prompts = [set(read.prompts[rows]) for rows in sides]
        assert all(not a & b for a in prompts for b in prompts if a is not b)
        assert len(set(pairs.ravel())) == 2 * spec.quantity


def test_what_is_held_out_does_not_depend_on_seed_or_quantity(root):
    held_out = [
        open_inputs(spec_of(*LABELS, *more), root).judged[0].rows
        for more in ([], ["seed=3"], ["quantity=60"], ["loss=normbt"], ["annotation.flip_rate=0.2"])
    ]
    assert all(np.array_equal(held_out[0], other) for other in held_out)


def test_fewer_pairs_are_the_first_ones_and_flips_only_grow(root):
    def labels(*more):
        spec = spec_of(*LABELS, *more)
        return annotate_pairs(spec, open_inputs(spec, root))[0]

    plain = labels()
    assert (plain[:, 0] % 2 == 0).all(), "chosen first"
    np.testing.assert_array_equal(labels("quantity=60"), plain[:60])
    flipped = [labels(f"annotation.flip_rate={rate}")[:, 0] % 2 == 1 for rate in (0.1, 0.3)]
    assert flipped[0].sum() < flipped[1].sum() and not (flipped[0] & ~flipped[1]).any()
    assert abs(flipped[1].mean() - 0.3) < 0.12
    assert not np.array_equal(labels("seed=1"), plain)


def test_flipped_labels_are_harder_to_learn_from(tmp_path, root):
    def accuracy(rate, seed):
        more = (f"annotation.flip_rate={rate}", f"seed={seed}")
        return row_of(tmp_path / f"{rate}{seed}", root, *LABELS, *more)["accuracy"]

    plain, noisy = (np.mean([accuracy(rate, seed) for seed in range(3)]) for rate in (0, 0.45))
    assert noisy < plain - 0.05


def test_alone_as_in_a_pack_and_as_a_member_of_an_ensemble(tmp_path, root):
    specs = [spec_of(*LABELS, f"seed={seed}") for seed in range(3)]
    packed = rows_of(tmp_path / "pack", items_of(specs, root), root=root)
    alone = rows_of(tmp_path / "one", items_of(specs[1:2], root), root=root)
    one, other = packed.loc[specs[1].spec_id], alone.loc[specs[1].spec_id]
    for name in ("accuracy", "ece", "nll", "temperature", "order_consistency"):
        assert one[name] == other[name], name
    np.testing.assert_array_equal(one["correct_by_pair"], other["correct_by_pair"])
    ensemble = row_of(tmp_path, root, *LABELS, "loss.ensemble=3")
    assert ensemble["accuracy"] > 0.75
    assert pd.isna(ensemble["ece"]), "its members have validation pairs of their own"


def test_subsets_and_sections_are_those_of_all_sets(tmp_path, root):
    names = ["llmbar-natural", "llmbar-adver-manual", "mt-bench-easy", "hep-go"]
    subsets = np.array(names)[np.random.default_rng(1).integers(4, size=80)]
    write_pairs(root, "bench", 80, 1, subsets=subsets)
    row = row_of(tmp_path, root, *LABELS, "evaluation.pairs=[bench]")
    accuracy = dict(zip(row["subset"], row["subset_accuracy"], strict=True))
    counts = dict(zip(row["subset"], row["subset_pairs"], strict=True))
    assert list(accuracy) == ["hh-harmless", *sorted(names)]
    assert {name: counts[name] for name in names} == {n: (subsets == n).sum() for n in names}
    chat_hard = (100 * accuracy["llmbar-natural"] + 46 * accuracy["llmbar-adver-manual"]) / 146
    assert row["section_chat_hard"] == pytest.approx(chat_hard)
    assert row["section_chat"] == accuracy["mt-bench-easy"]
    assert row["section_reasoning"] == accuracy["hep-go"]
    assert pd.isna(row["section_safety"]) and pd.isna(row["rewardbench"])
    assert len(row["correct_by_pair"]) == counts["hh-harmless"], "of the first set alone"
    alone = row_of(
        tmp_path / "b", root, *LABELS, "evaluation.pairs=[bench]", "evaluation.held_out=null"
    )
    assert len(alone["correct_by_pair"]) == 80


def test_simulated_annotations_are_judged_on_labels_and_the_reverse(tmp_path, root):
    files = ("base_llm=alpaca_strong", "dataset=alpacaeval", *BASE)
    write_files(root, spec_of(*files))
    plain = row_of(tmp_path / "plain", root, *files)
    judged = row_of(tmp_path / "judged", root, *files, "evaluation.pairs=[hh-harmless]")
    assert_same_numbers(plain, judged)
    assert plain["fingerprint"] != judged["fingerprint"] and pd.isna(plain["accuracy"])
    assert len(judged["correct_by_pair"]) == N
    golden = "evaluation.golden={base_llm:alpaca-strong,dataset:alpacaeval}"
    reverse = row_of(tmp_path / "reverse", root, *LABELS, golden)
    assert all(reverse[name] == pytest.approx(plain[name]) for name in ("base", "oracle"))
    assert reverse["accuracy"] > 0.75 and np.isfinite(reverse["improvement"])
    assert pd.isna(reverse["kl_risk"])


def test_a_tie_is_wrong_and_normbt_bears_equal_embeddings(tmp_path, root):
    path = pair_embeddings_path(root, "hh-harmless", "minilm")
    embeddings = np.load(path)
    embeddings[::2, 1] = embeddings[::2, 0]
    np.save(path, embeddings)
    row = row_of(tmp_path, root, *LABELS, "loss=normbt", "loss.hidden=[8]")
    spec = spec_of(*LABELS, "loss=normbt")
    judged = open_inputs(spec, root).judged[0].rows
    assert (row["correct_by_pair"][judged % 2 == 0] == 0).all()
    assert json.loads(row["objective_counts"])["n_zero_distances"] > 0
    assert all(np.isfinite(row[name]) for name in ("accuracy", "nll", "ece"))


REFUSED = {
    "beta": (
        [*LABELS, "annotation.beta=3"],
        "annotation.beta must be null with annotation.source=l",
    ),
    "base LLM": (
        [*LABELS, "base_llm=gemma2b"],
        "base_llm must be null with annotation.source=labels",
    ),
    "pairing": (
        [*LABELS, "pairing=cross_prompt"],
        "pairing must be null with annotation.source=lab",
    ),
    "flip rate": (
        [*LABELS, "annotation.flip_rate=0.5"],
        r"flip_rate must be in \[0, 0.5\), got 0.5",
    ),
    "no flips": ([*LABELS, "annotation.flip_rate=null"], "annotation.flip_rate must be given with"),
    "simulated flips": (
        ["annotation.flip_rate=0.1"],
        "flip_rate must be null with annotation.source=s",
    ),
    "simulated held out": (["evaluation=held_out_pairs"], "evaluation.held_out must be null with"),
    "labels of synthetic": (
        ["annotation.source=labels"],
        "must be null with annotation.source=labels",
    ),
    "scripts": ([*LABELS, "training.protocol=rbt_scripts"], "puts a prompt on both sides"),
    "nothing to judge": ([*LABELS, "evaluation.held_out=null"], "evaluation says nothing to judge"),
    "golden margins": ([*LABELS, "loss=bt_golden_margin"], "needs golden rewards"),
    "held out": ([*LABELS, "evaluation.held_out=1.5"], r"evaluation.held_out must be in \(0, 1\)"),
    "no pairs": ([*LABELS, "evaluation.pairs=[]"], "evaluation.pairs must be file stems, or null"),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_fields_of_the_other_source_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        spec_of(*overrides)


def same_texts(root):
    table = pd.read_parquet(pair_table_path(root, "hh-harmless"))
    table.loc[7, "rejected"] = table.loc[7, "chosen"]
    table.to_parquet(pair_table_path(root, "hh-harmless"))


BROKEN = {
    "same texts": (same_texts, [], "found the same text in 1 pairs, the first in row 7"),
    "lengths": (
        lambda root: np.save(root / "embd_pairs_hh-harmless_minilm.npy", np.ones((4, 2, D), "f4")),
        [], "rows must be 4, the pairs in embd_pairs_hh-harmless_minilm.npy, found 300",
    ),
    "unknown subset": (
        lambda root: write_pairs(root, subsets=["llmbar-naturel"] * N), [],
        "subset 'llmbar-naturel' is none of RewardBench's; did you mean llmbar-natural?",
    ),
    "missing subset": (
        lambda root: write_pairs(root, subsets=[None, *["hep-go"] * (N - 1)]), [],
        "subset must have no nulls, found 1",
    ),
    "other backbone": (
        lambda root: write_pairs(root, "other", 20, dim=8), ["evaluation.pairs=[other]"],
        "D must be 16 as of the embeddings trained on, found 8",
    ),
    "subset twice": (
        lambda root: [
            write_pairs(root, name, 20, subsets=["hep-go"] * 20) for name in ("other", "bench")
        ],
        ["evaluation.pairs=[other,bench]"], "subset hep-go is in more than one of the sets",
    ),
    "too many": (lambda root: None, ["quantity=241"], "quantity must be at most 240, the labelled"),
    "n": (lambda root: None, ["evaluation.n=5"], "evaluation.n is for Best-of-N"),
    "no file": (lambda root: None, ["evaluation.pairs=[nosuch]"], "no embeddings of nosuch by min"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "more", "message"), BROKEN.values(), ids=BROKEN)
def test_files_that_do_not_fit_are_refused_before_any_work(root, spoil, more, message):
    spoil(root)
    spec = spec_of(*LABELS, *more)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inputs.require_enough(spec, open_inputs(spec, root))


def test_prompts_that_are_trained_on_are_not_judged(root):
    spec = spec_of(*LABELS, "evaluation.held_out=null", "evaluation.pairs=[hh-harmless]")
    with pytest.raises(ValueError, match="300 of the 300 pairs of hh-harmless have prompts that"):
        open_inputs(spec, root)


def test_splits_of_unequal_sizes_are_fitted_side_by_side(root):
    write_pairs(root, prompts=np.random.default_rng(0).integers(12, size=N))
    specs = [spec_of(*LABELS, f"seed={seed}") for seed in range(4)]
    read = open_inputs(specs[0], root)
    members = [(Item(str(i), spec), annotate_pairs(spec, read)[0]) for i, spec in enumerate(specs)]
    sizes = {len(split_pairs(item.spec, pairs, read).train) for item, pairs in members}
    assert len(sizes) > 1
    x = read.train_embeddings().reshape(-1, D)
    runs = fit_members(members, x, read, Place(None, "cpu", 1))
    assert [run.item.key for run in runs] == list("0123")
    assert all(run.error is None for run in runs)


def test_a_section_that_lacks_subsets_says_its_accuracy_and_what_it_lacks(inside, root):
    subsets = ["llmbar-natural", "llmbar-adver-manual"] * 20
    write_pairs(root, "bench", 40, 1, prompts=np.arange(40) + 1000, subsets=subsets)
    labels = [*LABELS, f"cache.root={root}", "precision=fp32", "evaluation.pairs=[bench]"]
    said = inside("run", *labels).stdout
    assert re.search(r"^ *section_chat_hard  0\.\d{4}$", said, re.M), said
    assert re.search(r"^ *section_chat_hard  without .*, which are not here$", said, re.M), said
    assert re.search(r"llmbar-natural .* 20 .*\[0\.\d{3}, \d\.\d{3}\]", said), said


def test_labelled_runs_are_reproduced_and_verified(inside, root):
    write_pairs(root, "llmbar", 60, 5, prompts=np.arange(60) + 1000,
                subsets=["llmbar-natural"] * 60)  # fmt: skip
    write_files(root, spec_of("base_llm=alpaca_strong", "dataset=alpacaeval", *BASE))
    golden = "evaluation.golden={base_llm: alpaca-strong, dataset: alpacaeval}"
    base = [*LABELS, f"cache.root={root}", "precision=fp32", "evaluation.pairs=[llmbar]"]
    inside("run", "-m", *base, golden, "seed=0,1", "name=labels")
    assert "2 of 2" in inside("verify", "labels", "--sample", "2").stdout


def test_nan_is_a_failed_row_that_names_the_pair(tmp_path, root):
    path = pair_embeddings_path(root, "hh-harmless", "minilm")
    embeddings = np.load(path)
    spec = spec_of(*LABELS)
    row = int(open_inputs(spec, root).judged[0].rows[0])
    embeddings[row, 1, 3] = np.nan
    np.save(path, embeddings)
    (found,) = rows_of(tmp_path, items_of([spec], root), root=root).to_dict("records")
    assert found["status"] == "failed" and f"at pair {row} (from 0), rejected" in found["error"]


@pytest.mark.parametrize("option", sorted(OF_PAIRS))
def test_every_option_of_labelled_pairs_runs(tmp_path, root, option):
    write_pairs(root, "hh-helpful")
    write_pairs(root, "rewardbench", 40, subsets=["hep-go", "donotanswer"] * 20)
    (group,) = (p.parent.name for p in (SHIPPED / "conf").glob(f"*/{option}.yaml"))
    more = ["dataset=hh_harmless_pairs"] if group == "evaluation" else []
    row = row_of(tmp_path, root, *more, f"{group}={option}", *BASE)
    assert row[group] == option and row["accuracy"] > 0.5


def test_commands_show_accuracy(inside, root):
    write_pairs(root, "bench", 80, 1, subsets=["llmbar-natural", "hep-go"] * 40)
    base = [*LABELS, f"cache.root={root}", "precision=fp32", "evaluation.pairs=[bench]"]
    said = inside("run", *base).stdout
    assert "accuracy" in said and "hep-go" in said and "without math-prm, hep-cpp" in said, said
    inside("run", "-m", *base, "seed=range(5)", "loss=bt_linear,normbt_linear", "name=labels")
    said = inside("table", "labels", "--metric", "accuracy").stdout
    assert "bt_linear" in said and "pairs" in said, said
    assert "bt_linear" in inside("table", "labels", "--metric", "accuracy:hep-go").stdout
    refused = inside("table", "labels", "--metric", "accuracy:hep-g", status=2).stderr
    assert "did you mean hep-go?" in refused
    inside("status", "labels")
    inside("report", "labels")
    for name in ("sections", "reliability", "accuracy_by_distance"):
        inside("figure", "labels", "--figure", name)


def rewardbench_file(path, n=30, **columns):
    """As RewardBench publishes them, with columns that are not read."""
    table = pd.DataFrame({
        "prompt": [f"p {i}" for i in range(n)], "chosen": [f"c {i}" for i in range(n)],
        "chosen_model": "a", "rejected": [f"r {i}" for i in range(n)], "rejected_model": "b",
        "subset": ["hep-go", "donotanswer", "alpacaeval-easy"] * (n // 3), "id": range(n),
    } | columns)  # fmt: skip
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_imported_pairs_are_judged(tmp_path, root, inside, suffix):
    source = rewardbench_file(tmp_path / f"bench.{suffix}")
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(30, 2, D)).astype("f2"))
    inside("cache", "import-pairs", source, root)
    inside("cache", "import-pairs", source, root, "--embeddings", "e.npy", "--backbone", "minilm")
    row = row_of(
        tmp_path, root, *LABELS, "evaluation.held_out=null", "evaluation.pairs=[rewardbench]"
    )
    assert dict(zip(row["subset"], row["subset_pairs"], strict=True)) == {
        "alpacaeval-easy": 10, "donotanswer": 10, "hep-go": 10,
    }  # fmt: skip
    again = ["cache", "import-pairs", source, root, "--embeddings", "e.npy", "--backbone", "minilm"]
    assert "is there, remove it" in inside(*again, status=2).stderr


NOT_IMPORTED = {
    "unknown subset": ({"subset": ["hep-goo"] * 30}, "did you mean hep-go?"),
    "same texts": ({"chosen": "x", "rejected": "x"}, "found the same text in 30 pairs"),
    "no text": ({"prompt": 3}, "prompt must be text"),
}


@pytest.mark.parametrize(("columns", "message"), NOT_IMPORTED.values(), ids=NOT_IMPORTED)
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_pairs_that_are_not_sound_are_not_imported(tmp_path, inside, suffix, columns, message):
    source = rewardbench_file(tmp_path / f"bench.{suffix}", **columns)
    assert message in inside("cache", "import-pairs", source, "new", status=2).stderr
    assert not (tmp_path / "new").exists()


def test_embeddings_of_other_pairs_are_not_imported(tmp_path, inside):
    source = rewardbench_file(tmp_path / "bench.jsonl")
    np.save(tmp_path / "e.npy", np.ones((29, 2, D), "f4"))
    command = ["cache", "import-pairs", source, "new", "--embeddings", "e.npy"]
    said = inside(*command, "--backbone", "minilm", status=2).stderr
    assert "shape must be (30, 2, D)" in said and not (tmp_path / "new").exists()
    assert "go together" in inside(*command, status=2).stderr
    (tmp_path / "bad.jsonl").write_text("{")
    said = inside("cache", "import-pairs", "bad.jsonl", "new", status=2).stderr
    assert "must hold a JSON object a line" in said


@needs("pairs")
def test_linear_bradley_terry_on_real_labels_is_what_logistic_regression_reaches(tmp_path):
    specs = [
        spec_of("dataset=hh_harmless_pairs", "backbone=minilm", "loss=bt_linear", "quantity=1300",
                f"seed={seed}", "evaluation.pairs=[llmbar]", "training.max_epochs=100")
        for seed in range(3)
    ]  # fmt: skip
    rows = rows_of(tmp_path, items_of(specs, DATA), root=DATA)
    assert 0.53 < rows["accuracy"].mean() < 0.66  # logistic regression, 5 folds: 0.576
    assert rows["section_chat_hard"].between(0.2, 0.6).all()
    assert (rows["subset_pairs"].map(sum) == 419 + len(rows["correct_by_pair"].iloc[0])).all()


@pytest.mark.soak  # half a minute
def test_the_docs_commands_run_as_written(rmsweep, tmp_path, root):
    rewardbench_file(tmp_path / "rewardbench.parquet")
    np.save(tmp_path / "embeddings.npy", np.random.default_rng(0).normal(size=(30, 2, D)))
    np.save(tmp_path / "embeddings.npy", np.load(tmp_path / "embeddings.npy").astype("f2"))
    write_pairs(root, "llmbar", 60, subsets=["llmbar-natural", "llmbar-adver-manual"] * 30)
    write_files(root, spec_of("base_llm=alpaca_strong", "dataset=alpacaeval", *BASE))
    text = (CHECKOUT / "docs/labelled-pairs.md").read_text()
    commands = [line[12:] for line in text.splitlines() if line.startswith("    rmsweep ")]
    small = ["quantity=60", "loss.hidden=[8]", "training.max_epochs=2", "precision=fp32"]
    rmsweep("run", "-m", *LABELS, f"cache.root={root}", "seed=range(2)", "name=NAME",
            "precision=fp32", "evaluation.pairs=[llmbar]")  # fmt: skip
    assert len(commands) == 8
    for command in commands:
        words = shlex.split(command.replace("DIR", str(root)))
        words = [word for word in words if not word.startswith("quantity=")]
        assert rmsweep(*words, *(small if words[0] == "run" else [])).stdout
