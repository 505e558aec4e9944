"""Reward models judged on labelled pairs: by section, by confidence and by distance."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rmsweep.analysis.bootstrap import bootstrap_means, crossed_mean, percentile_interval
from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.rbt_losses import apart_by, draw_lines, make_room
from rmsweep.analysis.figures.style import RC, loss_style
from rmsweep.cache import rewardbench_subsets
from rmsweep.errors import MissingData

BY_SEED = "Error bars: 95 % intervals, bootstrap over {seeds} seeds only."
GROUPS = {
    "accuracy": "",
    "section_chat": "Chat",
    "section_chat_hard": "Chat Hard",
    "section_safety": "Safety",
    "section_reasoning": "Reasoning",
    "prior_sets": "Prior sets",
    "rewardbench": "RewardBench",
}


@matplotlib.rc_context(RC)
def sections(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Accuracy on the pairs of the first set, by RewardBench's sections, and over all of these."""
    what = "labelled pairs to judge (evaluation.held_out, .pairs)"
    rows, held = shown_runs.at_reference(_with(rows, "accuracy", what), shown_runs.REFERENCE)
    runs = shown_runs.done(rows)
    groups = [name for name in GROUPS if name in runs and runs[name].notna().any()]
    facets, labels = shown_runs.facets(rows, []), panels.loss_labels(runs)
    by_group = [
        shown_runs.means(rows[rows["status"].ne("done") | rows[name].notna()], facets, name, rng)
        for name in groups
    ]
    cells = pd.concat([cells.assign(position=i) for i, cells in enumerate(by_group)])
    figure, axes = panels.facet_panels(cells, facets)
    names = ["\n".join(_first_set(runs)), *(GROUPS[name] for name in groups[1:])]
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        _dots(ax, part, labels)
        ax.axhline(0.5, color="#888888", linewidth=0.6)
        ax.set_xticks(range(len(groups)), names)
        ax.set_xlim(-0.5, len(groups) - 0.5)
    panels.label_axes(figure, axes, "", "accuracy")
    lines = [_absent_line(runs), "Grey line: chance; a tie is wrong."]
    how = f"{BY_SEED[:-1]}; at the left also over {{prompts}} pairs."
    note = shown_runs.footnote(rows, cells, held, f"{' '.join(lines)} {how}")
    return panels.finish(figure, panels.loss_handles(labels, line=False), note)


@matplotlib.rc_context(RC)
def reliability(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Share of right orders among pairs of like confidence, after the temperature was fitted."""
    what = "runs with calibration (labelled pairs, no ensemble)"
    rows, held = shown_runs.at_reference(
        _with(rows, "reliability_accuracy", what), shown_runs.REFERENCE
    )
    facets, labels = shown_runs.facets(rows, []), panels.loss_labels(shown_runs.done(rows))
    fields = [*facets, "loss"]
    cells = shown_runs.means_of_list(rows, fields, "reliability_accuracy", rng)
    confidence = shown_runs.means_of_list(rows, fields, "reliability_confidence", rng)
    cells = cells.assign(confidence=confidence["mean"]).dropna(subset=["mean"])
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_lines(ax, part, "confidence", labels)
        ax.plot([0.5, 1], [0.5, 1], color="#888888", linewidth=0.6)
    panels.label_axes(figure, axes, "confidence, max(p, 1 - p)", "share of right orders")
    what = f"Of {_pairs(rows)} pairs in bins of equal width. Grey line: perfect calibration."
    return panels.finish(
        figure,
        panels.loss_handles(labels),
        shown_runs.footnote(rows, cells, held, f"{what} {BY_SEED}"),
    )


@matplotlib.rc_context(RC)
def accuracy_by_distance(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Accuracy on unseen pairs by decile of their embeddings' distance."""
    if "distance_by_pair" in rows and rows["distance_by_pair"].notna().any():
        rows, held = shown_runs.at_reference(
            _with(rows, "distance_by_pair", ""), shown_runs.REFERENCE
        )
        facets = shown_runs.facets(rows, [])
        cells = _by_decile(rows, facets, rng)
        what = "Labelled pairs. Error bars: 95 % intervals, crossed bootstrap over {seeds} seeds "
        what += "and {prompts} pairs a decile."
    else:
        column = "test_decile_accuracy"
        what = "labelled pairs to judge, or runs with evaluation.diagnostics=true"
        rows, held = shown_runs.at_reference(_with(rows, column, what), shown_runs.REFERENCE)
        facets = shown_runs.facets(rows, [])
        cells = shown_runs.means_of_list(rows, [*facets, "loss"], column, rng)
        what = f"Pairs of responses to a test prompt, deciles within the prompt. {BY_SEED}"
    labels = panels.loss_labels(shown_runs.done(rows))
    cells = cells.assign(decile=cells["position"] + 1)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_lines(ax, part, "decile", labels)
        ax.axhline(0.5, color="#888888", linewidth=0.6)
        ax.set_xticks(range(1, 11))
    panels.label_axes(figure, axes, "decile of embedding distance, nearest first", "accuracy")
    note = shown_runs.footnote(rows, cells, held, what)
    return panels.finish(figure, panels.loss_handles(labels), note)


def _by_decile(rows: pd.DataFrame, facets: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return each loss's accuracy by tenths of the labelled pairs, as `means_of_list` does."""
    fields = [*facets, "loss"]
    runs = shown_runs.with_fields(shown_runs.done(rows), fields)
    seeds = np.unique(runs["seed"])
    entries, matrices = [], []
    for values, part in shown_runs.by_panel(runs, fields):
        shown_runs.require_a_run_a_seed(part)
        distance = part["distance_by_pair"].iloc[0]
        right = np.full((len(seeds), len(distance)), np.nan)
        right[np.searchsorted(seeds, part["seed"])] = np.stack(part["correct_by_pair"].to_list())
        deciles = np.array_split(np.argsort(distance, kind="stable"), min(10, len(distance)))
        for position, pairs in enumerate(deciles):
            n = {"n_seeds": len(part), "n_prompts": len(pairs)}
            entries.append({**values, "position": position, **n})
            matrices.append(right[:, pairs])
    table = pd.DataFrame(entries)
    strata = list(zip(table["position"], table["n_prompts"], strict=True))
    table["mean"] = [crossed_mean(matrix) for matrix in matrices]
    table["low"], table["high"] = percentile_interval(bootstrap_means(matrices, strata, rng))
    return table


def _with(rows: pd.DataFrame, column: str, what: str) -> pd.DataFrame:
    """The runs that have it, and those that are not done; MissingData if none has."""
    is_there = rows[column].notna() if column in rows else pd.Series(False, rows.index)
    if not is_there.any():
        raise MissingData(what)
    return rows[is_there | rows["status"].ne("done")] if "status" in rows else rows[is_there]


def _dots(ax: Axes, cells: pd.DataFrame, labels: Mapping[str, str]) -> None:
    for i, loss in enumerate(labels):
        part, style = cells[cells["loss"] == loss], loss_style(loss)
        ax.errorbar(
            part["position"].astype(float),
            part["mean"],
            yerr=shown_runs.interval_reach(part),
            color=style.color,
            marker=style.marker,
            linestyle="none",
            elinewidth=0.7,
            transform=apart_by(ax, 2 * i, 2 * len(labels)),
        )
        make_room(ax, part, "position")


def _first_set(runs: pd.DataFrame) -> Sequence[str]:
    """Names of the sets that `accuracy` speaks of."""
    firsts = runs["subset"].map(lambda names: names[0] if len(names) else "").unique()
    return (
        list(firsts)
        if len(firsts) == 1 and firsts[0] not in rewardbench_subsets.SUBSETS
        else ["all pairs"]
    )


def _absent_line(runs: pd.DataFrame) -> str:
    subsets = set().union(*(set(names) for names in runs["subset"]))
    absent = rewardbench_subsets.missing_subsets(subsets)
    return " ".join(
        f"{GROUPS[section]} without {', '.join(names)}." for section, names in absent.items()
    )


def _pairs(rows: pd.DataFrame) -> str:
    """How many there are in the first set."""
    return shown_runs.span_text(shown_runs.done(rows)["correct_by_pair"].map(len))
