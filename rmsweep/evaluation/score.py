"""Fitted reward models are scored: Best-of-N and more on the test split, then labelled pairs."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.inputs import Inputs
from rmsweep.cache.layout import Cache
from rmsweep.config.launchers import Place
from rmsweep.evaluation.by_prompt import MetricsByPrompt
from rmsweep.evaluation.labelled_pairs import judgement_metrics, predicted_margins
from rmsweep.training import predict
from rmsweep.training.annotate import reward_scale
from rmsweep.training.reward_models.interface import Array, FittedRun

GPU_BLOCKS_AHEAD = 4  # a read takes longer than a GPU takes for a block


def score_runs(
    runs: list[FittedRun], inputs: Inputs, place: Place
) -> list[tuple[FittedRun, dict[str, Any]]]:
    """Return each run with its Best-of-N, rank and labelled-pair metrics, as its row has them.

    The bytes of a test file are read once. ValueError if a run predicts nan.
    """
    models = predict.stack_models(runs)
    metrics: list[dict[str, Any]] = [{} for _ in runs]
    if inputs.scored is not None:
        specs = [run.item.spec for run in runs]
        # Without golden rewards in training there is no simulated annotator, whom the scale is for
        scale = 1.0 if inputs.golden is None else reward_scale(specs[0], inputs.golden)
        by_prompt = MetricsByPrompt(specs, inputs.scored, scale)
        _score_test_split(by_prompt, models, inputs.scored, place)
        metrics = [by_prompt.columns_of_run(i) for i in range(len(runs))]
    if inputs.judged:
        margins = [predicted_margins(models, judged, place) for judged in inputs.judged]
        for i, run in enumerate(runs):
            own = [of_set[i] for of_set in margins]
            metrics[i] |= judgement_metrics(own, inputs.judged, run.held_out_margins)
    return list(zip(runs, metrics, strict=True))


def _score_test_split(
    metrics: MetricsByPrompt, models: predict.StackedModels, cache: Cache, place: Place
) -> None:
    """Predict block by block and fill in the metrics, of as many blocks at once as `place` says.

    A GPU goes on with the next blocks meanwhile; on a CPU each block has a thread to itself.
    """
    is_on_cpu = place.device == "cpu"
    most_waiting = place.at_once - 1 if is_on_cpu else 2 * place.at_once
    keeps_embeddings = models.spec.evaluation.diagnostics

    def predict_block(x: Array) -> Array:
        return predict.start_prediction(models, x.reshape(-1, cache.dim), place)

    def measure(prompts: slice, rewards: Array, x: Array | None) -> None:
        predicted = predict.finish_prediction(rewards, models)
        metrics.fill(prompts, predicted, None if x is None else np.asarray(x))

    def predict_and_measure(prompts: slice, x: Array) -> None:
        measure(prompts, predict_block(x), x if keeps_embeddings else None)

    with predict.block_threads(place) as pool:
        waiting: deque[Future[None]] = deque()
        for prompts, x in _read_ahead(cache, place):
            if is_on_cpu and place.at_once > 1:
                waiting.append(pool.submit(predict_and_measure, prompts, x))
            else:
                kept = x if keeps_embeddings else None
                waiting.append(pool.submit(measure, prompts, predict_block(x), kept))
            while len(waiting) > most_waiting:
                waiting.popleft().result()
        for block in waiting:
            block.result()


def _read_ahead(cache: Cache, place: Place) -> Iterator[tuple[slice, Array]]:
    """Yield each block's prompts and embeddings; read the next meanwhile, several for a GPU."""
    edges = predict.prompt_blocks(cache.test_prompts, cache.test_responses)
    n_ahead = 1 if place.device == "cpu" else GPU_BLOCKS_AHEAD
    with ThreadPoolExecutor(n_ahead) as readers:
        coming = deque(readers.submit(_read, cache, *edge, place) for edge in edges[:n_ahead])
        for i, edge in enumerate(edges):
            x = coming.popleft().result()
            for later in edges[i + n_ahead : i + n_ahead + 1]:
                coming.append(readers.submit(_read, cache, *later, place))
            yield slice(*edge), x


def _read(cache: Cache, first: int, last: int, place: Place) -> Array:
    """Read the embeddings of test prompts [first, last); for a GPU into pinned memory."""
    x = cache.read_test(first, last)
    if (bad := first_nonfinite(x)) is not None:
        raise ValueError(predict.nonfinite_message("test", first + bad[0], bad[1]))
    return torch.from_numpy(x).pin_memory() if place.device.startswith("cuda") else x
