"""The protocol `rbt_scripts` against a re-statement of the public scripts' training loop.

The loop below is ours, written after what DESIGN and docs/papers say of the scripts of
arXiv:2411.04991: plain torch, one run at a time, its own split, draws and initial weights. It gets
the rows that rmsweep annotates, so that nothing but the training differs.
"""

import math

import numpy as np
import pytest
import scipy
import torch
from helpers.tiny_runs import rows_of, spec_of
from torch.nn.functional import binary_cross_entropy_with_logits

from rmsweep.cache.inputs import open_inputs
from rmsweep.config.spec import Item
from rmsweep.training.annotate import annotate_pairs

SEEDS = range(8)
HIDDEN = (32, 16)
BATCH, EPOCHS, PATIENCE, HELD_OUT = 10_240, 30, 3, 0.2
DATA = {
    "train_prompts": 300, "train_responses": 10, "test_prompts": 150, "test_responses": 24,
    "dim": 16, "between_std": 1.0,
}  # fmt: skip
OVERRIDES = [f"dataset.synthetic.{name}={value}" for name, value in DATA.items()]
OVERRIDES += [f"loss.hidden=[{HIDDEN[0]},{HIDDEN[1]}]", "quantity=7000", "annotation.beta=3"]


def scripts_model(x, labels, seed):
    """Train as the scripts do: x (rows, 1 or 2, D), labels (rows,) of the first or of its side."""
    torch.manual_seed(seed)
    order = torch.randperm(len(x))
    n_held_out = math.ceil(HELD_OUT * len(x))
    held_out, train = order[:n_held_out], order[n_held_out:]
    widths = (x.shape[-1], *HIDDEN)
    layers = []
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN[-1], 1))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss(rows):
        rewards = model(x[rows])[..., 0]
        logit = rewards[:, 0] - rewards[:, 1] if x.shape[1] == 2 else rewards[:, 0]
        return binary_cross_entropy_with_logits(logit, labels[rows])

    history = []
    for _ in range(EPOCHS):
        for _ in range(math.ceil(len(train) / BATCH)):
            adam.zero_grad()
            loss(train[torch.randperm(len(train))[:BATCH]]).backward()
            adam.step()
        with torch.no_grad():
            history.append(loss(held_out).item())
        before = history[-1 - PATIENCE : -1]
        if len(before) == PATIENCE and all(history[-1] > earlier for earlier in before):
            break
    return model


def scripts_rows(pairs, x, loss):
    """Return the scripts' rows and labels of pairs (quantity, 2), chosen first."""
    if loss == "bt_mlp":  # each pair, and its swapped copy
        both = np.concatenate([pairs, pairs[:, ::-1]])
        is_first = np.repeat([1.0, 0.0], len(pairs))
        return torch.from_numpy(x[both]), torch.from_numpy(is_first).float()
    responses, is_chosen = pairs.T.reshape(-1), np.repeat([1.0, 0.0], len(pairs))
    return torch.from_numpy(x[responses][:, None]), torch.from_numpy(is_chosen).float()


def improvement(model, cache):
    """Return the mean golden reward of the best of all responses, less that of any."""
    x = torch.from_numpy(cache.read_test(0, cache.test_prompts).astype(np.float32))
    with torch.no_grad():
        best = model(x)[..., 0].argmax(dim=1).numpy()
    golden = cache.test_golden
    return (np.take_along_axis(golden, best[:, None], axis=1)[:, 0] - golden.mean(axis=1)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bt_mlp", "clf_mlp"])
def test_the_scripts_protocol_trains_as_the_scripts_do(loss, tmp_path):
    """The mean difference over 8 seeds is within its own 99 % interval of 0, which is narrow."""
    protocol = ["training.protocol=rbt_scripts", f"loss={loss}"]
    specs = [spec_of(*OVERRIDES, *protocol, f"seed={seed}") for seed in SEEDS]
    inputs = open_inputs(specs[0], None)
    items = [Item(spec.key(inputs.fingerprint), spec) for spec in specs]
    rows = rows_of(tmp_path, items)
    x = np.asarray(inputs.train_embeddings(), np.float32).reshape(-1, inputs.dim)
    ours, theirs = [], []
    for seed, spec in zip(SEEDS, specs, strict=True):
        pairs, _ = annotate_pairs(spec, inputs)
        model = scripts_model(*scripts_rows(pairs, x, loss), seed)
        theirs.append(improvement(model, inputs.scored))
        ours.append(rows.loc[spec.spec_id, "improvement"])
    differences = np.array(ours) - np.array(theirs)
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    half_width = error * scipy.stats.t.ppf(0.995, len(differences) - 1)
    assert np.mean(ours) > 1, "there is something to learn"
    assert half_width < 0.25 * np.mean(ours), "else the comparison would say nothing"
    assert abs(differences.mean()) < half_width, (differences, half_width)
