"""The columns of the results: one explicit pyarrow schema for all parts."""

import pyarrow as pa

from rmsweep.config import columns

SCALARS = tuple(
    "bon_golden base oracle improvement oracle_share spearman pairwise_accuracy "
    "order_consistency annotation_error mean_margin".split()
)
# Null without diagnostics, and in older parts.
CORRELATIONS = ("gradient_correlation", "margin_gradient_correlation")
RISKS = ("kl_risk", "margin_error")  # null for annotators without logits, and in older parts
JUDGED = tuple(  # on labelled pairs; null without any
    "accuracy section_chat section_chat_hard section_safety section_reasoning "
    "prior_sets rewardbench ece brier nll temperature".split()
)
BY_PROMPT = tuple(
    f"{metric}_by_prompt"
    for metric in ("base", "improvement", "headroom", "spearman", "pairwise_accuracy")
)
DIAGNOSTICS = tuple(
    "decile_distance decile_gradient_norm decile_accuracy decile_annotation_error decile_margin "
    "pair_distance pair_gradient_norm pair_full_gradient_norm pair_error error_bin_distance "
    "error_bin_gradient_norm error_bin_full_gradient_norm".split()
)
N_ERROR_BINS = 5  # of the prediction error, of equal width in (0, 1), in error_bin_*
BY_DISTANCE = tuple(
    "test_decile_distance test_decile_accuracy distance_by_pair "
    "reliability_confidence reliability_accuracy".split()
)
PROVENANCE = tuple(  # text; null in parts older than the column
    "git_commit versions host device slurm_job fingerprint git_diff cpu gpu command cache_root "
    "canonical".split()
)
CURVES = ("train_loss_by_epoch", "validation_loss_by_epoch")  # of MLPs that are no ensemble

ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}
SPEC_COLUMNS = [(name, ARROW[kind]) for name, kind in columns.column_types().items()]

SCHEMA = pa.schema(
    [("key", pa.string()), ("spec_id", pa.string()), ("status", pa.string())]
    + SPEC_COLUMNS
    + [(name, pa.float64()) for name in (*SCALARS, *RISKS, *CORRELATIONS, *JUDGED)]
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
NO_NUMBERS = {name for name, _ in SPEC_COLUMNS}.union(
    PROVENANCE,
    "key spec_id status error traceback wall_s finished_at git_dirty dim test_responses threads "
    "semantics".split(),
)
NUMBERS = tuple(name for name in SCHEMA.names if name not in NO_NUMBERS)

WANTED = pa.schema(
    [("key", pa.string()), ("spec_id", pa.string()), ("canonical", pa.string())]
    + SPEC_COLUMNS
    + [("diagnostics", pa.bool_())]
)
