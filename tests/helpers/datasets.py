"""Comparing the datasets of two sweeps."""

import pandas as pd

from rmsweep.results import schema


def dataset(root, name):
    """Return the key and metric columns of the first done row of each key, by key."""
    rows = pd.read_parquet(root / "outputs" / name / "runs")
    rows = rows[rows["status"] == "done"].sort_values("finished_at").drop_duplicates("key")
    columns = ["key", "spec_id", *schema.SCALARS, *schema.BY_PROMPT, "epochs", "bon_golden_by_n"]
    return rows.sort_values("key", ignore_index=True)[columns]


def assert_same(root, name, expected):
    """Assert that the sweep's dataset is the expected one, bit for bit."""
    pd.testing.assert_frame_equal(dataset(root, name), expected, check_exact=True)
