"""Tiny runs in this process: a spec, its items, the rows of a pack, and when two are equal."""

import functools
import re
from pathlib import Path

import numpy as np
from helpers.composing import composed

from rmsweep.cache import write_synthetic
from rmsweep.cache.inputs import open_inputs
from rmsweep.cache.layout import embeddings_path
from rmsweep.cache.synthetic import SyntheticSource
from rmsweep.config.launchers import Place
from rmsweep.config.parse import parse
from rmsweep.config.spec import Item
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema

SHAPE = {
    "seed": 0, "train_prompts": 40, "train_responses": 4, "test_prompts": 9, "test_responses": 12,
    "dim": 16, "n_clusters": 3, "intrinsic_dim": 4, "between_std": 4.0, "within_std": 2.3,
    "variance_ratio": 6.8, "noise": 0.5,
}  # fmt: skip


SHORT = ("quantity=90", "training.max_epochs=6", "training.learning_rate=0.01")


TINY = (*(f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()), *SHORT)


FILES = ("base_llm=gemma2b", "backbone=lsa", "dataset=hh_harmless")


MLP_TINY = ("loss.hidden=[16]",)


# Options that read labelled pairs; test_labelled_pairs.py has a fit of each
OF_PAIRS = {"hh_harmless_pairs", "hh_helpful_pairs", "held_out_pairs", "rewardbench"}
NUMBERS = [*schema.SCALARS, "epochs", "spearman_excluded"]


LISTS = ["bon_n", "bon_golden_by_n", *schema.BY_PROMPT]


@functools.cache
def spec_of(*overrides, dirs=()):
    """Return the spec of these overrides, in fp32 unless they name a precision."""
    precision = [] if any("precision" in o for o in overrides) else ["precision=fp32"]
    config = composed(*overrides, *precision, dirs=dirs)
    return parse(config.values, config.choices)


def items_of(specs, root=None):
    return [Item(spec.key(open_inputs(spec, root).fingerprint), spec) for spec in specs]


def rows_of(directory, items, root=None):
    """Run one pack in a dataset of its own; its rows by spec id, as written and read back."""
    run_pack(items, Place(root and str(root), "cpu"), SweepFolder(directory))
    return dataset.read_rows(SweepFolder(directory)).set_index("spec_id")


def assert_same_numbers(one, other):
    assert one["status"] == other["status"] == "done"
    for name in NUMBERS:
        assert one[name] == other[name] or np.isnan([one[name], other[name]]).all(), name
    for name in LISTS:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def bytes_read():
    """Return how many bytes this process has read, as Linux counts them."""
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])


def write_files(root, spec, dtype="float32", shape=()):
    """Write a tiny cache in the released layout for the stems of a spec."""
    stems = {name: getattr(spec, name).stem for name in ("base_llm", "backbone", "dataset")}
    write_synthetic.write_cache(
        root, SyntheticSource(**stems, **SHAPE | dict(shape)), dtype, lambda n: None
    )


def edit_embeddings(root, spec, split, place, value):
    path = embeddings_path(root, spec.base_llm.stem, spec.backbone.stem, spec.dataset.stem, split)
    stored = np.load(path, mmap_mode="r+")
    stored[place] = value
    stored.flush()
