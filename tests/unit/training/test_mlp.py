"""The MLP engine: against plain torch, alone as in a pack, early stopping, failures."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch

from rmsweep.config.spec import Training
from rmsweep.objectives.bradley_terry import bradley_terry
from rmsweep.objectives.classification import classification
from rmsweep.objectives.normbt import normbt
from rmsweep.training.reward_models import mlp_network, mlp_training

D, N_RESPONSES, N_TRAIN, N_VALIDATION = 48, 400, 150, 40
HIDDEN = (64, 32)
EMBEDDINGS = np.random.default_rng(0).normal(size=(N_RESPONSES, D)).astype(np.float16)


def weighted(batch, state, distance="features"):
    """NormBT, whose state the engine must keep apart for each run."""
    return normbt(
        batch, state, base=bradley_terry, decay=0.9, epsilon=1e-8, scale="ema", power=1.0,
        clip=float("inf"), distance=distance,
    )  # fmt: skip


def pairs_of(seed, n):
    """Preferences along one direction of the embeddings, noisier with each seed."""
    rng = np.random.default_rng(seed)
    first = rng.integers(N_RESPONSES, size=n)
    pairs = np.stack([first, (first + rng.integers(1, N_RESPONSES, size=n)) % N_RESPONSES], 1)
    golden = EMBEDDINGS[pairs, 0].astype(float) + 0.7 * seed * rng.normal(size=(n, 2))
    return np.where(golden[:, :1] > golden[:, 1:], pairs, pairs[:, ::-1])


def responses_of(seed, n):
    """One response of each pair, -1 for its other half."""
    is_chosen = np.random.default_rng(seed).random(n) < 0.5
    return np.where(np.stack([is_chosen, ~is_chosen], 1), pairs_of(seed, n), -1)


def batches_of(seed, size):
    rng = np.random.default_rng(seed)
    while True:
        rows = rng.permutation(N_TRAIN)
        yield [rows[i : i + size] for i in range(0, N_TRAIN, size)]


def pack_of(seeds, rows_of=pairs_of, hidden=HIDDEN, precision="fp32", norm=None):
    rows = [rows_of(seed, N_TRAIN + N_VALIDATION) for seed in seeds]
    train = mlp_network.gather_rows(EMBEDDINGS, [r[:N_TRAIN] for r in rows], precision, "cpu")
    held_out = mlp_network.gather_rows(EMBEDDINGS, [r[N_TRAIN:] for r in rows], precision, "cpu")
    rngs = [np.random.default_rng(seed) for seed in seeds]
    return mlp_training.Pack(
        train, held_out, mlp_network.initial_parameters(rngs, (D, *hidden, 1), "cpu"), norm
    )


def fit(pack, seeds, objective=bradley_terry, batch=64, **options):
    """Train; options: of `settings`."""
    epochs = [batches_of(s, batch) for s in seeds]
    return mlp_training.train_pack(pack, epochs, objective, objective, settings(**options))


def settings(learning_rate=1e-3, max_epochs=4, patience=None, weight_decay=None):
    return Training("pairs", 64, learning_rate, max_epochs, patience, 0.1, weight_decay)


def assert_run_equals(pack, run, alone):
    for together, own in zip(pack.parameters, alone.parameters, strict=True):
        assert torch.equal(together[run], own[0])
    assert pack.epochs[run] == alone.epochs[0]
    assert pack.failures[run] == alone.failures[0]


def reference(seed, epochs, rate, batch=64, hidden=HIDDEN, norm=None, decay=0.0):
    """The same run in plain torch: nn.Linear layers, torch.optim.Adam, a loop; and its losses."""
    widths = (D, *hidden, 1)
    start = mlp_network.initial_parameters([np.random.default_rng(seed)], widths, "cpu")
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, start[::2], start[1::2], strict=True):
            layer.weight.copy_(weight[0].T)
            layer.bias.copy_(bias[0, 0])
    inner = [module for layer in layers[:-1] for module in (layer, torch.nn.ReLU())]
    if norm is not None:
        inner.append(torch.nn.LayerNorm(hidden[-1], elementwise_affine=False))
    model = torch.nn.Sequential(*inner, layers[-1])
    x = torch.from_numpy(EMBEDDINGS.astype(np.float32))[pairs_of(seed, N_TRAIN + N_VALIDATION)]
    adam = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)

    def loss(pairs):
        rewards = model(pairs)[..., 0]
        return torch.nn.functional.softplus(rewards[:, 1] - rewards[:, 0]).mean()

    history = []
    for batches in itertools.islice(batches_of(seed, batch), epochs):
        for rows in batches:
            adam.zero_grad()
            loss(x[:N_TRAIN][rows]).backward()
            adam.step()
        with torch.no_grad():
            history.append(loss(x[N_TRAIN:]).item())
    return model, history


@pytest.mark.parametrize("hidden", [HIDDEN, (16,), ()])
def test_engine_agrees_with_plain_torch(hidden):
    seeds = [3, 1]
    fitted = fit(pack_of(seeds, hidden=hidden), seeds, learning_rate=3e-3, max_epochs=6)
    x = torch.from_numpy(EMBEDDINGS.astype(np.float32))
    for run, seed in enumerate(seeds):
        model, _ = reference(seed, 6, 3e-3, hidden=hidden)
        expected = [p.detach() for p in model.parameters()]
        for found, own in zip(fitted.parameters, expected, strict=True):
            same_shape = found[run].T.reshape(own.shape)
            torch.testing.assert_close(same_shape, own, rtol=1e-3, atol=1e-5)
        with torch.no_grad():
            rewards = mlp_network.predict_mlps([p[run : run + 1] for p in fitted.parameters], x)[0]
            torch.testing.assert_close(rewards, model(x)[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("norm", "decay"), [("layer", None), (None, 0.02)])
def test_a_layer_norm_and_weight_decay_agree_with_plain_torch(norm, decay):
    options = {"learning_rate": 3e-3, "max_epochs": 6}
    fitted = fit(pack_of([3], norm=norm), [3], **options, weight_decay=decay)
    plain = fit(pack_of([3]), [3], **options)
    model, history = reference(3, 6, 3e-3, norm=norm, decay=decay or 0.0)
    x = torch.from_numpy(EMBEDDINGS.astype(np.float32))
    with torch.no_grad():
        rewards = mlp_network.predict_mlps(fitted.parameters, x, norm)[0]
        torch.testing.assert_close(rewards, model(x)[:, 0], rtol=1e-3, atol=1e-4)
        other = mlp_network.predict_mlps(plain.parameters, x)[0]
    assert not torch.allclose(rewards, other, atol=0.05)
    np.testing.assert_allclose(np.array(fitted.curves[0])[:, 1], history, rtol=1e-3)
    if decay is not None:
        sizes = [sum(p.square().sum() for p in pack.parameters) for pack in (fitted, plain)]
        assert sizes[0] < 0.9 * sizes[1]


def test_features_after_a_layer_norm_have_mean_0_and_variance_1():
    pack = pack_of([0, 1], norm="layer")
    batch = mlp_network.pair_batch(pack.parameters, pack.train, pack.norm)
    for features in (batch.features_chosen, batch.features_rejected):
        torch.testing.assert_close(
            features.mean(dim=-1), torch.zeros(2, N_TRAIN), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            features.var(dim=-1, unbiased=False), torch.ones(2, N_TRAIN), atol=1e-2, rtol=0
        )


def test_early_stopping_agrees_with_plain_torch():
    fitted = fit(pack_of([2]), [2], learning_rate=5e-3, max_epochs=30, patience=3)
    (n,) = fitted.epochs
    _, history = reference(2, int(n), 5e-3)
    is_above = [
        all(history[i] > history[j] for j in range(i - 3, i)) for i in range(3, len(history))
    ]
    assert 4 <= n < 30
    assert is_above == [False] * (n - 4) + [True]


@pytest.mark.parametrize(
    ("history", "patience", "stops"),
    [
        ([1, 2], 3, False),  # too few before it
        ([1, 2, 3], 3, False),
        ([1, 1, 1, 2], 3, True),
        ([1, 1, 1, 1], 3, False),  # above, not equal
        ([1, 1, 3, 2], 3, False),
        ([9, 1, 2, 3, 4], 3, True),  # only the last 3 count
        ([1, 2], 1, True),
        ([2, 1], 1, False),
        ([1, 2, 3, 4], None, False),
    ],
)
def test_a_run_stops_when_its_loss_is_above_each_of_the_patience_before_it(
    history, patience, stops
):
    two_runs = [np.array([loss, 0.0]) for loss in history]
    assert mlp_training.stops_early(two_runs, patience).tolist() == [stops, False]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", [bradley_terry, weighted])
def test_a_run_alone_is_the_run_in_a_pack_bit_for_bit(precision, objective):
    seeds = [0, 1, 2, 3, 4]
    pack = fit(pack_of(seeds, precision=precision), seeds, objective)
    assert list(pack.epochs) == [4] * 5
    for run, seed in enumerate(seeds):
        assert_run_equals(pack, run, fit(pack_of([seed], precision=precision), [seed], objective))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", [bradley_terry, weighted])
def test_runs_go_on_unchanged_after_pack_mates_stopped(precision, objective):
    seeds, options = [0, 1, 2, 3, 4], {"learning_rate": 5e-3, "max_epochs": 12, "patience": 1}
    pack = fit(pack_of(seeds, precision=precision), seeds, objective, **options)
    assert len(set(pack.epochs)) >= 3
    for run, seed in enumerate(seeds):
        alone = fit(pack_of([seed], precision=precision), [seed], objective, **options)
        assert_run_equals(pack, run, alone)


@pytest.mark.parametrize("hidden", [(7, 5), (33,), ()])
def test_odd_widths_agree_to_rounding_alone_and_in_a_pack(hidden):
    # torch's fused Adam rounds a tensor's last few elements otherwise than whole vectors, seen as
    # 1e-8 in a bias; the worker fits run by run on a CPU, so that no row depends on it.
    seeds = [0, 1, 2]
    pack = fit(pack_of(seeds, hidden=hidden), seeds)
    for run, seed in enumerate(seeds):
        alone = fit(pack_of([seed], hidden=hidden), [seed])
        for together, own in zip(pack.parameters, alone.parameters, strict=True):
            torch.testing.assert_close(together[run], own[0], rtol=1e-4, atol=1e-6)


def test_runs_of_single_responses_are_the_same_alone_and_in_a_pack():
    seeds, options = [0, 1, 2], {"learning_rate": 5e-3, "max_epochs": 10, "patience": 1}
    pack = fit(pack_of(seeds, responses_of), seeds, classification, **options)
    for run, seed in enumerate(seeds):
        alone = fit(pack_of([seed], responses_of), [seed], classification, **options)
        assert_run_equals(pack, run, alone)


def test_without_patience_the_number_of_epochs_is_fixed():
    seeds = [4, 0]
    fitted = fit(pack_of(seeds), seeds, learning_rate=0.05, max_epochs=9)
    assert fitted.epochs.tolist() == [9, 9]
    stopped = fit(pack_of(seeds), seeds, learning_rate=0.05, max_epochs=9, patience=1)
    assert (stopped.epochs < 9).all()


def test_all_rows_as_one_batch_are_the_same_as_their_positions():
    whole, positions = (
        mlp_training.train_pack(
            pack_of([1]), [itertools.repeat([rows])], bradley_terry, bradley_terry, settings()
        )
        for rows in (None, np.arange(N_TRAIN))
    )
    assert_run_equals(whole, 0, positions)


@pytest.mark.parametrize("broken", ["embeddings", "weights", "validation"])
def test_a_loss_that_is_not_finite_fails_its_run_and_no_other(broken):
    seeds = [0, 1, 2]
    pack = pack_of(seeds)
    if broken == "embeddings":
        pack.train.x[1, 70] = torch.inf
    elif broken == "weights":
        pack.parameters[0][1, 5, 7] = torch.nan
    else:
        pack.validation.x[1, 3] = torch.nan
    fitted = fit(pack, seeds)
    assert fitted.failures == [None, "the loss is not finite in epoch 1", None]
    assert fitted.epochs.tolist() == [4, 1, 4]
    for run in (0, 2):
        assert_run_equals(fitted, run, fit(pack_of([seeds[run]]), [seeds[run]]))


def test_a_loss_that_is_not_finite_in_an_early_batch_alone_is_a_failure():
    def once_infinite(batch, state):
        loss, _ = bradley_terry(batch, {})
        first = "seen" not in state and batch.chosen.requires_grad
        return loss + (torch.inf if first else 0.0), {"seen": torch.ones(len(loss))}

    epochs = [batches_of(0, 64)]
    fitted = mlp_training.train_pack(
        pack_of([0]), epochs, once_infinite, bradley_terry, settings(max_epochs=3)
    )
    assert fitted.failures == ["the loss is not finite in epoch 1"]


def gradients(pack, columns, objective):
    for p in pack.parameters:
        p.requires_grad_(True)
    loss, _ = objective(mlp_network.pair_batch(pack.parameters, pack.train.take(columns)), {})
    return torch.autograd.grad(loss.mean(dim=1).sum(), pack.parameters)


def test_normbt_moves_a_linear_head_by_its_scale_and_the_probability_alone():
    """On a linear head a pair's gradient has norm s (1 - sigmoid(chosen - rejected)): no distance.

    Bradley-Terry's has that times the pair's distance (arXiv:2512.06343).
    """
    pack = pack_of([2, 5], hidden=())
    for run in (0, 1):
        alone = [p[run : run + 1].clone().requires_grad_(True) for p in pack.parameters]
        batch = mlp_network.pair_batch(alone, mlp_network.Data(pack.train.x[run : run + 1], None))
        loss, state = weighted(batch, {})
        plain, _ = bradley_terry(batch, {})
        distance = (batch.features_chosen - batch.features_rejected)[0].norm(dim=-1)
        wrong = torch.sigmoid(batch.rejected - batch.chosen)[0].detach()
        for i in range(0, N_TRAIN, 10):
            (by_normbt,) = torch.autograd.grad(loss[0, i], alone[0], retain_graph=True)
            (by_bt,) = torch.autograd.grad(plain[0, i], alone[0], retain_graph=True)
            torch.testing.assert_close(by_normbt.norm(), state["scale"][0] * wrong[i])
            torch.testing.assert_close(by_bt.norm(), distance[i] * wrong[i])


def test_batches_hold_the_rows_embeddings_and_margins():
    rows, golden = pairs_of(1, 20), np.random.default_rng(3).normal(size=N_RESPONSES)
    data = mlp_network.gather_rows(EMBEDDINGS, [rows, rows[::-1]], "fp32", "cpu", golden)
    parameters = mlp_network.initial_parameters(
        [np.random.default_rng(s) for s in (0, 1)], (D, 8, 1), "cpu"
    )
    taken = data.take(torch.tensor([[3, 1, 4], [0, 5, 2]])).keep(torch.tensor([1]))
    batch = mlp_network.pair_batch([p[1:] for p in parameters], taken)
    drawn = rows[::-1][[0, 5, 2]]
    np.testing.assert_array_equal(batch.embeddings_chosen[0], EMBEDDINGS[drawn[:, 0]])
    np.testing.assert_array_equal(batch.embeddings_rejected[0], EMBEDDINGS[drawn[:, 1]])
    expected = (golden[drawn[:, 0]] - golden[drawn[:, 1]]).astype(np.float32)
    np.testing.assert_array_equal(batch.margin[0], expected)
    assert mlp_network.gather_rows(EMBEDDINGS, [rows], "fp32", "cpu").margin is None


def test_what_an_objective_counts_is_kept_for_each_run():
    pack = pack_of([0, 1])
    pack.train.x[1, :5, 1] = pack.train.x[1, :5, 0]  # 5 pairs of equal embeddings
    assert fit(pack, [0, 1], weighted).counts == [
        {"n_zero_distances": 0}, {"n_zero_distances": 5 * 4}
    ]  # fmt: skip
    assert fit(pack_of([0]), [0]).counts == [{}]


def test_responses_give_the_gradient_of_the_classification_loss_on_the_drawn_rows():
    rows = responses_of(1, N_TRAIN + N_VALIDATION)[:N_TRAIN]
    drawn = np.random.default_rng(5).permutation(N_TRAIN)[:64]
    pack = pack_of([1], responses_of)
    found = gradients(pack, torch.from_numpy(drawn[None]), classification)
    x = torch.from_numpy(EMBEDDINGS[rows[drawn].max(axis=1)].astype(np.float32))
    is_chosen = torch.from_numpy((rows[drawn, 0] >= 0).astype(np.float32))
    rewards, _ = mlp_network.forward(pack.parameters, x[None])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(rewards[0], is_chosen)
    expected = torch.autograd.grad(loss, pack.parameters)
    assert 0 < is_chosen.mean() < 1
    for one, other in zip(found, expected, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_absent_halves_have_zero_features_and_infinite_rewards():
    pack = pack_of([1], responses_of)
    is_chosen = torch.from_numpy(responses_of(1, N_TRAIN + N_VALIDATION)[:N_TRAIN, 0] >= 0)
    batch = mlp_network.pair_batch(pack.parameters, pack.train)
    assert torch.equal(torch.isinf(batch.chosen[0]), ~is_chosen)
    assert torch.equal(torch.isinf(batch.rejected[0]), is_chosen)
    assert (batch.chosen[0][~is_chosen] > 0).all() and (batch.rejected[0][is_chosen] < 0).all()
    assert not batch.features_chosen[0][~is_chosen].any()
    assert not batch.features_rejected[0][is_chosen].any()


def test_take_gathers_each_runs_own_rows():
    pack = pack_of([0, 1])
    columns = torch.tensor([[3, 1, 4], [0, 149, 2]])
    taken = pack.train.take(columns)
    for run in (0, 1):
        assert torch.equal(taken.x[run], pack.train.x[run, columns[run]])
    single = pack_of([0, 1], responses_of).train
    assert torch.equal(single.take(columns).is_chosen[1], single.is_chosen[1, columns[1]])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("hidden", [HIDDEN, (7, 5), ()])
def test_predictions_of_a_pack_are_those_of_each_run(precision, hidden):
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    parameters = mlp_network.initial_parameters(rngs, (D, *hidden, 1), "cpu")
    x = torch.from_numpy(EMBEDDINGS).to(mlp_network.DTYPES[precision])
    found = mlp_network.predict_mlps(parameters, x)
    assert found.shape == (4, N_RESPONSES) and found.dtype == torch.float32
    assert torch.equal(found, mlp_network.predict_mlps(parameters, x.expand(4, -1, -1)))
    assert torch.equal(found, mlp_network.forward(parameters, x.expand(4, -1, -1))[0])
    for run in range(4):
        alone = mlp_network.predict_mlps([p[run : run + 1] for p in parameters], x)
        assert torch.equal(found[run], alone[0])


def test_predictions_of_each_runs_own_rows():
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    parameters = mlp_network.initial_parameters(rngs, (D, *HIDDEN, 1), "cpu")
    x = torch.from_numpy(EMBEDDINGS.astype(np.float32))
    found = mlp_network.predict_mlps(parameters, torch.stack([x[:50], x[50:100]]))
    assert torch.equal(found[0], mlp_network.predict_mlps(parameters, x[:50])[0])
    assert torch.equal(found[1], mlp_network.predict_mlps(parameters, x[50:100])[1])


def test_half_precision_leaves_rewards_in_fp32():
    parameters = mlp_network.initial_parameters([np.random.default_rng(0)], (D, *HIDDEN, 1), "cpu")
    x = torch.from_numpy(EMBEDDINGS).to(torch.bfloat16)
    assert len(mlp_network.predict_mlps(parameters, x).unique()) > 0.98 * N_RESPONSES


def test_initial_weights_are_uniform_in_one_over_root_fan_in():
    parameters = mlp_network.initial_parameters([np.random.default_rng(0)], (D, 256, 1), "cpu")
    assert [tuple(p.shape) for p in parameters] == [
        (1, D, 256),
        (1, 1, 256),
        (1, 256, 1),
        (1, 1, 1),
    ]
    for layer, fan_in in ((parameters[:2], D), (parameters[2:], 256)):
        assert all(p.abs().max() <= fan_in**-0.5 for p in layer)
    weight = parameters[0].numpy()
    np.testing.assert_allclose(weight.std(), D**-0.5 / np.sqrt(3), rtol=0.03)
    assert abs(weight.mean()) < 0.003


def test_initial_weights_of_a_run_do_not_depend_on_its_pack_mates():
    alone = mlp_network.initial_parameters([np.random.default_rng(7)], (D, 8, 1), "cpu")
    pack = mlp_network.initial_parameters(
        [np.random.default_rng(s) for s in (3, 7)], (D, 8, 1), "cpu"
    )
    assert all(torch.equal(own[0], together[1]) for own, together in zip(alone, pack, strict=True))


def peak_bytes(work, path):
    """The most memory that torch held while work() ran, beyond what it held before."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    profile.export_chrome_trace(str(path))
    found = [e for e in json.loads(path.read_text())["traceEvents"] if e["name"] == "[memory]"]
    found.sort(key=lambda event: event["ts"])
    held = [event["args"]["Total Allocated"] for event in found]
    return max(held) - (held[0] - found[0]["args"]["Bytes"])


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("objective", [bradley_terry, weighted])
@pytest.mark.parametrize("batch", [32, N_TRAIN])
def test_memory_of_a_pack_is_bounded_by_what_is_planned(batch, objective, precision, tmp_path):
    """A run leaves first, so that the others are copied, and nothing else may hold their data."""
    seeds, hidden = [0, 1, 2, 3, 4, 5], (8, 4)  # so that most of it is data

    def work():
        pack = pack_of(seeds, hidden=hidden, precision=precision)
        pack.validation.x[0, 3] = torch.nan
        fitted = fit(pack, seeds, objective, batch=batch, max_epochs=3)
        assert fitted.epochs.tolist() == [1, 3, 3, 3, 3, 3]

    planned = mlp_network.bytes_of_a_run(
        (D, *hidden, 1), 2 * N_TRAIN, 2 * N_VALIDATION, 2 * batch, precision
    )
    assert 0.5 < peak_bytes(work, tmp_path / "trace.json") / len(seeds) / planned <= 1


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("batch", [32, N_TRAIN])
@pytest.mark.parametrize(
    "norm, distance, hidden",
    [
        ("layer", "features", (16, 256)),
        (None, "mahalanobis", (16, 256)),
        ("layer", "mahalanobis", (16, 256)),
        ("layer", "cosine", (16, 256)),
        (None, "embedding", (8, 4)),
    ],
)
def test_memory_of_a_norm_and_a_distance_is_planned(
    norm, distance, hidden, batch, precision, tmp_path
):
    """Much of it is features, or embeddings, of which both have copies in fp32."""
    seeds = [0, 1, 2, 3, 4, 5]

    def work():
        pack = pack_of(seeds, hidden=hidden, precision=precision, norm=norm)
        fit(pack, seeds, functools.partial(weighted, distance=distance), batch=batch, max_epochs=3)

    planned = mlp_network.bytes_of_a_run(
        (D, *hidden, 1), 2 * N_TRAIN, 2 * N_VALIDATION, 2 * batch, precision, norm, distance
    )
    assert 0.4 < peak_bytes(work, tmp_path / "trace.json") / len(seeds) / planned <= 1
