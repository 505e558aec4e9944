"""Training of a pack's MLPs together: every tensor has a leading `runs` dimension."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.optim.adam import adam

from rmsweep.config.spec import Training
from rmsweep.training.reward_models.mlp_network import Data, pair_batch

# What torch's Adam asks for beside the learning rate and the weight decay:
ADAM: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
ADAM |= {"amsgrad": False, "maximize": False, "fused": True}


class Pack:
    """The runs still in training: data, parameters, Adam's moments and the objective's state."""

    def __init__(
        self,
        train: Data,
        validation: Data,
        parameters: list[torch.Tensor],
        norm: str | None = None,  # of the penultimate features: mlp_network.forward
    ):
        self.train, self.validation, self.parameters = train, validation, parameters
        self.norm = norm
        self.first, self.second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=p.device) for p in parameters]
        self.state: dict[str, torch.Tensor] = {}

    def step(
        self, columns: torch.Tensor | None, objective: Callable[..., Any], settings: Training
    ) -> torch.Tensor:
        """Take one Adam step on a batch; return the loss of each run, (runs,), without decay."""
        for p in self.parameters:
            p.requires_grad_(True)
        batch = pair_batch(self.parameters, self.train.take(columns), self.norm)
        loss, self.state = objective(batch, self.state)
        loss = loss.mean(dim=1)
        gradients = list(torch.autograd.grad(loss.sum(), self.parameters))
        with torch.no_grad():
            decay = settings.weight_decay or 0.0
            options = ADAM | {"lr": settings.learning_rate, "weight_decay": decay}
            moments = self.first, self.second
            adam(self.parameters, gradients, *moments, [], self.steps, **options)
        return loss.detach()

    @torch.no_grad()
    def validation_loss(self, objective: Callable[..., Any]) -> torch.Tensor:
        """Return each run's mean loss on its held-out rows, (runs,)."""
        batch = pair_batch(self.parameters, self.validation, self.norm)
        return objective(batch, {})[0].mean(dim=1)

    @torch.no_grad()
    def keep_runs(self, kept: np.ndarray) -> None:
        """Go on with the kept runs (positions) only."""
        runs = torch.from_numpy(kept).to(self.train.x.device)
        self.train, self.validation = self.train.keep(runs), self.validation.keep(runs)
        self.parameters, self.first, self.second = (
            [t.detach()[runs] for t in tensors]
            for tensors in (self.parameters, self.first, self.second)
        )
        self.state = {name: tensor[runs] for name, tensor in self.state.items()}


class TrainedPack:
    """What training made of each run of a pack, filled in as the runs stop."""

    def __init__(self, n: int, parameters: list[torch.Tensor]):
        # fp32; weight (runs, in, out), bias (runs, 1, out) by layer
        self.parameters = [torch.empty_like(p) for p in parameters]
        self.epochs = np.zeros(n, int)  # that were trained
        self.failures: list[str | None] = [None] * n  # why a run has no valid model
        self.counts: list[dict[str, int]] = [{} for _ in range(n)]  # n_... of the objective's state
        # of each epoch the mean training loss and, at its end, the validation loss
        self.curves: list[list[np.ndarray]] = [[] for _ in range(n)]

    def end_epoch(self, epoch: int, alive: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Record an epoch of the runs `alive` (positions); tell which failed: (alive runs,).

        points: (3, alive runs) a value that is finite only where all of the epoch's losses are,
        mean training loss, validation loss.
        """
        for run, curve_point in zip(alive, points[1:].T, strict=True):
            self.curves[run].append(curve_point)
        self.epochs[alive] = epoch
        failed = ~np.isfinite(points[0])
        for run in alive[failed]:
            self.failures[run] = f"the loss is not finite in epoch {epoch}"
        return failed

    def keep(self, pack: Pack, alive: np.ndarray, stopped: np.ndarray) -> None:
        """Keep parameters and counts of runs that stop, by their positions in the pack."""
        for kept, p in zip(self.parameters, pack.parameters, strict=True):
            kept[alive[stopped]] = p.detach()[stopped]
        for name in (n for n in pack.state if n.startswith("n_")):
            for i in stopped:
                self.counts[alive[i]][name] = int(pack.state[name][i])


def train_pack(
    pack: Pack,
    epochs: list[Iterator[list[np.ndarray | None]]],
    objective: Callable[..., Any],
    validation_objective: Callable[..., Any],
    settings: Training,
) -> TrainedPack:
    """Train the pack's runs; epochs: for each run an iterator over its epochs' batches.

    A run stops when its validation loss is above each of the `patience` before it, and keeps its
    last weights, as in arXiv:2411.04991's code. A run whose loss is not finite fails alone.
    """
    trained = TrainedPack(len(epochs), pack.parameters)
    alive, history = np.arange(len(epochs)), []
    coming = _draw(epochs, pack.train.x.device)
    for epoch in range(1, settings.max_epochs + 1):
        losses = [pack.step(columns, objective, settings) for columns in coming]
        total = torch.stack(losses).sum(dim=0)
        validation = pack.validation_loss(validation_objective)
        on_device = torch.stack([validation + 0 * total, total / len(losses), validation])
        coming = _draw([epochs[run] for run in alive], total.device)  # while a GPU computes
        points = on_device.cpu().numpy()
        history.append(points[0])
        failed = trained.end_epoch(epoch, alive, points)
        stops = failed | stops_early(history, settings.patience) | (epoch == settings.max_epochs)
        if stops.any():
            trained.keep(pack, alive, np.flatnonzero(stops))
            left = np.flatnonzero(~stops)
            pack.keep_runs(left)
            coming = [None if columns is None else columns[left] for columns in coming]
            history = [losses_before[left] for losses_before in history]
            alive = alive[left]
        if not len(alive):
            break
    return trained


def _draw(
    epochs: list[Iterator[list[np.ndarray | None]]], device: torch.device
) -> list[torch.Tensor | None]:
    """Draw the batches of each run's next epoch, (runs, batch) by batch, on the device at once."""
    batches = list(zip(*(next(epoch) for epoch in epochs), strict=True))
    if batches[0][0] is None:
        return [None] * len(batches)
    columns = torch.from_numpy(np.concatenate([np.stack(of_runs) for of_runs in batches], axis=1))
    if device.type == "cuda":
        columns = columns.pin_memory()  # so that the copy does not wait for what the GPU computes
    sizes = [len(of_runs[0]) for of_runs in batches]
    return list(torch.split(columns.to(device, non_blocking=True), sizes, dim=1))


def stops_early(history: list[np.ndarray], patience: int | None) -> np.ndarray:
    """Tell which runs' last validation loss is above each of the `patience` before it: (runs,)."""
    if patience is None or len(history) <= patience:
        return np.zeros(len(history[-1]), bool)
    return np.all([history[-1] > before for before in history[-1 - patience : -1]], axis=0)
