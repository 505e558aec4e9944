"""Made-up runs that every published claim can be tested on, and a claim of a user's own."""

import itertools
import json

import numpy as np
import pandas as pd
import yaml
from helpers.own_claims import CLF_BEATS_BT

from rmsweep.analysis.claims import claim_columns, published_claims, read_claims

PUBLISHED = {
    "source": "their Fig. 1",
    "metric": "improvement",
    "where": {"quantity": 200, "annotation.beta": 1, "pairing": "same_prompt"},
    "values": [
        {"where": {"base_llm": "gemma2b"}, "a": [0.5, 0.6], "b": 0.1},
        {"where": {"base_llm": "gemma9b"}, "a": 2, "b": 1},
        {"data": "a language model", "a": 0.8, "b": 0.75},
    ],
}


def claims_of(tmp_path, **changes):
    """Return the claim that CLF-MLP beats BT-MLP with changes; ... leaves a field out."""
    path = tmp_path / "mine.yaml"
    claim = {k: v for k, v in (CLF_BEATS_BT | changes).items() if v is not ...}
    path.write_text(yaml.safe_dump({"mine": claim}))
    return read_claims(path)


def runs(effect, n_prompts=40, **axes):
    """Done rows with all columns that the published claims need; effect: of a run."""
    axes = {
        "base_llm": ["gemma2b", "gemma7b", "llama3_8b"], "loss": ["bt_mlp", "clf_mlp"],
        "pairing": ["same_prompt", "cross_prompt"], "selection": ["random"],
        "annotation.beta": [1.0, 10.0], "quantity": [100, 200], "training.protocol": ["pairs"],
        "training.patience": [3], "seed": range(5),
    } | {name.replace("__", "."): values for name, values in axes.items()}  # fmt: skip
    rows = pd.DataFrame(itertools.product(*axes.values()), columns=list(axes))
    rows["key"] = [f"k{i}" for i in range(len(rows))]
    rows["dataset"] = rows.get("dataset", "hh_helpful")
    rows["loss.reward_model"] = np.where(rows["loss"] == "clf_lgb", "trees", "mlp")
    options = {"scale": "ema", "distance": "features", "power": 1.0, "clip": float("inf")}
    of_normbt = json.dumps({"objective": options})
    rows["loss.options"] = np.where(rows["loss"] == "normbt", of_normbt, "{}")
    rows["annotation_error"] = np.where(rows["annotation.beta"] == 10, 0.04, 0.3)
    rows["mean_margin"] = rows["base_llm"].map({"gemma2b": 1.0, "gemma7b": 2.0, "llama3_8b": 5.0})
    noise = np.random.default_rng(0).normal(scale=0.05, size=(len(rows), n_prompts))
    common = np.random.default_rng(1).normal(size=(5, n_prompts))[rows["seed"]]
    effects = np.array([effect(run) for run in rows.to_dict("records")])[:, None]
    rows["improvement_by_prompt"] = list(effects + common + noise)
    rows["headroom_by_prompt"] = [np.full(n_prompts, 10.0)] * len(rows)
    rows["pairwise_accuracy_by_prompt"] = rows["improvement_by_prompt"]
    rows["test_decile_accuracy"] = [np.linspace(0.6 + e, 0.9, 10) for (e,) in effects]
    return rows.reindex(columns=list(dict.fromkeys([*rows, *claim_columns(published_claims())])))


def is_(run, **values):
    """Return 1.0 where a run has these values, else 0.0."""
    return float(all(run[name] == value for name, value in values.items()))
