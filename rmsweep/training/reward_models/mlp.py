"""MLP reward models of a pack, trained together: every tensor has a leading `runs` dimension."""

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.adam import adam

from rmsweep.objectives.pair_batch import PairBatch

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Data:
    """Embedded rows of each run; slots: 2 for pairs, chosen first, 1 for single responses."""

    x: torch.Tensor  # (runs, rows, slots, D)
    is_chosen: torch.Tensor | None  # (runs, rows), of single responses
    margin: torch.Tensor | None = None  # (runs, rows), of pairs, where golden rewards are wanted

    def take(self, columns: torch.Tensor | None) -> "Data":
        """Some rows of each run: columns (runs, batch) on x's device, or None for all."""
        if columns is None:
            return self
        runs, rows, slots, dim = self.x.shape
        flat = columns + rows * torch.arange(runs, device=columns.device)[:, None]
        x = self.x.view(runs * rows, slots * dim).index_select(0, flat.reshape(-1))
        by_row = (self.is_chosen, self.margin)
        return Data(
            x.view(runs, -1, slots, dim), *(None if t is None else t.view(-1)[flat] for t in by_row)
        )

    def keep(self, runs: torch.Tensor) -> "Data":
        tensors = (self.is_chosen, self.margin)
        return Data(self.x[runs], *(None if t is None else t[runs] for t in tensors))


@dataclass(frozen=True)
class Fitted:
    """Reward models of a pack. parameters: weight (runs, in, out), bias (runs, 1, out) by layer."""

    parameters: list[torch.Tensor]  # fp32
    epochs: np.ndarray  # (runs,) epochs trained
    failures: list[str | None]  # (runs,) why a run has no valid model
    counts: list[dict[str, int]]  # (runs,) what the objective counted: n_... of its state
    curves: list[list[np.ndarray]]  # (runs,) of each epoch its mean training loss and, at its end,
    # validation loss


def load(
    embeddings: np.ndarray | torch.Tensor,
    rows: list[np.ndarray],
    precision: str,
    device: str,
    golden: np.ndarray | None = None,
) -> Data:
    """Gather each run's rows: (rows, 2) response indices, -1 for an absent half.

    embeddings: (responses, D) float16 or float32, an array, possibly a memory map, or a tensor on
    the device. golden: (responses,) in units of reward_scale, where the objective reads margins.
    """
    single = rows[0].min() < 0
    wanted = [r.max(axis=1, keepdims=True) if single else r for r in rows]
    x = torch.empty(
        (len(rows), *wanted[0].shape, embeddings.shape[1]), dtype=DTYPES[precision], device=device
    )
    for run, index in enumerate(wanted):
        x[run] = torch.as_tensor(embeddings[index]).to(device)  # there it gets its dtype
    chosen = torch.from_numpy(np.stack([r[:, 0] >= 0 for r in rows])).to(device) if single else None
    if golden is None or single:
        return Data(x, chosen)
    margins = np.stack([golden[r[:, 0]] - golden[r[:, 1]] for r in rows])
    return Data(x, chosen, torch.from_numpy(margins).to(device, torch.float32))


def bytes_of_a_run(
    widths: tuple[int, ...], n_train: int, n_held_out: int, n_batch: int, precision: str
) -> int:
    """Memory that training one run of a pack takes at most, about; n_*: responses.

    Its data, and what is largest of the rest: its data again, since the runs that are left are
    copied when others leave; of a batch the gathered embeddings, of each hidden layer output,
    gradient and mask, and the fp32 head's; the held-out rows' layers.
    """
    size, hidden = DTYPES[precision].itemsize, widths[1:-1]
    head = 12 * widths[-2]
    data = (n_train + n_held_out) * widths[0] * size
    batch = n_batch * ((widths[0] + 3 * sum(hidden)) * size + head)
    held_out = n_held_out * (sum(hidden) * size + head)
    weights = sum(a * b for a, b in itertools.pairwise(widths)) * (6 * 4 + size)
    return data + max(data, batch, held_out) + weights


def initial(
    rngs: list[np.random.Generator], widths: tuple[int, ...], device: str, threads: int = 1
) -> list[torch.Tensor]:
    """Weights and biases between `widths`, uniform in +-1/sqrt(fan in), one set a run."""
    sizes = list(itertools.pairwise(widths))
    shapes = [shape for fan_in, fan_out in sizes for shape in ((fan_in, fan_out), (1, fan_out))]
    bounds = [np.float32(1 / math.sqrt(fan_in)) for fan_in, _ in sizes for _ in range(2)]

    layers = [torch.empty((len(rngs), *shape)) for shape in shapes]

    def draw(run: int) -> None:
        for layer, bound in zip(layers, bounds, strict=True):
            weights = layer[
                run
            ].numpy()  # filled in place: arrays of a thread's own cost page faults
            rngs[run].random(out=weights, dtype=np.float32)
            weights *= 2
            weights -= 1
            weights *= bound

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(draw, range(len(rngs))))
    return [layer.to(device) for layer in layers]


def forward(parameters: list[torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted rewards (runs, rows) in fp32 and penultimate features (runs, rows, H) in x's dtype.

    The last layer is an fp32 product and sum: a bf16 matrix product would leave about 326 distinct
    rewards of 500, and its bits would depend on the number of runs.
    """
    h = x
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        h = torch.baddbmm(bias.to(x.dtype), h, weight.to(x.dtype)).relu_()
    weight, bias = parameters[-2:]
    return (h.float() * weight.transpose(1, 2)).sum(dim=-1) + bias[:, 0], h


def pair_batch(parameters: list[torch.Tensor], data: Data) -> PairBatch:
    runs, rows, slots, dim = data.x.shape
    rewards, h = forward(parameters, data.x.view(runs, rows * slots, dim))
    rewards, h = rewards.view(runs, rows, slots), h.view(runs, rows, slots, -1)
    if data.is_chosen is None:
        x = data.x
        return PairBatch(
            rewards[..., 0], rewards[..., 1], h[:, :, 0], h[:, :, 1], x[:, :, 0], x[:, :, 1],
            data.margin,
        )  # fmt: skip
    here, reward, h = data.is_chosen, rewards[..., 0], h[:, :, 0]
    return PairBatch(  # by masked_fill, since `where` would copy its scalar to a GPU at each step
        reward.masked_fill(~here, torch.inf),
        reward.masked_fill(here, -torch.inf),
        h.masked_fill(~here[..., None], 0),
        h.masked_fill(here[..., None], 0),
    )


class Pack:
    """The runs still in training: data, parameters, Adam's moments and the objective's state."""

    def __init__(self, train: Data, validation: Data, parameters: list[torch.Tensor]):
        self.train, self.validation, self.parameters = train, validation, parameters
        self.first, self.second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=p.device) for p in parameters]
        self.state: dict[str, torch.Tensor] = {}

    def step(
        self, columns: torch.Tensor | None, objective: Callable[..., Any], learning_rate: float
    ) -> torch.Tensor:
        """One Adam step on a batch; the loss of each run, (runs,)."""
        for p in self.parameters:
            p.requires_grad_(True)
        batch = pair_batch(self.parameters, self.train.take(columns))
        loss, self.state = objective(batch, self.state)
        loss = loss.mean(dim=1)
        gradients = list(torch.autograd.grad(loss.sum(), self.parameters))
        with torch.no_grad():
            adam(
                self.parameters, gradients, self.first, self.second, [], self.steps, fused=True,
                amsgrad=False, beta1=0.9, beta2=0.999, lr=learning_rate, weight_decay=0.0, eps=1e-8,
                maximize=False,
            )  # fmt: skip
        return loss.detach()

    @torch.no_grad()
    def validation_loss(self, objective: Callable[..., Any]) -> torch.Tensor:
        return objective(pair_batch(self.parameters, self.validation), {})[0].mean(dim=1)

    @torch.no_grad()
    def leave(self, kept: np.ndarray) -> None:
        """Go on with the kept runs (positions) only."""
        runs = torch.from_numpy(kept).to(self.train.x.device)
        self.train, self.validation = self.train.keep(runs), self.validation.keep(runs)
        self.parameters, self.first, self.second = (
            [t.detach()[runs] for t in tensors]
            for tensors in (self.parameters, self.first, self.second)
        )
        self.state = {name: tensor[runs] for name, tensor in self.state.items()}


def fit(
    pack: Pack,
    epochs: list[Iterator[list[np.ndarray | None]]],
    objective: Callable[..., Any],
    validation_objective: Callable[..., Any],
    *,
    learning_rate: float,
    max_epochs: int,
    patience: int | None,
) -> Fitted:
    """Train the pack's runs; epochs: for each run an iterator over its epochs' batches.

    A run stops when its validation loss is above each of the `patience` before it, and keeps its
    last weights; a run whose loss is not finite fails; the others go on (values of
    arXiv:2411.04991's code).
    """
    n_runs = len(epochs)
    final = [torch.empty_like(p) for p in pack.parameters]
    failures: list[str | None] = [None] * n_runs
    counts: list[dict[str, int]] = [{} for _ in range(n_runs)]
    curves: list[list[np.ndarray]] = [[] for _ in range(n_runs)]
    n_epochs, history = np.zeros(n_runs, int), []
    alive = np.arange(n_runs)
    coming = _draw(epochs, pack.train.x.device)
    for epoch in range(1, max_epochs + 1):
        losses = [pack.step(columns, objective, learning_rate) for columns in coming]
        total = torch.stack(losses).sum(dim=0)
        validation = pack.validation_loss(validation_objective)
        curve_points = torch.stack([validation + 0 * total, total / len(losses), validation])
        coming = _draw([epochs[run] for run in alive], total.device)  # while a GPU computes
        seen = curve_points.cpu().numpy()
        history.append(seen[0])
        for run, curve in zip(alive, seen[1:].T, strict=True):
            curves[run].append(curve)
        n_epochs[alive] = epoch
        failed = ~np.isfinite(history[-1])
        for run in alive[failed]:
            failures[run] = f"the loss is not finite in epoch {epoch}"
        stop = failed | _stops(history, patience) | (epoch == max_epochs)
        if stop.any():
            for kept, p in zip(final, pack.parameters, strict=True):
                kept[alive[stop]] = p.detach()[np.flatnonzero(stop)]
            for name in (n for n in pack.state if n.startswith("n_")):
                for i in np.flatnonzero(stop):
                    counts[alive[i]][name] = int(pack.state[name][i])
            pack.leave(np.flatnonzero(~stop))
            coming = [None if c is None else c[np.flatnonzero(~stop)] for c in coming]
            history = [losses[~stop] for losses in history]
            alive = alive[~stop]
        if not len(alive):
            break
    return Fitted(final, n_epochs, failures, counts, curves)


def _draw(
    epochs: list[Iterator[list[np.ndarray | None]]], device: torch.device
) -> list[torch.Tensor | None]:
    """The batches of each run's next epoch, (runs, batch) by batch, put on the device at once."""
    batches = list(zip(*(next(epoch) for epoch in epochs), strict=True))
    if batches[0][0] is None:
        return [None] * len(batches)
    columns = torch.from_numpy(np.concatenate([np.stack(of_runs) for of_runs in batches], axis=1))
    if device.type == "cuda":
        columns = columns.pin_memory()  # so that the copy does not wait for what the GPU computes
    sizes = [len(of_runs[0]) for of_runs in batches]
    return list(torch.split(columns.to(device, non_blocking=True), sizes, dim=1))


def _stops(history: list[np.ndarray], patience: int | None) -> np.ndarray:
    """Which runs' last validation loss is above each of the `patience` before it."""
    if patience is None or len(history) <= patience:
        return np.zeros(len(history[-1]), bool)
    return np.all([history[-1] > before for before in history[-1 - patience : -1]], axis=0)


@torch.no_grad()
def predict(parameters: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Predicted rewards (runs, rows), fp32, of x: (rows, D), or (runs, rows, D) for each its own.

    One run at a time on a CPU, where one fills the cores.
    """
    n_runs = len(parameters[0])
    x = x.expand(n_runs, *x.shape[-2:])
    chunk = 1 if x.device.type == "cpu" else n_runs
    return torch.cat(
        [forward([p[i : i + chunk] for p in parameters], x[i : i + chunk])[0] for i in range(0,
        n_runs, chunk)]
    )  # fmt: skip
