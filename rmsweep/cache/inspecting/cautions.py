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


def of_golden(splits: Mapping[str, Any]) -> list[str]:
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
    told = []
    if golden["share_tied_at_commonest"] > TIED:
        told.append(
            f"{golden['share_tied_at_commonest']:.0%} of golden rewards are tied at "
            f"{golden['commonest']:.4g}: annotators toss a coin between them, and Best-of-N cannot "
            "tell them apart; is the scorer clipped or discrete?"
        )
    for end in ("floor", "ceiling"):
        if golden[f"share_at_{end}"] > EXTREME and golden[end] != golden["commonest"]:
            told.append(
                f"{golden[f'share_at_{end}']:.0%} of golden rewards are at the {end} "
                f"{golden[end]:.4g}: the scorer is saturated"
            )
    if golden["share_tied_same_prompt"] > TIED:
        told.append(
            f"{golden['share_tied_same_prompt']:.0%} of same-prompt pairs have equal golden "
            "rewards, so their labels are noise at any beta"
        )
    if golden["within_std"] < FLAT * golden["between_std"]:
        told.append(
            f"golden rewards differ between prompts (std {golden['between_std']:.3g}) and hardly "
            f"within one ({golden['within_std']:.3g}): Best-of-N has little to gain, and "
            "cross-prompt pairs mostly compare prompts"
        )
    return told


def _of_embeddings(statistics: Mapping[str, Any]) -> list[str]:
    told = []
    if statistics["n_nonfinite"]:
        told.append(
            f"{statistics['n_nonfinite']} embeddings hold NaN or inf; runs that meet one fail"
        )
    if statistics["n_zero"]:
        told.append(f"{statistics['n_zero']} embeddings are all zeros; were they written?")
    if (statistics.get("share_duplicate_same_prompt") or 0) > DUPLICATE:
        told.append(
            f"{statistics['share_duplicate_same_prompt']:.1%} of embeddings repeat another of the "
            "same prompt: equal or empty texts, or texts cut before they differ"
        )
    if statistics["n_constant_dimensions"]:
        told.append(f"{statistics['n_constant_dimensions']} dimensions hardly vary")
    if (statistics["top_dimensions_share"] or 0) > LOPSIDED:
        told.append(
            f"3 dimensions hold {statistics['top_dimensions_share']:.0%} of the variance within "
            "prompts; a reward model sees little else unless embeddings are normalised"
        )
    return told


def _of_texts(built: Mapping[str, Any] | None) -> list[str]:
    if built is None or (built["share_cut"] or 0) <= CUT:
        return []
    return [
        f"{built['share_cut']:.0%} of texts were cut before they were embedded: their ends have no "
        "part in it"
    ]


def _of_both(train: Mapping[str, Any], test: Mapping[str, Any]) -> list[str]:
    told = []
    if test["embeddings"]["share_in_train"] > 0:
        told.append(
            f"{test['embeddings']['share_in_train']:.2%} of test embeddings are in train, too: "
            "are prompts in both splits?"
        )
    golden = train["rewards"]
    distance = abs(test["rewards"]["mean"] - golden["mean"])
    if distance > SHIFT * golden["std"]:
        told.append(
            f"mean golden rewards of train ({golden['mean']:.3g}) and test "
            f"({test['rewards']['mean']:.3g}) are {distance / golden['std']:.1f} std apart: were "
            "they scored alike?"
        )
    return told


def of_pairs(report: Mapping[str, Any]) -> list[str]:
    """Return cautions on labelled pairs, a sentence each."""
    told, texts = _of_embeddings(report["embeddings"]), report["texts"]
    told += _of_texts(report["built"])
    if report["embeddings"]["share_equal_pairs"] > 0:
        told.append(
            f"{report['embeddings']['share_equal_pairs']:.1%} of pairs have equal embeddings: no "
            "reward model can be right on them (a tie is wrong)"
        )
    if report["embeddings"]["share_duplicate"] > DUPLICATE:
        told.append(f"{report['embeddings']['share_duplicate']:.1%} of pairs repeat another")
    if texts["n_empty"]:
        told.append(f"{texts['n_empty']} responses are empty")
    if not LONGER[0] <= texts["share_chosen_longer"] <= LONGER[1]:
        told.append(
            f"the chosen response is longer in {texts['share_chosen_longer']:.0%} of pairs: length "
            "alone would reach that accuracy (or 1 minus it)"
        )
    few = [name for name, n in texts["subsets"].items() if n < FEW_PAIRS]
    if few:
        told.append(f"fewer than {FEW_PAIRS} pairs in {', '.join(few)}: wide intervals")
    return told
