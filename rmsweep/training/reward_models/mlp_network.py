"""The MLPs of a pack as tensors with a leading `runs` dimension: data and predictions."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import layer_norm

from rmsweep.objectives.pair_batch import PairBatch

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Data:
    """The embedded rows of each run; slots: 2 for pairs, chosen first, 1 for single responses."""

    x: torch.Tensor  # (runs, rows, slots, D)
    is_chosen: torch.Tensor | None  # (runs, rows), of single responses
    margin: torch.Tensor | None = None  # (runs, rows), of pairs, where golden rewards are wanted

    def take(self, columns: torch.Tensor | None) -> "Data":
        """Return some rows of each run: columns (runs, batch) on x's device, or None for all."""
        if columns is None:
            return self
        runs, rows, slots, dim = self.x.shape
        flat = columns + rows * torch.arange(runs, device=columns.device)[:, None]
        x = self.x.view(runs * rows, slots * dim).index_select(0, flat.reshape(-1))
        is_chosen = None if self.is_chosen is None else self.is_chosen.view(-1)[flat]
        margin = None if self.margin is None else self.margin.view(-1)[flat]
        return Data(x.view(runs, -1, slots, dim), is_chosen, margin)

    def keep(self, runs: torch.Tensor) -> "Data":
        """Return the data of some runs: positions on x's device."""
        is_chosen = None if self.is_chosen is None else self.is_chosen[runs]
        return Data(self.x[runs], is_chosen, None if self.margin is None else self.margin[runs])


def gather_rows(
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
    is_single = rows[0].min() < 0
    wanted = [r.max(axis=1, keepdims=True) if is_single else r for r in rows]
    shape = (len(rows), *wanted[0].shape, embeddings.shape[1])
    x = torch.empty(shape, dtype=DTYPES[precision], device=device)
    for run, index in enumerate(wanted):
        x[run] = torch.as_tensor(embeddings[index]).to(device)  # there it gets its dtype
    if is_single:
        return Data(x, torch.from_numpy(np.stack([r[:, 0] >= 0 for r in rows])).to(device))
    if golden is None:
        return Data(x, None)
    margins = np.stack([golden[r[:, 0]] - golden[r[:, 1]] for r in rows])
    return Data(x, None, torch.from_numpy(margins).to(device, torch.float32))


def bytes_of_a_run(
    widths: tuple[int, ...],
    n_train: int,
    n_held_out: int,
    n_batch: int,
    precision: str,
    norm: str | None = None,
    distance: str | None = None,
) -> int:
    """Estimate the most memory that training one run of a pack takes, in bytes; n_*: responses.

    Its data, and what is largest of the rest: its data again, since the runs that are left are
    copied when others leave; of a batch the gathered embeddings, of each hidden layer output,
    gradient and mask, and the fp32 head's; the held-out rows' layers. norm: as `forward` has it,
    whose copies of the features are fp32. distance: the objective's, where it has one, as
    objectives/normbt.py names it; that of embeddings has fp32 copies of these, mahalanobis several
    of the features, and their covariance.
    """
    size, hidden, features = DTYPES[precision].itemsize, widths[1:-1], widths[-2]
    of_distance = {"embedding": 6 * widths[0], "mahalanobis": 16 * features}.get(distance or "", 0)
    head = 12 * features * (1 if norm is None else 2) + of_distance
    covariance = 8 * features**2 if distance == "mahalanobis" else 0  # and its root
    data = (n_train + n_held_out) * widths[0] * size
    batch = n_batch * ((widths[0] + 3 * sum(hidden)) * size + head)
    held_out = n_held_out * (sum(hidden) * size + head)
    weights = sum(a * b for a, b in itertools.pairwise(widths)) * (6 * 4 + size)
    return data + max(data, batch + covariance, held_out + covariance) + weights


def initial_parameters(
    rngs: list[np.random.Generator], widths: tuple[int, ...], device: str, at_once: int = 1
) -> list[torch.Tensor]:
    """Draw weights and biases between `widths`, uniform in +-1/sqrt(fan in), one set a run."""
    sizes = list(itertools.pairwise(widths))
    shapes = [shape for fan_in, fan_out in sizes for shape in ((fan_in, fan_out), (1, fan_out))]
    bounds = [np.float32(1 / math.sqrt(fan_in)) for fan_in, _ in sizes for _ in range(2)]
    layers = [torch.empty((len(rngs), *shape)) for shape in shapes]

    def draw(run: int) -> None:
        for layer, bound in zip(layers, bounds, strict=True):
            weights = layer[run].numpy()  # in place: a thread's own arrays cost page faults
            rngs[run].random(out=weights, dtype=np.float32)
            weights *= 2
            weights -= 1
            weights *= bound

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(draw, range(len(rngs))))
    return [layer.to(device) for layer in layers]


def forward(
    parameters: list[torch.Tensor], x: torch.Tensor, norm: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted rewards (runs, rows), fp32, and penultimate features (runs, rows, H).

    The last layer is an fp32 product and sum: a bf16 matrix product would leave about 326 distinct
    rewards of 500, and its bits would depend on the number of runs. The features have x's dtype.
    norm: None, or "layer": each response's features have mean 0 and variance 1, without a gain and
    a bias of their own, since those of the last layer stand in for them (arXiv:1607.06450).
    """
    h = x
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        h = torch.baddbmm(bias.to(x.dtype), h, weight.to(x.dtype)).relu_()
    if norm is not None:
        exact = torch.promote_types(x.dtype, torch.float32)  # a double x stays double
        h = layer_norm(h.to(exact), h.shape[-1:]).to(x.dtype)
    weight, bias = parameters[-2:]
    return (h.float() * weight.transpose(1, 2)).sum(dim=-1) + bias[:, 0], h


def pair_batch(parameters: list[torch.Tensor], data: Data, norm: str | None = None) -> PairBatch:
    """Return what an objective sees of the data: predicted rewards and features of each pair."""
    runs, rows, slots, dim = data.x.shape
    rewards, h = forward(parameters, data.x.view(runs, rows * slots, dim), norm)
    rewards, h = rewards.view(runs, rows, slots), h.view(runs, rows, slots, -1)
    if data.is_chosen is None:
        return PairBatch(
            chosen=rewards[..., 0],
            rejected=rewards[..., 1],
            features_chosen=h[:, :, 0],
            features_rejected=h[:, :, 1],
            embeddings_chosen=data.x[:, :, 0],
            embeddings_rejected=data.x[:, :, 1],
            margin=data.margin,
        )
    here, reward, h = data.is_chosen, rewards[..., 0], h[:, :, 0]
    return PairBatch(  # by masked_fill, since `where` would copy its scalar to a GPU at each step
        reward.masked_fill(~here, torch.inf),
        reward.masked_fill(here, -torch.inf),
        h.masked_fill(~here[..., None], 0),
        h.masked_fill(here[..., None], 0),
    )


@torch.no_grad()
def predict_mlps(
    parameters: list[torch.Tensor], x: torch.Tensor, norm: str | None = None
) -> torch.Tensor:
    """Predict rewards (runs, rows), fp32, of x: (rows, D), or (runs, rows, D), each its own."""
    n_runs = len(parameters[0])
    x = x.expand(n_runs, *x.shape[-2:])
    size = 1 if x.device.type == "cpu" else n_runs
    chunks = [slice(first, first + size) for first in range(0, n_runs, size)]
    return torch.cat([forward([p[runs] for p in parameters], x[runs], norm)[0] for runs in chunks])
