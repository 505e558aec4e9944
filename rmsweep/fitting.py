"""From specs to fitted reward models: annotate, hold out, train."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rmsweep import annotation, pairing, protocols
from rmsweep import spec as specs
from rmsweep.cache.checks import first_nonfinite
from rmsweep.cache.layout import Cache
from rmsweep.machine import Place
from rmsweep.objectives.resolve import resolve
from rmsweep.reward_models import mlp, trees
from rmsweep.spec import Item, Mlp, RunSpec, Trees


@dataclass(frozen=True)
class FittedRun:
    item: Item
    model: Any  # MLP parameters with a leading dimension of 1, or a LightGBM booster
    facts: dict[str, Any]  # what the row says of annotation and training
    fit_s: float


def annotated(spec: RunSpec, cache: Cache) -> tuple[np.ndarray, dict[str, float]]:
    """Annotated pairs, (quantity, 2) response indices, chosen first; and facts for the row."""
    golden = cache.train_golden
    pairs = pairing.pairs(
        golden, spec.selection, spec.pairing, spec.quantity, specs.stream(spec, "selection")
    )
    scale = golden.std() if spec.dataset.reward_scale == "std" else spec.dataset.reward_scale
    margin = np.subtract(*golden.reshape(-1)[pairs].T)
    probability = annotation.preference_probability(
        margin / scale, spec.annotation.beta, spec.annotation.link
    )
    uniforms = specs.stream(spec, "annotator").random(spec.quantity)
    first = annotation.prefers_first(probability, uniforms)
    facts = {
        "annotation_error": annotation.error_rate(margin, first),
        "mean_margin": float(np.abs(margin).mean()),
    }
    return np.where(first[:, None], pairs, pairs[:, ::-1]), facts


def split(spec: RunSpec, pairs: np.ndarray) -> protocols.Split:
    rngs = specs.stream(spec, "validation split"), specs.stream(spec, "batches")
    if spec.training.protocol == "pairs":
        return protocols.by_pairs(pairs, spec.n_validation, spec.training.batch_pairs, *rngs)
    return protocols.rbt_scripts(pairs, spec.loss.rows, spec.training.validation_share, *rngs)


def fit(items: list[Item], cache: Cache, place: Place) -> list[FittedRun]:
    """Reward models of specs that share cache, loss, quantity and training, trained together."""
    started, first = time.perf_counter(), items[0].spec
    embeddings = cache.train_embeddings().reshape(-1, cache.dim)
    pairs, facts = zip(*(annotated(item.spec, cache) for item in items), strict=True)
    splits = [split(item.spec, p) for item, p in zip(items, pairs, strict=True)]
    for run in splits:
        _refuse_nonfinite(embeddings, np.concatenate([run.train, run.validation]), cache)
    train = _fit_mlp if first.loss.reward_model == "mlp" else _fit_trees
    models, epochs = train(items, embeddings, splits, place)
    share = (time.perf_counter() - started) / len(items)
    fitted = []
    for item, model, run, fact, n in zip(items, models, splits, facts, epochs, strict=True):
        held_out = embeddings[run.validation_pairs.reshape(-1)]
        rewards = predict([model], held_out, item.spec, place) if len(held_out) else held_out
        agreement = _agreement(rewards.reshape(-1, 2))
        fitted.append(
            FittedRun(item, model, fact | {"order_consistency": agreement, "epochs": n}, share)
        )
    return fitted


def _fit_mlp(items: list[Item], embeddings: np.ndarray, splits: list, place: Place):
    spec = items[0].spec
    assert isinstance(spec.loss.objective, dict) and isinstance(spec.loss.options, Mlp)
    objective = resolve(spec.loss.objective, "loss.objective")
    validation = spec.loss.validation_objective
    train, held_out = (
        mlp.load(embeddings, rows, spec.precision, place.device)
        for rows in ([s.train for s in splits], [s.validation for s in splits])
    )
    widths = (embeddings.shape[1], *spec.loss.options.hidden, 1)
    rngs = [specs.stream(item.spec, "weights", widths=widths) for item in items]
    fitted = mlp.fit(
        mlp.Pack(train, held_out, mlp.initial(rngs, widths, place.device)),
        [s.epochs for s in splits],
        objective,
        objective if validation is None else resolve(validation, "loss.validation_objective"),
        learning_rate=spec.training.learning_rate,
        max_epochs=spec.training.max_epochs,
        patience=spec.training.patience,
    )
    for failure in filter(None, fitted.failures):
        raise FloatingPointError(failure)
    models = [[p[i : i + 1] for p in fitted.parameters] for i in range(len(items))]
    return models, [int(n) for n in fitted.epochs]


def _fit_trees(items: list[Item], embeddings: np.ndarray, splits: list, place: Place):
    loss = items[0].spec.loss
    assert isinstance(loss.objective, str) and isinstance(loss.options, Trees)
    models = [
        trees.fit(
            embeddings,
            run.train,
            objective=loss.objective,
            rounds=loss.options.rounds,
            seed=item.spec.seed,
            threads=place.threads,
        )
        for item, run in zip(items, splits, strict=True)
    ]
    return models, [None] * len(items)


def predict(models: list, x: np.ndarray, spec: RunSpec, place: Place) -> np.ndarray:
    """Predicted rewards, (runs, rows), of embeddings x (rows, D)."""
    if spec.loss.reward_model == "trees":
        return trees.predict(models, x.astype(np.float32), place.threads)
    parameters = [torch.cat(layer) for layer in zip(*models, strict=True)]
    on_device = torch.from_numpy(x).to(place.device, mlp.DTYPES[spec.precision])
    return mlp.predict(parameters, on_device).cpu().numpy()


def _agreement(rewards: np.ndarray) -> float | None:
    """Share of annotated pairs, (pairs, 2) chosen first, ordered alike; a tie is 1/2."""
    difference = rewards[:, 0] - rewards[:, 1]
    return float((0.5 + 0.5 * np.sign(difference)).mean()) if len(rewards) else None


def _refuse_nonfinite(embeddings: np.ndarray, rows: np.ndarray, cache: Cache) -> None:
    responses = np.unique(rows[rows >= 0])
    bad = first_nonfinite(embeddings[responses][:, None])
    if bad is not None:
        prompt, response = divmod(int(responses[bad[0]]), cache.train_responses)
        raise ValueError(nonfinite("train", prompt, response))


def nonfinite(name: str, prompt: int, response: int) -> str:
    return (
        f"{name} embeddings hold NaN or inf at prompt {prompt}, response {response} (from 0); "
        "make that file anew"
    )
