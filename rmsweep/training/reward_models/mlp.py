"""MLPs as reward models: the runs of a pack are trained together, on a CPU or a GPU."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rmsweep import machine
from rmsweep.annotation.splits import SCRIPT_BATCH, Split
from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.losses import reads_margin
from rmsweep.config.random_streams import stream
from rmsweep.config.reward_models import Mlp
from rmsweep.config.spec import Item, RunSpec
from rmsweep.config.targets import import_objective
from rmsweep.results import schema
from rmsweep.training.annotate import reward_scale
from rmsweep.training.reward_models import mlp_gradients as gradients
from rmsweep.training.reward_models import mlp_network as network
from rmsweep.training.reward_models import mlp_training as training
from rmsweep.training.reward_models.interface import Array, FittedRun, RewardModel

PACK_SHARE = 0.8  # of a GPU's free memory that a pack is planned to fill
FILE = "model.safetensors"


class Mlps(RewardModel):
    """The kind of MLPs. A model is its parameters by layer, with a leading dimension of 1."""

    def fit(
        self, items: list[Item], x: Array, splits: list[Split], inputs: Inputs, place: Place
    ) -> list[FittedRun]:
        spec = items[0].spec
        golden, widths = _golden(spec, inputs), _widths(spec, x.shape[1])
        rngs = [stream(item.spec, "weights", widths=widths) for item in items]

        def gather(rows: list[np.ndarray]) -> network.Data:
            return network.gather_rows(x, rows, spec.precision, place.device, golden)

        pack = training.Pack(  # it alone holds its data, dropped as runs leave
            gather([s.train for s in splits]),
            gather([s.validation for s in splits]),
            network.initial_parameters(rngs, widths, place.device, place.at_once),
            _norm(spec),
        )
        epochs = [s.epochs for s in splits]
        trained = training.train_pack(pack, epochs, *_objectives(spec), spec.training)
        return [_fitted_run(item, trained, i) for i, item in enumerate(items)]

    def stack(self, models: list[Any]) -> list[torch.Tensor]:
        return [torch.cat(layer) for layer in zip(*models, strict=True)]

    def predict(self, stacked: Any, x: Array, spec: RunSpec, place: Place) -> Array:
        on_device = torch.as_tensor(x).to(place.device, non_blocking=True)
        return network.predict_mlps(
            stacked, on_device.to(network.DTYPES[spec.precision]), _norm(spec)
        )

    def save(self, models: list[Any], spec: RunSpec, folder: Path) -> None:
        save_file(_named_tensors(models), folder / FILE)

    def load(self, folder: Path, spec: RunSpec, dim: int, place: Place) -> list[Any]:
        try:
            tensors = load_file(folder / FILE)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        models = [_parameters(tensors, i, _widths(spec, dim)) for i in range(spec.n_members)]
        return [[p.to(place.device) for p in model] for model in models]

    def n_together(self, spec: RunSpec, dim: int, place: Place) -> int:
        """Return how many fit in a GPU's free memory; one on a CPU, which it fills by itself."""
        if place.device == "cpu":
            return 1
        t, n_train = spec.training, 2 * (spec.quantity - spec.n_validation)
        n_held_out, n_batch = 2 * spec.n_validation, min(n_train, 2 * t.batch_pairs)
        if t.protocol == "rbt_scripts":  # each pair and its swapped copy are rows
            n_train, n_held_out = 2 * n_train, 2 * n_held_out
            n_batch = min(n_train, 2 * SCRIPT_BATCH)
        sizes = n_train, n_held_out, n_batch
        objective = spec.loss.objective
        distance = objective.get("distance") if isinstance(objective, dict) else None
        needed = network.bytes_of_a_run(
            _widths(spec, dim), *sizes, spec.precision, _norm(spec), distance
        )
        return max(1, int(PACK_SHARE * machine.free_bytes(place.device) / needed))

    def diagnose(
        self, run: FittedRun, embeddings: Array, pairs: np.ndarray, inputs: Inputs, place: Place
    ) -> dict[str, Any]:
        """Return gradients by representation distance, of runs with as many pairs as deciles."""
        spec = run.item.spec
        if len(pairs) < gradients.N_DECILES:
            return {}
        golden = _golden(spec, inputs)
        data = network.gather_rows(embeddings, [pairs], spec.precision, place.device, golden)
        with torch.no_grad():
            batch = network.pair_batch(run.models[0], data, _norm(spec))
        objective, _ = _objectives(spec)
        margin = None if inputs.golden is None else _margins(inputs.golden.train_golden, pairs)
        return gradients.gradients_by_distance(batch, objective, run.models[0], _norm(spec), margin)


REWARD_MODEL = Mlps()


def _objectives(spec: RunSpec) -> tuple[Any, Any]:
    """Return the function that is minimised and the one that early stopping reads."""
    loss = spec.loss
    assert isinstance(loss.objective, dict)
    minimised = import_objective(loss.objective, "loss.objective")
    if loss.validation_objective is None:
        return minimised, import_objective(loss.objective, "loss.objective")
    return minimised, import_objective(loss.validation_objective, "loss.validation_objective")


def _widths(spec: RunSpec, dim: int) -> tuple[int, ...]:
    """Return the number of values that each layer reads, and the 1 that the last one gives."""
    assert isinstance(spec.loss.options, Mlp)
    return (dim, *spec.loss.options.hidden, 1)


def _norm(spec: RunSpec) -> str | None:
    """Return how the features that the last layer reads are normalised, or None."""
    assert isinstance(spec.loss.options, Mlp)
    return spec.loss.options.norm


def _golden(spec: RunSpec, inputs: Inputs) -> np.ndarray | None:
    """Return golden rewards (responses,) in units of reward_scale, where the loss reads margins."""
    if not reads_margin(spec.loss):
        return None
    assert inputs.golden is not None, "checked with the spec"
    return inputs.golden.train_golden.reshape(-1) / reward_scale(spec, inputs.golden)


def _margins(golden: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return golden rewards (prompts, K) of the chosen minus the rejected responses: (pairs,)."""
    return golden.reshape(-1)[pairs[:, 0]] - golden.reshape(-1)[pairs[:, 1]]


def _fitted_run(item: Item, trained: training.TrainedPack, i: int) -> FittedRun:
    facts: dict[str, Any] = {"epochs": int(trained.epochs[i])}
    facts |= dict(zip(schema.CURVES, np.array(trained.curves[i]).T, strict=True))
    if trained.counts[i]:
        facts["objective_counts"] = json.dumps(trained.counts[i])
    model = [p[i : i + 1] for p in trained.parameters]
    return FittedRun(item, [model], [0.0], facts, trained.failures[i])


def _named_tensors(models: Sequence[list[torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Name the tensors: member.I.layer.J.weight (in, out), member.I.layer.J.bias (out,)."""
    tensors = {}
    for i, model in enumerate(models):
        for j, (weight, bias) in enumerate(zip(model[::2], model[1::2], strict=True)):
            layer = f"member.{i}.layer.{j}"
            tensors[f"{layer}.weight"] = weight.detach()[0].cpu().clone()
            tensors[f"{layer}.bias"] = bias.detach()[0].flatten().cpu().clone()
    return tensors


def _parameters(
    tensors: dict[str, torch.Tensor], member: int, widths: tuple[int, ...]
) -> list[torch.Tensor]:
    """Return the parameters of one member; ValueError where they are not of these widths."""
    parameters = []
    for j, shape in enumerate(itertools.pairwise(widths)):
        weight = tensors[f"member.{member}.layer.{j}.weight"]
        bias = tensors[f"member.{member}.layer.{j}.bias"]
        if tuple(weight.shape) != shape or tuple(bias.shape) != shape[1:]:
            raise ValueError(f"layer {j} must be {shape}, found {tuple(weight.shape)}")
        parameters += [weight[None].float(), bias[None, None].float()]
    return parameters
