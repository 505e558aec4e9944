"""From specs to fitted reward models: annotate, hold out, train."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rmsweep import annotation, diagnostics, pairing, protocols
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
    error: str | None  # why there is no valid model


def reward_scale(spec: RunSpec, cache: Cache) -> float:
    """What a margin is divided by before beta multiplies it."""
    scale = spec.dataset.reward_scale
    return float(cache.train_golden.std()) if scale == "std" else float(scale)


def annotated(spec: RunSpec, cache: Cache) -> tuple[np.ndarray, dict[str, float]]:
    """Annotated pairs, (quantity, 2) response indices, chosen first; and facts for the row."""
    golden = cache.train_golden
    pairs = pairing.pairs(
        golden, spec.selection, spec.pairing, spec.quantity, specs.stream(spec, "selection")
    )
    margin = np.subtract(*golden.reshape(-1)[pairs].T)
    probability = annotation.preference_probability(
        margin / reward_scale(spec, cache), spec.annotation.beta, spec.annotation.link
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
    embeddings = cache.train_embeddings().reshape(-1, cache.dim)
    pairs, facts = zip(*(annotated(item.spec, cache) for item in items), strict=True)
    splits = [split(item.spec, p) for item, p in zip(items, pairs, strict=True)]
    for part in splits:
        _refuse_nonfinite(embeddings, np.concatenate([part.train, part.validation]), cache)
    train = _fit_mlp if items[0].spec.loss.reward_model == "mlp" else _fit_trees
    fitted = train(items, embeddings, splits, place)
    for run, fact, its_split in zip(fitted, facts, splits, strict=True):
        held_out = its_split.validation_pairs
        if run.error is None and len(held_out):
            models, x = stack([run.model], run.item.spec), embeddings[held_out.reshape(-1)]
            rewards = predict(models, x, run.item.spec, place).reshape(-1, 2)
            run.facts["order_consistency"] = _agreement(rewards)
        if run.error is None and run.item.spec.evaluation.diagnostics:
            run.facts.update(_diagnostics(run, embeddings, its_split.train_pairs, place))
        run.facts.update(fact, fingerprint=cache.fingerprint, dim=cache.dim)
        run.facts["test_responses"] = cache.test_prompts * cache.test_responses
    return fitted


def _fit_mlp(
    items: list[Item], embeddings: np.ndarray, splits: list[protocols.Split], place: Place
) -> list[FittedRun]:
    """One MLP an item, trained together; embeddings: (responses, D)."""
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
    return [
        FittedRun(item, [p[i : i + 1] for p in fitted.parameters], {"epochs": int(n)}, error)
        for i, (item, n, error) in enumerate(
            zip(items, fitted.epochs, fitted.failures, strict=True)
        )
    ]


def _fit_trees(
    items: list[Item], embeddings: np.ndarray, splits: list[protocols.Split], place: Place
) -> list[FittedRun]:
    """One LightGBM model an item, one after the other; embeddings: (responses, D)."""
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
    return [FittedRun(item, model, {}, None) for item, model in zip(items, models, strict=True)]


def stack(models: list, spec: RunSpec) -> list:
    """Reward models of several runs as one argument of `predict`."""
    if spec.loss.reward_model == "trees":
        return models
    return [torch.cat(layer) for layer in zip(*models, strict=True)]


def predict(stacked: list, x: np.ndarray, spec: RunSpec, place: Place) -> np.ndarray:
    """Predicted rewards, (runs, rows), of embeddings x (rows, D); ValueError if not finite."""
    if spec.loss.reward_model == "trees":
        predicted = trees.predict(stacked, x.astype(np.float32), place.threads)
    else:
        on_device = torch.from_numpy(x).to(place.device, mlp.DTYPES[spec.precision])
        predicted = mlp.predict(stacked, on_device).cpu().numpy()
    if not np.isfinite(predicted).all():
        raise ValueError("predicted rewards hold NaN or inf: the fit diverged")
    return predicted


def _agreement(rewards: np.ndarray) -> float | None:
    """Share of annotated pairs, (pairs, 2) chosen first, ordered alike; a tie is 1/2."""
    difference = rewards[:, 0] - rewards[:, 1]
    return float((0.5 + 0.5 * np.sign(difference)).mean()) if len(rewards) else None


def _diagnostics(
    run: FittedRun, embeddings: np.ndarray, pairs: np.ndarray, place: Place
) -> dict[str, np.ndarray]:
    """Gradients by representation distance of a run's training pairs, (pairs, 2) chosen first.

    Trees have none, as they have no last layer; nor has a run with fewer pairs than deciles.
    """
    spec = run.item.spec
    if not isinstance(spec.loss.objective, dict) or len(pairs) < diagnostics.N_DECILES:
        return {}
    data = mlp.load(embeddings, [pairs], spec.precision, place.device)
    with torch.no_grad():
        batch = mlp.pair_batch(run.model, data)
    return diagnostics.by_distance(batch, resolve(spec.loss.objective, "loss.objective"))


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
