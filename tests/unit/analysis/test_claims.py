"""Claims: files that read, verdicts on made-up runs whose effects are known, and the command."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.own_claims import CLF_BEATS_BT

from rmsweep.analysis.claims import claim_columns, published_claims, read_claims
from rmsweep.analysis.verdicts import render_verdicts, verdict_notes, verdict_table
from rmsweep.paths import CHECKOUT
from rmsweep.results.schema import SCHEMA


def claims_of(tmp_path, **changes):
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
    rows["dataset"] = "hh_helpful"
    rows["loss.reward_model"] = np.where(rows["loss"] == "clf_lgb", "trees", "mlp")
    rows["annotation_error"] = np.where(rows["annotation.beta"] == 10, 0.04, 0.3)
    rows["mean_margin"] = rows["base_llm"].map({"gemma2b": 1.0, "gemma7b": 2.0, "llama3_8b": 5.0})
    noise = np.random.default_rng(0).normal(scale=0.05, size=(len(rows), n_prompts))
    common = np.random.default_rng(1).normal(size=(5, n_prompts))[rows["seed"]]
    effects = np.array([effect(run) for run in rows.to_dict("records")])[:, None]
    rows["improvement_by_prompt"] = list(effects + common + noise)
    rows["pairwise_accuracy_by_prompt"] = rows["improvement_by_prompt"]
    rows["test_decile_accuracy"] = [np.linspace(0.6 + e, 0.9, 10) for (e,) in effects]
    return rows.reindex(columns=list(dict.fromkeys([*rows, *claim_columns(published_claims())])))


def verdicts(rows, claims=None):
    lines = verdict_table(rows, claims or published_claims())
    return lines.set_index("name")["verdict"].to_dict()


def is_(run, **values):
    return float(all(run[name] == value for name, value in values.items()))


def test_the_published_claims_read_and_name_their_papers():
    claims = published_claims()
    assert len(claims) == len({claim.name for claim in claims}) > 15
    assert {claim.source.partition(",")[0] for claim in claims} == {"RBT", "NormBT"}
    assert all(claim.protocols for claim in claims if claim.source.startswith("RBT"))
    assert set(claim_columns(claims)) <= set(SCHEMA.names)


@pytest.mark.slow
@pytest.mark.parametrize("sign, verdict", [(1, "holds"), (-1, "fails"), (0, "undecided")])
def test_every_claim_of_rbt_gets_the_verdict_that_was_put_in(sign, verdict):
    margin = {"gemma2b": 1, "gemma7b": 2, "llama3_8b": 5}
    similar = {"similar": 1.0, "random": 0.5, "diversified": -0.2}

    def effect(run):
        low_error = run["annotation.beta"] == 10
        of_clf = (0.5 - 0.6 * low_error + (run["quantity"] == 200)) * is_(run, loss="clf_mlp")
        of_clf += (0.3 - 0.1 * low_error) * is_(run, loss="clf_lgb")
        of_cross = similar[run["selection"]] * (1 + 0.1 * margin[run["base_llm"]])
        return sign * (of_clf + of_cross * is_(run, pairing="cross_prompt"))

    rows = runs(effect, selection=list(similar), loss=["bt_mlp", "clf_mlp", "clf_lgb"])
    rows["mean_margin"] *= rows["selection"].map({"similar": 3, "random": 2, "diversified": 1})
    claims = [claim for claim in published_claims() if claim.source.startswith("RBT")]
    found = verdicts(rows, claims)
    if sign:
        at_low_error = found.pop("bt_leads_at_very_low_error")
        assert at_low_error == {1: "fails", -1: "holds"}[sign]  # the quantity outweighs it
        assert found == dict.fromkeys(found, verdict)
    else:
        assert list(found.values()).count("undecided") >= len(found) - 2  # 5 % each


@pytest.mark.slow
def test_the_claims_of_normbt():
    rows = runs(lambda run: 0.1 * is_(run, loss="normbt"), loss=["bt_mlp", "normbt"])
    found = verdicts(rows)
    tested = [name for name, verdict in found.items() if verdict == "holds"]
    assert tested == [
        "normbt_beats_bt",
        "normbt_ranks_better_than_bt",
        "normbt_gains_on_small_distances",
        "normbt_gains_most_on_small_distances",
    ]
    assert found["normbt_costs_nothing"] == found["clf_mlp_beats_bt_mlp"] == "not tested"


def test_effect_interval_and_counts_are_those_of_the_contrast(tmp_path):
    rows = runs(lambda run: 0.5 * is_(run, loss="clf_mlp"))
    (line,) = verdict_table(rows, claims_of(tmp_path)).to_dict("records")
    assert line["effect"] == pytest.approx(0.5, abs=0.01)
    assert 0.45 < line["low"] < line["effect"] < line["high"] < 0.55
    assert (line["n_seeds"], line["n_prompts"], line["n_pairs"]) == (5, 40, 120)
    (again,), (other,) = (
        verdict_table(rows, claims_of(tmp_path), s).to_dict("records") for s in (0, 1)
    )
    assert again == line and other["low"] != line["low"]


def test_ways_of_training_stand_side_by_side(tmp_path):
    rows = runs(
        lambda run: (1.0 if run["training.patience"] == 3 else -1.0) * is_(run, loss="clf_mlp"),
        training__protocol=["pairs", "rbt_scripts"],
        training__patience=[3, None],
        quantity=[100],
    )
    lines = verdict_table(rows, claims_of(tmp_path, protocols=True))
    assert dict(zip(lines["training"], lines["verdict"], strict=True)) == {
        "pairs, early stopping": "holds",
        "pairs, fixed epochs": "fails",
        "rbt_scripts, early stopping": "holds",
        "rbt_scripts, fixed epochs": "fails",
    }
    text = render_verdicts(lines, verdict_notes(lines, len(rows), len(rows)), "text", 200)
    assert text.count("CLF-MLP is better.") == 1 and "2 holds, 2 fails" in text


def test_ways_of_training_are_compared_on_the_settings_that_all_have(tmp_path):
    """Fixed epochs were run with 200 pairs alone, where the effect is another one."""
    rows = runs(
        lambda run: (1.0 if run["quantity"] == 200 else -3.0) * is_(run, loss="clf_mlp"),
        loss=["bt_mlp", "clf_mlp", "clf_lgb"],
        training__patience=[3, None],
    )
    is_tree = rows["loss"] == "clf_lgb"
    rows = rows[(rows["training.patience"] == 3) | (rows["quantity"] == 200) & ~is_tree]
    rows = rows.reset_index(drop=True)
    lines = verdict_table(rows, claims_of(tmp_path, protocols=True))
    assert lines["effect"].tolist() == pytest.approx([1, 1], abs=0.05)
    assert lines["n_pairs"].tolist() == [60, 60]
    alone = rows[rows["training.patience"] == 3].reset_index(drop=True)
    (line,) = verdict_table(alone, claims_of(tmp_path, protocols=True)).to_dict("records")
    assert line["effect"] == pytest.approx(-1, abs=0.05) and line["n_pairs"] == 120
    trees = {"field": "loss", "a": "clf_lgb", "b": "bt_mlp"}
    lines = verdict_table(rows, claims_of(tmp_path, protocols=True, contrast=trees))
    assert lines["n_pairs"].tolist() == [60, 60]


def test_trees_stand_against_every_way_of_training(tmp_path):
    rows = runs(
        lambda run: is_(run, loss="clf_lgb"),
        loss=["bt_mlp", "clf_lgb"],
        training__protocol=["pairs", "rbt_scripts"],
    )
    rows = rows[(rows["loss"] == "bt_mlp") | (rows["training.protocol"] == "pairs")]
    contrast = {"field": "loss", "a": "clf_lgb", "b": "bt_mlp"}
    lines = verdict_table(
        rows.reset_index(drop=True), claims_of(tmp_path, contrast=contrast, protocols=True)
    )
    assert lines["verdict"].tolist() == ["holds", "holds"] and lines["n_pairs"].eq(120).all()


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"contrast": {"field": "loss", "a": "normbt", "b": "bt_mlp"}}, "no run has loss=normbt"),
        ({"contrast": {"field": "loss.power", "a": 1, "b": 2}}, "unknown field 'loss.power'"),
        ({"where": {"selection": "similar"}}, "no run has selection=similar"),
        (
            {"where": {"annotation_error": {"below": 0.01}}},
            "no run has annotation_error below 0.01",
        ),
        ({"metric": "spearman"}, "the sweep has no spearman_by_prompt"),
        ({"metric": "kl_risk"}, "the sweep has no kl_risk"),
        ({"metric": "test_decile_accuracy[10]"}, "the sweep has no test_decile_accuracy[10]"),
        (
            {"contrast": {"field": "seed", "a": "largest", "b": "smallest"}, "where": {"seed": 1}},
            "the sweep has one seed, 1",
        ),
        (
            {"test": "slope_less", "x": "annotation_error", "along": "selection"},
            "the sweep has one selection",
        ),
        (
            {"test": "correlation_less", "x": "mean_margin", "by": ["pairing"]},
            "a correlation needs 5 points, the sweep has 2",
        ),
        ({"here": {"quantity": 100}, "there": {"quantity": 300}}, "no run has quantity=300"),
        ({"not_tested": "too dear"}, "too dear"),
    ],
)
def test_what_the_sweep_lacks_is_not_tested(changes, reason, tmp_path):
    rows = runs(lambda run: 0.0)
    for name in ("spearman_by_prompt", "kl_risk"):
        rows[name] = None
    lines = verdict_table(rows, claims_of(tmp_path, **changes))
    assert lines["verdict"].tolist() == ["not tested"] and lines["reason"].tolist() == [reason]
    assert lines["n_pairs"].isna().all()
    for format in ("text", "md", "html", "json"):
        assert "not tested" in render_verdicts(lines, verdict_notes(lines, 1, 1), format)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"claim": ...}, "mine: claim is missing"),
        ({"metrik": "spearman"}, "mine: metrik is an unknown field; did you mean metric"),
        ({"test": "bigger"}, "mine: test must be one of greater, less, .*; got bigger"),
        ({"test": ...}, "mine: test must be one of"),
        ({"metric": "spearmann"}, "mine: unknown metric 'spearmann'; did you mean spearman"),
        (
            {"metric": "decile_acuracy[0]"},
            "unknown column 'decile_acuracy'; did you mean decile_acc",
        ),
        (
            {"contrast": {"field": "loss", "a": 1}},
            "mine: contrast must be a mapping of field, a and b",
        ),
        ({"where": {"los": 1}}, "mine: unknown field 'los'; did you mean loss"),
        ({"where": {"quantity": {"under": 5}}}, "quantity must have below or above"),
        (
            {"test": "slope_less", "x": "quantity"},
            "mine: along is missing where test is slope_less",
        ),
        ({"x": "quantity"}, "mine: x must be left out where test is greater"),
        (
            {"test": "slope_less", "x": "loss", "along": "loss"},
            "mine: unknown x 'loss'; .*valid: .*quantity",
        ),
        ({"here": {"quantity": 1}}, "mine: here and there go together"),
        (
            {"here": {"quantity": 1}, "there": {"selection": "random"}},
            "mine: here and there must name the same fields",
        ),
        (
            {"here": {"loss": "normbt"}, "there": {"loss": "hinge_mlp"}},
            "mine: here and there must not name the field of the contrast, loss",
        ),
        (
            {"contrast": {"field": "loss", "a": "largest", "b": "bt_mlp"}},
            "mine: largest and smallest are for numbers, contrast has field loss",
        ),
        ({"metric": "improvement[0]"}, "mine: unknown column 'improvement'"),
        (
            {"test": "slope_less", "x": "quantity", "along": "quantity", "metric": "oracle_share"},
            "mine: metric oracle_share has no slope",
        ),
        ({"protocols": "yes"}, "mine: protocols must be bool, got 'yes'"),
    ],
)
def test_a_bad_claim_is_named_with_field_and_rule(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        claims_of(tmp_path, **changes)
    assert "mine.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, rule", [("a: [", "is not yaml"), ("- a", "must map names"), ("", "m")]
)
def test_a_bad_file_is_named(text, rule, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"bad.yaml {rule}") as error:
        read_claims(tmp_path / "bad.yaml")
    assert "\n" not in str(error.value)


def test_one_seed_has_no_interval_where_only_seeds_are_resampled(tmp_path):
    rows = runs(lambda run: 0.1 * is_(run, loss="clf_mlp"), seed=[3])
    lines = verdict_table(rows, claims_of(tmp_path, metric="test_decile_accuracy[0]"))
    assert lines["verdict"].tolist() == ["undecided"] and lines["low"].isna().all()
    text = render_verdicts(lines, verdict_notes(lines, 1, 1), "text", 200)
    assert "+0.1 [no interval] test_decile_accuracy[0]" in text and "nan" not in text
    assert "fewer than 5 seeds" in text


@pytest.mark.slow
def test_base_llms_told_apart_by_their_stem_alone_are_points_of_the_correlation():
    stems = {"feeble": 0.5, "weak": 1.0, "middling": 2.0, "good": 3.0, "strong": 4.0}
    rows = runs(
        lambda run: stems[run["base_llm.stem"]] * is_(run, pairing="cross_prompt"),
        base_llm=["synthetic"],
        base_llm__stem=list(stems),
    )
    rows["mean_margin"] = rows["base_llm.stem"].map(stems)
    lines = verdict_table(rows, published_claims()).set_index("name")
    found = lines.loc["gain_of_cross_prompt_follows_margins"]
    assert (found["verdict"], found["n_points"]) == ("holds", 5)
    assert "5 points" in render_verdicts(lines.reset_index(), [], "text", 300)
    assert lines["n_points"].count() == 1


def test_text_from_a_file_is_escaped(tmp_path):
    rows = runs(lambda run: 0.0)
    lines = verdict_table(rows, claims_of(tmp_path, claim="<script> & | [bold]"))
    assert "&lt;script&gt; &amp;" in render_verdicts(lines, ["<i>"], "html")
    assert r"\|" in render_verdicts(lines, [], "md") and "[bold]" in render_verdicts(
        lines, [], "text"
    )
    (line,) = json.loads(render_verdicts(lines, [], "json"))
    assert line["claim"] == "<script> & | [bold]" and line["n_pairs"] == 120


def test_the_files_are_part_of_what_is_shipped():
    root = CHECKOUT
    assert sorted(path.name for path in (root / "claims").iterdir()) == ["normbt.yaml", "rbt.yaml"]
