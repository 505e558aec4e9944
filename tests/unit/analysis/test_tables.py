"""Tables from made-up runs whose effects are known."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from helpers.table_data import EFFECTS, done, page, specs, table, with_odd_names

from rmsweep.analysis.contrasts import paired_differences
from rmsweep.analysis.fields import select_specs
from rmsweep.analysis.means import full_block
from rmsweep.analysis.table_fields import default_columns, default_rows
from rmsweep.analysis.table_text import render_table

IMPROVEMENT = "improvement"
FORMATS = ["text", "md", "latex", "html", "csv"]


@pytest.mark.parametrize("metric", ["kl_risk", "margin_error"])
def test_risks_are_a_metric_without_a_best(metric):
    wanted = specs()
    rows = done(wanted).assign(**{metric: 0.1 * wanted["seed"] + 0.5})
    cells = table(rows, wanted, metric=metric)
    np.testing.assert_allclose(cells["mean"], 0.7)
    assert not cells["is_best"].any() and cells["low"].notna().all()
    none = table(done(wanted).assign(**{metric: None}), wanted, metric=metric)
    assert none["mean"].isna().all()


def test_means_best_and_ties():
    wanted = specs()
    cells = table(done(wanted), wanted).set_index("loss")
    np.testing.assert_allclose(cells["mean"], [EFFECTS[loss] for loss in cells.index], atol=1e-5)
    assert cells["is_best"].to_dict() == {"bt_mlp": False, "clf_mlp": True, "clf_lgb": False}
    assert cells["is_tied_with_best"].tolist() == [False, True, False]
    assert (cells["low"] < cells["mean"]).all() and (cells["mean"] < cells["high"]).all()
    assert (
        cells[["n_seeds", "n_prompts", "n_runs", "n_wanted", "n_used"]] == [5, 80, 5, 5, 5]
    ).all(axis=None)


def test_a_difference_within_the_noise_is_tied_and_the_seed_is_a_promise():
    wanted = specs()
    rows = done(wanted, shift=lambda spec: 0.1 * (spec["seed"] % 2) * (spec["loss"] == "clf_lgb"))
    cells = table(rows, wanted)
    assert cells.set_index("loss")["is_tied_with_best"].tolist() == [False, True, True]
    pd.testing.assert_frame_equal(cells, table(rows, wanted))
    assert table(rows, wanted, seed=1)["low"].ne(cells["low"]).all()


@pytest.mark.slow
def test_columns_are_compared_apart_and_numbers_ascend():
    wanted = specs(annotation__beta=[np.inf, 1.0, 0.3])
    worse = {("clf_mlp", 1.0), ("clf_lgb", 1.0)}
    rows = done(wanted, shift=lambda s: -2.0 * ((s["loss"], s["annotation.beta"]) in worse))
    cells = table(rows, wanted, column_fields=["annotation.beta"])
    assert cells["annotation.beta"].tolist() == [0.3] * 3 + [1.0] * 3 + [np.inf] * 3
    assert cells.loc[cells["is_best"], "loss"].tolist() == ["clf_mlp", "bt_mlp", "clf_mlp"]
    header = page(rows, wanted, column_fields=["annotation.beta"]).splitlines()[0].split()
    assert header[1:] == ["annotation.beta=0.3", "annotation.beta=1", "annotation.beta=inf"]


def test_runs_are_averaged_over_the_other_fields_and_the_notes_say_so():
    wanted = specs(quantity=[5000, 10000])
    rows = done(wanted, shift=lambda spec: float(spec["quantity"] == 10000))
    cells = table(rows, wanted)
    np.testing.assert_allclose(cells["mean"], [2.5, 3.5, 3.495], atol=1e-5)
    assert "Averaged over quantity (2 values)." in page(rows, wanted)


def test_datasets_of_one_name_are_named_by_their_stems_not_by_what_varies_with_them():
    wanted = specs(dataset__stem=["one", "two"])
    stds = {"one": 4.0, "two": 40.0}
    wanted.insert(2, "dataset.synthetic.between_std", wanted["dataset.stem"].map(stds))
    order = ["key", "loss", "dataset", "dataset.stem", "dataset.synthetic.between_std", "seed"]
    wanted = wanted[order]
    text = page(done(wanted), wanted, metric="oracle_share")
    assert "Averaged over 2 datasets, told apart by dataset.stem." in text
    assert default_columns(wanted, IMPROVEMENT, ["loss"]) == ["dataset.stem"]


def test_a_setting_that_one_row_lacks_counts_for_none():
    wanted = specs(quantity=[5000, 10000])
    rows = done(wanted, shift=lambda spec: float(spec["quantity"] == 10000))
    lacks = wanted.query("loss == 'bt_mlp' and quantity == 10000 and seed < 4")["key"]
    cells = table(rows[~rows["key"].isin(lacks)], wanted)
    np.testing.assert_allclose(cells["mean"], [2, 3, 2.995], atol=1e-5)
    assert cells["n_runs"].tolist() == [6, 10, 10] and cells["n_used"].tolist() == [5, 5, 5]
    text = page(rows[~rows["key"].isin(lacks)], wanted)
    assert "11 done runs are left out: the rows of a column are compared on settings that" in text
    assert "(6 of 10)" in text


def test_a_seed_that_lacks_a_setting_is_left_out_of_its_row():
    wanted = specs(quantity=[5000, 10000])
    rows = done(wanted, shift=lambda spec: float(spec["quantity"] == 10000))
    cells = table(rows.drop(index=[0]), wanted)
    np.testing.assert_allclose(cells["mean"], [2.5, 3.5, 3.495], atol=1e-5)
    assert cells["n_seeds"].tolist() == [4, 5, 5]
    assert cells["n_used"].tolist() == [8, 10, 10]


def test_an_axis_that_one_loss_does_not_have():
    wanted = specs(training__protocol=["pairs", "rbt_scripts"])
    is_not = (wanted["loss"] == "clf_lgb") & (wanted["training.protocol"] == "rbt_scripts")
    wanted = wanted[~is_not]
    rows = done(wanted, shift=lambda spec: float(spec["training.protocol"] == "rbt_scripts"))
    np.testing.assert_allclose(table(rows, wanted)["mean"], [2, 3, 2.995], atol=1e-5)
    assert "n/a" in page(rows, wanted, column_fields=["training.protocol"])


@pytest.mark.parametrize("seed", range(20))
def test_used_runs_are_always_balanced(seed):
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(3), 5)
    has_run = rng.random((15, 6)) < rng.choice([0.3, 0.7, 0.95], size=(3, 6)).repeat(5, axis=0)
    lines, settings = full_block(has_run, row)
    assert has_run[np.ix_(lines, settings)].all()
    full = full_block(np.ones((15, 6), bool), row)
    np.testing.assert_array_equal([len(kept) for kept in full], [15, 6])


def test_incomplete_is_shown_and_a_cell_without_runs_is_absent():
    wanted = specs()
    rows = done(wanted)
    is_missing = rows["key"].isin(["k1", "k10", "k11", "k12", "k13", "k14"])
    cells = table(rows[~is_missing], wanted).set_index("loss")
    assert cells.loc["bt_mlp", ["n_runs", "n_seeds", "n_wanted"]].tolist() == [4, 4, 5]
    assert np.isnan(cells.loc["clf_lgb", ["mean", "low", "high"]].astype(float)).all()
    assert not cells.loc["clf_lgb", "is_tied_with_best"]
    text = page(rows[~is_missing], wanted)
    assert "(4 of 5)" in text and "- (0 of 5)" in text
    assert "INCOMPLETE: 6 of 15 runs are missing" in text
    assert "WARNING: fewer than 5 seeds" in text


@pytest.mark.parametrize("metric", ["improvement", "oracle_share", "epochs"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_sweep_without_a_done_run_still_has_its_table(metric, format):
    wanted = specs()
    cells = table(done(wanted).iloc[:0], wanted, metric=metric)
    assert cells["mean"].isna().all() and cells["n_runs"].eq(0).all()
    assert page(done(wanted).iloc[:0], wanted, metric=metric, format=format)


def test_one_seed_leaves_an_interval_over_prompts_and_a_warning():
    wanted = specs(seed=[3])
    rows = done(wanted)
    assert table(rows, wanted)["low"].notna().all()
    scalar = table(rows, wanted, metric="order_consistency")
    assert scalar["low"].isna().all() and scalar["is_tied_with_best"].all()
    assert "WARNING: fewer than 5 seeds" in page(rows, wanted)


def test_metrics_without_values_by_prompt_are_resampled_by_seed_only():
    wanted = specs()
    rows = done(wanted)
    cells = table(rows, wanted, metric="order_consistency")
    np.testing.assert_allclose(cells["mean"], [2.02, 3.02, 3.015])
    np.testing.assert_array_equal(cells["is_best"], [False, True, False])
    assert cells["n_prompts"].isna().all()
    assert "over seeds only (5)" in page(rows, wanted, metric="order_consistency")
    epochs = table(rows, wanted, metric="epochs")
    assert not epochs["is_best"].any() and not epochs["is_tied_with_best"].any()


def test_prompts_without_spearman_are_left_out_and_oracle_share_is_a_ratio_of_means():
    wanted = specs()
    rows = done(wanted)
    kept = [np.nanmean(spearman) for spearman in rows["spearman_by_prompt"]]
    np.testing.assert_allclose(
        table(rows, wanted, metric="spearman")["mean"], np.reshape(kept, (3, 5)).mean(1), rtol=1e-5
    )
    share = table(rows, wanted, metric="oracle_share")
    improvement = table(rows, wanted)
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(share[name], improvement[name] / 4, rtol=1e-5)


def test_datasets_are_strata_of_their_own():
    wanted = specs(dataset=["hh_harmless", "hh_helpful"])
    rows = done(
        wanted,
        prompts_of={"hh_harmless": 40, "hh_helpful": 90},
        shift=lambda spec: float(spec["dataset"] == "hh_helpful"),
    )
    share = "oracle_share"
    cells = table(rows, wanted, metric=share)
    np.testing.assert_allclose(cells["mean"], np.divide([2.5, 3.5, 3.495], 4), atol=1e-5)
    assert cells["n_prompts"].tolist() == [130] * 3
    by_dataset = table(rows, wanted, column_fields=["dataset"], metric=share)
    assert by_dataset["n_prompts"].tolist() == [40] * 3 + [90] * 3
    width = (by_dataset["high"] - by_dataset["low"]).groupby(by_dataset["dataset"]).mean()
    pooled = (cells["high"] - cells["low"]).mean()
    np.testing.assert_allclose(pooled, np.hypot(*width) / 2, rtol=0.1)  # independent halves


def test_the_losses_own_fields_are_looked_up_in_its_options():
    options = ['{"hidden": [1024, 512]}', '{"hidden": [64]}']
    wanted = specs(loss=["bt_mlp", "clf_lgb"], loss__options=options)
    wanted.loc[wanted["loss"] == "clf_lgb", "loss.options"] = '{"n_rounds": 100}'
    wanted = wanted.drop_duplicates(["loss", "loss.options", "seed"])
    assert default_rows(wanted, IMPROVEMENT) == ["loss", "loss.hidden"]
    rows = done(wanted)
    cells = table(rows, wanted, default_rows(wanted, IMPROVEMENT))
    assert cells["loss.hidden"].tolist() == ["[1024, 512]", "[64]", None]
    assert "{[}1024, 512]" in page(rows, wanted, default_rows(wanted, IMPROVEMENT), format="latex")
    assert table(rows, wanted, ["loss.n_rounds"])["loss.n_rounds"].tolist() == [None, 100]


@pytest.mark.parametrize("null", [None, np.nan])
def test_null_is_a_group_like_any_other(null):
    wanted = specs(pairing=["same_prompt", null], quantity=[100.0, null])
    rows = done(wanted)
    cells = table(rows, wanted, column_fields=["pairing"])
    assert cells["pairing"].tolist() == ["same_prompt"] * 3 + [None] * 3
    assert cells["n_runs"].eq(10).all()
    assert "pairing=null" in page(rows, wanted, column_fields=["pairing"])
    assert table(rows, wanted, column_fields=["quantity"])["quantity"].isna().sum() == 3


def test_defaults():
    wanted = specs(quantity=[100, 200], annotation__beta=[1.0, 3.0], base_llm=["gemma2b"])
    assert default_rows(wanted, IMPROVEMENT) == ["loss"]
    assert default_columns(wanted, IMPROVEMENT, ["loss"]) == ["annotation.beta"]
    assert default_columns(wanted, IMPROVEMENT, ["loss", "annotation.beta"]) == ["quantity"]
    assert default_rows(wanted, IMPROVEMENT, ["loss"]) == ["annotation.beta"]
    assert default_columns(specs(), IMPROVEMENT, ["loss"]) == []
    zipped = specs().assign(**{"loss.reward_model": lambda frame: frame["loss"] + "_model"})
    assert (
        default_columns(zipped, IMPROVEMENT, ["loss"]) == []
    )  # it says nothing that the loss does not


@pytest.mark.parametrize(
    "names, message",
    [
        (
            {"metric": "improvment"},
            "unknown metric 'improvment'; did you mean improvement\\? .*oracle_share",
        ),
        ({"row_fields": ["los"]}, "unknown field 'los'; did you mean loss\\? valid: .*dataset"),
        ({"column_fields": ["annotation.beta"]}, "unknown field 'annotation.beta'"),
        ({"column_fields": ["loss"]}, "a field may stand once"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(names, message):
    wanted = specs()
    with pytest.raises(ValueError, match=message):
        table(done(wanted), wanted, **names)


def test_two_keys_for_one_spec_are_refused():
    wanted = specs()
    twice = pd.concat([wanted, wanted.assign(key=wanted["key"] + "_new_data")])
    with pytest.raises(ValueError, match="agree in every field but not in their key"):
        table(done(wanted), twice)
    again = pd.concat([wanted, wanted])  # two launches that want the same
    assert table(done(wanted), again)["n_wanted"].eq(5).all()


@pytest.fixture
def odd_sweep():
    return with_odd_names()


def test_text(odd_sweep):
    text = page(*odd_sweep)
    assert "base_llm=50%_{sft}" in text and "clf_mlp" in text
    assert text.count("] *") == 2 and text.count("3.00 [2.") == 2
    assert "* best of its column; ~ tied with the best" in text
    assert "over seeds (5) and prompts (80)" in text
    cells = table(*odd_sweep)
    narrow = render_table(cells, ["loss"], ["base_llm"], "improvement", [], "text", width=40)
    assert max(map(len, narrow.splitlines())) <= 40


def test_markdown(odd_sweep):
    lines = page(*odd_sweep, format="md").splitlines()
    assert lines[0] == r"| loss | base_llm=llama3_8b\|x | base_llm=50%_{sft} |"
    assert lines[1] == "| --- | --- | --- |"
    assert lines[3].startswith("| clf_mlp | **3.00 [") and lines[3].endswith(r"] \*** |")


def test_latex(odd_sweep):
    text = page(*odd_sweep, format="latex")
    for part in (r"\toprule", r"\bottomrule", r"\caption{", r"50\%\_\{sft\}", r"\textbf{3.00 {[}"):
        assert part in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert not any(line.startswith(("[", "*")) for line in text.splitlines())


def test_html(odd_sweep):
    text = page(*odd_sweep, format="html")
    (grid,) = [text[text.index("<table") : text.index("</table>")]]
    assert grid.count("<tr") == 4 and grid.count("<b>3.00") == 2
    assert text.count("<p>") == 2


def test_csv_keeps_full_precision(odd_sweep):
    cells = table(*odd_sweep)
    text = page(*odd_sweep, format="csv")
    back = pd.read_csv(io.StringIO(text), dtype=str)  # pandas 2 reads floats to 15 digits
    assert list(back) == list(cells)
    for name in ("mean", "low", "high"):
        np.testing.assert_array_equal(back[name].astype(float), cells[name])
    assert set(back["is_best"]) <= {"True", "False"}


def test_unknown_format():
    with pytest.raises(
        ValueError, match="format must be one of text, md, html, latex, csv; got 'tex'"
    ):
        render_table(table(done(specs()), specs()), ["loss"], [], "improvement", [], "tex")


def test_digits_follow_the_width_of_the_intervals():
    wanted = specs()
    rows = done(wanted, n_prompts=80)
    rows["improvement_by_prompt"] = [1000 * values for values in rows["improvement_by_prompt"]]
    assert " 2000 [" in page(rows, wanted)
    rows["improvement_by_prompt"] = [values / 1e6 for values in rows["improvement_by_prompt"]]
    assert " 0.00200 [" in page(rows, wanted)


def test_loss_options_that_hold_json_are_plain_labels():
    wanted = specs(loss__options=[json.dumps({"is_scaled": True, "power": 1.0})])
    rows = done(wanted)
    text = page(rows, wanted, column_fields=["loss.is_scaled", "loss.power"])
    assert "loss.is_scaled=true, loss.power=1" in text


def test_runs_with_constant_predictions_are_left_out_and_counted():
    wanted = specs(loss=["bt_mlp", "clf_lgb"], seed=range(6))
    rows = done(wanted)
    collapsed = (
        rows["key"].isin(wanted.loc[wanted["loss"] == "clf_lgb", "key"].iloc[:4])
    ).to_numpy()
    rows["spearman_by_prompt"] = [
        np.full_like(values, np.nan) if gone else values
        for values, gone in zip(rows["spearman_by_prompt"], collapsed, strict=True)
    ]
    cells = table(rows, wanted, metric="spearman").set_index("loss")
    assert cells.loc["clf_lgb", ["n_seeds", "n_runs", "n_used"]].tolist() == [2, 6, 2]
    text = page(rows, wanted, metric="spearman")
    assert "(2 seeds)" in text and "4 done runs are left out" in text


def test_best_of_n_itself_is_base_plus_improvement_by_prompt():
    wanted = specs()
    rows = done(wanted)
    golden, improvement = (table(rows, wanted, metric=m) for m in ("bon_golden", "improvement"))
    np.testing.assert_allclose(golden["mean"], improvement["mean"] - 1, rtol=1e-5)
    assert golden["n_prompts"].eq(80).all() and golden["is_best"].equals(improvement["is_best"])
    oracle = table(rows, wanted, metric="oracle")
    np.testing.assert_allclose(oracle["mean"], 3.0)


def test_against_a_row_is_the_paired_difference_in_each_column():
    wanted = specs(annotation__beta=[0.3, 1.0], quantity=[100, 200])
    rows = done(wanted, shift=lambda spec: spec["annotation.beta"])
    fields = {"column_fields": ["annotation.beta"], "against": "bt_mlp"}
    cells = table(rows, wanted, **fields)
    is_bt = cells["loss"] == "bt_mlp"
    assert cells["is_baseline"].equals(is_bt.rename("is_baseline"))
    assert cells.loc[is_bt, ["difference", "p_holm"]].isna().all(axis=None)
    assert not cells[["is_best", "is_tied_with_best"]].any(axis=None)
    joined = rows.merge(wanted, on="key")
    rng = np.random.default_rng(0)
    sides = {"loss": "clf_mlp"}, {"loss": "bt_mlp"}
    apart = paired_differences(joined, *sides, "improvement", rng, ["annotation.beta"])
    of_clf = cells[cells["loss"] == "clf_mlp"]
    np.testing.assert_allclose(of_clf["difference"], apart["estimate"])
    np.testing.assert_allclose(of_clf["difference_low"], apart["low"])
    np.testing.assert_allclose(of_clf["difference_high"], apart["high"])
    text = page(rows, wanted, **fields)
    assert text.count("] ***") == 4 and text.count("; +1.0") == 2 and "(Holm, 4 comp" in text


def test_stars_are_corrected_for_the_number_of_comparisons():
    by_seed = 0.22 + 0.2 * np.array([-1.4, -0.7, 0, 0.7, 1.4])  # about 2.5 standard errors
    p = []
    for n in (1, 20):
        wanted = specs(loss=["clf_mlp", "clf_lgb"], dataset=[f"d{i}" for i in range(n)])
        rows = done(
            wanted,
            shift=lambda s: by_seed[s["seed"]] * ((s["loss"], s["dataset"]) == ("clf_lgb", "d0")),
        )
        cells = table(rows, wanted, column_fields=["dataset"], against="clf_mlp")
        assert cells["p_holm"].notna().sum() == n
        p.append(cells.query("loss == 'clf_lgb' and dataset == 'd0'")["p_holm"].item())
    assert p[0] < 0.05 < p[1]


def test_against_a_column_compares_columns_on_the_same_settings():
    wanted = specs(pairing=["same_prompt", "cross_prompt"], quantity=[100, 200])
    rows = done(wanted, shift=lambda s: s["quantity"] / 100 + 2 * (s["pairing"] == "cross_prompt"))
    is_gone = (wanted["pairing"] == "cross_prompt") & (wanted["quantity"] == 200)
    rows = rows[~is_gone]
    cells = table(rows, wanted, column_fields=["pairing"], against="same_prompt")
    np.testing.assert_allclose(cells["difference"].dropna(), 2, atol=1e-5)
    assert cells["is_baseline"].tolist() == [True] * 3 + [False] * 3
    grid = cells.set_index(["loss", "pairing"])["mean"].unstack()
    np.testing.assert_allclose(grid["same_prompt"], [3, 3.995, 4], atol=1e-5)


def test_a_cell_without_counterpart_has_no_difference():
    wanted = specs(dataset=["a", "b"]).query("loss != 'bt_mlp' or dataset == 'a'")
    wanted = wanted.reset_index(drop=True)
    rows = done(wanted)
    cells = table(rows, wanted, column_fields=["dataset"], against="bt_mlp")
    assert cells.loc[cells["dataset"] == "b", "difference"].isna().all()
    text = page(rows, wanted, column_fields=["dataset"], against="bt_mlp")
    assert "2 cells have no counterpart in bt_mlp." in text
    with pytest.raises(ValueError, match="no row or column is bt_ml; did you mean bt_mlp"):
        table(rows, wanted, against="bt_ml")


@pytest.mark.parametrize("format", FORMATS)
def test_differences_in_every_format(format):
    wanted = specs()
    rows = done(wanted)
    text = page(rows, wanted, format=format, against="bt_mlp")
    assert "+1.0" in text or format == "csv" and "difference_low" in text


@pytest.mark.parametrize(
    "conditions, n",
    [
        ({"loss": ["bt_mlp", "clf_mlp"]}, 20),
        ({"loss": ["bt_mlp"], "annotation.beta": [1]}, 5),
        ({"annotation.beta": ["inf"]}, 15),
        ({"annotation.beta": [float("inf")], "seed": [0, 1]}, 6),
    ],
)
def test_select(conditions, n):
    wanted = specs(annotation__beta=[1.0, np.inf])
    assert len(select_specs(wanted, conditions)) == n


@pytest.mark.parametrize(
    "conditions, message",
    [
        ({"los": ["x"]}, "unknown field 'los'; did you mean loss\\? valid: dataset, loss, seed"),
        ({"loss": ["bt_ml"]}, "no run has loss=bt_ml; did you mean bt_mlp\\? valid: bt_mlp"),
        ({"loss": ["a"], "seed": [1]}, "no run has loss=a; valid: bt_mlp, clf_lgb, clf_mlp"),
        ({"loss": "bt_mlp", "seed": [9]}, "no run meets all of loss=bt_mlp and seed=9"),
    ],
)
def test_what_no_run_has_cannot_be_selected(conditions, message):
    wanted = pd.concat([specs(), specs(loss=["clf_mlp"], seed=[9]).assign(key="k99")])
    with pytest.raises(ValueError, match=message):
        select_specs(wanted, conditions)
