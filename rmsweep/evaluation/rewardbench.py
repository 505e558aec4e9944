"""RewardBench's subsets, its four sections and prior sets, and how it averages them.

Lambert et al. 2024 (arXiv:2403.13787); numbers of allenai/reward-bench 05a9005.
"""

from collections.abc import Mapping

import numpy as np

from rmsweep.cache.rewardbench_subsets import PRIOR_SETS, SECTIONS

OVERALL_WEIGHTS = (2, 2, 2, 2, 1)  # the sections, then the prior sets


def section_scores(accuracy: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores by section, of the prior sets, and overall; accuracy: by subset, in [0, 1].

    A section is the mean of its subsets that are there, weighted by SECTIONS; the prior sets are
    their plain mean; None where nothing is there. Overall (`rewardbench`) is the mean of the
    sections, weight 2 each, and the prior sets, weight 1, where there are any; None unless all
    four sections are there, since sections do not compare.
    """
    scores: dict[str, float | None] = {}
    for section, weights in SECTIONS.items():
        judged = [name for name in weights if name in accuracy]
        values, counts = [accuracy[n] for n in judged], [weights[n] for n in judged]
        scores[section] = float(np.average(values, weights=counts)) if judged else None
    prior = [accuracy[name] for name in PRIOR_SETS if name in accuracy]
    scores["prior_sets"] = float(np.mean(prior)) if prior else None
    parts = np.array(list(scores.values()), dtype=float)  # None becomes nan
    shares = np.where(np.isnan(parts), 0, OVERALL_WEIGHTS)
    is_whole = not np.isnan(parts[:-1]).any()
    mean = float(np.nansum(parts * shares) / shares.sum()) if is_whole else None
    return scores | {"rewardbench": mean}
