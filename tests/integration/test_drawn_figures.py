"""Every figure on made-up runs whose numbers are known, and on a real tiny sweep."""

import functools
import itertools

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from rmsweep.analysis import contrasts, tables
from rmsweep.analysis.figures import catalogue, panels, shown_runs, style
from rmsweep.analysis.figures.error_bars import Bars
from rmsweep.config import columns
from rmsweep.errors import MissingData
from rmsweep.evaluation.best_of_n import kl_upper_bound
from rmsweep.paths import SHIPPED

EFFECTS = {"bt_mlp": 2.0, "clf_mlp": 2.5, "normbt": 1.9, "mine": 2.01}
AXES = {
    "base_llm": ["gemma2b", "gemma7b"],
    "dataset": ["hh_harmless", "hh_helpful", "helpsteer"],
    "selection": ["random", "similar"],
    "pairing": ["same_prompt", "cross_prompt"],
    "loss": list(EFFECTS),
    "annotation.beta": [0.5, 1.0],
    "quantity": [500, 1000],
    "seed": [0, 1, 2],
}
MARGINS = {"random": 1.0, "similar": 0.2, "diversified": 3.0, "same_prompt": 1, "cross_prompt": 2}
N_PROMPTS = 12
NS = [1, 2, 4]
BY_RUNS = [name for name, (module, _) in catalogue.FIGURES.items() if module != "convergence"]
N_PANELS = {
    "fig1": 2, "fig2": 4, "fig3": 4, "fig4": 2, "fig5": 2, "fig6": 6, "fig8": 4, "fig9": 4,
    "fig10": 4, "fig11": 4, "fig12": 4, "fig13": 4, "fig14": 4, "fig15": 4, "fig16": 1, "fig17": 2,
    "fig18": 2, "fig19": 1, "fig20": 1, "nbt_gradients": 24, "nbt_updates": 6, "nbt_accuracy": 6,
    "nbt_full_gradient": 24, "nbt_gradients_by_error": 24,
    "sections": 6, "reliability": 6, "accuracy_by_distance": 6,
    "bon_n": 6, "bon_kl": 6, "heatmap": 9, "win_rates": 1, "cost": 6,
}  # fmt: skip
N_PAIRS = 40


def run_of(values, i):
    """A made-up row: the loss's effect, more with quantity and beta, prompts in common."""
    rng = np.random.default_rng(i)
    prompt = np.random.default_rng(0).normal(size=N_PROMPTS)
    mean = EFFECTS[values["loss"]] + values["quantity"] / 1000 + values["annotation.beta"]
    mean += 0.5 * (values["pairing"] == "cross_prompt") * (values["selection"] == "similar")
    improvement = mean + prompt - prompt.mean() + 0.05 * rng.normal(size=N_PROMPTS)
    distance = rng.uniform(0.1, 2, size=40)
    return {
        "key": f"k{i}", **values, "loss.label": values["loss"].upper(), "status": "done",
        "training.protocol": "pairs",
        "improvement": improvement.mean(), "improvement_by_prompt": improvement.astype(np.float32),
        "base_by_prompt": np.full(N_PROMPTS, -1, np.float32),
        "headroom_by_prompt": np.full(N_PROMPTS, 5, np.float32),
        "annotation_error": 0.5 - 0.2 * values["annotation.beta"] + 0.001 * values["seed"],
        "order_consistency": 0.6,
        "mean_margin": MARGINS[values["selection"]] * MARGINS[values["pairing"]],
        "wall_s": 1 + values["quantity"] / 500 + 0.1 * values["seed"], "base": -1.0, "oracle": 4.0,
        "bon_golden": 1.0, "bon_n": NS, "bon_golden_by_n": [-1.0, 0.5 + 0.1 * values["seed"], mean],
        "oracle_by_n": [-1.0, 2.0, 4.0], "pair_distance": distance, "pair_error": distance / 4,
        "pair_gradient_norm": distance / 2, "pair_full_gradient_norm": 3 * distance,
        "error_bin_distance": np.arange(25) + 1.0 + values["seed"],
        "error_bin_gradient_norm": np.arange(25) / 10,
        "error_bin_full_gradient_norm": np.append(np.arange(24) + 0.1 * values["seed"], np.nan),
        "gradient_correlation": -0.3 + 0.1 * values["seed"], "margin_gradient_correlation": 0.8,
        "decile_gradient_norm": np.arange(10) / 10 + 0.01 * values["seed"],
        "decile_accuracy": np.linspace(0.5, 0.9, 10), "decile_distance": np.arange(10.0),
        "accuracy": 0.6, "section_chat_hard": 0.55 + 0.01 * values["seed"],
        "correct_by_pair": (rng.random(N_PAIRS) < 0.6).astype(np.float32),
        "distance_by_pair": np.random.default_rng(1).random(N_PAIRS).astype(np.float32),
        "subset": ["mine", "llmbar-natural"], "subset_pairs": [N_PAIRS, 20],
        "reliability_confidence": np.append(np.linspace(0.52, 0.9, 9), np.nan),
        "reliability_accuracy": np.append(np.linspace(0.5, 0.8, 9), np.nan),
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    combinations = itertools.product(*AXES.values())
    return pd.DataFrame(
        [run_of(dict(zip(AXES, c, strict=True)), i) for i, c in enumerate(combinations)]
    )


@pytest.fixture(scope="module")
def figure_of(rows):
    """The figure of that name of all rows, drawn once."""
    return functools.cache(lambda name: drawn(name, rows))


def drawn(name, rows, seed=0, **how):
    return catalogue.draw_figure(name, rows, np.random.default_rng(seed), **how)


def panels_of(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def errorbars(ax):
    """Of each error-bar series its label, points and vertical ends (points, 2)."""
    found = {}
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, bars = container.lines
            ends = np.array([segment[:, 1] for segment in bars[-1].get_segments()])
            found[container.get_label()] = line.get_xydata(), ends
    return found


def compared(rows, fields, metric="improvement"):
    names = ["key", *(name for name in columns.column_types() if name in rows)]
    rng = np.random.default_rng(0)
    wanted = rows[names].drop(columns="loss.label")
    return tables.compare(rows, wanted, ["loss"], fields, metric, rng)


@pytest.mark.parametrize("name", BY_RUNS)
def test_every_figure_draws_whole_and_readable(name, figure_of):
    figure = figure_of(name)
    if name in N_PANELS:
        assert len(panels_of(figure)) == N_PANELS[name]
        assert "seed" in figure.get_supxlabel() and "INCOMPLETE" not in figure.get_supxlabel()
    assert_readable(figure)


def assert_readable(figure):
    """Whole, of a paper's width, in letters that are large enough and do not overlap."""
    assert round(figure.get_figwidth(), 2) in (style.COLUMN_IN, style.PAGE_IN)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    (left, bottom), (right, top) = figure.get_tightbbox(renderer).get_points()
    assert left >= -0.02 and right <= figure.get_figwidth() + 0.02
    assert bottom >= -0.02 and top <= figure.get_figheight() + 0.02
    texts = [text for text in shown_texts(figure) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= 7
    level = [text for text in texts if not text.get_rotation() % 90]
    left, bottom, right, top = np.array([t.get_window_extent(renderer).extents for t in level]).T
    overlap = (left[:, None] + 1 < right) & (right[:, None] - 1 > left)
    overlap &= (bottom[:, None] + 1 < top) & (top[:, None] - 1 > bottom)
    pairs = np.argwhere(np.triu(overlap, 1))
    assert not len(pairs), [[level[i].get_text() for i in pair] for pair in pairs]


def shown_texts(figure):
    """Every text that is drawn; ticks outside of their axis are there, but not drawn."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    texts += [text for text in (figure._supxlabel, figure._supylabel) if text]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return texts


@pytest.fixture(scope="module")
def wide_figure_of():
    """The figure of that name, drawn once: six columns, base LLMs and betas as the paper's."""
    axes = AXES | {
        "base_llm": ["gemma2b", "gemma2b_sft", "gemma7b", "gemma7b_sft", "llama3_8b", "llama3_sft"],
        "dataset": ["hh_harmless", "hh_helpful"], "selection": ["random"], "seed": [0],
        "annotation.beta": [0.5, 0.7, 1.0, 3.0, 5.0, 10.0],
        "quantity": [5000, 10000, 20000, 40000],
    }  # fmt: skip
    combinations = itertools.product(*axes.values())
    runs = [run_of(dict(zip(axes, c, strict=True)), i) for i, c in enumerate(combinations)]
    return functools.cache(lambda name: drawn(name, pd.DataFrame(runs)))


@pytest.mark.parametrize("name", ["fig10", "fig11", "fig12", "nbt_gradients", "nbt_full_gradient"])
def test_six_columns_of_panels_are_readable(name, wide_figure_of):
    figure = wide_figure_of(name)
    assert len(panels_of(figure)) % 6 == 0 and panels.n_columns(figure.axes[0]) in (4, 6)
    assert_readable(figure)


def test_the_last_tick_has_its_label_and_markers_are_within_the_axes(wide_figure_of):
    for ax in panels_of(wide_figure_of("fig10")):
        assert [t.get_text() for t in ax.get_xticklabels()] == ["", "10k", "", "40k"]
        left, right = ax.get_xlim()
        assert left < 0.9 * 5000 and right > 1.1 * 40000


@pytest.mark.parametrize(
    ("name", "field", "where"),
    [
        ("fig3", "quantity", "`annotation.beta` == 1 and dataset != 'helpsteer'"),
        ("fig10", "quantity", "dataset == 'hh_harmless'"),
        ("fig18", "quantity", "`annotation.beta` == 1 and dataset == 'helpsteer'"),
        ("fig2", "annotation.beta", "quantity == 1000 and dataset != 'helpsteer'"),
    ],
)
def test_lines_are_the_tables_golden_rewards_over_the_base_llms(
    name, field, where, rows, figure_of
):
    figure = figure_of(name)
    at = rows.query(f"{where} and pairing == 'same_prompt' and selection == 'random'")
    facets = [f for f in shown_runs.ORDER if f != field and f in at and at[f].nunique() > 1]
    cells = compared(at.reset_index(drop=True), [*facets, field], "bon_golden")
    n_found = 0
    assert figure.get_supylabel() == "golden reward of the Best-of-N pick"
    for ax, (_, part) in zip(panels_of(figure), cells.groupby(facets, sort=False), strict=True):
        for label, (points, ends) in errorbars(ax).items():
            line = part[part["loss"] == label.lower()]
            if name == "fig2":  # error rates fall with beta
                line = line.sort_values(field, ascending=False)
                np.testing.assert_allclose(points[:, 0], 0.501 - 0.2 * line[field].astype(float))
            else:
                np.testing.assert_array_equal(points[:, 0], line[field])
            np.testing.assert_allclose(points[:, 1], line["mean"].astype(float))
            np.testing.assert_allclose(ends, line[["low", "high"]].to_numpy(float))
            n_found += 1
        (base,) = (line for line in ax.lines if set(line.get_ydata()) == {-1.0})
        assert base.get_linestyle() == "--" and ax.get_ylim()[0] < -1
    assert n_found == len(EFFECTS) * N_PANELS[name]


def test_bars_stand_on_zero_and_reach_the_means(rows, figure_of):
    figure = figure_of("fig1")
    at = rows.query(
        "`annotation.beta` == 1 and quantity == 1000 and pairing == 'same_prompt' and "
        "selection == 'random' and dataset != 'helpsteer'"
    )
    cells = compared(at.reset_index(drop=True), ["dataset", "base_llm"])
    for ax, (_, part) in zip(panels_of(figure), cells.groupby("dataset"), strict=True):
        bars = {c.get_label(): c for c in ax.containers if not isinstance(c, ErrorbarContainer)}
        assert list(bars) == ["BT_MLP", "CLF_MLP", "NORMBT", "MINE"]
        for label, container in bars.items():
            expected = part.loc[part["loss"] == label.lower(), "mean"].astype(float)
            np.testing.assert_allclose([bar.get_height() for bar in container], expected)
            assert {bar.get_y() for bar in container} == {0}
        assert [t.get_text() for t in ax.get_xticklabels()] == AXES["base_llm"]


def test_stems_of_one_base_llm_are_not_averaged_over(rows):
    stems = rows["base_llm"] + np.where(rows["dataset"] == "hh_helpful", "_new", "")
    at = rows.assign(**{"base_llm.stem": stems, "dataset": "hh_harmless"})
    at = at[rows["dataset"] != "helpsteer"].reset_index(drop=True)
    titles = {ax.get_title() for ax in panels_of(drawn("fig1", at))}
    assert titles == {"gemma2b", "gemma2b_new", "gemma7b", "gemma7b_new"}


def bars_of(ax):
    """Of each series of bars its label, and the container."""
    return {c.get_label(): c for c in ax.containers if not isinstance(c, ErrorbarContainer)}


@pytest.mark.parametrize(("name", "selection"), [("fig4", "random"), ("fig5", "similar")])
def test_bars_of_both_pairings_stand_side_by_side_at_one_beta(name, selection, rows, figure_of):
    """The paper's form: bars over base LLMs, plain of same-prompt and hatched of cross-prompt."""
    at = rows.query(
        f"`annotation.beta` == 1 and quantity == 1000 and dataset != 'helpsteer' and "
        f"selection == '{selection}'"
    )
    cells = compared(at.reset_index(drop=True), ["dataset", "base_llm", "pairing"])
    figure = figure_of(name)
    for ax, (dataset, part) in zip(panels_of(figure), cells.groupby("dataset"), strict=True):
        assert ax.get_title() == dataset
        assert [t.get_text() for t in ax.get_xticklabels()] == AXES["base_llm"]
        series = bars_of(ax)
        assert len(series) == 2 * len(EFFECTS)
        for loss in EFFECTS:
            both = [series[f"{loss.upper()}, {pairing}"] for pairing in AXES["pairing"]]
            for bars, pairing in zip(both, AXES["pairing"], strict=True):
                means = part[(part["loss"] == loss) & (part["pairing"] == pairing)]["mean"]
                np.testing.assert_allclose([bar.get_height() for bar in bars], means.astype(float))
                assert {to_hex(bar.get_facecolor()) for bar in bars} == {
                    style.loss_style(loss).color
                }
                assert {bool(bar.get_hatch()) for bar in bars} == {pairing == "cross_prompt"}
            for same, cross in zip(*both, strict=True):
                assert 0 < cross.get_x() - same.get_x() < 1.2 * same.get_width()


def test_similar_stands_left_of_diversified_on_one_axis(rows):
    axes = AXES | {"selection": ["diversified", "similar"], "annotation.beta": [1.0]}
    combinations = itertools.product(*axes.values())
    runs = [run_of(dict(zip(axes, c, strict=True)), i) for i, c in enumerate(combinations)]
    left, right, *below = panels_of(drawn("fig5", pd.DataFrame(runs)))
    assert [left.get_title(), right.get_title()] == ["similar", "diversified"] and len(below) == 2
    assert left.get_ylim() == right.get_ylim()
    one_dataset = pd.DataFrame(runs).query("dataset == 'hh_helpful'").reset_index(drop=True)
    one, other = panels_of(drawn("fig5", one_dataset))
    assert [one.get_title(), other.get_title()] == ["similar", "diversified"]
    assert one.get_position().x1 < other.get_position().x0 and panels.n_columns(one) == 2
    same, cross = (bars_of(left)[f"BT_MLP, {pairing}"][0] for pairing in AXES["pairing"])
    assert cross.get_height() - same.get_height() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("betas", "words"),
    [
        ([0.5, 1.0], "β = 1 (of 2 values the nearest to 1), 1,000 pairs."),
        ([3.0, 10.0, 0.2], "β = 3 (of 3 values the nearest to 1), 1,000 pairs."),
        ([10.0], "β = 10, 1,000 pairs."),
    ],
)
def test_the_beta_nearest_to_one_is_drawn_and_named(betas, words, rows):
    axes = AXES | {"annotation.beta": betas, "seed": [0]}
    combinations = itertools.product(*axes.values())
    runs = [run_of(dict(zip(axes, c, strict=True)), i) for i, c in enumerate(combinations)]
    figure = drawn("fig4", pd.DataFrame(runs))
    assert words in " ".join(figure.get_supxlabel().split())
    beta = float(words.split()[2].rstrip(","))
    height = bars_of(panels_of(figure)[0])["BT_MLP, same_prompt"][0].get_height()
    assert height == pytest.approx(EFFECTS["bt_mlp"] + 1 + beta, abs=0.1)


def test_pairings_over_beta_are_open_and_filled(figure_of):
    (ax, *_) = panels_of(figure_of("fig14"))
    series = errorbars(ax)
    assert len(series) == 2 * len(EFFECTS)
    same, cross = (series[f"BT_MLP, {pairing}"][0] for pairing in AXES["pairing"])
    np.testing.assert_allclose(cross[:, 1] - same[:, 1], 0.5, atol=0.05)
    lines = {c.get_label(): c.lines[0] for c in ax.containers}
    assert lines["BT_MLP, same_prompt"].get_markerfacecolor() == "white"
    assert lines["BT_MLP, cross_prompt"].get_markerfacecolor() == style.KNOWN["bt_mlp"].color


def test_margins_of_same_prompt_pairs_against_both_readings_of_what_cross_prompt_yields(rows):
    """A panel a dataset and reading; y: the cross-prompt runs' improvement, and their gain."""
    own = {"random": "mine", "similar": "similar"}  # a selection of a user's own
    at = rows.assign(selection=rows["selection"].map(own)).query("dataset != 'helpsteer'")
    figure = drawn("fig6", at)
    axes, datasets = panels_of(figure), AXES["dataset"][:2]
    assert [ax.get_title().partition("\n")[0] for ax in axes[:2]] == datasets
    at = at.query("`annotation.beta` == 1 and quantity == 1000").reset_index(drop=True)
    markers = {"mine": "D", "similar": style.SELECTION_MARKERS["similar"]}
    for i, (ax, dataset) in enumerate(zip(axes, 2 * datasets, strict=True)):
        part = at[at["dataset"] == dataset]
        means = part.groupby(["base_llm", "selection", "pairing"])["improvement"].mean().unstack()
        y = means["cross_prompt"] - (means["same_prompt"] if i > 1 else 0)
        points = [(c.lines[0], c.lines[0].get_xydata()[0]) for c in ax.containers]
        found = {(line.get_color(), line.get_marker()): tuple(xy) for line, xy in points}
        colors = dict(zip(AXES["base_llm"], style.BASE_LLM_COLORS, strict=False))
        assert len(found) == len(y) == 4
        for (base_llm, selection), value in y.items():
            x = 1.0 if selection == "mine" else 0.2  # of the same-prompt pairs
            assert found[colors[base_llm], markers[selection]] == pytest.approx(
                (x, value), abs=1e-4
            )
        values = np.array(list(found.values()))
        r = panels.signed_text(np.corrcoef(*values.T)[0, 1])
        assert f"r = {r} [" in ax.get_title()
    caption = " ".join(figure.get_supxlabel().split())
    assert (
        "mean over 4 losses" in caption and "in both ways that the paper's words allow" in caption
    )


def test_a_correlation_needs_three_points_and_margins_that_differ(rows):
    two = rows[rows["base_llm"] == "gemma2b"].reset_index(drop=True)
    two = two.assign(**{"base_llm.stem": "Gemma2b"})
    with pytest.raises(MissingData, match="3 base LLMs or selections with both pairings"):
        drawn("fig6", two)
    alike = drawn("fig6", rows.assign(mean_margin=1.0))
    assert not any("r = " in ax.get_title() for ax in panels_of(alike))


def test_another_metric_is_drawn_where_one_is_asked_for(rows, figure_of):
    assert {"fig1", "fig2", "fig5", "fig12", "fig20"} <= set(catalogue.figures_with("metric"))
    assert not {"fig6", "heatmap", "cost", "bon_n"} & set(catalogue.figures_with("metric"))
    golden, improvement = figure_of("fig2"), drawn("fig2", rows, metric="improvement")
    assert improvement.get_supylabel() == style.IMPROVEMENT_LABEL
    for ax, other in zip(panels_of(golden), panels_of(improvement), strict=True):
        a, b = (errorbars(panel)["MINE"][0] for panel in (ax, other))
        np.testing.assert_allclose(a[:, 1], b[:, 1] - 1, rtol=1e-5)
        assert not any(set(line.get_ydata()) == {-1.0} for line in other.lines)
    share = drawn("fig4", rows, metric="oracle_share", error_bars="standard-error")
    heights = [bar.get_height() for bar in bars_of(panels_of(share)[0])["MINE, same_prompt"]]
    own = [
        bar.get_height() for bar in bars_of(panels_of(figure_of("fig4"))[0])["MINE, same_prompt"]
    ]
    np.testing.assert_allclose(heights, np.array(own) / 5, rtol=1e-5)
    with pytest.raises(MissingData, match="runs with spearman"):
        drawn("fig1", rows.assign(spearman_by_prompt=None), metric="spearman")


def test_standard_errors_are_drawn_by_that_name_alone(rows, figure_of):
    rng = np.random.default_rng(0)
    names = catalogue.figures_with("bars")
    assert {"fig1", "fig20"} <= set(names) and not {"fig6", "heatmap", "cost"} & set(names)
    figure = drawn("fig3", rows, error_bars="standard-error", metric="improvement")
    caption = " ".join(figure.get_supxlabel().split())
    assert "standard error over 3 seeds" in caption and "Error bars: 95 %" not in caption
    assert "Fewer than 5 seeds" in caption
    assert "standard error" not in figure_of("fig3").get_supxlabel()
    points, ends = errorbars(figure.axes[0])["BT_MLP"]
    at = rows.query(
        "`annotation.beta` == 1 and loss == 'bt_mlp' and pairing == 'same_prompt' and "
        "selection == 'random' and dataset == 'hh_harmless' and base_llm == 'gemma2b'"
    )
    of_quantity = at.groupby("quantity")["improvement"]
    np.testing.assert_allclose(points[:, 1], of_quantity.mean(), rtol=1e-6)
    np.testing.assert_allclose(ends[:, 1] - points[:, 1], of_quantity.sem(), rtol=1e-4)
    np.testing.assert_allclose(points[:, 1] - ends[:, 0], of_quantity.sem(), rtol=1e-4)
    one = rows[rows["seed"] == 0].reset_index(drop=True)
    cells = Bars(rng, "standard-error").means(one, shown_runs.facets(one, []), "improvement")
    assert len(cells) > 0 and cells["low"].isna().all()


@pytest.mark.parametrize("name", ["bon_n", "bon_kl"])
def test_best_of_n_curves_lie_between_random_and_oracle(name, figure_of):
    ax = panels_of(figure_of(name))[0]
    x = NS if name == "bon_n" else np.sqrt(kl_upper_bound(np.array(NS)))
    points, ends = errorbars(ax)["BT_MLP"]
    np.testing.assert_allclose(points[:, 0], x)
    np.testing.assert_allclose(points[:, 1], [-1, 0.6, 4])
    np.testing.assert_allclose(ends[1], [0.5, 0.7])
    free = [
        line for line in ax.lines if line.get_linestyle() == "--" and line.get_marker() == "None"
    ]
    np.testing.assert_allclose(free[0].get_ydata(), [-1, 2, 4])
    assert any(set(line.get_ydata()) == {-1.0} for line in ax.lines)


def test_without_recorded_oracles_only_its_end_is_drawn(rows):
    figure = drawn("bon_n", rows.assign(oracle_by_n=None))
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "_"]
    assert [
        (line.get_xdata()[0], line.get_ydata()[0]) for line in marks if len(line.get_xdata()) == 1
    ] == [(4, 4)]
    assert "oracle at the largest N only" in " ".join(figure.get_supxlabel().split())


def test_heat_map_is_the_paired_differences_and_hatches_the_undecided(rows, figure_of):
    figure = figure_of("heatmap")
    at = rows.query("pairing == 'same_prompt' and selection == 'random'")
    panels_wanted = itertools.product(("clf_mlp", "normbt", "mine"), sorted({*rows["dataset"]}))
    for ax, (loss, dataset) in zip(panels_of(figure), panels_wanted, strict=True):
        difference = f"{loss.upper()} − BT_MLP".replace(" ", panels.UNBROKEN)
        names = {difference, dataset}  # of the row and of the column of panels
        sides = {"loss": loss}, {"loss": "bt_mlp"}
        by = ["annotation.beta", "quantity"]
        rng = np.random.default_rng(0)
        of_dataset = at[at["dataset"] == dataset].reset_index(drop=True)
        found = contrasts.paired_differences(of_dataset, *sides, "improvement", rng, by)
        grid = found.pivot(index="quantity", columns="annotation.beta", values="estimate")
        np.testing.assert_allclose(ax.images[0].get_array(), grid)
        hatched = [
            patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_hatch()
        ]
        is_undecided = (found["low"] <= 0) & (found["high"] >= 0)
        assert abs(len(hatched) - is_undecided.sum()) <= (loss == "mine")  # other draws
        assert len(hatched) == 0 or loss == "mine"
        texts = {ax.get_title(), *(text.get_text() for text in ax.texts)} - {""}
        assert texts - names == {panels.signed_text(v, "+") for v in found["estimate"]}


def test_win_rates_of_both_ways_add_up_to_one(rows, figure_of):
    (ax,) = panels_of(figure_of("win_rates"))
    grid = ax.images[0].get_array().filled(np.nan)
    assert np.isnan(np.diag(grid)).all()
    off = ~np.eye(len(EFFECTS), dtype=bool)
    np.testing.assert_allclose((grid + grid.T)[off], 1)
    losses = ["bt_mlp", "clf_mlp", "normbt", "mine"]
    rng = np.random.default_rng(0)
    sides = {"loss": "normbt"}, {"loss": "clf_mlp"}
    expected = contrasts.paired_win_rates(rows, *sides, "improvement", rng)["estimate"].iloc[0]
    assert grid[losses.index("normbt"), losses.index("clf_mlp")] == pytest.approx(expected)
    assert len(ax.texts) == off.sum()


def test_cost_has_seconds_below_and_improvement_at_the_left(figure_of):
    ax = panels_of(figure_of("cost"))[0]
    lines = {c.get_label(): c.lines[0].get_xydata() for c in ax.containers}
    np.testing.assert_allclose(lines["BT_MLP"][:, 0], [2.1, 3.1])
    assert lines["BT_MLP"][:, 1] == pytest.approx([3.5, 4.0], abs=0.05)


def test_normbt_figures_show_what_the_runs_recorded(rows, figure_of):
    ax, *_ = panels_of(figure_of("nbt_gradients"))
    run = rows.query(
        "dataset == 'hh_harmless' and base_llm == 'gemma2b' and loss == 'bt_mlp' and "
        "pairing == 'same_prompt' and selection == 'random' and quantity == 1000 and "
        "`annotation.beta` == 1 and seed == 0"
    ).iloc[0]
    scatter = ax.collections[0]
    np.testing.assert_array_equal(scatter.get_offsets()[:, 0], run["pair_distance"])
    np.testing.assert_array_equal(scatter.get_offsets()[:, 1], run["pair_gradient_norm"])
    np.testing.assert_array_equal(scatter.get_array(), run["pair_error"])
    points, ends = errorbars(panels_of(figure_of("nbt_updates"))[0])["NORMBT"]
    np.testing.assert_array_equal(points[:, 0], range(1, 11))
    np.testing.assert_allclose(points[:, 1], np.arange(10) / 10 + 0.01)
    np.testing.assert_allclose(ends[0], [0, 0.02], atol=1e-12)


def test_full_gradients_are_drawn_with_their_correlations_over_the_seeds(rows, figure_of):
    figure = figure_of("nbt_full_gradient")
    ax, *_ = panels_of(figure)
    distance = ax.collections[0].get_offsets()[:, 0]
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], 3 * distance)
    (text,) = (text.get_text() for text in ax.texts if "=" in text.get_text())
    assert text == "r = −0.20\n[−0.30, −0.10]\nrₘ = 0.80\n[0.80, 0.80]"
    caption = " ".join(figure.get_supxlabel().split())
    assert "The paper reports 0.928" in caption and "bootstrap over 3 seeds only" in caption


def test_gradients_by_error_have_a_line_a_bin_and_points_that_all_runs_have(figure_of):
    ax, *_ = panels_of(figure_of("nbt_gradients_by_error"))
    lines = [container.lines for container in ax.containers]
    assert len(lines) == 5
    points = np.concatenate([line.get_xydata() for line, _, _ in lines])
    np.testing.assert_allclose(points[:, 0], np.arange(24) + 2)  # the last has no number
    np.testing.assert_allclose(points[:, 1], np.arange(24) + 0.1)
    ends = np.array([segment[:, 1] for segment in lines[0][2][0].get_segments()])
    np.testing.assert_allclose(ends, np.arange(5)[:, None] + [0, 0.2], atol=1e-6)
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed[1].get_ydata(), np.arange(5, 10) / 10)


def test_a_fifth_that_each_run_lacks_in_turn_is_no_point(rows):
    """The number of runs is theirs, and not the most seeds that any fifth has."""
    rows = rows.copy()
    names = [f"error_bin_{name}" for name in ("distance", "gradient_norm", "full_gradient_norm")]
    for i, seed in enumerate(rows["seed"]):
        for name in names:
            values = np.array(rows.at[i, name], float)
            values[np.arange(25) % rows["seed"].nunique() == seed] = np.nan
            rows.at[i, name] = values
    with pytest.raises(MissingData, match="in every run"):
        drawn("nbt_gradients_by_error", rows)


@pytest.mark.parametrize("name", ["nbt_full_gradient", "nbt_gradients_by_error"])
def test_runs_older_than_full_gradients_are_left_out_of_their_figures(name, rows):
    new = [c for c in rows if "full_gradient" in c or "correlation" in c or "error_bin" in c]
    nothing = rows.assign(**dict.fromkeys(new, None))
    assert panels_of(drawn("nbt_gradients", nothing))
    with pytest.raises(MissingData, match="evaluation.diagnostics=true"):
        drawn(name, nothing)


def test_a_loss_looks_the_same_in_every_figure(figure_of):
    looks = {}
    for name in BY_RUNS:
        for legend in figure_of(name).legends:
            for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
                if text.get_text().lower() in EFFECTS:
                    color = getattr(handle, "get_facecolor", getattr(handle, "get_color", None))()
                    looks.setdefault(text.get_text(), set()).add(to_hex(color))
    assert set(looks) == {loss.upper() for loss in EFFECTS}
    assert all(len(colors) == 1 for colors in looks.values())
    assert len(set().union(*looks.values())) == len(EFFECTS)


def test_styles_differ_in_marker_and_line_and_hang_on_the_name_alone():
    for field in ("color", "marker", "linestyle", "hatch"):
        assert len({getattr(s, field) for s in style.KNOWN.values()}) == len(style.KNOWN)
    shipped = [path.stem for path in (SHIPPED / "conf/loss").glob("*.yaml")]
    assert {*style.KNOWN, *style.MORE} == set(shipped)
    looks = [style.loss_style(loss) for loss in shipped]
    assert len({(s.color, s.marker) for s in looks}) == len(shipped)
    assert len({(s.color, s.hatch) for s in looks}) == len(shipped)
    assert style.loss_style("mine") == style.loss_style("mine")
    assert {style.loss_style(f"loss {i}") for i in range(500)} <= set(style.OTHERS)
    assert len({style.loss_style(f"loss {i}") for i in range(500)}) > 50


def test_two_losses_of_one_label_say_their_names(rows):
    labels = panels.loss_labels(rows.assign(**{"loss.label": "same"}))
    assert labels["mine"] == "same (mine)" and list(labels)[-1] == "mine"


def test_missing_runs_are_counted_in_the_caption(rows):
    is_missing = (rows["seed"] == 2) & (rows["loss"] == "mine")
    lost = rows.assign(status=np.where(is_missing, None, "done"))
    of_fig3 = rows.query(
        "`annotation.beta` == 1 and dataset != 'helpsteer' and pairing == 'same_prompt' and "
        "selection == 'random'"
    )
    n = len(of_fig3)
    missing = is_missing[of_fig3.index].sum()
    caption = drawn("fig3", lost).get_supxlabel()
    assert f"INCOMPLETE: {n - missing} of {n} runs." in caption and "2 to 3 seeds" in caption
    assert "Fewer than 5 seeds" in caption


@pytest.mark.parametrize(
    "name",
    ["nbt_gradients", "nbt_full_gradient", "nbt_gradients_by_error", "nbt_updates", "nbt_accuracy"],
)
def test_normbt_figures_count_what_is_missing_and_take_the_seeds_there_are(name, rows):
    at = rows.query(
        "`annotation.beta` == 1 and quantity == 1000 and pairing == 'same_prompt' and "
        "selection == 'random' and dataset == 'hh_harmless' and base_llm == 'gemma2b'"
    ).reset_index(drop=True)
    is_missing = (at["seed"] == 0) & (at["loss"] == "mine")
    lost = at.assign(status=np.where(is_missing, None, "done"))
    lists = [column for column in at if column.startswith(("pair_", "decile_", "error_bin_"))]
    lost[lists] = lost[lists].where(~is_missing)
    figure = drawn(name, lost)
    assert f"INCOMPLETE: {len(at) - 1} of {len(at)} runs." in figure.get_supxlabel()
    if name == "nbt_gradients":
        assert len(panels_of(figure)) == len(EFFECTS) and "seed 0 to 1" in figure.get_supxlabel()


def test_rounding_puts_no_end_on_the_wrong_side_of_its_mean():
    """As where all values are equal; matplotlib refuses bars of negative length."""
    cells = pd.DataFrame({"mean": [1.0, 2.0], "low": [1 + 2e-16, 1.5], "high": [1.0, np.nan]})
    np.testing.assert_array_equal(shown_runs.interval_reach(cells), [[0, 0.5], [0, np.nan]])


def test_one_selection_is_named_in_the_caption(figure_of):
    assert figure_of("fig5").get_supxlabel().startswith("similar, β = 1")
    assert figure_of("fig14").get_supxlabel().startswith("similar.")


@pytest.mark.parametrize(
    ("query", "name", "needs"),
    [
        ("quantity == 500", "fig3", "two quantities"),
        ("quantity == 500", "fig8", "two quantities"),
        ("`annotation.beta` == 1", "fig2", "two values of beta"),
        ("`annotation.beta` == 1", "fig12", "two values of beta"),
        ("quantity == 500", "fig14", "two quantities"),
        ("pairing == 'same_prompt'", "fig4", "both pairings"),
        ("pairing == 'same_prompt'", "fig6", "both pairings"),
        ("selection == 'random'", "fig5", "selection=similar or diversified"),
        ("dataset == 'hh_helpful'", "fig9", "a second dataset"),
        ("dataset == 'hh_helpful'", "fig16", "helpsteer or ultrafeedback"),
        ("loss == 'bt_mlp'", "heatmap", "two losses"),
        ("loss == 'bt_mlp'", "win_rates", "two losses"),
    ],
)
def test_what_a_figure_lacks_is_said(query, name, needs, rows):
    with pytest.raises(MissingData, match=needs):
        drawn(name, rows.query(query).reset_index(drop=True))


def test_two_runs_of_one_spec_are_refused(rows):
    twice = pd.concat([rows, rows.iloc[[0]].assign(key="again")], ignore_index=True)
    twice = twice.query("selection == 'random' and quantity == 500 and `annotation.beta` == 0.5")
    with pytest.raises(ValueError, match="agree in every field but not in their key"):
        drawn("bon_n", twice.reset_index(drop=True))


@pytest.mark.parametrize("name", ["sections", "reliability", "accuracy_by_distance"])
def test_runs_on_labelled_and_on_simulated_pairs_stand_side_by_side(name, rows):
    fields = ["pairing", "selection", "annotation.beta"]
    labelled = rows[rows[fields].eq(["same_prompt", "random", 1.0]).all(axis=1)]
    labelled = labelled.assign(dataset="people", key=labelled["key"] + "p", base_llm=None)
    labelled = labelled.assign(pairing=None, selection=None, **{"annotation.beta": np.nan})
    labelled = labelled.drop_duplicates(["loss", "quantity", "seed"])
    both = pd.concat([rows, labelled], ignore_index=True)
    n_people = sum("people" in ax.get_title() for ax in panels_of(drawn(name, both)))
    assert n_people == 1


def test_normbt_figures_need_diagnostics(rows):
    lists = [name for name in rows if name.startswith(("pair_", "decile_"))]
    with pytest.raises(MissingData, match="evaluation.diagnostics=true"):
        drawn("nbt_gradients", rows.assign(**dict.fromkeys(lists, None)))


@pytest.mark.parametrize("suffix", style.FORMATS)
def test_files_are_not_blank_and_the_same_each_time(suffix, rows, tmp_path):
    paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for path in paths:
        style.save_figure(drawn("fig1", rows), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    content = paths[0].read_bytes()
    if suffix == "png":
        image = matplotlib.image.imread(paths[0])
        assert image.shape[1] == round(style.COLUMN_IN * style.RC["savefig.dpi"])
        assert 0.02 < (image[..., :3].min(axis=2) < 0.9).mean() < 0.9
    else:
        assert content.startswith(b"%PDF" if suffix == "pdf" else b"<?xml")
        assert len(content) > 5000 and b"CreationDate" not in content and b"dc:date" not in content


def test_the_seed_reaches_the_intervals(rows):
    one, same, other = (
        errorbars(drawn("fig3", rows, seed).axes[0])["MINE"][1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_name_with_markup_stays_text(rows):
    odd = rows.assign(dataset=rows["dataset"].replace("hh_helpful", "$a_b$ <x>"))
    assert "$a_b$" in "".join(text.get_text() for text in shown_texts(drawn("fig3", odd)))


def test_fields_of_a_loss_and_null_make_panels(rows):
    at = rows.query("dataset == 'hh_harmless' and base_llm == 'gemma2b' and selection == 'random'")
    at = at.query("loss == 'bt_mlp'")
    tables_of = [
        at.assign(**{"loss.options": f'{{"hidden": [{n}]}}', "training.patience": patience})
        for n, patience in ((8, None), (16, 3.0))
    ]
    both = pd.concat(tables_of, ignore_index=True)
    both = both.assign(key=[f"k{i}" for i in range(len(both))])
    titles = [ax.get_title().replace(panels.UNBROKEN, " ") for ax in panels_of(drawn("fig2", both))]
    assert len(titles) == 2 and all(
        "patience = " in title or "hidden = " in title for title in titles
    )
