"""Sweeps: fast expansion agrees with hydra.compose; zip, exclude, names, users' own groups."""

import dataclasses
import itertools
import math
import random
import textwrap

import hydra
import pytest
from omegaconf import OmegaConf, flag_override

from rmsweep.config import sweep_specs
from rmsweep.config.compose import hydra_at_conf, read_axes, search_path
from rmsweep.config.expand import expand
from rmsweep.config.parse import parse
from rmsweep.paths import SHIPPED

RUNS = {
    "alpacaeval": 1280, "alpacaeval_protocol": 640, "demo": 60, "normbt": 3840, "rbt_cross": 12_960,
    "rbt_fig1": 180, "rbt_fig2": 1080, "rbt_fig3": 720, "rbt_fig4": 360, "rbt_fig5": 720,
    "rbt_fig16": 180, "rbt_fig17": 540, "rbt_fig18": 360, "rbt_fig19": 180, "rbt_fig20": 720,
    "rbt_full": 12_960, "human_pairs": 150, "normbt_alpacaeval": 560, "rbt_synthetic": 640,
    "theory_convergence": 90, "rbt_protocols": 420,
    "normbt_reviewers": 440, "normbt_reviewers_settings": 240, "normbt_reviewers_human": 150,
    "normbt_reviewers_synthetic": 300,
}  # fmt: skip
SWEEPS = sorted(path.stem for path in (SHIPPED / "sweeps").glob("*.yaml"))


@pytest.fixture(autouse=True)
def initialised():
    with hydra_at_conf():
        yield


def configs(*overrides, dirs=()):
    return list(expand(read_axes(overrides, dirs), dirs))


def swept(*overrides, fields, dirs=()):
    """The values of some fields in each config of a sweep, in order."""
    return [
        tuple(_at(config, field) for field in fields) for config in configs(*overrides, dirs=dirs)
    ]


def _at(config, field):
    value = config.choices.get(field, config.values)
    if field not in config.choices:
        for part in field.split("."):
            value = value[part]
    return value


def specs_of(*overrides):
    return sweep_specs.distinct_specs(read_axes(["precision=fp32", *overrides], []), [], "cpu")


def spec_id(values, choices):
    return parse(values | {"precision": "fp32"}, choices).spec_id


def assert_agrees_with_hydra(config, fixed, dirs=()):
    composed = hydra.compose(
        "config", [*fixed, *config.overrides, search_path(dirs)], return_hydra_config=True
    )
    choices = dict(composed.hydra.runtime.choices)
    with flag_override(composed, ["struct", "readonly"], False):
        composed.pop("hydra")
    values = OmegaConf.to_container(composed, resolve=True)
    assert config.values == values
    assert config.choices == choices
    assert spec_id(config.values, config.choices) == spec_id(values, choices)


def write_sweep(root, text, name="mine"):
    (root / "sweeps").mkdir(exist_ok=True)
    (root / "sweeps" / f"{name}.yaml").write_text("# @package _global_\n" + text)
    return [str(root)]


def test_the_table_of_runs_names_every_sweep_file():
    assert SWEEPS == sorted(RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_file_has_as_many_runs_as_it_says(name):
    axes = read_axes([f"sweeps={name}"], [])
    assert axes.name == ("normbt_reviewers" if name.startswith("normbt_reviewers") else name)
    counted = math.prod(map(len, axes.fields.values()))
    if axes.zipped or axes.exclude or counted < 100:
        counted = len({config.overrides for config in expand(axes, [])})
    assert counted == RUNS[name]


def test_the_figures_over_beta_have_sweeps_with_six_betas_and_the_others_one():
    readme = (SHIPPED / "README.md").read_text()
    assert "Fig. 12 to 15 are of `rbt_full` and `rbt_cross`" in readme
    full, cross = (read_axes([f"sweeps={name}"], []).fields for name in ("rbt_full", "rbt_cross"))
    assert full == cross and len(full["annotation.beta"]) == 6 and len(full["quantity"]) == 4
    for name in ("rbt_fig4", "rbt_fig5", "rbt_fig19", "rbt_fig20"):
        assert "annotation.beta" not in read_axes([f"sweeps={name}"], []).fields
        betas = {config.values["annotation"]["beta"] for config in configs(f"sweeps={name}")}
        assert betas == {1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_every_value_of_a_sweep_file_makes_a_spec(name):
    """Each option of a group has a file; each other value is parsed, beside the first options."""
    axes = read_axes([f"sweeps={name}", "precision=fp32"], [])
    groups = {field for field in axes.fields if (SHIPPED / "conf" / field).is_dir()}
    for override in itertools.chain.from_iterable(axes.fields[group] for group in groups):
        assert (SHIPPED / f"conf/{override.replace('=', '/')}.yaml").is_file(), override
    n = max(len(values) for field, values in axes.fields.items() if field not in groups)
    together = {field: [*values, *values[-1:] * n][:n] for field, values in axes.fields.items()}
    fields = together | {group: axes.fields[group][:1] for group in groups}
    zipped = [[field for field in fields if field not in groups]]
    found = list(expand(dataclasses.replace(axes, fields=fields, zipped=zipped, exclude=[]), []))
    assert len({spec_id(config.values, config.choices) for config in found}) == n


def sampled(axes, seed):
    """A part of a sweep: of each axis one value, but of one group two and of one field three."""
    rng = random.Random(seed)
    groups = [name for name in axes.fields if (SHIPPED / "conf" / name).is_dir()]
    n = {rng.choice(groups): 2} if groups else {}
    n[rng.choice([name for name in axes.fields if name not in groups])] = 3
    fields = {}
    for name, values in axes.fields.items():
        together = next((names for names in axes.zipped if name in names), [name])
        if name == together[0]:
            n_taken = max(n.get(other, 1) for other in together)
            taken = rng.sample(range(len(values)), min(n_taken, len(values)))
        fields[name] = [values[i] for i in taken]
    return dataclasses.replace(axes, fields=fields, exclude=[])


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sample_of_a_sweep_file_agrees_with_hydra(name):
    axes = sampled(read_axes([f"sweeps={name}"], []), name)
    found = list(expand(axes, []))
    assert 2 <= len(found) <= 6
    for config in (found[0], found[-1]):  # hydra.compose is slow: they differ in every axis
        assert_agrees_with_hydra(config, axes.fixed)


@pytest.mark.slow
def test_every_config_of_a_small_sweep_agrees_with_hydra():
    found = configs("sweeps=demo", "seed=0,1")
    assert len(found) == RUNS["demo"] * 2 / 5
    for config in found:
        assert_agrees_with_hydra(config, ["sweeps=demo"])


@pytest.mark.slow
def test_the_published_sweep_has_12960_distinct_runs():
    found = configs("sweeps=rbt_full")
    assert len({spec_id(config.values, config.choices) for config in found}) == 12_960


@pytest.mark.slow
def test_specs_of_a_sweep_file_are_its_runs():
    found = [spec.spec_id for spec in specs_of("sweeps=demo")]
    assert len(set(found)) == len(found) == RUNS["demo"]
    assert found == [spec_id(c.values, c.choices) for c in configs("sweeps=demo")]


def test_the_last_axis_is_the_fastest():
    found = swept("loss=bt_mlp,normbt", "seed=range(2)", fields=("loss", "seed"))
    assert found == [("bt_mlp", 0), ("bt_mlp", 1), ("normbt", 0), ("normbt", 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "field", "values"),
    [
        ("seed=range(2,8,3)", "seed", [2, 5]),
        ("seed=choice(4,1)", "seed", [4, 1]),
        ("loss.hidden=[64],[32,16]", "loss.hidden", [[64], [32, 16]]),
        ("training.patience=3,null", "training.patience", [3, None]),
        ("annotation.beta=0.5,1,inf", "annotation.beta", [0.5, 1, float("inf")]),
        ("annotation.beta=1e1,2", "annotation.beta", [10.0, 2]),
        ("base_llm.stem='a b',c-d", "base_llm.stem", ["a b", "c-d"]),
        ("loss=glob([bt_ml*,clf_ml*])", "loss", ["bt_mlp", "clf_mlp"]),
        ("dataset.synthetic.dim=32,64", "dataset.synthetic.dim", [32, 64]),
        ("training.batch_pairs=${quantity},64", "training.batch_pairs", [2000, 64]),
    ],
)
def test_an_axis_in_hydras_sweep_syntax(axis, field, values):
    found = configs(axis)
    assert [_at(config, field) for config in found] == values
    for config in found:
        assert_agrees_with_hydra(config, [])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("'0.5,1'", [0.5, 1]), ("[0.5, 1]", [0.5, 1]), ("[.inf, 2]", [float("inf"), 2]), ("3", [3]),
        ("[1.0e-8, 1]", [1e-8, 1]),
    ],
)  # fmt: skip
def test_an_axis_of_a_sweep_file(tmp_path, text, values):
    dirs = write_sweep(tmp_path, f"sweep: {{axes: {{annotation.beta: {text}}}}}\n")
    found = configs("sweeps=mine", dirs=dirs)
    assert [_at(config, "annotation.beta") for config in found] == values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "text", "values"),
    [
        ("loss.hidden", "[[64], [32, 16], []]", [[64], [32, 16], []]),
        ("training.patience", "[3, null]", [3, None]),
        ("loss", "[bt_mlp, normbt]", ["bt_mlp", "normbt"]),
    ],
)
def test_lists_and_null_as_items_of_an_axis_in_a_sweep_file(tmp_path, field, text, values):
    dirs = write_sweep(tmp_path, f"sweep: {{axes: {{{field}: {text}}}}}\n")
    found = configs("sweeps=mine", dirs=dirs)
    assert [_at(config, field) for config in found] == values
    for config in found:
        assert_agrees_with_hydra(config, ["sweeps=mine"], dirs)


def test_zipped_fields_advance_together(tmp_path):
    dirs = write_sweep(
        tmp_path,
        "sweep:\n  axes: {quantity: '100,200,300', seed: 'range(2)', annotation.beta: '1,2,3'}\n"
        "  zip: [[quantity, annotation.beta]]\n",
    )
    found = swept("sweeps=mine", fields=("quantity", "annotation.beta", "seed"), dirs=dirs)
    assert found == [(100 * i, i, seed) for i in (1, 2, 3) for seed in (0, 1)]


def test_groups_and_fields_are_zipped(tmp_path):
    dirs = write_sweep(
        tmp_path,
        "sweep: {axes: {loss: 'bt_mlp,clf_lgb', quantity: '100,200'}, zip: [[loss, quantity]]}\n",
    )
    found = configs("sweeps=mine", dirs=dirs)
    assert [(c.choices["loss"], c.values["quantity"]) for c in found] == [
        ("bt_mlp", 100), ("clf_lgb", 200)
    ]  # fmt: skip
    for config in found:
        assert_agrees_with_hydra(config, ["sweeps=mine"], dirs)


@pytest.mark.parametrize(
    "overrides", [["quantity=100,200,300"], ["quantity=100"], ["annotation.beta=1,2,3"]]
)
def test_zipped_fields_of_unequal_length_are_refused(tmp_path, overrides):
    dirs = write_sweep(
        tmp_path,
        "sweep: {axes: {quantity: '1,2', annotation.beta: '1,2'}, "
        "zip: [[quantity, annotation.beta]]}\n",
    )
    with pytest.raises(ValueError, match=r"sweep\.zip: fields that advance together need as many"):
        read_axes(["sweeps=mine", *overrides], dirs)


def test_zip_names_a_field_that_is_no_axis(tmp_path):
    dirs = write_sweep(tmp_path, "sweep: {axes: {quantity: '1,2'}, zip: [[quantity, sed]]}\n")
    with pytest.raises(ValueError, match=r"sweep\.zip.*sed"):
        read_axes(["sweeps=mine"], dirs)


EXCLUDING = (
    "sweep:\n  axes: {{loss: 'bt_mlp,clf_lgb', annotation.beta: '1,2.5', seed: 'range(2)'}}\n"
    "  exclude: {}\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        ("[]", 8), ("[{loss: clf_lgb}]", 4), ("[{loss: clf_lgb, annotation.beta: 2.5}]", 6),
        ("[{annotation.beta: 1.0}]", 4), ("[{loss: clf_lgb, seed: 0}, {seed: 1}]", 2),
        ("[{selection: similar}]", 8), ("[{training.patience: 3, seed: 1}]", 4),
    ],
)  # fmt: skip
def test_exclude_drops_what_matches_all_of_a_map(tmp_path, exclude, kept):
    dirs = write_sweep(tmp_path, EXCLUDING.format(exclude))
    assert len(configs("sweeps=mine", dirs=dirs)) == kept


def test_exclude_refuses_an_unknown_field(tmp_path):
    dirs = write_sweep(tmp_path, EXCLUDING.format("[{annotation.betta: 1}]"))
    with pytest.raises(ValueError, match=r"sweep\.exclude: annotation\.betta is an unknown field"):
        configs("sweeps=mine", dirs=dirs)


def test_a_sweep_without_runs_is_refused(tmp_path):
    dirs = write_sweep(tmp_path, EXCLUDING.format("[{selection: random}]"))
    with pytest.raises(ValueError, match="the sweep has no runs"):
        sweep_specs.distinct_specs(read_axes(["sweeps=mine"], dirs), dirs, "cpu")


@pytest.mark.slow
def test_axes_on_the_command_line_replace_those_of_the_file():
    assert len(configs("sweeps=demo", "seed=range(2)")) == 60 * 2 / 5
    assert {v for (v,) in swept("sweeps=demo", "seed=7,8", fields=("seed",))} == {7, 8}


@pytest.mark.slow
def test_a_fixed_value_on_the_command_line_replaces_an_axis():
    found = swept("sweeps=demo", "loss=normbt", "seed=9", fields=("loss", "seed"))
    assert found == [("normbt", 9)] * 3
    assert {v for (v,) in swept("sweeps=demo", "quantity=77", fields=("quantity",))} == {77}


def test_a_new_axis_on_the_command_line_multiplies_those_of_the_file():
    assert len(configs("sweeps=demo", "pairing=same_prompt,cross_prompt")) == 120


def test_runs_that_are_the_same_count_once():
    assert len(specs_of("annotation.beta=1,1.0,2")) == 2


@pytest.mark.parametrize("axis", ["device=cpu,cuda", "cache.root=a,b", "launcher.workers=1,2"])
def test_an_axis_that_is_not_part_of_a_run_is_refused(axis):
    with pytest.raises(ValueError, match="cannot be swept"):
        specs_of(axis)


def test_a_field_that_one_loss_does_not_have_names_the_combination():
    with pytest.raises(ValueError, match=r"loss\.hidden.*\[in loss=clf_lgb\]"):
        specs_of("loss=bt_mlp,clf_lgb", "loss.hidden=[32]")


def test_where_a_sweep_runs_does_not_change_its_name():
    there = read_axes(["seed=0,1", "launcher.workers=1", "cache.root=x", "device=cpu"], [])
    assert there.name == read_axes(["seed=0,1"], []).name


def test_an_error_in_one_run_names_its_overrides():
    with pytest.raises(ValueError, match=r"annotation\.beta must be >= 0.*\[in annotation\.beta="):
        specs_of("annotation.beta=1,-1")


@pytest.mark.parametrize("axis", ["training.epochs=1,2", "sed=1,2", "dataset.synthetic.x=1,2"])
def test_an_unknown_axis_is_refused(axis):
    with pytest.raises(ValueError, match=f"{axis.partition('=')[0]} is an unknown field"):
        configs(axis)


def test_an_unknown_field_of_a_sweep_file_is_refused(tmp_path):
    dirs = write_sweep(tmp_path, "sweep: {axis: {seed: '1,2'}}\n")
    with pytest.raises(ValueError, match=r"sweep\.axis is an unknown field; valid: name, axes"):
        read_axes(["sweeps=mine"], dirs)


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden"])
def test_a_name_that_is_no_folders_name_is_refused(name):
    with pytest.raises(ValueError, match="name must be one folder's name"):
        read_axes(["seed=1,2", f"name={name}"], [])


def test_names_come_from_the_command_line_then_the_file_then_the_axes():
    assert read_axes(["sweeps=demo", "name=other"], []).name == "other"
    assert read_axes(["sweeps=demo"], []).name == "demo"
    assert read_axes(["annotation.beta=1,2", "seed=0,1"], []).name.startswith("beta-seed-")


def test_an_unnamed_sweep_has_one_name_for_one_set_of_axes():
    def name(*overrides):
        return read_axes(overrides, []).name

    before = name("seed=1,2", "quantity=50")
    assert name("seed=1,2", "quantity=50") == before
    assert name("seed=1,2", "quantity=50", "cache.root=/elsewhere") == before
    others = {name("seed=1,3", "quantity=50"), name("seed=1,2", "quantity=51"), name("seed=1,2")}
    assert len(others | {before}) == 4


MINE = """
label: Mine
objective: {_target_: MODULE.margin_loss, _partial_: true, margin: "${annotation.beta}"}
reward_model: mlp
hidden: ["${quantity}", 8]
"""


@pytest.fixture
def own_group(tmp_path, monkeypatch):
    """A user's folder with loss/mine.yaml and the module it names."""
    module = "own_loss_of_test_compose"
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(MINE.replace("MODULE", module))
    (tmp_path / f"{module}.py").write_text(
        "def margin_loss(batch, state, *, margin):\n"
        "    return (batch.rejected - batch.chosen + margin).relu(), state\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return [str(tmp_path)]


def test_a_users_own_group_is_swept(own_group):
    axes = read_axes(["loss=bt_mlp,mine", "seed=range(2)", "precision=fp32"], own_group)
    found = sweep_specs.distinct_specs(axes, own_group, "cpu")
    assert [spec.loss.name for spec in found] == ["bt_mlp", "bt_mlp", "mine", "mine"]
    assert found[0].loss.source_sha256 is None
    assert len(found[2].loss.source_sha256) == 16
    assert len({spec.spec_id for spec in found}) == 4


@pytest.mark.slow
def test_interpolations_of_a_users_yaml_resolve_after_the_overrides(own_group):
    overrides = ["loss=mine,bt_mlp", "annotation.beta=1,10", "quantity=50,60", "seed=3"]
    found = configs(*overrides, dirs=own_group)
    mine = [c.values for c in found if c.choices["loss"] == "mine"]
    assert [v["loss"]["objective"]["margin"] for v in mine] == [1, 1, 10, 10]
    assert [v["loss"]["hidden"] for v in mine] == [[50, 8], [60, 8]] * 2
    for config in found:
        assert_agrees_with_hydra(config, ["seed=3"], own_group)


def test_a_users_own_sweep_file_is_found(tmp_path):
    dirs = write_sweep(tmp_path, "seed: 4\nsweep: {name: own, axes: {quantity: '50,60'}}\n")
    axes = read_axes(["sweeps=mine"], dirs)
    assert axes.name == "own"
    assert [c.values["seed"] for c in expand(axes, dirs)] == [4, 4]


def test_an_axis_that_adds_a_field_is_composed_by_hydra():
    found = configs("+loss.objective.decay=0.1,0.2", "loss=bt_mlp")
    assert [c.values["loss"]["objective"]["decay"] for c in found] == [0.1, 0.2]
    for config in found:
        with pytest.raises(ValueError, match="unexpected keyword argument 'decay'"):
            spec_id(config.values, config.choices)


def test_a_sweep_with_trees_takes_the_scripts_protocol_for_its_mlps_alone():
    """The public scripts have no trees, which run under pairs, once."""
    overrides, both = ["precision=fp32"], "loss=bt_mlp,clf_lgb"
    ways = "training.protocol=rbt_scripts", "training.protocol=pairs,rbt_scripts"
    expected = [
        {("bt_mlp", "rbt_scripts"), ("clf_lgb", "pairs")},
        {("bt_mlp", "pairs"), ("bt_mlp", "rbt_scripts"), ("clf_lgb", "pairs")},
    ]
    for way, runs in zip(ways, expected, strict=True):
        axes = read_axes([*overrides, both, way], [])
        specs = sweep_specs.distinct_specs(axes, [], "cpu")
        assert len(specs) == len(runs)
        assert {(spec.loss.name, spec.training.protocol) for spec in specs} == runs
        note = sweep_specs.protocol_note(axes, specs)
        assert note is not None and "clf_lgb runs under training.protocol=pairs" in note
    for way in ([both, "training.protocol=pairs"], ["loss=bt_mlp", ways[0]]):
        axes = read_axes([*overrides, *way], [])
        assert sweep_specs.protocol_note(axes, sweep_specs.distinct_specs(axes, [], "cpu")) is None


def test_a_sweep_without_mlps_is_refused_the_scripts_protocol():
    for losses in ("loss=clf_lgb", "loss=clf_lgb,clf_hgb"):
        for way in ("training.protocol=rbt_scripts", "training.protocol=pairs,rbt_scripts"):
            axes = read_axes([losses, way, "precision=fp32", "seed=0,1"], [])
            with pytest.raises(ValueError, match="loss=clf_lgb needs training.protocol=pairs"):
                sweep_specs.distinct_specs(axes, [], "cpu")


def test_several_losses_of_the_other_protocol_are_said_in_a_sentence():
    overrides = ["loss=bt_mlp,clf_lgb,clf_hgb", "training.protocol=rbt_scripts", "precision=fp32"]
    axes = read_axes(overrides, [])
    note = sweep_specs.protocol_note(axes, sweep_specs.distinct_specs(axes, [], "cpu"))
    assert note == (
        "training.protocol=rbt_scripts is for MLPs: clf_lgb and clf_hgb run under "
        "training.protocol=pairs"
    )


@pytest.mark.parametrize("name", ["rbt_fig1"])
def test_a_published_sweep_takes_the_published_protocol(name):
    axes = read_axes([f"sweeps={name}", "training.protocol=rbt_scripts", "precision=fp32"], [])
    specs = sweep_specs.distinct_specs(axes, [], "cpu")
    for spec in specs:
        is_mlp = spec.loss.options.trains_in_epochs
        assert spec.training.protocol == ("rbt_scripts" if is_mlp else "pairs")
    assert len(specs) == RUNS[name]


def test_an_option_that_every_swept_loss_has_can_be_fixed():
    """bt_mlp, the default loss, has no power."""
    found = swept(
        "loss=normbt,normbt_smoothed",
        "loss.objective.power=0.5",
        fields=["loss", "loss.objective.power"],
    )
    assert found == [
        ("normbt", 0.5), ("normbt_smoothed", 0.5)
    ]  # fmt: skip


def test_two_sweep_files_at_once_are_refused():
    """They would be one file's axes at both files' quantities, under one name."""
    with pytest.raises(ValueError, match="sweeps cannot be swept"):
        read_axes(["sweeps=rbt_fig1,rbt_fig17"], [])


def test_an_option_that_reaches_other_groups_is_composed_with_each_combination(tmp_path):
    """Labelled pairs set base_llm to null, which no part of another composition would do."""
    options = ["backbone=minilm,lsa", "loss=bt_mlp,normbt"]
    for config in configs("dataset=alpacaeval,hh_harmless_pairs", *options):
        assert_agrees_with_hydra(config, [])
    own = tmp_path / "loss" / "mine.yaml"
    own.parent.mkdir()
    text = (SHIPPED / "conf/loss/bt_mlp.yaml").read_text()
    own.write_text(f"# @package _global_\nquantity: 77\nloss:\n{textwrap.indent(text, '  ')}")
    dirs = [str(tmp_path)]
    found = swept("loss=bt_mlp,mine", "seed=0,1", fields=["loss", "quantity"], dirs=dirs)
    assert found == [("bt_mlp", 2000)] * 2 + [("mine", 77)] * 2
