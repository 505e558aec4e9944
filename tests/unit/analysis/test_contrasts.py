"""Paired contrasts of made-up runs whose effects are known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from rmsweep.analysis.contrasts import (
    correlation_points,
    paired_differences,
    paired_interaction,
    paired_slope,
    paired_win_rates,
)

CLF, BT = {"loss": "clf_mlp"}, {"loss": "bt_mlp"}


def runs(effect, n_prompts=60, **axes):
    """Done rows of the product of the axes; improvement by prompt = common noise + effect(run)."""
    axes = {"loss": ["bt_mlp", "clf_mlp"], "dataset": ["hh_helpful"], "seed": range(5)} | axes
    names = [name.replace("__", ".") for name in axes]
    rows = pd.DataFrame(itertools.product(*axes.values()), columns=names)
    rows = rows.assign(key=[f"k{i}" for i in range(len(rows))])
    vectors = []
    for i, run in enumerate(rows.to_dict("records")):
        n = n_prompts + 10 * (run["dataset"] != "hh_helpful")
        common = np.random.default_rng(run["seed"]).normal(scale=2, size=n)
        noise = 0.1 * np.random.default_rng(i).normal(size=n)
        vectors.append((common + effect(run) + noise - noise.mean()).astype(np.float32))
    reward_model = np.where(rows["loss"] == "clf_lgb", "trees", "mlp")
    return rows.assign(
        **{"loss.label": rows["loss"].str.upper(), "loss.reward_model": reward_model},
        improvement_by_prompt=vectors,
        headroom_by_prompt=[np.full_like(v, 2.0) for v in vectors],
        spearman_by_prompt=[np.where(np.arange(len(v)) == 3, np.nan, v) for v in vectors],
        order_consistency=[float(v.mean()) for v in vectors],
    )


def is_clf(run):
    return float(run["loss"] == "clf_mlp")


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("metric", ["improvement", "spearman", "order_consistency"])
def test_the_common_part_cancels(metric):
    rows = runs(lambda run: 0.5 * is_clf(run), quantity=[100, 200])
    (line,) = paired_differences(rows, CLF, BT, metric, rng()).to_dict("records")
    assert line["estimate"] == pytest.approx(0.5, abs=1e-2)
    assert line["low"] <= line["estimate"] <= line["high"] < line["low"] + 0.1
    assert (line["n_seeds"], line["n_pairs"]) == (5, 10)
    assert pd.isna(line["n_prompts"]) if metric == "order_consistency" else line["n_prompts"] == 60


def test_the_sides_swapped_change_the_sign_alone_and_the_seed_reaches_the_resampling():
    rows = runs(lambda run: 0.5 * is_clf(run))
    forth, again, back, other = (
        paired_differences(rows, *sides, "improvement", rng(seed)).iloc[0]
        for sides, seed in [((CLF, BT), 0), ((CLF, BT), 0), ((BT, CLF), 0), ((CLF, BT), 1)]
    )
    pd.testing.assert_series_equal(forth, again)
    assert other["low"] != forth["low"] and other["estimate"] == forth["estimate"]
    np.testing.assert_allclose(
        back[["estimate", "low", "high"]].astype(float),
        -forth[["estimate", "high", "low"]].astype(float),
    )


def test_by_groups_ascend_and_share_their_draws():
    rows = runs(lambda run: is_clf(run) * run["annotation.beta"], annotation__beta=[3.0, 1.0, 0.3])
    lines = paired_differences(rows, CLF, BT, "improvement", rng(), ["annotation.beta"])
    assert lines["annotation.beta"].tolist() == [0.3, 1.0, 3.0]
    np.testing.assert_allclose(lines["estimate"], [0.3, 1, 3], atol=1e-5)
    assert lines["n_pairs"].tolist() == [5, 5, 5]
    share = paired_differences(rows, CLF, BT, "oracle_share", rng(), ["annotation.beta"])
    np.testing.assert_allclose(share[["estimate", "low"]], lines[["estimate", "low"]] / 2)


def test_datasets_are_strata_of_their_own():
    rows = runs(
        lambda run: is_clf(run) * (1 + (run["dataset"] == "hh_helpful")),
        dataset=["hh_helpful", "hh_harmless"],
    )
    (line,) = paired_differences(rows, CLF, BT, "oracle_share", rng()).to_dict("records")
    assert line["estimate"] == pytest.approx(0.75, abs=1e-5) and line["n_prompts"] == 130


def test_a_run_without_its_partner_or_its_metric_is_left_out():
    rows = runs(lambda run: is_clf(run) * (1 + run["seed"]))
    rows["improvement_by_prompt"] = rows["improvement_by_prompt"].astype(object)
    rows.at[rows.index[rows["loss"] == "bt_mlp"][4], "improvement_by_prompt"] = None
    rows = rows.drop(index=0).reset_index(drop=True)  # bt_mlp at seed 0
    (line,) = paired_differences(rows, CLF, BT, "improvement", rng()).to_dict("records")
    assert line["n_pairs"] == line["n_seeds"] == 3
    assert line["estimate"] == pytest.approx(np.mean([2, 3, 4]), abs=1e-5)
    none = paired_differences(rows[rows["seed"] == 0], CLF, CLF, "improvement", rng())
    assert none["n_pairs"].tolist() == [1]
    apart = rows[(rows["loss"] == "bt_mlp") == (rows["seed"] > 2)].reset_index(drop=True)
    assert paired_differences(apart, CLF, BT, "improvement", rng()).empty
    assert paired_differences(apart, CLF, BT, "improvement", rng(), ["dataset"]).empty
    assert paired_win_rates(apart, CLF, BT, "improvement", rng()).empty


def test_a_seed_that_lacks_a_setting_is_left_out():
    rows = runs(lambda run: is_clf(run) * run["quantity"] / 100, quantity=[100, 200])
    rows = rows[(rows["seed"] < 3) | (rows["quantity"] == 200)].reset_index(drop=True)
    (line,) = paired_differences(rows, CLF, BT, "improvement", rng()).to_dict("records")
    assert (line["n_seeds"], line["n_pairs"]) == (3, 6)
    assert line["estimate"] == pytest.approx(1.5, abs=1e-5)
    apart = paired_differences(rows, CLF, BT, "improvement", rng(), ["quantity"])
    assert apart["n_pairs"].tolist() == [3, 5]


def test_a_field_of_the_losses_is_paired_on_where_both_have_it():
    rows = runs(lambda run: is_clf(run), loss__options=['{"hidden": [64]}', '{"hidden": [8]}'])
    rows["loss.options"] = [
        text.replace("{", f'{{"objective": "{loss}", ')
        for text, loss in zip(rows["loss.options"], rows["loss"], strict=True)
    ]
    assert paired_differences(rows, CLF, BT, "improvement", rng())["n_pairs"].tolist() == [10]
    sides = {"loss.hidden": [8]}, {"loss.hidden": "[64]"}
    with pytest.raises(ValueError, match="no run has loss.hidden=8"):
        paired_differences(rows, *sides, "improvement", rng())
    sides = {"loss.hidden": "[8]"}, {"loss.hidden": "[64]"}
    (line,) = paired_differences(rows, *sides, "improvement", rng()).to_dict("records")
    assert line["n_pairs"] == 10 and line["estimate"] == pytest.approx(0, abs=1e-5)


LGB = {"loss": "clf_lgb"}


def with_trees(**axes):
    """Runs of MLPs by some ways of training, and of LightGBM, ahead by 1, under pairs alone."""
    losses = ["bt_mlp", "clf_mlp", "clf_lgb"]
    rows = runs(lambda run: float(run["loss"] == "clf_lgb"), loss=losses, **axes)
    is_tree = rows["loss"] == "clf_lgb"
    own = (
        rows[is_tree].drop_duplicates(["dataset", "seed"]).assign(**{"training.protocol": "pairs"})
    )
    return pd.concat([rows[~is_tree], own], ignore_index=True)


def test_trees_are_paired_with_mlps_that_were_trained_by_the_scripts_protocol():
    """LightGBM runs under pairs there, and the protocol tells no two settings apart."""
    rows = with_trees(training__protocol=["rbt_scripts"])
    for sides, lead in (((LGB, BT), 1), ((CLF, LGB), -1), ((CLF, BT), 0)):
        (line,) = paired_differences(rows, *sides, "improvement", rng()).to_dict("records")
        assert line["estimate"] == pytest.approx(lead, abs=1e-5) and line["n_pairs"] == 5
    (line,) = paired_win_rates(rows, LGB, BT, "improvement", rng()).to_dict("records")
    assert line["estimate"] > 0.9


def test_trees_stand_against_every_way_of_training_and_against_themselves_once():
    ways = {"training__protocol": ["pairs", "rbt_scripts"], "training__max_epochs": [10, 30]}
    rows = with_trees(**ways)
    by = [name.replace("__", ".") for name in ways]
    lines = paired_differences(rows, LGB, BT, "improvement", rng(), by)
    assert lines[by].to_numpy().tolist() == [
        [p, n] for p in ("pairs", "rbt_scripts") for n in (10, 30)
    ]
    assert lines["n_pairs"].tolist() == [5] * 4
    np.testing.assert_allclose(lines["estimate"], 1, atol=1e-5)
    (line,) = paired_differences(rows, LGB, BT, "improvement", rng()).to_dict("records")
    assert line["n_pairs"] == 20 and line["estimate"] == pytest.approx(1, abs=1e-5)
    itself = paired_differences(rows, LGB, LGB, "improvement", rng())
    assert itself["n_pairs"].tolist() == [5]


def test_trees_are_not_paired_over_another_share_of_held_out_pairs():
    rows = with_trees(training__protocol=["rbt_scripts"])
    is_tree = rows["loss"] == "clf_lgb"
    for share, n_pairs in ((0.2, [5]), (0.5, [])):
        rows["training.validation_share"] = np.where(is_tree, share, 0.2)
        found = paired_differences(rows, LGB, BT, "improvement", rng())
        assert found["n_pairs"].tolist() == n_pairs


@pytest.mark.parametrize(
    "a, b, metric, message",
    [
        ({"los": "x"}, {"los": "y"}, "improvement", "unknown field 'los'; did you mean loss"),
        (CLF, {"loss": "bt_ml"}, "improvement", "no run has loss=bt_ml; did you mean bt_mlp"),
        (CLF, {"seed": 0}, "improvement", "both sides need the same fields"),
        (CLF, BT, "spearmann", "unknown metric 'spearmann'"),
    ],
)
def test_unknown_names_are_refused(a, b, metric, message):
    with pytest.raises(ValueError, match=message):
        paired_differences(runs(is_clf), a, b, metric, rng())


def test_win_rates():
    rows = runs(lambda run: 5 * is_clf(run))
    assert paired_win_rates(rows, CLF, BT, "improvement", rng())["estimate"].tolist() == [1]
    assert paired_win_rates(rows, BT, CLF, "improvement", rng())["estimate"].tolist() == [0]
    assert paired_win_rates(rows, BT, BT, "improvement", rng())["estimate"].tolist() == [0.5]
    scalar = paired_win_rates(rows, CLF, BT, "order_consistency", rng())
    assert scalar["estimate"].tolist() == [1] and scalar["n_prompts"].isna().all()


@pytest.mark.parametrize("metric", ["oracle_share", "spearman", "order_consistency"])
def test_the_slope_is_that_of_least_squares_within_groups(metric):
    betas, llms = [0.3, 1.0, 3.0], ["gemma2b", "gemma7b"]
    scale = 2 if metric == "oracle_share" else 1  # the oracle's improvement is 2
    rows = runs(
        lambda run: is_clf(run) * (0.7 * run["annotation.beta"] + (run["base_llm"] == "gemma7b")),
        annotation__beta=betas,
        base_llm=llms,
        dataset=["hh_helpful", "hh_harmless"],
    )
    x = "annotation.beta"
    (line,) = paired_slope(rows, CLF, BT, metric, x, x, rng()).to_dict("records")
    assert line["estimate"] == pytest.approx(0.7 / scale, abs=0.02)
    assert line["low"] <= line["estimate"] <= line["high"] < line["low"] + 0.1
    assert line["n_pairs"] == 60

    rows["error"] = rows["annotation.beta"] + 0.2 * rng(3).normal(size=len(rows))
    (line,) = paired_slope(rows, CLF, BT, metric, "error", x, rng()).to_dict("records")
    columns = {"oracle_share": "improvement_by_prompt", "spearman": "spearman_by_prompt"}
    column = columns.get(metric, metric)
    value = rows.assign(y=[np.nanmean(v) for v in rows[column]]).set_index(
        ["base_llm", "dataset", "seed", "annotation.beta", "loss"]
    )
    d = value["y"].unstack().eval("clf_mlp - bt_mlp")
    e = value["error"].unstack()["clf_mlp"]
    d, e = (v - v.groupby(["base_llm", "dataset", "seed"]).transform("mean") for v in (d, e))
    assert line["estimate"] == pytest.approx((d * e).sum() / (e**2).sum() / scale, rel=1e-4)


def test_a_slope_needs_an_x_that_varies():
    rows = runs(is_clf, annotation__beta=[1.0])
    arguments = ("annotation.beta", "annotation.beta", rng())
    assert np.isnan(paired_slope(rows, CLF, BT, "improvement", *arguments)["estimate"]).all()


def test_the_interaction_is_a_difference_of_differences_on_common_settings():
    gain = {"similar": 2.0, "random": 0.5}
    rows = runs(
        lambda run: is_clf(run) * gain[run["selection"]] * (1 + (run["quantity"] == 200)),
        selection=list(gain),
        quantity=[100, 200],
    )
    here, there = {"selection": "similar"}, {"selection": "random"}
    rows = rows.query("quantity == 100 or selection == 'random'").reset_index(drop=True)
    found = paired_interaction(rows, CLF, BT, "improvement", here, there, rng())
    assert found["estimate"].tolist() == [pytest.approx(1.5, abs=1e-5)]
    assert found["n_pairs"].tolist() == [10] and found["n_seeds"].tolist() == [5]
    assert 1.3 < found["low"][0] < 1.5 < found["high"][0] < 1.7


def test_fields_of_here_and_there_pair_on_what_both_have():
    """A width that one loss alone was run with has no partner, so the shared one is compared."""
    rows = runs(
        lambda run: (
            (1 + is_clf(run) * (1 + ("64" in run["loss.options"])))
            * (run["pairing"] == "cross_prompt")
        ),
        pairing=["same_prompt", "cross_prompt"],
        loss__options=['{"hidden": [64]}', '{"hidden": [8]}'],
    )
    rows = rows[(rows["loss"] == "clf_mlp") | (rows["loss.options"] == '{"hidden": [8]}')]
    sides = {"pairing": "cross_prompt"}, {"pairing": "same_prompt"}
    arguments = (rows.reset_index(drop=True), *sides, "improvement")
    found = paired_interaction(*arguments, CLF, BT, rng())
    assert found["estimate"].tolist() == [pytest.approx(1.0, abs=1e-5)]
    assert found["n_seeds"].tolist() == [5]
    with pytest.raises(ValueError, match="need the same fields"):
        paired_interaction(*arguments, CLF, {"seed": 1}, rng())


def test_a_slope_has_a_group_for_null_and_no_interval_from_one_seed():
    rows = runs(
        lambda run: is_clf(run) * (0.5 * run["annotation.beta"] + np.nan_to_num(run["patience"])),
        annotation__beta=[1.0, 2.0, 3.0],
        patience=[None, 30],
    ).rename(columns={"patience": "training.patience"})
    rows = rows[rows["training.patience"].isna() | (rows["annotation.beta"] > 1)]
    x = "annotation.beta"
    arguments = ("order_consistency", x, x, rng())
    found = paired_slope(rows.reset_index(drop=True), CLF, BT, *arguments)
    assert found["estimate"].tolist() == [pytest.approx(0.5, abs=1e-3)]
    one = rows[(rows["loss"] == "clf_mlp") | (rows["seed"] == 3)].reset_index(drop=True)
    (line,) = paired_slope(one, CLF, BT, *arguments).to_dict("records")
    assert line["n_seeds"] == 1 and np.isnan(line["low"]) and np.isnan(line["high"])


def test_correlation_of_the_points():
    llms = {"a": 1.0, "b": 2.0, "c": 4.0}
    rows = runs(lambda run: is_clf(run) * llms[run["base_llm"]], base_llm=list(llms))
    rows["mean_margin"] = 10 + 3 * rows["base_llm"].map(llms)
    points, line = correlation_points(
        rows, CLF, BT, "improvement", "mean_margin", ["base_llm"], rng()
    )
    np.testing.assert_allclose(points["x"], [13, 16, 22])
    np.testing.assert_allclose(points["estimate"], [1, 2, 4], atol=1e-5)
    assert line["estimate"].tolist() == [pytest.approx(1)] and line["n_pairs"].tolist() == [15]
    two = rows[rows["base_llm"] != "c"].reset_index(drop=True)
    _, line = correlation_points(two, CLF, BT, "improvement", "mean_margin", ["base_llm"], rng())
    assert np.isnan(line["estimate"]).all()


@pytest.mark.slow
def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    n_covered = 0
    for trial in range(100):
        noise = rng(trial)
        seeds = noise.normal(scale=0.3, size=(2, 8))
        prompts = noise.normal(scale=0.5, size=(2, 60))
        rows = runs(is_clf, seed=range(8)).assign(
            improvement_by_prompt=[
                seeds[i, j] + prompts[i] + noise.normal(size=60) for i in (0, 1) for j in range(8)
            ]
        )
        (line,) = paired_differences(rows, CLF, BT, "improvement", noise).to_dict("records")
        n_covered += line["low"] <= 0 <= line["high"]
    assert 0.9 <= n_covered / 100 <= 0.99
