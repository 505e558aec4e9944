"""Reward models judged on labelled pairs: accuracy, by subset and distance, and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmsweep.cache.blocks import cut
from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.judged import Judged
from rmsweep.config.launchers import Place
from rmsweep.evaluation import rewardbench
from rmsweep.evaluation.calibration import calibration_metrics, temperature
from rmsweep.training.predict import StackedModels, nonfinite_pair_message, predict_rewards

BLOCK_PAIRS = 2048
LEAST_PAIRS = 9  # of a last block: more than 16 rows, see predict.LEAST_ROWS


def predicted_margins(models: StackedModels, judged: Judged, place: Place) -> np.ndarray:
    """Predict chosen minus rejected reward of a set's pairs, block by block: (runs, pairs)."""
    embeddings, n = judged.labelled.embeddings(), len(judged.rows)
    margins = []
    for first, last in cut(n, BLOCK_PAIRS, least=LEAST_PAIRS):
        rows = judged.rows[first:last]
        x = embeddings[rows]
        if (bad := first_nonfinite(x)) is not None:
            raise ValueError(nonfinite_pair_message(judged.labelled, int(rows[bad[0]]), bad[1]))
        predicted = predict_rewards(models, x.reshape(-1, x.shape[-1]), place)
        margins.append(predicted[:, ::2].astype(float) - predicted[:, 1::2])
    return np.concatenate(margins, axis=1)


def judgement_metrics(
    margins: Sequence[np.ndarray], judged: Sequence[Judged], held_out: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Return a run's columns. margins: of each set, (pairs,). A tie is wrong.

    accuracy, correct_by_pair, distance_by_pair and calibration speak of the first set alone;
    subsets and RewardBench's sections of all. held_out: the margins of the validation pairs, to
    which the temperature is fitted; without any, as of an ensemble, there is no calibration.
    """
    right = [m > 0 for m in margins]
    names = [name for one in judged for name in one.subsets]
    counts = [n for one in judged for n in one.subsets.values()]
    by_subset = np.split(np.concatenate(right), np.cumsum(counts)[:-1])
    accuracy = dict(zip(names, (float(part.mean()) for part in by_subset), strict=True))
    first = judged[0].labelled.embeddings()[judged[0].rows].astype(np.float32)
    metrics: dict[str, Any] = {
        "accuracy": float(right[0].mean()),
        "correct_by_pair": right[0].astype(np.float32),
        "subset": names,
        "subset_pairs": counts,
        "subset_accuracy": list(accuracy.values()),
        **rewardbench.section_scores(accuracy),
        "distance_by_pair": np.linalg.norm(first[:, 0] - first[:, 1], axis=1),  # as cached
    }
    if held_out:
        t = temperature(np.concatenate(held_out))
        metrics |= calibration_metrics(margins[0], t) if not np.isnan(t) else {}
    return metrics
