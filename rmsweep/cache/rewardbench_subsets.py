"""The names of RewardBench's subsets, of its four sections and of its prior sets.

Lambert et al. 2024 (arXiv:2403.13787); numbers of allenai/reward-bench 05a9005.
"""

from collections.abc import Iterable

from rmsweep.errors import nearest

# Weight of each subset in its section: its pairs, but math-prm counts as much as all code
SECTIONS: dict[str, dict[str, int]] = {
    "section_chat": {
        "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95,
        "mt-bench-easy": 28, "mt-bench-med": 40,
    },
    "section_chat_hard": {
        "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    },
    "section_safety": {
        "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154,
        "xstest-should-respond": 250, "donotanswer": 136,
    },
    "section_reasoning": {
        "math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164,
        "hep-python": 164, "hep-rust": 164,
    },
}  # fmt: skip
PRIOR_SETS = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
NOT_AVERAGED = ("anthropic_harmless", "mtbench_gpt4", "mtbench_human")  # of the prior sets' files
SUBSETS = (*(name for section in SECTIONS.values() for name in section), *PRIOR_SETS, *NOT_AVERAGED)


def check_subsets(names: Iterable[str], where: object) -> None:
    """Raise ValueError, which names the nearest, for a subset that is none of RewardBench's."""
    for name in names:
        if name not in SUBSETS:
            raise ValueError(
                f"{where}: subset {name!r} is none of RewardBench's; {nearest(name, SUBSETS)}"
            )


def missing_subsets(subsets: Iterable[str]) -> dict[str, list[str]]:
    """Return the subsets that are missing of each section that has some of its subsets."""
    present = set(subsets)
    return {
        section: [name for name in weights if name not in present]
        for section, weights in SECTIONS.items()
        if present & set(weights) and not set(weights) <= present
    }
