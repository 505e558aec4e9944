"""From specs to fitted reward models: annotate, hold out, train."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from rmsweep.annotation.splits import Split
from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.spec import Item
from rmsweep.training import predict
from rmsweep.training.annotate import annotate_pairs, split_pairs
from rmsweep.training.gpu_embeddings import embeddings_on_gpu
from rmsweep.training.reward_models.interface import Array, FittedRun, reward_model_of

CENTRE_PAIRS = 2048  # annotated pairs whose mean predicted reward is a member's zero point


def fit_runs(items: list[Item], inputs: Inputs, place: Place) -> list[FittedRun]:
    """Fit the reward models of specs that share cache, loss, quantity and training.

    As many train at once as their kind says; an ensemble's members on the same annotations.
    """
    embeddings = _training_embeddings(items, inputs, place)
    with ThreadPoolExecutor(place.at_once) as pool:
        annotations = list(pool.map(lambda item: annotate_pairs(item.spec, inputs), items))
    for pairs, _ in annotations:
        _refuse_nonfinite(embeddings, pairs, inputs)
    members = [
        (Item(item.key, spec), pairs)
        for item, (pairs, _) in zip(items, annotations, strict=True)
        for spec in item.spec.members
    ]
    kind, spec = reward_model_of(items[0].spec.loss), items[0].spec
    size = kind.n_together(spec, inputs.dim, place)
    chunks = [members[first : first + size] for first in range(0, len(members), size)]
    fitted = (run for chunk in chunks for run in fit_members(chunk, embeddings, inputs, place))
    runs = []
    for item, (pairs, facts) in zip(items, annotations, strict=True):
        own = [next(fitted) for _ in item.spec.members]
        run = own[0]
        if item.spec.loss.ensemble is not None:
            run = _ensemble(item, own, embeddings[pairs[:CENTRE_PAIRS].reshape(-1)], place)
        of_data = {"fingerprint": inputs.fingerprint, "dim": inputs.dim}
        run.facts.update(facts | of_data | {"test_responses": inputs.n_test})
        runs.append(run)
    return runs


def _training_embeddings(items: list[Item], inputs: Inputs, place: Place) -> Array:
    """Return training embeddings (responses, D), on the GPU if runs use one and a copy pays."""
    embeddings = inputs.train_embeddings().reshape(-1, inputs.dim)
    if place.device == "cpu" or not items[0].spec.loss.options.runs_on_gpu:
        return embeddings
    n_wanted = sum(2 * item.spec.quantity for item in items)
    return embeddings_on_gpu(embeddings, inputs.fingerprint, place.device, n_wanted)


def fit_members(
    members: list[tuple[Item, np.ndarray]], embeddings: Array, inputs: Inputs, place: Place
) -> list[FittedRun]:
    """Fit one reward model an item, of its annotated pairs, and try it on the pairs held out."""
    items = [item for item, _ in members]
    kind = reward_model_of(items[0].spec.loss)
    splits = [split_pairs(item.spec, pairs, inputs) for item, pairs in members]
    sizes = [(len(s.train), len(s.validation)) for s in splits]
    runs: dict[int, FittedRun] = {}
    for size in dict.fromkeys(sizes):  # several where labelled pairs are split by whole prompts
        at = [i for i, its_size in enumerate(sizes) if its_size == size]
        alike = [items[i] for i in at], embeddings, [splits[i] for i in at]
        runs.update(zip(at, kind.fit(*alike, inputs, place), strict=True))
    fitted = [runs[i] for i in range(len(items))]
    for run, its_split in zip(fitted, splits, strict=True):
        if run.error is None:
            _add_held_out_facts(run, embeddings, its_split, place)
            if run.item.spec.evaluation.diagnostics:
                pairs = its_split.train_pairs
                run.facts.update(kind.diagnose(run, embeddings, pairs, inputs, place))
    return fitted


def _add_held_out_facts(run: FittedRun, embeddings: Array, split: Split, place: Place) -> None:
    """Add how the run orders the pairs held out, and their margins, if it saw none in training."""
    if not len(split.validation_pairs):
        return
    x = embeddings[split.validation_pairs.reshape(-1)]
    rewards = predict.predict_rewards(predict.stack_models([run]), x, place).reshape(-1, 2)
    margins = rewards[:, 0] - rewards[:, 1]
    run.facts["order_consistency"] = float((0.5 + 0.5 * np.sign(margins)).mean())  # a tie is 1/2
    if run.item.spec.training.protocol == "pairs":  # the scripts train on most of them
        run.held_out_margins.append(margins)


def _ensemble(item: Item, members: list[FittedRun], x: Array, place: Place) -> FittedRun:
    """Make one run of members; each member's mean reward on x (rows, D) becomes its zero point."""
    facts: dict[str, Any] = {}
    for name in ("epochs", "order_consistency"):
        values = [run.facts[name] for run in members if run.facts.get(name) is not None]
        if values:
            mean = float(np.mean(values))
            facts[name] = round(mean) if name == "epochs" else mean
    counts: Counter[str] = Counter()
    for run in members:
        counts.update(json.loads(run.facts.get("objective_counts") or "{}"))
    facts["objective_counts"] = json.dumps(counts) if counts else None
    models = [model for run in members for model in run.models]
    for i, run in enumerate(members):
        if run.error is not None:
            return FittedRun(item, models, [], facts, f"member {i}: {run.error}")
    rewards = [predict.predict_rewards(predict.stack_models([r]), x, place) for r in members]
    centres = [float(predicted.mean(dtype=np.float64)) for predicted in rewards]
    return FittedRun(item, models, centres, facts, None)


def _refuse_nonfinite(embeddings: Array, rows: np.ndarray, inputs: Inputs) -> None:
    """Raise ValueError that names the first of the responses in `rows` that is not finite."""
    responses = np.unique(rows[rows >= 0])
    x = embeddings[responses]
    if isinstance(x, torch.Tensor):
        bad = torch.argwhere(~torch.isfinite(x).all(dim=1))[:1].flatten().tolist()
    else:
        bad = list(first_nonfinite(x[:, None]) or ())
    if not bad:
        return
    row = int(responses[bad[0]])
    if inputs.golden is None:
        raise ValueError(predict.nonfinite_pair_message(inputs.trained, row // 2, row % 2))
    raise ValueError(
        predict.nonfinite_message("train", *divmod(row, inputs.golden.train_responses))
    )
