"""The cautions on a cache that a researcher would want before thousands of runs."""

from collections.abc import Mapping
from typing import Any

TIED, EXTREME, DUPLICATE = 0.1, 0.05, 0.01
LOPSIDED = 0.5  # share of the variance in three dimensions, of hundreds
FLAT = 0.1  # spread within prompts over that between
SHIFT = 0.5  # of test from train rewards, in their std
CUT = 0.1
LONGER = (0.35, 0.65)
FEW_PAIRS = 30


def golden_cautions(splits: Mapping[str, Any]) -> list[str]:
    """Return cautions on a cache with golden rewards, a sentence each; splits: their statistics."""
    missing = [split for split in ("train", "test") if split not in splits]
    told = [f"no {split} split: a sweep needs train and test" for split in missing]
    for split, statistics in splits.items():
        of_split = _of_rewards(statistics["rewards"]) + _of_embeddings(statistics["embeddings"])
        of_split += _of_texts(statistics["built"])
        told += [f"{split}: {text}" for text in of_split]
    if not missing:
        told += _of_both(splits["train"], splits["test"])
    return told


def _of_rewards(golden: Mapping[str, Any]) -> list[str]:
    told, commonest = [], golden["commonest"]
    if (share := golden["share_tied_at_commonest"]) > TIED:
        told.append(
            f"{share:.0%} of golden rewards are tied at {commonest:.4g}: annotators toss a coin "
            "between them, and Best-of-N cannot tell them apart; is the scorer clipped or discrete?"
        )
    for end in ("floor", "ceiling"):
        share, value = golden[f"share_at_{end}"], golden[end]
        if share > EXTREME and value != commonest:
            at_end = f"{share:.0%} of golden rewards are at the {end} {value:.4g}"
            told.append(f"{at_end}: the scorer is saturated")
    if (share := golden["share_tied_same_prompt"]) > TIED:
        tied = f"{share:.0%} of same-prompt pairs have equal golden rewards"
        told.append(f"{tied}, so their labels are noise at any beta")
    within, between = golden["within_std"], golden["between_std"]
    if within < FLAT * between:
        told.append(
            f"golden rewards differ between prompts (std {between:.3g}) and hardly within one "
            f"({within:.3g}): Best-of-N has little to gain, and cross-prompt pairs mostly compare "
            "prompts"
        )
    return told


def _of_embeddings(statistics: Mapping[str, Any]) -> list[str]:
    told = []
    if n := statistics["n_nonfinite"]:
        told.append(f"{n} embeddings hold NaN or inf; runs that meet one fail")
    if n := statistics["n_zero"]:
        told.append(f"{n} embeddings are all zeros; were they written?")
    if (share := statistics.get("share_duplicate_same_prompt") or 0) > DUPLICATE:
        told.append(
            f"{share:.1%} of embeddings repeat another of the same prompt: equal or empty texts, "
            "or texts cut before they differ"
        )
    if n := statistics["n_constant_dimensions"]:
        told.append(f"{n} dimensions hardly vary")
    if (share := statistics["top_dimensions_share"] or 0) > LOPSIDED:
        told.append(
            f"3 dimensions hold {share:.0%} of the variance within prompts; a reward model sees "
            "little else unless embeddings are normalised"
        )
    return told


def _of_texts(built: Mapping[str, Any] | None) -> list[str]:
    share = (built or {}).get("share_cut") or 0
    text = f"{share:.0%} of texts were cut before they were embedded: their ends have no part in it"
    return [text] if share > CUT else []


def _of_both(train: Mapping[str, Any], test: Mapping[str, Any]) -> list[str]:
    told = []
    if (share := test["embeddings"]["share_in_train"]) > 0:
        in_train = f"{share:.2%} of test embeddings are in train, too"
        told.append(f"{in_train}: are prompts in both splits?")
    mean, std = train["rewards"]["mean"], train["rewards"]["std"]
    mean_of_test = test["rewards"]["mean"]
    if abs(mean_of_test - mean) > SHIFT * std:
        told.append(
            f"mean golden rewards of train ({mean:.3g}) and test ({mean_of_test:.3g}) are "
            f"{abs(mean_of_test - mean) / std:.1f} std apart: were they scored alike?"
        )
    return told


def pair_cautions(report: Mapping[str, Any]) -> list[str]:
    """Return cautions on labelled pairs, a sentence each."""
    statistics, texts = report["embeddings"], report["texts"]
    told = _of_embeddings(statistics) + _of_texts(report["built"])
    if (share := statistics["share_equal_pairs"]) > 0:
        equal = f"{share:.1%} of pairs have equal embeddings"
        told.append(f"{equal}: no reward model can be right on them (a tie is wrong)")
    if (share := statistics["share_duplicate"]) > DUPLICATE:
        told.append(f"{share:.1%} of pairs repeat another")
    if n := texts["n_empty"]:
        told.append(f"{n} responses are empty")
    if not LONGER[0] <= (share := texts["share_chosen_longer"]) <= LONGER[1]:
        longer = f"the chosen response is longer in {share:.0%} of pairs"
        told.append(f"{longer}: length alone would reach that accuracy (or 1 minus it)")
    few = [name for name, n in texts["subsets"].items() if n < FEW_PAIRS]
    if few:
        told.append(f"fewer than {FEW_PAIRS} pairs in {', '.join(few)}: wide intervals")
    return told
