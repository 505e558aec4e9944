"""The products of MLPs have the same bits in every thread that a run may use."""

import numpy as np
import pytest
import torch

from rmsweep import machine
from rmsweep.config.launchers import Place
from rmsweep.training.predict import block_threads
from rmsweep.training.reward_models import mlp_network

WIDTHS = (64, 1024, 512, 1)
ROWS = (16, 240, 960, 4096)  # a least block, held-out pairs, a batch, and a block of the test file


def products(rows, precision):
    """Return what a step computes with matrices: rewards, features, and every gradient."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(1, rows, WIDTHS[0])).astype(np.float32))
    weights = mlp_network.initial_parameters([rng], WIDTHS, "cpu")
    for tensor in weights:
        tensor.requires_grad_(True)
    rewards, features = mlp_network.forward(weights, x.to(mlp_network.DTYPES[precision]))
    gradients = torch.autograd.grad(torch.nn.functional.softplus(rewards).mean(), weights)
    names = [f"layer {i // 2} {('weight', 'bias')[i % 2]}" for i in range(len(weights))]
    named = dict(zip(names, gradients, strict=True))
    return {"rewards": rewards.detach(), "features": features.detach(), **named}


def parted(one, other):
    """Return the names of the products whose bits are not the same."""
    return [name for name, product in one.items() if not torch.equal(product, other[name])]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_products_on_one_thread_are_the_same_wherever_they_run(precision, rows):
    """Products on two threads may part from these, and are shown where they do: `pytest -rP`."""
    if precision == "bf16" and not machine.has_native_bf16("cpu"):
        rows = max(ROWS[0], rows // 16)  # emulated, it is slow
    before = torch.get_num_threads()
    with machine.threads(1):
        alone = products(rows, precision)
    with machine.threads(2):
        print(
            f"{precision}, {rows} rows, 1 and 2 threads: {parted(alone, products(rows, precision))}"
        )
        place = Place(None, "cpu", threads=1, at_once=3)
        with machine.threads(1), block_threads(place) as pool:
            tasks = [pool.submit(products, rows, precision) for _ in range(6)]
            assert [parted(alone, task.result()) for task in tasks] == [[]] * 6
            assert pool.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_threads_are_given_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="lost"), machine.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError("lost")
    assert torch.get_num_threads() == before
