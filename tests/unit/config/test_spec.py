"""Specs: identity, common random numbers, errors that name the field."""

import copy
import dataclasses
import json
import re
import typing

import numpy as np
import pytest
from helpers.composing import by_hydra, composed
from hydra.errors import HydraException

from rmsweep.cache.inputs import open_inputs
from rmsweep.config import rules
from rmsweep.config import spec as specs
from rmsweep.config.columns import column_types, spec_columns
from rmsweep.config.compose import interpolated
from rmsweep.config.parse import from_canonical, parse
from rmsweep.config.random_streams import STREAMS, stream
from rmsweep.config.spec import NOT_IN_ID, OPTION_GROUPS, SEMANTICS
from rmsweep.paths import SHIPPED
from rmsweep.training.annotate import annotate_pairs

LOSSES = sorted(path.stem for path in (SHIPPED / "conf" / "loss").glob("*.yaml"))
FILES = ("base_llm=gemma2b_sft", "backbone=gemma2b", "dataset=hh_harmless")
SMALL = tuple(
    f"dataset.synthetic.{name}={value}"
    for name, value in {
        "train_prompts": 50, "train_responses": 5, "test_prompts": 2, "test_responses": 4,
        "dim": 12, "intrinsic_dim": 3, "n_clusters": 2,
    }.items()
)  # fmt: skip
SPEC_FIELDS = {*OPTION_GROUPS, "annotation", "training", "quantity", "seed", "precision"}


def config_of(*overrides):
    precision = [] if any("precision" in o for o in overrides) else ["precision=bf16"]
    return composed(*overrides, *precision)


def spec_of(*overrides):
    config = config_of(*overrides)
    return parse(config.values, config.choices)


@pytest.mark.parametrize(
    "overrides",
    [
        ("loss=normbt", "quantity=50", "annotation.beta=.inf", "loss.hidden=[]"),
        ("loss=clf_lgb", "loss.rounds=3", "training.learning_rate=1e-3", "save_model=true"),
        ("dataset.synthetic.dim=16", "evaluation.n=5", "+loss.objective.margin=0.5", "seed=-1"),
    ],
)
def test_the_helper_of_tests_composes_as_hydra_does(overrides):
    assert composed(*overrides).values == interpolated(by_hydra(overrides).values)
    with pytest.raises(HydraException, match=r"Could not override 'loss\.depth'"):
        composed(*overrides, "loss.depth=3")


def leaves(value, path=()):
    """Path, value and type hint of each leaf of a spec that is part of its identity."""
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, (*path, field.name))
        elif field.metadata.get("in_id", True):
            yield (*path, field.name), inner, hints[field.name]


def replaced(value, path, new):
    """A copy of nested dataclasses with one leaf replaced."""
    name, *rest = path
    inner = replaced(getattr(value, name), rest, new) if rest else new
    return dataclasses.replace(value, **{name: inner})


def another(value, hint):
    """A value of the leaf's type that is not its own."""
    if value is None:
        kinds = {int: 7, dict: {"_target_": "a.b"}, str: "abc", float: 0.1}
        kinds |= {tuple[str, ...]: ("abc",), specs.Golden: specs.Golden("a", "b")}
        return next((kinds[o] for o in typing.get_args(hint) if o in kinds), None)
    changes = {
        int: lambda: value + 1, float: lambda: 2 * value + 1, str: lambda: value + "x",
        tuple: lambda: (*value, 3), dict: lambda: value | {"option": 1},
    }  # fmt: skip
    return changes[type(value)]()


LABELS = ("dataset=hh_harmless_pairs", "backbone=minilm")
ENSEMBLE = ("loss.ensemble=3", "loss.pick=min")


@pytest.mark.parametrize(
    "overrides",
    [(), ("loss=normbt",), ("loss=clf_lgb",), ("loss=clf_logistic",), FILES, LABELS, ENSEMBLE],
)
def test_every_field_changes_the_spec_id(overrides):
    spec = spec_of(*overrides)
    found = list(leaves(spec))
    assert {path[0] for path, _, _ in found} == {f.name for f in dataclasses.fields(spec)}
    same = []
    for path, value, hint in found:
        new = another(value, hint)
        if new is None:
            continue  # dataset.synthetic of files, which is no leaf where it is there
        if replaced(spec, path, new).spec_id == spec.spec_id:
            same.append(path)
    assert same == []


def test_every_field_that_may_be_null_changes_the_spec_id_when_it_is():
    spec = spec_of("evaluation.n=4", "loss=normbt")
    for path in (
        ("dataset", "synthetic"), ("evaluation", "n"), ("training", "patience"),
        ("loss", "validation_objective"),
    ):  # fmt: skip
        assert replaced(spec, path, None).spec_id != spec.spec_id


@pytest.mark.parametrize(
    "changed",
    [
        (("loss", "label"), "BT"), (("evaluation", "diagnostics"), True),
        (("device",), "cuda:1"), (("cache", "root"), "/data"),
        (("launcher", "workers"), 7), (("launcher", "pack_runs"), 3),
        (("logger",), {"project": "mine"}), (("name",), "mine"), (("sweep", "name"), "mine"),
        (("save_model",), True),
    ],
)  # fmt: skip
def test_what_does_not_determine_results_does_not_change_the_spec_id(changed):
    (*path, last), value = changed
    config = config_of()
    values = copy.deepcopy(config.values)
    at = values
    for name in path:
        at = at[name]
    assert at[last] != value
    at[last] = value
    assert parse(values, config.choices).spec_id == spec_of().spec_id


def config_leaves(values, path=()):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from config_leaves(value, (*path, name))
        else:
            yield (*path, name), value


# Fields of conf/ whose valid values are not all of their type.
VALID = {
    "annotation.link": "probit",
    "training.protocol": "rbt_scripts",
    "precision": "fp32",
    "dataset.reward_scale": 2.0,
    "training.patience": None,
    "evaluation.n": 5,
    "training.validation_share": 0.4,
    "loss.objective._target_": "rmsweep.objectives.classification.classification",
    "loss.validation_objective": {
        "_target_": "rmsweep.objectives.classification.classification", "_partial_": True
    },
    "loss.ensemble": 3,
    "loss.member": 3,
    "loss.norm": "layer",
    "training.weight_decay": 0.01,
    "evaluation.held_out": 0.3,
    "evaluation.pairs": ["llmbar"],
    "evaluation.golden": {"base_llm": "a", "dataset": "b"},
    "annotation.flip_rate": 0.2,
}  # fmt: skip
ONE_VALUE = {"annotation.source", "loss.objective._partial_", "loss.reward_model", "loss.rows"}
ONE_VALUE.add("loss.pick")  # null without an ensemble; test_ensembles.py has the others


@pytest.mark.parametrize(
    ("overrides", "of_the_other_source"),
    [((), rules.LABELLED), (LABELS, rules.SIMULATED | {"training.protocol": ""})],
)
def test_every_field_of_the_config_reaches_the_spec(overrides, of_the_other_source):
    config = config_of(*overrides)
    within = {name: config.values[name] for name in SPEC_FIELDS if config.values.get(name)}
    within |= {name: config.values[name] for name in ("quantity", "seed", "precision")}
    found = {spec_of(*overrides).spec_id}
    n_changed = 0
    for path, value in config_leaves(within):
        field = ".".join(path)
        if field in ONE_VALUE or field in NOT_IN_ID or field in of_the_other_source:
            continue
        values = at = copy.deepcopy(config.values)
        for name in path[:-1]:
            at = at[name]
        new = [*value, 3] if isinstance(value, list) else VALID.get(field, value)
        at[path[-1]] = another(value, None) if new == value else new
        found.add(parse(values, config.choices).spec_id)
        n_changed += 1
        assert len(found) == 1 + n_changed, field


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("annotation.beta=1", "annotation.beta=1.0"),
        ("annotation.beta=inf", "annotation.beta=.inf"),
        ("training.learning_rate=0.001", "training.learning_rate=1e-3"),
        ("dataset.reward_scale=2", "dataset.reward_scale=2.0"),
    ],
)
def test_one_value_written_twice_is_one_run(one, other):
    assert spec_of(one).spec_id == spec_of(other).spec_id


def test_a_field_newer_than_some_ids_is_in_the_id_if_it_is_set():
    assert '"ensemble"' not in spec_of().canonical and '"member"' not in spec_of().canonical
    specs_of = [(), ("loss.ensemble=3",), (*ENSEMBLE,), ("loss.ensemble=3", "loss.pick=1")]
    specs_of += [("loss.ensemble=4",), ("loss.member=1",), ("loss.member=2",)]
    found = [spec_of(*overrides) for overrides in specs_of]
    assert len({spec.spec_id for spec in found}) == len(found)
    for spec in found:
        assert from_canonical(spec.canonical, spec.loss.label, False) == spec
    one, other = (spec_of("loss.ensemble=3", f"loss.pick={p}") for p in ("null", "mean"))
    assert one == other
    assert (
        spec_columns(found[3])["loss.pick"] == "1.0" and spec_columns(found[0])["loss.pick"] is None
    )


def test_a_loss_of_golden_margins_needs_golden_rewards():
    spec = spec_of("loss=bt_golden_margin")
    labels = dataclasses.replace(spec.annotation, source="labels")
    with pytest.raises(ValueError, match="loss=bt_golden_margin needs golden rewards, which annot"):
        rules.require_golden(dataclasses.replace(spec, annotation=labels))
    rules.require_golden(spec)
    rules.require_golden(dataclasses.replace(spec_of(), annotation=labels))


def test_rows_are_part_of_the_spec_and_fit_the_objective():
    assert spec_of("loss=clf_mlp").spec_id != spec_of("loss=clf_mlp", "loss.rows=pairs").spec_id
    for loss in ("bt_mlp", "normbt"):  # every term would be -log sigmoid(inf) = 0
        with pytest.raises(ValueError, match="loss.rows=responses needs"):
            spec_of(f"loss={loss}", "training.protocol=rbt_scripts", "loss.rows=responses")


def test_an_option_cannot_be_renamed():
    with pytest.raises(ValueError, match="loss.name is an unknown field"):
        spec_of("+loss.name=mine")


def test_key_depends_on_spec_and_data():
    spec, other = spec_of(), spec_of("seed=1")
    keys = {spec.key("a"), spec.key("b"), other.key("a"), spec.spec_id}
    assert len(keys) == 4
    assert spec.key("a") == parse(config_of().values, config_of().choices).key("a")
    assert re.fullmatch("[0-9a-f]{16}", spec.key("a"))
    assert re.fullmatch("[0-9a-f]{16}", spec.spec_id)


def test_semantics_is_part_of_the_spec_id(monkeypatch):
    before, key = spec_of().spec_id, spec_of().key("a")
    monkeypatch.setattr(specs, "SEMANTICS", SEMANTICS + 1)
    assert spec_of().spec_id != before
    assert spec_of().key("a") != key


@pytest.mark.parametrize("loss", LOSSES)
def test_a_spec_comes_back_from_its_canonical_json(loss):
    spec = spec_of(f"loss={loss}", "annotation.beta=.inf", *FILES)
    again = from_canonical(spec.canonical, spec.loss.label, spec.evaluation.diagnostics)
    assert again == spec
    assert again.spec_id == spec.spec_id
    assert spec_columns(again) == spec_columns(spec)


def test_a_synthetic_spec_comes_back_from_its_canonical_json():
    spec = spec_of("loss=normbt", "training.patience=null", "evaluation.n=3")
    assert from_canonical(spec.canonical, spec.loss.label, spec.evaluation.diagnostics) == spec


def test_columns_are_named_as_on_the_command_line():
    found = spec_columns(spec_of("loss=normbt", "annotation.beta=3", *FILES))
    assert found["loss"] == "normbt"
    assert found["base_llm"] == "gemma2b_sft"
    assert found["base_llm.stem"] == "Gemma2b-sft"
    assert found["annotation.beta"] == 3.0
    assert found["dataset.synthetic.dim"] is None
    assert json.loads(found["loss.options"])["hidden"] == [1024, 512]
    assert found.keys() == column_types().keys()


# Common random numbers: what each stream may depend on, as in DESIGN.md, section 4.
DEPENDS = {
    "selection": {"base_llm.stem", "dataset.stem", "selection", "seed"},
    "held out": {"dataset.stem"},
    "annotator": {"base_llm.stem", "dataset.stem", "selection", "seed", "pairing"},
    "validation split": {"seed", "quantity", "training.protocol", "loss.member"},
    "batches": {"seed", "quantity", "training.protocol", "loss.member"},
    "weights": {"seed", "loss.member"},
}


def test_every_stream_has_a_declared_dependence():
    assert STREAMS.keys() == DEPENDS.keys()


@pytest.mark.parametrize("purpose", DEPENDS)
def test_a_stream_depends_on_exactly_its_fields(purpose):
    spec = spec_of("loss=normbt", "evaluation.n=3")
    before = stream(spec, purpose).random(4)
    np.testing.assert_array_equal(stream(spec, purpose).random(4), before)
    changed = {
        ".".join(path)
        for path, value, hint in leaves(spec)
        if not np.array_equal(
            stream(replaced(spec, path, another(value, hint)), purpose).random(4), before
        )
    }
    assert changed == DEPENDS[purpose]


def test_streams_of_two_purposes_differ():
    spec = spec_of()
    first = {stream(spec, purpose).random() for purpose in STREAMS}
    assert len(first) == len(STREAMS)


def test_weights_depend_on_the_architecture():
    spec = spec_of()
    first = {stream(spec, "weights", widths=widths).random() for widths in ((4, 1), (4, 2, 1))}
    assert len(first) == 2


def annotations(*overrides):
    spec = spec_of(*SMALL, "quantity=120", "selection=random", *overrides)
    return annotate_pairs(spec, open_inputs(spec, None))[0]


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("backbone", ["synthetic", "synthetic-2"])
def test_losses_and_backbones_meet_the_same_annotations(loss, backbone):
    found = annotations(f"loss={loss}", f"backbone.stem={backbone}")
    np.testing.assert_array_equal(found, annotations())


@pytest.mark.parametrize(
    "override", ["training.protocol=rbt_scripts", "training.learning_rate=0.1", "precision=fp32"]
)
def test_training_meets_the_same_annotations(override):
    np.testing.assert_array_equal(annotations(override), annotations())


@pytest.mark.parametrize("override", ["seed=1", "base_llm.stem=synthetic-2", "dataset.stem=other"])
def test_another_seed_or_other_responses_are_annotated_anew(override):
    assert (annotations(override) != annotations()).any()


@pytest.mark.parametrize("pairing", ["same_prompt", "cross_prompt"])
def test_labels_flip_towards_golden_as_beta_grows(pairing):
    golden = open_inputs(spec_of(*SMALL), None).golden.train_golden.reshape(-1)
    is_wrong, unordered = [], []
    for beta in ("0", "0.5", "2", "10", ".inf"):
        found = annotations(f"annotation.beta={beta}", f"pairing={pairing}")
        is_wrong.append(np.less(*golden[found].T))
        unordered.append(np.sort(found, axis=1))
        np.testing.assert_array_equal(unordered[-1], unordered[0])
    for noisier, cleaner in zip(is_wrong, is_wrong[1:], strict=False):
        assert not (cleaner & ~noisier).any()
    assert is_wrong[0].sum() > is_wrong[2].sum() > is_wrong[-1].sum() == 0


@pytest.mark.parametrize("pairing", ["same_prompt", "cross_prompt"])
def test_a_smaller_quantity_is_the_first_of_a_larger_one(pairing):
    few, many = (annotations(f"pairing={pairing}", f"quantity={n}") for n in (70, 120))
    np.testing.assert_array_equal(few, many[:70])


def test_both_pairings_meet_the_same_responses():
    same, cross = (annotations("quantity=100", f"pairing={p}_prompt") for p in ("same", "cross"))
    np.testing.assert_array_equal(np.sort(same.ravel()), np.sort(cross.ravel()))


def test_annotation_facts_are_realised_error_and_mean_margin():
    spec = spec_of(*SMALL, "quantity=120", "annotation.beta=1")
    inputs = open_inputs(spec, None)
    found, facts = annotate_pairs(spec, inputs)
    margin = np.subtract(*inputs.golden.train_golden.reshape(-1)[found].T)
    assert facts["annotation_error"] == (margin < 0).mean()
    np.testing.assert_allclose(facts["mean_margin"], np.abs(margin).mean())


def test_reward_scale_divides_the_margin():
    by_std = annotations("dataset.reward_scale=std")
    scale = float(open_inputs(spec_of(*SMALL), None).golden.train_golden.std())
    np.testing.assert_array_equal(annotations(f"dataset.reward_scale={scale!r}"), by_std)
    np.testing.assert_array_equal(  # half the scale is twice the beta
        annotations("dataset.reward_scale=2", "annotation.beta=2"),
        annotations("dataset.reward_scale=1", "annotation.beta=1"),
    )


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        ("seed=abc", "seed must be int, got 'abc'"),
        ("seed=-1", "seed must be >= 0, got -1"),
        ("seed=1.5", "seed must be int, got 1.5"),
        ("seed=true", "seed must be int, got True"),
        ("quantity=1", "quantity must be >= 2, got 1"),
        ("quantity=???", "quantity has no value yet"),
        ("quantity=null", "quantity must be int, got None"),
        ("annotation.beta=-1", "annotation.beta must be >= 0"),
        ("annotation.beta=nan", "annotation.beta must be >= 0"),
        ("annotation.beta=abc", "annotation.beta must be float or null, got 'abc'"),
        ("annotation.link=logit", "annotation.link 'logit' is unknown; did you mean logistic?"),
        ("annotation.source=people", "annotation.source 'people' is unknown"),
        ("annotation=5", "annotation must be a mapping, got 5"),
        ("loss.hidden=[64,0]", "loss.hidden must be >= 1"),
        ("loss.hidden=64", "loss.hidden must be a list of int, got 64"),
        ("loss.hidden=[64,a]", "loss.hidden[1] must be int, got 'a'"),
        ("+loss.hiden=[3]", "loss.hiden is an unknown field; did you mean hidden?"),
        ("~loss.hidden", "loss.hidden is missing"),
        ("+loss.options=3", "loss.options is an unknown field"),
        ("+loss.source_sha256=abc", "loss.source_sha256 is an unknown field"),
        ("+selection.rank=3", "selection.rank is an unknown field"),
        ("loss.rows=pair", "loss.rows 'pair' is unknown; did you mean pairs?"),
        ("loss.reward_model=tree", "loss.reward_model 'tree' is unknown; did you mean trees?"),
        ("loss.reward_model=trees", "loss.objective: reward_model=trees takes one of its own"),
        ("loss.ensemble=0", "loss.ensemble must be >= 1 or null, got 0"),
        ("loss.ensemble=1.5", "loss.ensemble must be int or null, got 1.5"),
        ("loss.pick=min", "loss.pick must be null where loss.ensemble is, got min"),
        ("loss.ensemble=3 loss.pick=max", "loss.pick must be mean, min or > 0, got max"),
        ("loss.ensemble=3 loss.pick=0", "loss.pick must be mean, min or > 0, got 0"),
        ("loss.ensemble=3 loss.pick=inf", "loss.pick must be mean, min or > 0, got inf"),
        ("loss.ensemble=3 loss.member=1", "loss.member must be null where loss.ensemble is not"),
        ("loss.member=0", "loss.member must be >= 1 or null, got 0"),
        ("loss=clf_logistic loss.estimator.C=abc", "loss.estimator: The 'C' parameter"),
        ("loss=clf_logistic +loss.estimator.depth=3", "unexpected keyword argument 'depth'"),
        ("loss=clf_logistic loss.estimator._target_=sklearn.svm.SVR", "sklearn.svm.SVR"),
        ("loss=clf_logistic loss.objective=bradley_terry", "takes one of its own objectives (bin"),
        ("loss=clf_hgb training.protocol=rbt_scripts", "training.protocol=rbt_scripts is for MLPs"),
        ("loss=bt_golden_margin loss.objective.factor=-1", "factor must be >= 0"),
        ("loss.objective=binary", "loss.objective: reward_model=mlp takes a _target_"),
        ("loss.objective._target_=nope.loss", "loss.objective._target_ 'nope.loss' cannot be"),
        ("loss.objective._partial_=false", "loss.objective must have _target_"),
        ("+loss.objective.decay=0.5", "loss.objective: rmsweep.objectives.bradley_terry"),
        ("loss.validation_objective=mine", "loss.validation_objective must be a mapping or null"),
        ("loss=normbt ~loss.objective.decay", "missing a required argument: 'decay'"),
        ("loss=clf_lgb loss.objective=binry", "loss.objective: reward_model=trees"),
        ("loss=clf_lgb loss.rounds=0", "loss.rounds must be >= 1"),
        ("loss=clf_lgb +loss.hidden=[3]", "loss.hidden is an unknown field; valid: bins, rounds"),
        ("loss=clf_lgb training.protocol=rbt_scripts", "training.protocol=rbt_scripts is for MLPs"),
        ("training.protocol=pair", "training.protocol 'pair' is unknown; did you mean pairs?"),
        ("training.patience=0", "training.patience must be >= 1 or null, got 0"),
        ("training.max_epochs=0", "training.max_epochs must be >= 1, got 0"),
        ("training.learning_rate=0", "training.learning_rate must be > 0"),
        ("training.learning_rate=inf", "training.learning_rate must be > 0"),
        ("training.batch_pairs=0", "training.batch_pairs must be >= 1, got 0"),
        ("training.validation_share=0", "training.validation_share must be such that 1 to 1999"),
        ("training.validation_share=1", "training.validation_share must be such that 1 to 1999"),
        ("training.validation_share=nan", "training.validation_share must be such that"),
        ("training.validation_share=inf", "training.validation_share must be such that"),
        ("~training.patience", "training.patience is missing"),
        ("+training.dropout=1", "training.dropout is an unknown field"),
        ("evaluation.n=0", "evaluation.n must be >= 1 or null, got 0"),
        ("evaluation.n=1.5", "evaluation.n must be int or null, got 1.5"),
        ("precision=fp16", "precision 'fp16' is unknown; did you mean bf16?"),
        ("dataset.reward_scale=0", "dataset.reward_scale must be std or > 0"),
        ("dataset.reward_scale=mean", "dataset.reward_scale must be std or > 0, got mean"),
        ("dataset.synthetic.dim=1.5", "dataset.synthetic.dim must be int, got 1.5"),
        ("base_llm.stem=null", "base_llm.stem must be str, got None"),
        ("pairing=cross", "pairing/cross"),
        ("training.epochs=3", "training.epochs"),
        ("nosuch=1", "nosuch"),
    ],
)
def test_errors_name_the_field(overrides, fragment):
    with pytest.raises((ValueError, HydraException), match=re.escape(fragment)):
        spec_of(*overrides.split())


def test_a_part_that_is_not_a_mapping_is_refused():
    with pytest.raises(ValueError, match="training must be a mapping, got None"):
        parse(config_of().values | {"training": None}, config_of().choices)
