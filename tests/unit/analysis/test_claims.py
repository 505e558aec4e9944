"""Claims: files that read, verdicts on made-up runs whose effects are known, and the command."""

import json

import pandas as pd
import pytest
from helpers.made_up_runs import PUBLISHED, claims_of, is_, runs

from rmsweep.analysis.claims import claim_columns, published_claims, read_claims
from rmsweep.analysis.published_effects import published_effects
from rmsweep.analysis.verdict_text import render_verdicts, verdict_notes
from rmsweep.analysis.verdicts import verdict_table
from rmsweep.paths import CHECKOUT
from rmsweep.results.schema import SCHEMA


def rendered(lines, notes=(), format="text", width=300):
    return render_verdicts(lines, published_effects(lines, []), notes, format, width)


def verdicts(rows, claims=None):
    lines = verdict_table(rows, claims or published_claims())
    return lines.set_index("name")["verdict"].to_dict()


def test_the_published_claims_read_and_name_their_papers():
    claims = published_claims()
    assert len(claims) == len({claim.name for claim in claims}) > 15
    assert {claim.source.partition(",")[0] for claim in claims} == {"RBT", "NormBT"}
    assert [c.name for c in claims if not c.protocols and not c.not_tested] == [
        "random_margins_are_close_to_similar_ones"  # annotation alone makes them
    ]
    assert set(claim_columns(claims)) <= set(SCHEMA.names)


@pytest.mark.slow
@pytest.mark.parametrize("sign, verdict", [(1, "holds"), (-1, "fails"), (0, "undecided")])
def test_every_claim_of_rbt_gets_the_verdict_that_was_put_in(sign, verdict):
    margin = {"gemma2b": 1, "gemma7b": 2, "llama3_8b": 5}
    gain = {"similar": 1.5, "random": 1.4, "diversified": 0.8}  # of cross-prompt
    of_same = {"similar": 0.0, "random": 0.1, "diversified": 1.0}
    spread = {"similar": 1.0, "random": 1.05, "diversified": 2.0}

    def effect(run):
        low_error, selection = run["annotation.beta"] == 10, run["selection"]
        of_clf = (0.5 - 0.6 * low_error + (run["quantity"] == 200)) * is_(run, loss="clf_mlp")
        of_clf += (1.3 - 0.1 * low_error) * is_(run, loss="clf_lgb")
        of_cross = gain[selection] - 0.05 * margin[run["base_llm"]]
        of_cross *= is_(run, pairing="cross_prompt")
        return sign * (of_clf + of_cross + of_same[selection] * (1 if sign > 0 else 0.1))

    rows = runs(effect, selection=list(gain), loss=["bt_mlp", "clf_mlp", "clf_lgb"])
    rows["mean_margin"] *= rows["selection"].map(spread)
    if sign < 0:
        rows["mean_margin"] *= 1 + 0.5 * (rows["selection"] == "random")
    claims = [claim for claim in published_claims() if claim.source.startswith("RBT")]
    found = verdicts(rows, claims)
    if sign:
        at_low_error = found.pop("bt_leads_at_low_error")
        assert at_low_error == {1: "fails", -1: "holds"}[sign]  # the quantity outweighs it
        assert found == dict.fromkeys(found, verdict)
    else:
        equal = ("clf_lgb_is_as_good_as_clf_mlp", "cross_prompt_does_no_harm_when_diversified")
        equal += ("random_margins_are_close_to_similar_ones",)
        assert {found.pop(name) for name in equal} == {"holds"}
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
    assert found["clf_mlp_beats_bt_mlp"] == "not tested"


@pytest.mark.slow
def test_the_claims_of_normbt_are_of_the_papers_options():
    """Variants of NormBT in the same sweep, such as power 0, are not taken for NormBT."""
    rows = runs(lambda run: 0.1 * is_(run, loss="normbt"), loss=["bt_mlp", "normbt"])
    others = rows[rows["loss"] == "normbt"].copy()
    others["loss.options"] = others["loss.options"].str.replace('"power": 1.0', '"power": 0.0')
    others["key"] += "-0"
    others["improvement_by_prompt"] = others["improvement_by_prompt"].map(lambda v: v - 10)
    found = verdicts(pd.concat([rows, others], ignore_index=True))
    assert found["normbt_beats_bt"] == "holds"


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
    text = rendered(lines, verdict_notes(lines, len(rows), len(rows)))
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
        assert "not tested" in rendered(lines, verdict_notes(lines, 1, 1), format)


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
        ({"test": "not_worse"}, "mine: margin is missing where test is not_worse"),
        ({"margin": 0.1}, "mine: margin must be left out where test is greater"),
        ({"test": "not_worse", "margin": 0.05}, "mine: a margin needs a metric, .* oracle_share"),
        (
            {"test": "equal_within", "margin": 0.05, "metric": "improvement"},
            "mine: a margin needs a metric, .* oracle_share; got improvement",
        ),
        (
            {"test": "equal_within", "margin": 0, "metric": "spearman"},
            "mine: margin must be above 0, got 0",
        ),
        ({"test": "size_less"}, "mine: here and there go together"),
        ({"published": 3}, "mine: published must be a mapping or null, got 3"),
        (
            {"published": {"source": "x", "metric": "improvement", "values": [{"a": 1, "b": 2}]}},
            "mine: a published value has either where or data",
        ),
        (
            {"published": PUBLISHED | {"where": {"datset": "x"}}},
            "mine: unknown field 'datset'; did you mean dataset",
        ),
        (
            {"published": PUBLISHED | {"values": [{"a": [], "b": 2, "data": "x"}]}},
            "mine: a and b of a published value are a number or the two ends of a range",
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
    text = rendered(lines, verdict_notes(lines, 1, 1))
    assert "+0.1 [no interval] test_decile_accuracy[0]" in text and "nan" not in text
    assert "fewer than 5 seeds" in text


@pytest.mark.slow
def test_base_llms_told_apart_by_their_stem_alone_are_points_of_the_correlation():
    stems = {"feeble": 0.5, "weak": 1.0, "middling": 2.0, "good": 3.0, "strong": 4.0}
    rows = runs(
        lambda run: stems[run["base_llm.stem"]] * is_(run, pairing="same_prompt"),
        base_llm=["synthetic"],
        base_llm__stem=list(stems),
    )
    rows["mean_margin"] = rows["base_llm.stem"].map(stems)
    lines = verdict_table(rows, published_claims()).set_index("name")
    found = lines.loc["gain_of_cross_prompt_falls_with_margins"]
    assert (found["verdict"], found["n_points"]) == ("holds", 5)
    assert "5 points" in rendered(lines.reset_index())
    assert lines["n_points"].count() == 1


def test_text_from_a_file_is_escaped(tmp_path):
    rows = runs(lambda run: 0.0)
    lines = verdict_table(rows, claims_of(tmp_path, claim="<script> & | [bold]"))
    assert "&lt;script&gt; &amp;" in rendered(lines, ["<i>"], "html")
    assert r"\|" in rendered(lines, format="md") and "[bold]" in rendered(lines)
    (line,) = json.loads(rendered(lines, format="json"))
    assert line["claim"] == "<script> & | [bold]" and line["n_pairs"] == 120


def test_the_files_are_part_of_what_is_shipped():
    root = CHECKOUT
    assert sorted(path.name for path in (root / "claims").iterdir()) == [
        "normbt.yaml", "rbt.yaml", "studies"
    ]  # fmt: skip


def test_the_page_says_how_each_claim_was_read():
    page = (CHECKOUT / "docs" / "papers" / "claims.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    for claim in published_claims():
        (line,) = [line for line in lines if line.startswith(f"| `{claim.name}` |")]
        assert (claim.test or "not tested") in line
        assert claim.margin is None or f"margin {claim.margin:g}" in line
    names = {claim.name for claim in published_claims()}
    named = {line.split("`")[1] for line in lines}
    assert named - names == {"greater", "less", "not_worse", "equal_within", "slope_greater"}
