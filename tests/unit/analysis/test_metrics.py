"""The table of metrics: each row is whole, and is all that a table and a claim need of a metric."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers.table_data import EFFECTS, done, page, specs, table

from rmsweep.analysis.claims import Claim
from rmsweep.analysis.metrics import (
    ACCURACY_OF_SUBSET,
    METRICS,
    check_metric,
    has_value,
    metric_columns,
    metric_lines,
    run_values,
    valid_names,
)
from rmsweep.analysis.table_marks import mark_best
from rmsweep.analysis.verdicts import verdict_table
from rmsweep.results.schema import SCHEMA

ROWS = METRICS | {"accuracy:SUBSET": ACCURACY_OF_SUBSET}
N_PROMPTS = 30


@pytest.mark.parametrize("name", ROWS)
def test_every_row_says_what_it_is(name):
    metric = ROWS[name]
    assert metric.line and metric.unit, "the help of --metric shows both"
    assert metric.better in ("higher", "lower", "not ranked")
    assert metric.by in ("prompt", "pair", "seed")
    assert metric.of_run is not None or len(metric.columns) < 2, "several columns need a function"


@pytest.mark.parametrize("name", METRICS)
def test_a_row_names_columns_of_the_results_of_the_right_kind(name):
    for column in metric_columns(name):
        is_list = pa.types.is_list(SCHEMA.field(column).type)
        assert is_list == (METRICS[name].by != "seed"), "only lists can be resampled by prompt"
    assert set(ACCURACY_OF_SUBSET.columns) <= set(SCHEMA.names)


def test_every_valid_name_is_a_row_and_stands_in_the_help():
    assert valid_names() == list(ROWS)
    for name in ROWS:
        check_metric(name)
        assert f"  {name} " in metric_lines()
    with pytest.raises(ValueError, match="unknown metric 'spearmann'; did you mean spearman"):
        check_metric("spearmann")


def done_rows(wanted, name):
    """Return rows with the columns of one metric alone, the values rising by loss and by run."""
    rows = wanted[["key"]].copy()
    level = pd.factorize(wanted["loss"])[0] + 0.01 * np.arange(len(wanted))
    for column in metric_columns(name):
        noise = np.random.default_rng(1).normal(size=N_PROMPTS)
        is_list = METRICS[name].by != "seed"
        rows[column] = [value + noise for value in level] if is_list else level
    return rows


@pytest.mark.parametrize("name", METRICS)
def test_a_row_is_all_that_a_table_needs(name):
    wanted = specs()
    rows = done_rows(wanted, name)
    cells = table(rows, wanted, metric=name)
    assert cells["mean"].notna().all() and (cells["low"] <= cells["high"]).all()
    assert cells["is_best"].sum() == (METRICS[name].better != "not ranked")
    assert cells["n_prompts"].isna().all() == (METRICS[name].by == "seed")
    assert page(rows, wanted, metric=name).splitlines()[0].split() == ["loss", name]


@pytest.mark.parametrize("name", METRICS)
def test_a_row_is_all_that_a_claim_needs(name):
    contrast = {"field": "loss", "a": "clf_mlp", "b": "bt_mlp"}
    values = {"name": "mine", "claim": "It differs.", "source": "me", "metric": name}
    claim = Claim(**values, contrast=contrast, test="greater")
    wanted = specs()
    rows = wanted.merge(done_rows(wanted, name), on="key").assign(**{"loss.reward_model": "mlp"})
    assert set(claim.own_columns()) == set(metric_columns(name)) <= set(claim.columns())
    (line,) = verdict_table(rows, [claim]).to_dict("records")
    assert line["verdict"] in ("holds", "fails", "undecided"), line["reason"]


@pytest.mark.parametrize("better, best", [("higher", 2), ("lower", 0), ("not ranked", None)])
def test_the_best_of_a_column_is_the_highest_or_the_lowest(better, best):
    means = np.array([1.0, 1.01, 3.0, np.nan])
    cells = pd.DataFrame({"column": 0, "mean": means})
    draws = pd.DataFrame(np.random.default_rng(0).normal(scale=0.1, size=(500, 3)) + means[:3])
    mark_best(cells, draws, better)
    assert cells.index[cells["is_best"]].tolist() == ([] if best is None else [best])
    tied = {"higher": [2], "lower": [0, 1], "not ranked": []}[better]
    assert cells.index[cells["is_tied_with_best"]].tolist() == tied


def test_values_are_computed_run_by_run_and_absent_is_absent():
    rows = pd.DataFrame(
        {
            "base_by_prompt": [np.array([1.0, 2.0]), None],
            "improvement_by_prompt": [np.array([0.5, 0.0]), np.array([1.0, 1.0])],
            "headroom_by_prompt": [np.array([2.0, 2.0]), np.array([1.0, 1.0])],
            "subset": [["chat", "code"], None],
            "subset_accuracy": [[0.75, 0.5], None],
        }
    )
    picked = run_values(rows, "bon_golden")
    np.testing.assert_array_equal(picked["value"][0], [1.5, 2.0])
    np.testing.assert_array_equal(has_value(picked), [True, False])
    share = run_values(rows, "oracle_share")
    assert share["divisor"].equals(rows["headroom_by_prompt"]), "a ratio of means is taken later"
    assert run_values(rows, "accuracy:code")["value"].tolist() == [0.5, None]
    with pytest.raises(ValueError, match="unknown subset of labelled pairs 'cod'"):
        run_values(rows, "accuracy:cod")
    with pytest.raises(ValueError, match="unknown metric 'correct_by_pair'"):
        run_values(rows, "accuracy")


def test_regret_is_what_the_oracle_gains_more_and_the_lowest_is_best():
    wanted = specs()
    rows = done(wanted)
    by_prompt = run_values(rows, "regret")["value"]
    for value, oracle, picked in zip(
        by_prompt,
        run_values(rows, "oracle")["value"],
        run_values(rows, "bon_golden")["value"],
        strict=True,
    ):
        np.testing.assert_allclose(value, oracle - picked, rtol=1e-5, err_msg="oracle - Best-of-N")
    cells = table(rows, wanted, metric="regret").set_index("loss")
    np.testing.assert_allclose(
        cells["mean"], [4 - EFFECTS[loss] for loss in cells.index], rtol=1e-5
    )
    assert cells.index[cells["is_best"]].tolist() == ["clf_mlp"], "the loss that improves most"
    gains = table(rows, wanted).set_index("loss")
    np.testing.assert_allclose(cells["low"], 4 - gains["high"], rtol=1e-5)
    assert "over seeds (5) and prompts (80)" in page(rows, wanted, metric="regret")
