"""Golden rewards of several datasets have units of their own: pooled in shares, or refused."""

import numpy as np
import pandas as pd
import pytest
from helpers.made_up_runs import claims_of, is_, runs
from helpers.table_data import done, page, specs, table

from rmsweep.analysis.claims import with_metric
from rmsweep.analysis.contrasts import (
    correlation_points,
    paired_differences,
    paired_interaction,
    paired_relative_difference,
    paired_slope,
)
from rmsweep.analysis.means import means_and_draws
from rmsweep.analysis.table_fields import default_columns, default_rows
from rmsweep.analysis.units import unit_ids
from rmsweep.analysis.verdicts import verdict_table
from rmsweep.errors import MissingData

CLF, BT = {"loss": "clf_mlp"}, {"loss": "bt_mlp"}
TENFOLD = {"hh_helpful": 1.0, "hh_harmless": 10.0}  # the scale of the golden rewards
LEAD = {"hh_helpful": 0.3, "hh_harmless": -0.1}  # of clf_mlp, in shares of the oracle's 10


def rng():
    return np.random.default_rng(0)


def two_units(lead=None, **axes):
    """Runs on two datasets whose golden rewards differ tenfold; lead: of a run, as a share."""
    lead = lead or (lambda run: LEAD[run["dataset"]] * is_(run, loss="clf_mlp"))
    scale = {"dataset": list(TENFOLD), "annotation__beta": [1.0], "pairing": ["same_prompt"]}
    rows = runs(lambda run: 10 * TENFOLD[run["dataset"]] * lead(run), **scale | axes)
    scales = rows["dataset"].map(TENFOLD)
    rows["headroom_by_prompt"] = [np.full(40, 10 * scale) for scale in scales]
    rows["base_by_prompt"] = [np.zeros(40)] * len(rows)
    rows["mean_margin"] *= scales
    return rows


@pytest.mark.parametrize(
    "changes, units",
    [
        ({}, [0, 0]),
        ({"base_llm": ["gemma2b", "gemma7b"]}, [0, 0]),
        ({"dataset": ["hh_helpful", "hh_harmless"]}, [0, 1]),
        ({"dataset.stem": ["Helpful", "Mine"]}, [0, 1]),
        ({"dataset.synthetic.within_std": [1.2, 4.0]}, [0, 1]),
        ({"dataset.synthetic.between_std": [1.2, 4.0]}, [0, 1]),
        ({"dataset.synthetic.within_std": [np.nan, np.nan]}, [0, 0]),
        ({"dataset": ["a_pairs", "b_pairs"], "evaluation.golden.dataset": ["c", "c"]}, [0, 0]),
    ],
)
def test_what_has_a_unit_of_its_own(changes, units):
    fields = pd.DataFrame({"dataset": ["hh_helpful"] * 2, "seed": [0, 1]} | changes)
    assert unit_ids(fields, "improvement").tolist() == units
    assert unit_ids(fields, "oracle_share").tolist() == units
    assert unit_ids(fields, "spearman").tolist() == [0, 0]


def test_the_margins_of_pairs_have_the_unit_of_their_own_dataset():
    fields = pd.DataFrame({"dataset": ["a", "b"], "evaluation.golden.dataset": ["c", "c"]})
    for metric in ("mean_margin", "decile_margin", "decile_margin[9] - decile_margin[0]"):
        assert unit_ids(fields, metric).tolist() == [0, 1]


def two_datasets():
    wanted = specs(dataset=list(TENFOLD), base_llm=["gemma2b", "gemma7b"])
    return done(wanted), wanted


def test_a_table_is_not_averaged_over_units():
    rows, wanted = two_datasets()
    ways = "--where dataset=hh_helpful, or --columns dataset"
    with_share, without = f"; give --metric oracle_share, {ways}", f"; give {ways}"
    says = {"improvement": with_share, "bon_golden": with_share}
    for metric in ("improvement", "bon_golden", "regret", "mean_margin", "base", "oracle"):
        given = rows.assign(mean_margin=1.0)
        with pytest.raises(ValueError, match=says.get(metric, without)):
            table(given, wanted, column_fields=["base_llm"], metric=metric)
        assert table(given, wanted, column_fields=["dataset"], metric=metric)["mean"].notna().all()
    assert table(rows, wanted, metric="oracle_share")["mean"].notna().all()
    one = wanted[wanted["dataset"] == "hh_helpful"]
    assert table(rows, one)["mean"].notna().all()
    assert table(rows[rows["key"].isin(one["key"])], wanted)["mean"].notna().all()  # none is mixed
    for metric, end in (("improvement", "taken; give --metric oracle_share"), ("regret", "taken")):
        with pytest.raises(ValueError, match=f"no difference of two is {end}$"):
            table(rows, wanted, ["dataset"], ["loss"], metric, against="hh_helpful")


def test_scales_of_synthetic_data_are_told_apart_and_named():
    scale = "dataset.synthetic.within_std"
    wanted = specs(dataset=["synthetic"], dataset__synthetic__within_std=[1.2, 4.0])
    rows = done(wanted)
    with pytest.raises(ValueError, match=f"or --columns {scale}"):
        table(rows, wanted)
    assert default_columns(wanted, "improvement", ["loss"]) == [scale]
    text = page(rows, wanted, metric="oracle_share")
    assert f"Averaged over 2 datasets, told apart by {scale}." in text
    assert "Averaged over dataset (2 values)." in page(*one_llm(), metric="oracle_share")


def one_llm():
    wanted = specs(dataset=list(TENFOLD))
    return done(wanted), wanted


def test_the_default_table_of_golden_rewards_has_a_column_a_dataset():
    _, wanted = two_datasets()
    assert default_columns(wanted, "improvement", ["loss"]) == ["dataset"]
    assert default_columns(wanted, "oracle_share", ["loss"]) == ["base_llm"]
    assert default_columns(wanted, "improvement", ["loss", "dataset"]) == ["base_llm"]
    assert default_rows(wanted, "improvement", ["loss"]) == ["dataset"]


def test_the_best_dataset_is_none():
    rows, wanted = two_datasets()
    assert not table(rows, wanted, ["dataset", "loss"])["is_best"].any()
    assert table(rows, wanted, ["dataset", "loss"], metric="oracle_share")["is_best"].any()
    assert table(rows, wanted, ["loss"], ["dataset"])["is_best"].sum() == 2


def test_shares_of_scales_count_the_same_whatever_their_names():
    """Synthetic data of one name are two parts where their scales differ: 0.5 and 0.1, mean 0.3."""
    runs_of = {"cell": 0, "setting": [0, 0, 1, 1], "seed": [0, 1, 0, 1], "dataset": 0}
    frame = pd.DataFrame(runs_of | {"unit": [0, 0, 1, 1], "n_prompts": 2})
    values = pd.DataFrame(
        {
            "value": [np.full(2, v) for v in (1.0, 1.0, 10.0, 10.0)],
            "divisor": [np.full(2, v) for v in (2.0, 2.0, 100.0, 100.0)],
        }
    )
    means, _ = means_and_draws(values, frame, rng(), 10)
    assert means.tolist() == [pytest.approx(0.3)]


def test_a_seed_without_a_used_run_is_not_drawn():
    """Seeds 1 to 4 are done of 0 to 4: the intervals are those of a sweep of these alone."""
    wanted = specs()
    rows = done(wanted, shift=lambda spec: 0.5 * spec["seed"])
    late = wanted[wanted["seed"] > 0]
    incomplete, alone = table(rows[rows["key"].isin(late["key"])], wanted), table(rows, late)
    for name in ("mean", "low", "high", "n_seeds"):
        np.testing.assert_array_equal(incomplete[name], alone[name])


def test_contrasts_refuse_to_pool_units():
    rows = two_units(annotation__beta=[1.0, 10.0])
    error, beta = "annotation_error", "annotation.beta"
    here, there = {beta: 1.0}, {beta: 10.0}
    pooled = [
        lambda metric: paired_differences(rows, CLF, BT, metric, rng()),
        lambda metric: paired_interaction(rows, CLF, BT, metric, here, there, rng()),
        lambda metric: paired_slope(rows, CLF, BT, metric, error, beta, rng()),
        lambda metric: correlation_points(
            rows, CLF, BT, metric, "mean_margin", ["base_llm", "dataset"], rng()
        )[1],
    ]
    for contrast in pooled:
        with pytest.raises(MissingData, match="one dataset: improvement .* oracle_share"):
            contrast("improvement")
        assert np.isfinite(contrast("oracle_share")[["estimate", "low", "high"]]).all(axis=None)
    by_dataset = paired_differences(rows, CLF, BT, "improvement", rng(), ["dataset"])
    np.testing.assert_allclose(by_dataset["estimate"], [-10, 3], atol=0.05)


def test_the_slope_of_shares_is_that_of_each_unit_over_its_oracle():
    rows = two_units(
        lambda run: run["annotation.beta"] * LEAD[run["dataset"]] * is_(run, loss="clf_mlp"),
        annotation__beta=[0.3, 1.0, 3.0],
    )
    x = "annotation.beta"
    pooled = paired_slope(rows, CLF, BT, "oracle_share", x, x, rng())["estimate"]
    np.testing.assert_allclose(pooled, 0.1, atol=0.01)  # the mean of 0.3 and -0.1
    one = rows[rows["dataset"] == "hh_harmless"].reset_index(drop=True)
    share, golden = (
        paired_slope(one, CLF, BT, metric, x, x, rng()).iloc[0]
        for metric in ("oracle_share", "improvement")
    )
    for name in ("estimate", "low", "high"):
        assert share[name] == pytest.approx(golden[name] / 100)


def test_the_correlation_over_units_is_that_within_them():
    """In each dataset the lead rises with the margin; the larger unit has smaller leads."""
    rise = {"gemma2b": 1.0, "gemma7b": 2.0, "llama3_8b": 5.0}
    level = {"hh_helpful": 0.5, "hh_harmless": 0.0}
    rows = two_units(
        lambda run: (
            (level[run["dataset"]] + 0.02 * rise[run["base_llm"]]) * is_(run, loss="clf_mlp")
        )
    )
    sides = (rows, CLF, BT, "oracle_share", "mean_margin")
    points, line = correlation_points(*sides, ["base_llm", "dataset"], rng())
    assert line["estimate"][0] > 0.98 and len(points) == 6
    assert np.corrcoef(points["x"], points["estimate"])[0, 1] < 0
    with pytest.raises(ValueError, match="name dataset in by"):
        correlation_points(*sides, ["base_llm"], rng())


def test_a_relative_difference_has_no_unit():
    rows = two_units()
    rows["mean_margin"] = rows["dataset"].map(TENFOLD) * np.where(rows["loss"] == "clf_mlp", 1.2, 1)
    rows.loc[(rows["dataset"] == "hh_harmless") & (rows["loss"] == "clf_mlp"), "mean_margin"] = 9.0
    found = paired_relative_difference(rows, CLF, BT, "mean_margin", rng())
    assert found["estimate"].tolist() == [pytest.approx((0.2 - 0.1) / 2)]
    absent = rows[rows["loss"] == "bt_mlp"].reset_index(drop=True)
    assert paired_relative_difference(absent, BT, BT, "mean_margin", rng())["low"].tolist() == [0]


def test_claims_on_several_datasets_are_in_shares_and_say_so(tmp_path):
    """In golden reward the larger unit would decide: +3 and -10, a mean of -3.5."""
    rows = two_units()
    (line,) = verdict_table(rows, claims_of(tmp_path)).to_dict("records")
    assert (line["verdict"], line["of"]) == ("holds", "oracle_share, several datasets")
    assert line["effect"] == pytest.approx(0.1, abs=0.01)
    for metric in ("improvement", "bon_golden"):
        (same,) = verdict_table(rows, claims_of(tmp_path, metric=metric)).to_dict("records")
        assert same["effect"] == line["effect"] and same["of"] == line["of"]
    one = rows[rows["dataset"] == "hh_harmless"].reset_index(drop=True)
    (line,) = verdict_table(one, claims_of(tmp_path)).to_dict("records")
    assert line["of"] == "improvement" and line["effect"] == pytest.approx(-10, abs=0.1)
    (line,) = verdict_table(rows, claims_of(tmp_path, metric="regret")).to_dict("records")
    assert line["verdict"] == "not tested" and "--where dataset=NAME" in line["reason"]


def test_the_metric_of_claims_that_name_none_is_the_users_choice(tmp_path):
    rows = two_units()
    claims = [*claims_of(tmp_path), *claims_of(tmp_path, metric="epochs")]
    named = with_metric(claims, "pairwise_accuracy")
    assert [claim.metric for claim in named] == ["pairwise_accuracy", "epochs"]
    assert verdict_table(rows, named[:1])["of"][0] == "pairwise_accuracy"
    with pytest.raises(ValueError, match="unknown metric 'pairwise'; did you mean pairwise_acc"):
        with_metric(claims, "pairwise")
