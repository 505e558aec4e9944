"""Reward models judged on labelled pairs: by section, by confidence and by distance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.error_bars import OVER_SEEDS, draw_series
from rmsweep.analysis.figures.style import GREY
from rmsweep.analysis.table_notes import span_text
from rmsweep.cache import rewardbench_subsets
from rmsweep.errors import MissingData

SECTION_NAMES = {
    "accuracy": "",
    "section_chat": "Chat",
    "section_chat_hard": "Chat Hard",
    "section_safety": "Safety",
    "section_reasoning": "Reasoning",
    "prior_sets": "Prior sets",
    "rewardbench": "RewardBench",
}


def sections(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw accuracy on the pairs of the first set, by RewardBench's sections, and over these."""
    what = "labelled pairs to judge (evaluation.held_out, .pairs)"
    rows, held = _with_column(rows, "accuracy", what)
    runs = shown_runs.done(rows)
    groups = [name for name in SECTION_NAMES if name in runs and runs[name].notna().any()]
    facets, labels = shown_runs.facets(rows, []), panels.loss_labels(runs)
    by_group = [
        shown_runs.means(rows[rows["status"].ne("done") | rows[name].notna()], facets, name, rng)
        for name in groups
    ]
    cells = pd.concat([cells.assign(position=i) for i, cells in enumerate(by_group)])
    figure, axes = panels.facet_panels(cells, facets)
    names = ["\n".join(_first_set(runs)), *(SECTION_NAMES[name] for name in groups[1:])]
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_series(ax, part, "position", labels, step=2, line=False)
        ax.axhline(0.5, color=GREY, linewidth=0.6)
        ax.set_xticks(range(len(groups)), names)
        ax.set_xlim(-0.5, len(groups) - 0.5)
    panels.label_axes(figure, axes, "", "accuracy")
    lines = [_absent_line(runs), "Grey line: chance; a tie is wrong.", OVER_SEEDS[:-1]]
    what = f"{' '.join(lines)}; at the left also over {{prompts}} pairs."
    note = shown_runs.footnote(rows, cells, held, what)
    return panels.finish(figure, panels.loss_handles(labels, line=False), note)


def reliability(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw the share of right orders among pairs of like confidence, temperature fitted."""
    what = "runs with calibration (labelled pairs, no ensemble)"
    rows, held = _with_column(rows, "reliability_accuracy", what)
    facets, labels = shown_runs.facets(rows, []), panels.loss_labels(shown_runs.done(rows))
    fields = [*facets, "loss"]
    cells = shown_runs.means_of_list(rows, fields, "reliability_accuracy", rng)
    confidence = shown_runs.means_of_list(rows, fields, "reliability_confidence", rng)
    cells = cells.assign(confidence=confidence["mean"]).dropna(subset=["mean"])
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_series(ax, part, "confidence", labels, line=True)
        ax.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=0.6)
    panels.label_axes(figure, axes, "confidence, max(p, 1 - p)", "share of right orders")
    n_pairs = span_text(shown_runs.done(rows)["correct_by_pair"].map(len))
    what = f"Of {n_pairs} pairs in bins of equal width. Grey line: perfect calibration."
    note = shown_runs.footnote(rows, cells, held, f"{what} {OVER_SEEDS}")
    return panels.finish(figure, panels.loss_handles(labels), note)


def accuracy_by_distance(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw accuracy on unseen pairs by decile of their embeddings' distance."""
    if "distance_by_pair" in rows and rows["distance_by_pair"].notna().any():
        rows, held = _with_column(rows, "distance_by_pair", "")
        facets = shown_runs.facets(rows, [])
        cells = _pairs_by_decile(rows, facets, rng)
        what = "Labelled pairs. Error bars: 95 % intervals, crossed bootstrap over {seeds} seeds "
        what += "and {prompts} pairs a decile."
    else:
        column = "test_decile_accuracy"
        what = "labelled pairs to judge, or runs with evaluation.diagnostics=true"
        rows, held = _with_column(rows, column, what)
        facets = shown_runs.facets(rows, [])
        cells = shown_runs.means_of_list(rows, [*facets, "loss"], column, rng)
        what = f"Pairs of responses to a test prompt, deciles within the prompt. {OVER_SEEDS}"
    labels = panels.loss_labels(shown_runs.done(rows))
    cells = cells.assign(decile=cells["position"] + 1)
    figure, axes = panels.facet_panels(cells, facets)
    for ax, (_, part) in zip(axes, shown_runs.by_panel(cells, facets), strict=True):
        draw_series(ax, part, "decile", labels, line=True)
        ax.axhline(0.5, color=GREY, linewidth=0.6)
        ax.set_xticks(range(1, 11))
    panels.label_axes(figure, axes, "decile of embedding distance, nearest first", "accuracy")
    note = shown_runs.footnote(rows, cells, held, what)
    return panels.finish(figure, panels.loss_handles(labels), note)


def _pairs_by_decile(
    rows: pd.DataFrame, facets: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Return each loss's accuracy by tenths of the labelled pairs, as `means_of_list` does."""
    fields = [*facets, "loss"]
    runs = shown_runs.with_fields(shown_runs.done(rows), fields)
    entries, matrices = [], []
    for values, part in shown_runs.by_panel(runs, fields):
        is_right = shown_runs.lists_by_seed(part, "correct_by_pair", runs["seed"])
        order = np.argsort(part["distance_by_pair"].iloc[0], kind="stable")
        for position, pairs in enumerate(np.array_split(order, min(10, len(order)))):
            n = {"n_seeds": len(part), "n_prompts": len(pairs)}
            entries.append({**values, "position": position, **n})
            matrices.append(is_right[:, pairs])
    strata = [(entry["position"], entry["n_prompts"]) for entry in entries]
    return shown_runs.with_intervals(entries, matrices, strata, rng)


def _with_column(rows: pd.DataFrame, column: str, what: str) -> tuple[pd.DataFrame, list[str]]:
    """Return `at_reference` of the runs that have it or are not done; MissingData if none has."""
    is_there = rows[column].notna() if column in rows else pd.Series(False, rows.index)
    if not is_there.any():
        raise MissingData(what)
    kept = rows[is_there | rows["status"].ne("done")] if "status" in rows else rows[is_there]
    return shown_runs.at_reference(kept, shown_runs.REFERENCE)


def _first_set(runs: pd.DataFrame) -> list[str]:
    """Names of the sets that `accuracy` speaks of."""
    firsts = list(runs["subset"].map(lambda names: names[0] if len(names) else "").unique())
    is_one = len(firsts) == 1 and firsts[0] not in rewardbench_subsets.SUBSETS
    return firsts if is_one else ["all pairs"]


def _absent_line(runs: pd.DataFrame) -> str:
    absent = rewardbench_subsets.missing_subsets(set().union(*runs["subset"]))
    lines = [f"{SECTION_NAMES[name]} without {', '.join(sets)}." for name, sets in absent.items()]
    return " ".join(lines)
