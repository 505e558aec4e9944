"""From specs to fitted reward models: annotate, hold out, train."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from rmsweep import machine
from rmsweep.annotation import splits as protocols
from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.losses import Classifier, Mlp, Trees, reads_margin
from rmsweep.config.random_streams import stream
from rmsweep.config.spec import Item, RunSpec
from rmsweep.config.targets import import_objective
from rmsweep.results import schema
from rmsweep.training import gradients
from rmsweep.training.annotate import annotated, reward_scale, split
from rmsweep.training.gpu_embeddings import resident
from rmsweep.training.predict import Array, FittedRun, nonfinite, nonfinite_pair, predict, stack
from rmsweep.training.reward_models import (
    mlp,  # the others where they are used: a fifth of the start-up
)

MEMORY_SHARE = 0.8  # of a GPU's free memory that a pack is planned to fill
CENTRE_PAIRS = 2048  # annotated pairs whose mean predicted reward is a member's zero point


def fit(items: list[Item], inputs: Inputs, place: Place) -> list[FittedRun]:
    """Reward models of specs that share cache, loss, quantity and training, trained together.

    An ensemble's members train as the runs that they are, on the same annotations. On a CPU one
    model is fitted at a time, since one fills it and its bits then do not depend on the others; on
    a GPU as many as its free memory holds.
    """
    embeddings = _embeddings(items, inputs, place)
    with ThreadPoolExecutor(place.threads) as pool:
        found = list(pool.map(lambda item: annotated(item.spec, inputs), items))
    for pairs, _ in found:
        _refuse_nonfinite(embeddings, pairs, inputs)
    members = [
        (Item(item.key, spec), pairs)
        for item, (pairs, _) in zip(items, found, strict=True)
        for spec in item.spec.members
    ]
    at_once = _at_once(items[0].spec, inputs.dim, place)
    chunks = [members[i : i + at_once] for i in range(0, len(members), at_once)]
    fitted = (run for chunk in chunks for run in _fit_members(chunk, embeddings, inputs, place))
    runs = []
    for item, (pairs, facts) in zip(items, found, strict=True):
        own = [next(fitted) for _ in item.spec.members]
        run = own[0]
        if item.spec.loss.ensemble is not None:
            run = _ensemble(item, own, embeddings[pairs[:CENTRE_PAIRS].reshape(-1)], place)
        run.facts.update(facts, fingerprint=inputs.fingerprint, dim=inputs.dim)
        run.facts["test_responses"] = inputs.n_test
        runs.append(run)
    return runs


def _embeddings(items: list[Item], inputs: Inputs, place: Place) -> Array:
    """Training embeddings (responses, D); those of MLPs on a GPU, where that is worth a copy."""
    embeddings = inputs.train_embeddings().reshape(-1, inputs.dim)
    if place.device == "cpu" or items[0].spec.loss.reward_model != "mlp":
        return embeddings
    n_wanted = sum(2 * item.spec.quantity for item in items)
    return resident(embeddings, inputs.fingerprint, place.device, n_wanted)


def _at_once(spec: RunSpec, dim: int, place: Place) -> int:
    """Reward models to train together."""
    if place.device == "cpu" or not isinstance(spec.loss.options, Mlp):
        return 1
    widths = (dim, *spec.loss.options.hidden, 1)
    t, n_train = spec.training, 2 * (spec.quantity - spec.n_validation)
    n_held_out, n_batch = 2 * spec.n_validation, min(n_train, 2 * t.batch_pairs)
    if t.protocol == "rbt_scripts":  # each pair and its swapped copy are rows
        n_train, n_held_out = 2 * n_train, 2 * n_held_out
        n_batch = min(n_train, 2 * protocols.SCRIPT_BATCH)
    needed = mlp.bytes_of_a_run(widths, n_train, n_held_out, n_batch, spec.precision)
    return max(1, int(MEMORY_SHARE * machine.free_bytes(place.device) / needed))


def _fit_members(
    members: list[tuple[Item, np.ndarray]], embeddings: Array, inputs: Inputs, place: Place
) -> list[FittedRun]:
    """One reward model an item, of its annotated pairs."""
    items = [item for item, _ in members]
    splits = [split(item.spec, pairs, inputs) for item, pairs in members]
    sizes = [(len(s.train), len(s.validation)) for s in splits]
    found: dict[int, FittedRun] = {}
    for size in dict.fromkeys(sizes):  # several where labelled pairs are split by whole prompts
        at = [i for i, its_size in enumerate(sizes) if its_size == size]
        some_items, some_splits = [items[i] for i in at], [splits[i] for i in at]
        fit_these = FITS[items[0].spec.loss.reward_model]
        runs = fit_these(some_items, embeddings, some_splits, inputs, place)
        found.update(zip(at, runs, strict=True))
    fitted = [found[i] for i in range(len(items))]
    for run, its_split in zip(fitted, splits, strict=True):
        held_out = its_split.validation_pairs
        if run.error is None and len(held_out):
            x = embeddings[held_out.reshape(-1)]
            rewards = predict(stack([run]), x, run.item.spec, place).reshape(-1, 2)
            run.facts["order_consistency"] = _agreement(rewards)
            if run.item.spec.training.protocol == "pairs":  # the scripts train on most of them
                run.held_out_margins.append(rewards[:, 0] - rewards[:, 1])
        if run.error is None and run.item.spec.evaluation.diagnostics:
            run.facts.update(_diagnostics(run, embeddings, its_split.train_pairs, inputs, place))
    return fitted


def _ensemble(item: Item, members: list[FittedRun], x: Array, place: Place) -> FittedRun:
    """One run of its members: means of what they say of training, sums of what they counted.

    x: (rows, D) embeddings on which each member's mean predicted reward becomes its zero point.
    """
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
    rewards = (predict(stack([run]), x, run.item.spec, place) for run in members)
    centres = [float(predicted.mean(dtype=np.float64)) for predicted in rewards]
    return FittedRun(item, models, centres, facts, None)


def _fit_mlp(
    items: list[Item],
    embeddings: Array,
    splits: list[protocols.Split],
    inputs: Inputs,
    place: Place,
) -> list[FittedRun]:
    """One MLP an item, trained together; embeddings: (responses, D)."""
    spec = items[0].spec
    assert isinstance(spec.loss.objective, dict) and isinstance(spec.loss.options, Mlp)
    objective = import_objective(spec.loss.objective, "loss.objective")
    validation = spec.loss.validation_objective
    golden = _golden(spec, inputs)
    widths = (embeddings.shape[1], *spec.loss.options.hidden, 1)
    rngs = [stream(item.spec, "weights", widths=widths) for item in items]

    def load(rows: list[np.ndarray]) -> mlp.Data:
        return mlp.load(embeddings, rows, spec.precision, place.device, golden)

    fitted = mlp.fit(  # the pack alone holds its data, which it drops as runs leave
        mlp.Pack(
            load([s.train for s in splits]),
            load([s.validation for s in splits]),
            mlp.initial(rngs, widths, place.device, place.threads),
        ),
        [s.epochs for s in splits],
        objective,
        objective
        if validation is None
        else import_objective(validation, "loss.validation_objective"),
        learning_rate=spec.training.learning_rate,
        max_epochs=spec.training.max_epochs,
        patience=spec.training.patience,
    )
    runs = []
    for i, item in enumerate(items):
        facts: dict[str, Any] = {"epochs": int(fitted.epochs[i])}
        facts |= dict(zip(schema.CURVES, np.array(fitted.curves[i]).T, strict=True))
        if fitted.counts[i]:
            facts["objective_counts"] = json.dumps(fitted.counts[i])
        model = [p[i : i + 1] for p in fitted.parameters]
        runs.append(FittedRun(item, [model], [0.0], facts, fitted.failures[i]))
    return runs


def _golden(spec: RunSpec, inputs: Inputs) -> np.ndarray | None:
    """Golden rewards (responses,) in units of reward_scale, where the loss reads margins."""
    if not reads_margin(spec.loss):
        return None
    assert inputs.golden is not None, "checked with the spec"
    return inputs.golden.train_golden.reshape(-1) / reward_scale(spec, inputs.golden)


def _fit_trees(
    items: list[Item],
    embeddings: np.ndarray,
    splits: list[protocols.Split],
    inputs: Inputs,
    place: Place,
) -> list[FittedRun]:
    """One LightGBM model an item, one after the other; embeddings: (responses, D)."""
    from rmsweep.training.reward_models import trees

    loss = items[0].spec.loss
    assert isinstance(loss.objective, str) and isinstance(loss.options, Trees)
    bins = None
    if loss.options.bins == "cache":
        bins = trees.binned(embeddings, inputs.fingerprint, place.threads)
    fitted = []
    for item, run in zip(items, splits, strict=True):
        model = trees.fit(
            embeddings,
            run.train,
            objective=loss.objective,
            rounds=loss.options.rounds,
            seed=item.spec.seed,
            threads=place.threads,
            bins=bins,
        )
        fitted.append(FittedRun(item, [model], [0.0], {}, None))
    return fitted


def _fit_classifiers(
    items: list[Item],
    embeddings: np.ndarray,
    splits: list[protocols.Split],
    inputs: Inputs,
    place: Place,
) -> list[FittedRun]:
    """One classifier an item, one after the other; embeddings: (responses, D)."""
    from rmsweep.training.reward_models import classifiers

    options = items[0].spec.loss.options
    assert isinstance(options, Classifier)
    fitted = []
    for item, run in zip(items, splits, strict=True):
        model = classifiers.fit(
            embeddings, run.train, estimator=options.estimator, seed=item.spec.seed
        )
        fitted.append(FittedRun(item, [model], [0.0], {}, None))
    return fitted


FITS: dict[str, Callable[..., list[FittedRun]]] = {
    "mlp": _fit_mlp,
    "trees": _fit_trees,
    "classifier": _fit_classifiers,
}


def _agreement(rewards: np.ndarray) -> float | None:
    """Share of annotated pairs, (pairs, 2) chosen first, ordered alike; a tie is 1/2."""
    difference = rewards[:, 0] - rewards[:, 1]
    return float((0.5 + 0.5 * np.sign(difference)).mean()) if len(rewards) else None


def _diagnostics(
    run: FittedRun, embeddings: Array, pairs: np.ndarray, inputs: Inputs, place: Place
) -> dict[str, np.ndarray]:
    """Gradients by representation distance of a run's training pairs, (pairs, 2) chosen first.

    Only MLPs have a last layer, and only runs with as many pairs as deciles all of these.
    """
    spec = run.item.spec
    if not isinstance(spec.loss.objective, dict) or len(pairs) < gradients.N_DECILES:
        return {}
    golden = _golden(spec, inputs)
    data = mlp.load(embeddings, [pairs], spec.precision, place.device, golden)
    with torch.no_grad():
        batch = mlp.pair_batch(run.models[0], data)
    return gradients.by_distance(batch, import_objective(spec.loss.objective, "loss.objective"))


def _refuse_nonfinite(embeddings: Array, rows: np.ndarray, inputs: Inputs) -> None:
    responses = np.unique(rows[rows >= 0])
    x = embeddings[responses]
    if isinstance(x, torch.Tensor):
        is_bad = ~torch.isfinite(x).all(dim=1).cpu().numpy()
        bad = None if not is_bad.any() else int(is_bad.argmax())
    else:
        found = first_nonfinite(x[:, None])
        bad = None if found is None else found[0]
    if bad is None:
        return
    row = int(responses[bad])
    if inputs.golden is None:
        raise ValueError(nonfinite_pair(inputs.trained, row // 2, row % 2))
    raise ValueError(nonfinite("train", *divmod(row, inputs.golden.train_responses)))
