"""The columns of the results: one explicit pyarrow schema for all parts."""

import pyarrow as pa

from rmsweep.config import columns

SCALARS = (
    "bon_golden", "base", "oracle", "improvement", "oracle_share", "spearman", "pairwise_accuracy",
    "order_consistency", "annotation_error", "mean_margin",
)  # fmt: skip


RISKS = ("kl_risk", "margin_error")  # null for annotators without logits, and in older parts


JUDGED = (  # on labelled pairs; null without any
    "accuracy", "section_chat", "section_chat_hard", "section_safety", "section_reasoning",
    "prior_sets", "rewardbench", "ece", "brier", "nll", "temperature",
)  # fmt: skip


BY_PROMPT = (
    "base_by_prompt", "improvement_by_prompt", "headroom_by_prompt", "spearman_by_prompt",
    "pairwise_accuracy_by_prompt",
)  # fmt: skip


DIAGNOSTICS = (
    "decile_distance", "decile_gradient_norm", "decile_accuracy", "pair_distance",
    "pair_gradient_norm", "pair_error",
)  # fmt: skip


BY_DISTANCE = (
    "test_decile_distance", "test_decile_accuracy", "distance_by_pair", "reliability_confidence",
    "reliability_accuracy",
)  # fmt: skip


PROVENANCE = (  # text; null in parts older than the column
    "git_commit", "versions", "host", "device", "slurm_job", "fingerprint", "git_diff", "cpu",
    "gpu", "command", "cache_root", "canonical",
)  # fmt: skip


CURVES = ("train_loss_by_epoch", "validation_loss_by_epoch")  # of MLPs that are no ensemble


ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}


SCHEMA = pa.schema(
    [("key", pa.string()), ("spec_id", pa.string()), ("status", pa.string())]
    + [(name, ARROW[kind]) for name, kind in columns.column_types().items()]
    + [(name, pa.float64()) for name in (*SCALARS, *RISKS, *JUDGED)]
    + [("epochs", pa.int64()), ("spearman_excluded", pa.int64())]
    + [("objective_counts", pa.string())]  # JSON, such as {"n_zero_distances": 3}, over all epochs
    + [("bon_n", pa.list_(pa.int64())), ("bon_golden_by_n", pa.list_(pa.float64()))]
    + [("oracle_by_n", pa.list_(pa.float64()))]
    + [(name, pa.list_(pa.float32())) for name in (*BY_PROMPT, *DIAGNOSTICS, *CURVES)]
    + [(name, pa.list_(pa.float32())) for name in ("correct_by_pair", *BY_DISTANCE)]
    + [("reliability_pairs", pa.list_(pa.int64())), ("subset", pa.list_(pa.string()))]
    + [("subset_pairs", pa.list_(pa.int64())), ("subset_accuracy", pa.list_(pa.float64()))]
    + [("error", pa.string()), ("traceback", pa.string()), ("wall_s", pa.float64())]
    + [("finished_at", pa.timestamp("us", tz="UTC"))]
    + [(name, pa.string()) for name in PROVENANCE]
    + [("git_dirty", pa.bool_())]
    + [(name, pa.int64()) for name in ("dim", "test_responses", "threads", "semantics")]
)


# What a run's spec determines: all columns but these, so a metric that is added later is in it.
NO_NUMBERS = {
    *columns.column_types(),
    *PROVENANCE,
    "key",
    "spec_id",
    "status",
    "error",
    "traceback",
    "wall_s",
    "finished_at",
    "git_dirty",
    "dim",
    "test_responses",
    "threads",
}


NUMBERS = tuple(name for name in SCHEMA.names if name not in NO_NUMBERS | {"semantics"})


WANTED = pa.schema(
    [("key", pa.string()), ("spec_id", pa.string()), ("canonical", pa.string())]
    + [(name, ARROW[kind]) for name, kind in columns.column_types().items()]
    + [("diagnostics", pa.bool_())]
)
