"""A made-up sweep on disk whose labels would break a page that does not escape them."""

import itertools
import json

import numpy as np
import pyarrow as pa

from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema

SCRIPT = "<script>document.title = 'broken'</script>"
IMAGE = '"><img src=x onerror="document.title=\'broken\'">'
AXES = {
    "base_llm": ["gemma2b", IMAGE],
    "dataset": [SCRIPT, "hh_helpful"],
    "loss": ["bt_mlp", "clf_mlp", "mine & <b>yours</b>"],
    "annotation.beta": [0.5, 1.0],
    "quantity": [500, 1000],
    "seed": range(5),
}
N_RUNS = 240
N_PROMPTS = 20
ERROR = "ValueError: </script>" + SCRIPT
TRACEBACK = 'File "/somewhere/rmsweep/training/fit.py", line 7, in fit'


def write_sweep(directory, is_done=lambda spec: True, is_failed=lambda spec: False):
    """Parts and wanted specs; a run neither done nor failed is missing."""
    specs = [dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())]
    assert len(specs) == N_RUNS
    for i, spec in enumerate(specs):
        spec |= {"key": f"{i:016x}", "spec_id": f"{i:016x}", "loss.label": spec["loss"].upper()}
        spec |= {"pairing": "same_prompt", "selection": "random", "loss.reward_model": "mlp"}
        spec |= {"training.protocol": "pairs", "training.patience": 3, "backbone": SCRIPT}
    wanted = pa.Table.from_pylist(specs, schema=schema.WANTED)
    parquet.write_table(wanted, directory / "specs.parquet")
    rows = [_done(spec, i) for i, spec in enumerate(specs) if is_done(spec)]
    rows += [
        spec | {"status": "failed", "error": ERROR, "traceback": TRACEBACK}
        for spec in specs
        if is_failed(spec)
    ]
    dataset.write_part(SweepFolder(directory), rows)


def _done(spec, i):
    rng = np.random.default_rng(i)
    effect = 2 + 0.5 * (spec["loss"] == "clf_mlp") + spec["annotation.beta"] / 4
    improvement = effect + 0.3 * rng.normal(size=N_PROMPTS)
    by_prompt = {name: np.full(N_PROMPTS, 0.5) for name in schema.BY_PROMPT}
    by_prompt |= {"improvement_by_prompt": improvement, "headroom_by_prompt": improvement + 1}
    return spec | by_prompt | {
        "status": "done", "improvement": improvement.mean(), "oracle_share": 0.6, "base": 0.5,
        "spearman": 0.5, "pairwise_accuracy": 0.5, "bon_golden": 3.0, "oracle": 4.0,
        "annotation_error": 0.5 - 0.2 * spec["annotation.beta"], "mean_margin": 1.0,
        "order_consistency": 0.6, "wall_s": 1.5, "bon_n": [1, 4], "bon_golden_by_n": [0.5, 3.0],
        "oracle_by_n": [0.5, 4.0], "git_commit": "0123456789abcdef", "git_dirty": False,
        "versions": json.dumps({"torch": "2.5"}), "host": SCRIPT, "device": "cpu",
    }  # fmt: skip
