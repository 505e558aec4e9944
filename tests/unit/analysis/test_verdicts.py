"""Tests of claims with a margin, of sizes and of cells, and the effects that papers report."""

import json

import numpy as np
import pytest
from helpers.made_up_runs import PUBLISHED, claims_of, is_, runs

from rmsweep.analysis.claims import published_claims, read_claims
from rmsweep.analysis.published_effects import published_effects, published_notes
from rmsweep.analysis.tuned import tuned_runs
from rmsweep.analysis.verdict_text import render_verdicts, verdict_notes
from rmsweep.analysis.verdicts import verdict_table
from rmsweep.paths import SHIPPED

DIVERSIFIED = "cross_prompt_does_no_harm_when_diversified"


def published_claim(name):
    return [claim for claim in published_claims() if claim.name == name]


@pytest.mark.parametrize(
    "gain, verdict",
    [(2.0, "holds"), (0.0, "holds"), (-0.4, "holds"), (-0.5, "undecided"), (-2.0, "fails")],
)
def test_cross_prompt_does_no_harm_unless_it_loses_more_than_the_margin(gain, verdict):
    """The margin is 5 % of the oracle's improvement, which is 10 here; 0.5 lies upon it."""
    rows = runs(lambda run: gain * is_(run, pairing="cross_prompt"), selection=["diversified"])
    (line,) = verdict_table(rows, published_claim(DIVERSIFIED)).to_dict("records")
    assert line["verdict"] == verdict and line["effect"] == pytest.approx(gain / 10, abs=0.002)
    assert line["of"] == "oracle_share, margin 0.05"


@pytest.mark.parametrize(
    "lead, equal, not_worse",
    [(0.01, "holds", "holds"), (0.2, "fails", "holds"), (-0.2, "fails", "fails")],
)
def test_an_equivalence_has_two_sides(lead, equal, not_worse, tmp_path):
    rows = runs(lambda run: lead * is_(run, loss="clf_mlp"))
    for test, verdict in (("equal_within", equal), ("not_worse", not_worse)):
        options = {"test": test, "margin": 0.1, "metric": "pairwise_accuracy"}
        assert verdict_table(rows, claims_of(tmp_path, **options))["verdict"].tolist() == [verdict]


def test_an_equivalence_is_undecided_where_the_margin_is_within(tmp_path):
    rows = runs(lambda run: 0.1 * is_(run, loss="clf_mlp"))
    options = {"margin": 0.1, "metric": "pairwise_accuracy"}
    for test in ("equal_within", "not_worse"):
        changes = options | {
            "test": test,
            "contrast": {"field": "loss", "a": "bt_mlp", "b": "clf_mlp"},
        }
        assert verdict_table(rows, claims_of(tmp_path, **changes))["verdict"][0] == "undecided"


@pytest.mark.parametrize("share, verdict", [(1.05, "holds"), (0.95, "holds"), (1.5, "fails")])
def test_random_margins_are_compared_with_similar_ones_as_a_share(share, verdict):
    rows = runs(lambda run: 0.0, selection=["random", "similar"])
    rows["mean_margin"] *= np.where(rows["selection"] == "random", share, 1)
    claims = published_claim("random_margins_are_close_to_similar_ones")
    (line,) = verdict_table(rows, claims).to_dict("records")
    assert line["verdict"] == verdict and line["effect"] == pytest.approx(share - 1)
    assert line["of"] == "mean_margin as a share of similar's, margin 0.1"


@pytest.mark.parametrize(
    "same, cross, verdict",
    [(1.0, 0.2, "holds"), (1.0, -0.2, "holds"), (0.2, 1.0, "fails"), (0.5, -1.0, "fails")],
)
def test_depending_less_is_about_the_size_of_the_effect(same, cross, verdict):
    """As a signed difference 0.5 - (-1) would hold, though cross-prompt depends more."""
    effects = {"same_prompt": same, "cross_prompt": cross}
    rows = runs(
        lambda run: effects[run["pairing"]] * is_(run, selection="diversified"),
        selection=["similar", "diversified"],
    )
    claims = published_claim("cross_prompt_depends_less_on_diversity")
    (line,) = verdict_table(rows, claims).to_dict("records")
    assert line["verdict"] == verdict
    assert line["effect"] == pytest.approx(abs(cross) - abs(same), abs=0.03)


def test_a_cell_of_low_error_keeps_all_its_seeds():
    """The error is 0.08 to 0.12 by seed, 0.098 in the mean: no run is picked by its own error."""
    rows = runs(lambda run: is_(run, loss="bt_mlp"))
    by_seed = np.array([0.12, 0.08, 0.11, 0.08, 0.10])
    is_low = rows["annotation.beta"] == 10
    rows.loc[is_low, "annotation_error"] = by_seed[rows["seed"][is_low]]
    claims = published_claim("bt_leads_at_low_error")
    (line,) = verdict_table(rows, claims).to_dict("records")
    assert (line["n_seeds"], line["n_pairs"]) == (5, 30) and line["verdict"] == "holds"
    rows.loc[is_low, "annotation_error"] += 0.01
    assert verdict_table(rows, claims)["verdict"].tolist() == ["not tested"]


def test_a_bound_on_a_field_of_the_spec_is_one_of_each_run(tmp_path):
    rows = runs(lambda run: is_(run, loss="clf_mlp"))
    (line,) = verdict_table(rows, claims_of(tmp_path, where={"seed": {"below": 2}})).to_dict(
        "records"
    )
    assert line["n_seeds"] == 2


def shown(rows, claims, format="text"):
    lines, effects = verdict_table(rows, claims), published_effects(rows, claims)
    notes = [*verdict_notes(lines, 1, 1), *published_notes(effects)]
    return render_verdicts(lines, effects, notes, format, 120)


def test_published_effects_stand_beside_those_of_the_same_setting(tmp_path):
    rows = runs(lambda run: (0.7 if run["quantity"] == 200 else 3) * is_(run, loss="clf_mlp"))
    claims = claims_of(tmp_path, published=PUBLISHED)
    here, *others = published_effects(rows, claims).to_dict("records")
    assert (here["published_low"], here["published_high"]) == (0.4, 0.5)
    assert here["effect"] == pytest.approx(0.7, abs=0.03) and here["low"] < 0.7 < here["high"]
    assert (here["n_seeds"], here["n_pairs"], here["on"]) == (5, 5, "gemma2b")
    assert [line["on"] for line in others] == ["gemma9b", "a language model"]
    assert all(np.isnan(line["effect"]) for line in others)
    text = shown(rows, claims)
    assert max(map(len, text.splitlines())) <= 120 and "their Fig. 1" in text
    for words in ("+0.4 to +0.5 (gemma2b)", "+0.05 (a language model)", "other data"):
        assert words in text
    for format in ("md", "html"):
        assert "+0.05 (a language model)" in shown(rows, claims, format)
    (line,) = json.loads(shown(rows, claims, "json"))
    assert [entry["on"] for entry in line["published"]] == ["gemma2b", *(o["on"] for o in others)]
    assert line["published"][0]["effect"] == pytest.approx(here["effect"])
    assert line["published"][1]["effect"] is None


def test_published_effects_have_a_line_a_way_of_training(tmp_path):
    rows = runs(
        lambda run: (1 if run["training.patience"] == 3 else -1) * is_(run, loss="clf_mlp"),
        training__patience=[3, None],
    )
    claims = claims_of(tmp_path, published=PUBLISHED, protocols=True)
    effects = published_effects(rows, claims)
    assert effects["training"].tolist() == ["pairs, early stopping", "pairs, fixed epochs", "", ""]
    assert effects["effect"][:2].tolist() == pytest.approx([1, -1], abs=0.03)
    first, second = json.loads(shown(rows, claims, "json"))
    assert [len(line["published"]) for line in (first, second)] == [3, 3]
    assert first["published"][0]["training"] == first["training"]


def test_claims_without_published_numbers_have_no_second_table(tmp_path):
    rows = runs(lambda run: 0.0)
    text = shown(rows, claims_of(tmp_path))
    assert "published" not in text and published_effects(rows, claims_of(tmp_path)).empty


def test_the_numbers_of_the_papers():
    """Two of each, as the published summaries have them."""
    rows = runs(lambda run: 0.0)
    effects = published_effects(rows, published_claims()).set_index(["name", "on"])
    low, high = effects["published_low"], effects["published_high"]
    assert low["clf_mlp_beats_bt_mlp", "hh_helpful gemma2b"] == pytest.approx(2.98 - 1.77)
    assert low["clf_lgb_beats_bt_mlp", "hh_helpful gemma7b_sft"] == pytest.approx(2.01 - 0.48)
    on = "gemma-2b-it, Unified-Feedback 80K"
    assert low["normbt_is_better_at_reasoning", on] == pytest.approx(0.053)
    assert high["normbt_is_better_on_rewardbench", on] == pytest.approx(0.0132)
    assert effects["effect"].isna().all()


def tuned_rows(best_of):
    """Runs at three rates: those of a loss's best rate have the lowest validation loss."""
    rows = runs(lambda run: is_(run, loss="clf_mlp") + 0.3 * (run["training.learning_rate"] == 0.1),
                training__learning_rate=[0.01, 0.1, 1.0], base_llm=["gemma2b"])  # fmt: skip
    is_best = rows["training.learning_rate"] == rows["loss"].map(best_of)
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(rows))
    rows["validation_loss_by_epoch"] = [
        np.array([0.1, 0.5 + x + (0 if best else 0.2)])  # the last epoch counts, not the first
        for x, best in zip(noise, is_best, strict=True)
    ]
    return rows


def test_a_tuned_field_is_that_of_the_lowest_validation_loss_of_each_cell(tmp_path):
    """BT is best at 0.1, where it has 0.3 more, CLF at 1.0; untuned the difference is 1."""
    rows = tuned_rows({"bt_mlp": 0.1, "clf_mlp": 1.0})
    (line,) = verdict_table(rows, claims_of(tmp_path)).to_dict("records")
    assert line["effect"] == pytest.approx(1.0, abs=0.02)
    tuned = claims_of(tmp_path, tune="training.learning_rate")
    (line,) = verdict_table(rows, tuned).to_dict("records")
    assert line["effect"] == pytest.approx(0.7, abs=0.02) and line["verdict"] == "holds"
    assert line["of"] == "improvement, training.learning_rate tuned"
    assert line["n_pairs"] == 5 * 2 * 2 * 2  # of seeds, pairings, betas and quantities: one rate
    one = rows[rows["training.learning_rate"] == 0.1]
    (line,) = verdict_table(one, tuned).to_dict("records")
    assert line["verdict"] == "not tested" and "differ in training.learning_rate" in line["reason"]


def test_what_is_tuned_is_chosen_on_the_seeds_that_every_value_has():
    rows = tuned_rows({"bt_mlp": 0.1, "clf_mlp": 1.0})
    is_lost = (rows["seed"] == 4) & (rows["training.learning_rate"] == 0.01)
    found = tuned_runs(rows[~is_lost], "training.learning_rate")
    assert sorted(found["seed"].unique()) == [0, 1, 2, 3]
    assert found["training.learning_rate"].isna().all()
    assert len(found) == 4 * 2 * 2 * 2 * 2


def test_sides_may_differ_in_several_fields(tmp_path):
    rows = runs(lambda run: run["quantity"] / 100 + 2 * is_(run, pairing="cross_prompt"))
    a, b = {"quantity": 200, "pairing": "cross_prompt"}, {"quantity": 100, "pairing": "same_prompt"}
    (line,) = verdict_table(rows, claims_of(tmp_path, contrast={"a": a, "b": b})).to_dict("records")
    assert line["effect"] == pytest.approx(3.0, abs=0.02) and line["verdict"] == "holds"


def test_a_claim_without_a_contrast_tests_the_metric_itself(tmp_path):
    rows = runs(lambda run: 0.1 * is_(run, loss="clf_mlp"))
    metric = "test_decile_accuracy[0] - test_decile_accuracy[9]"  # 0.6 less 0.9, and 0.1 of CLF
    for test, verdict in (("greater", "fails"), ("less", "holds")):
        claims = claims_of(tmp_path, contrast=..., metric=metric, test=test)
        (line,) = verdict_table(rows, claims).to_dict("records")
        assert line["effect"] == pytest.approx(-0.25, abs=1e-6) and line["verdict"] == verdict


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"contrast": {"a": {"loss": "x"}, "b": {"seed": 1}}}, "must name the same fields"),
        ({"contrast": {"a": {}, "b": {}}}, "contrast must be a mapping"),
        ({"contrast": {"a": 1, "b": 2}}, "contrast must be a mapping"),
        ({"contrast": ..., "test": "slope_greater", "x": "base"}, "contrast is missing"),
        ({"tune": "learning_rate"}, "learning_rate"),
    ],
)
def test_contrasts_that_say_nothing_are_refused(changes, rule, tmp_path):
    with pytest.raises(ValueError, match=rule):
        claims_of(tmp_path, **changes)


def test_every_claim_of_a_study_is_read():
    for path in (SHIPPED / "claims/studies").glob("*.yaml"):
        assert read_claims(path), path


def test_a_condition_may_be_that_a_number_is_null(tmp_path):
    rows = runs(lambda run: is_(run, loss="clf_mlp"), training__patience=[3, None])
    claims = claims_of(tmp_path, where={"training.patience": None})
    (line,) = verdict_table(rows, claims).to_dict("records")
    assert line["verdict"] == "holds" and line["n_pairs"] == 5 * 3 * 2 * 2 * 2
