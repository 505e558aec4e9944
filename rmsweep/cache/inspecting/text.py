"""A description of caches as text for a terminal."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

BLOCKS_BY_EIGHTHS = " ▁▂▃▄▅▆▇█"


def caches_text(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return the reports of `describe_cache` as text, one under the other."""
    return "\n\n".join(map(_cache_text, reports))


def _cache_text(report: Mapping[str, Any]) -> str:
    lines = [f"{report['name']}, in {report['folder']}"]
    rows = _pairs_rows(report) if report["kind"] == "pairs" else _golden_rows(report)
    fingerprint = report["fingerprint"] or "- (it takes both splits)"
    rows = [("fingerprint", [fingerprint]), *rows]
    columns = itertools.zip_longest(*(cells for _, cells in rows[1:]), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    for label, cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=False)]
        lines.append(f"  {label:<42} {'  '.join(padded)}".rstrip())
    lines += [f"  ! {text}" for text in report["cautions"]] or ["  nothing to warn of"]
    return "\n".join(lines)


def _golden_rows(report: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    splits = report["splits"]

    def row(label: str, *keys: str, form: str = ".4g") -> tuple[str, list[str]]:
        return label, [_cell(split, keys, form) for split in splits.values()]

    share = partial(row, form=".1%")

    return [
        ("", list(splits)),
        row("prompts", "prompts", form=","),
        row("responses a prompt", "responses", form=","),
        row("dimensions", "dim", form=","),
        row("dtype of embeddings", "dtype", form=""),
        row("dtype of rewards", "reward_dtype", form=""),
        ("golden reward, histogram", [_bars(split) for split in splits.values()]),
        *(row(f"  {end}", "rewards", end) for end in ("floor", "ceiling", "mean", "std")),
        row("  std within a prompt (mean)", "rewards", "within_std"),
        row("  std of prompts' means", "rewards", "between_std"),
        row("  mean |difference|, same prompt", "rewards", "mean_difference_same_prompt"),
        row("  mean |difference|, cross prompt", "rewards", "mean_difference_cross_prompt"),
        share("  share at the floor", "rewards", "share_at_floor"),
        share("  share at the ceiling", "rewards", "share_at_ceiling"),
        row(
            "  share tied at the commonest value", "rewards", "share_tied_at_commonest", form=".1%"
        ),
        share("  same-prompt pairs tied", "rewards", "share_tied_same_prompt"),
        share("  prompts with one value only", "rewards", "share_constant_prompts"),
        row("embeddings: variance between prompts", "embeddings", "between_variance"),
        row("  variance within prompts", "embeddings", "within_variance"),
        row("  between / within", "embeddings", "variance_ratio"),
        row("  share of it in 3 dimensions (within)", "embeddings", "top_dimensions_share"),
        row("  norm, mean", "embeddings", "norm_mean"),
        row("  with NaN or inf", "embeddings", "n_nonfinite"),
        row("  repeated within a prompt", "embeddings", "share_duplicate_same_prompt", form=".2%"),
        row("  repeated anywhere", "embeddings", "share_duplicate", form=".2%"),
        row("  found in train, too", "embeddings", "share_in_train", form=".2%"),
        share("  texts cut before (if built here)", "built", "share_cut"),
    ]


def _pairs_rows(report: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    def row(label: str, *keys: str, form: str = ".4g") -> tuple[str, list[str]]:
        return label, [_cell(report, keys, form)]

    return [
        row("pairs", "pairs", form=","),
        row("prompts", "texts", "prompts", form=","),
        row("dimensions", "dim", form=","),
        row("dtype", "dtype", form=""),
        row("variance between pairs", "embeddings", "between_variance"),
        row("variance within pairs", "embeddings", "within_variance"),
        row("distance chosen to rejected, mean", "embeddings", "distance_mean"),
        row("pairs with equal embeddings", "embeddings", "share_equal_pairs", form=".2%"),
        row("pairs that repeat another", "embeddings", "share_duplicate", form=".2%"),
        row("with NaN or inf", "embeddings", "n_nonfinite"),
        row("characters of chosen", "texts", "characters_chosen", form=".0f"),
        row("characters of rejected", "texts", "characters_rejected", form=".0f"),
        row("chosen is longer", "texts", "share_chosen_longer", form=".1%"),
        *((f"subset {name}", [f"{n:,}"]) for name, n in report["texts"]["subsets"].items()),
    ]


def _cell(report: Mapping[str, Any], keys: Sequence[str], form: str) -> str:
    value: Any = report
    for key in keys:
        value = None if value is None else value.get(key)
    return "-" if value is None else format(value, form)


def _bars(split: Mapping[str, Any]) -> str:
    counts = split["rewards"]["histogram"]["counts"]
    pairs = [sum(counts[i : i + 2]) for i in range(0, len(counts), 2)]
    most = max(pairs)
    return "".join(BLOCKS_BY_EIGHTHS[-(-8 * n // most)] for n in pairs)
