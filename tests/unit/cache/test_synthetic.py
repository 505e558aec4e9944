import dataclasses

import numpy as np
import pytest
from helpers.synthetic_sources import PARAMETERS, SOURCE, STEMS, changed

from rmsweep.cache import write_synthetic as writing
from rmsweep.cache.inputs import open_cache
from rmsweep.cache.layout import open_files
from rmsweep.cache.synthetic import (
    SyntheticSource,
    synthetic_cache,
    synthetic_embeddings,
    synthetic_rewards,
)
from rmsweep.cache.write_synthetic import write_cache
from rmsweep.config import schema
from rmsweep.config.spec import Synthetic


def within(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=1, keepdims=True)


def ranks(values: np.ndarray) -> np.ndarray:
    return within(values.argsort(axis=1).argsort(axis=1).astype(float))


def spearman_of_centred_ridge(cache, alpha=1000.0) -> float:
    """Mean within-prompt Spearman over test prompts, fitted on within-prompt centred train data."""
    x = within(cache.train_embeddings().astype(np.float32)).reshape(-1, cache.dim)
    gram = x.T @ x + alpha * np.eye(cache.dim)
    weights = np.linalg.solve(gram, x.T @ within(cache.train_golden).ravel())
    predicted = ranks(cache.read_test(0, cache.test_prompts).astype(np.float32) @ weights)
    golden = ranks(cache.test_golden)
    norms = np.sqrt((predicted**2).sum(axis=1) * (golden**2).sum(axis=1))
    return float(((predicted * golden).sum(axis=1) / norms).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("between_std, within_std, ratio", [(4.0, 2.3, 6.8), (2.0, 3.0, 0.5)])
def test_statistics_are_those_asked_for(seed, between_std, within_std, ratio):
    source = changed(
        seed=seed,
        train_prompts=2000,
        between_std=between_std,
        within_std=within_std,
        variance_ratio=ratio,
    )
    cache, n = synthetic_cache(source), source.train_responses
    golden, embeddings = cache.train_golden, cache.train_embeddings().astype(np.float32)
    within_variance = golden.var(axis=1, ddof=1).mean()
    between_variance = golden.mean(axis=1).var(ddof=1) - within_variance / n
    np.testing.assert_allclose(np.sqrt(within_variance), within_std, rtol=0.05)
    np.testing.assert_allclose(np.sqrt(between_variance), between_std, rtol=0.1)
    assert abs(golden.mean()) < 0.1 * between_std + 0.1
    within_variance = embeddings.var(axis=1, ddof=1).mean()
    between_variance = embeddings.mean(axis=1).var(axis=0, ddof=1).mean() - within_variance / n
    np.testing.assert_allclose(between_variance / within_variance, ratio, rtol=0.1)
    np.testing.assert_allclose(between_variance + within_variance, 1, rtol=0.1)


def test_defaults_match_alpaca_mid_minilm_as_the_data_readme_measures_it():
    cache = synthetic_cache(changed(train_prompts=2000))
    golden, embeddings = cache.train_golden, cache.train_embeddings().astype(np.float32)
    np.testing.assert_allclose(golden.std(axis=1).mean(), 2.11, rtol=0.05)
    np.testing.assert_allclose(golden.mean(axis=1).std(), 4.02, rtol=0.05)
    ratio = embeddings.mean(axis=1).var(axis=0).sum() / embeddings.var(axis=1).sum(axis=1).mean()
    np.testing.assert_allclose(ratio, 7.63, rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [64, 256, 2048])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_golden_reward_is_learnable_but_not_by_a_linear_model_alone(dim, noise):
    assert 0.4 < spearman_of_centred_ridge(synthetic_cache(changed(dim=dim, noise=noise))) < 0.6


def test_first_prompts_do_not_depend_on_the_number_of_prompts():
    few, many = synthetic_cache(changed(train_prompts=70, test_prompts=3)), synthetic_cache(SOURCE)
    np.testing.assert_array_equal(few.train_golden, many.train_golden[:70])
    np.testing.assert_array_equal(few.test_golden, many.test_golden[:3])
    np.testing.assert_array_equal(few.train_embeddings(), many.train_embeddings()[:70])
    np.testing.assert_array_equal(few.read_test(0, 3), many.read_test(0, 3))


def test_blocks_do_not_depend_on_how_they_are_read():
    cache = synthetic_cache(SOURCE)
    whole = cache.read_test(0, 150)
    assert whole.dtype == np.float16 and whole.shape == (150, 20, 64)
    for first, last in ((0, 1), (60, 70), (127, 129), (149, 150)):
        np.testing.assert_array_equal(cache.read_test(first, last), whole[first:last])


def test_what_depends_on_what():
    source, other_llm = synthetic_cache(SOURCE), synthetic_cache(changed(base_llm="synthetic-b"))
    other_backbone = synthetic_cache(changed(backbone="synthetic-b"))
    np.testing.assert_array_equal(other_backbone.train_golden, source.train_golden)
    assert not np.array_equal(other_backbone.train_embeddings(), source.train_embeddings())
    assert not np.array_equal(other_llm.train_golden, source.train_golden)
    prompt_means = source.train_golden.mean(axis=1), other_llm.train_golden.mean(axis=1)
    assert np.corrcoef(*prompt_means)[0, 1] > 0.9  # the prompts are the same
    assert not np.array_equal(source.train_golden[:150], source.test_golden[:, :10])


def test_fingerprint_is_of_every_parameter():
    fingerprints = {SOURCE.fingerprint}
    for field in dataclasses.fields(SyntheticSource):
        value = getattr(SOURCE, field.name)
        other = "synthetic-b" if isinstance(value, str) else value / 2 if value else 1
        fingerprints.add(changed(**{field.name: type(value)(other)}).fingerprint)
    assert len(fingerprints) == 1 + len(dataclasses.fields(SyntheticSource))
    assert (
        changed(between_std=4).fingerprint
        == SOURCE.fingerprint
        == synthetic_cache(SOURCE).fingerprint
    )


def test_generated_arrays_are_shared_and_so_read_only():
    cache = synthetic_cache(SOURCE)
    assert synthetic_cache(SOURCE) is cache and cache.train_embeddings() is cache.train_embeddings()
    for shared in (cache.train_embeddings(), cache.train_golden, cache.test_golden):
        assert not shared.flags.writeable


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_written_files_hold_what_generate_gives(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(writing, "RESPONSES_AT_ONCE", 50)
    n_bytes: list[int] = []
    write_cache(tmp_path / "new", SOURCE, dtype, n_bytes.append)
    read, made = open_files(tmp_path / "new", **STEMS), synthetic_cache(SOURCE)
    np.testing.assert_array_equal(read.train_golden, made.train_golden)
    np.testing.assert_array_equal(read.test_golden, made.test_golden)
    assert read.train_embeddings().dtype == dtype
    np.testing.assert_array_equal(read.train_embeddings(), made.train_embeddings())
    np.testing.assert_array_equal(read.read_test(0, 150), made.read_test(0, 150))
    assert len(list((tmp_path / "new").iterdir())) == 4
    n_values = 4000 * 64 + 3000 * 64
    assert sum(n_bytes) == n_values * np.dtype(dtype).itemsize + 7000 * 4


def test_write_overwrites_nothing(tmp_path):
    path = tmp_path / "reward_synthetic_synthetic_synthetic_test.npy"
    path.write_text("mine")
    with pytest.raises(
        FileExistsError, match=f"must not hold the files to write, found {path.name}"
    ):
        write_cache(tmp_path, SOURCE, "float16", lambda n: None)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_text() == "mine"
    with pytest.raises(ValueError, match="dtype must be float16 or float32, got 'float64'"):
        write_cache(tmp_path, SOURCE, "float64", lambda n: None)


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(n_bytes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path, SOURCE, "float16", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_golden_rewards_need_no_embeddings_and_are_exact_in_float32():
    golden = synthetic_rewards(SOURCE, "test")
    np.testing.assert_array_equal(golden, synthetic_cache(SOURCE).test_golden)
    np.testing.assert_array_equal(golden.astype(np.float32), golden)
    assert synthetic_embeddings(SOURCE, "test", 2, 4).shape == (2, 20, 64)


@pytest.mark.parametrize(
    "field, value, rule",
    [
        ("train_prompts", 0, "an integer >= 1"),
        ("train_responses", 1, "an integer >= 2"),
        ("test_responses", True, "an integer >= 2"),
        ("seed", -1, "an integer >= 0"),
        ("dim", 64.0, "an integer >= 6"),
        ("n_clusters", 1, "an integer >= 2"),
        ("intrinsic_dim", 33, "<= dim / 2 = 32"),
        ("noise", 1, r"in \[0, 1\)"),
        ("noise", "0.5", "a number"),
        ("variance_ratio", 0, "> 0"),
        ("between_std", float("nan"), "a number"),
        ("between_std", -1, ">= 0"),
        ("within_std", 0.0, "> 0"),
    ],
)
def test_parameters_out_of_range_are_refused(field, value, rule):
    with pytest.raises(ValueError, match=f"{field} of the synthetic source must be {rule}"):
        changed(**{field: value})


@pytest.mark.parametrize("field", ["base_llm", "backbone"])
def test_open_cache_refuses_to_name_a_model_that_had_no_part(tmp_path, field):
    message = f"{field} must start with 'synthetic' .* got 'Gemma2b'.* set {field}=synthetic"
    with pytest.raises(ValueError, match=message):
        open_cache(tmp_path, **(STEMS | {field: "Gemma2b"}), synthetic=Synthetic(**PARAMETERS))


def test_open_cache_takes_either_source(tmp_path):
    cache = open_cache(tmp_path, **STEMS, synthetic=Synthetic(**PARAMETERS))
    assert cache.fingerprint == SOURCE.fingerprint
    with pytest.raises(FileNotFoundError, match="no embeddings of synthetic by synthetic"):
        open_cache(tmp_path, **STEMS, synthetic=None)
    for wrong in (PARAMETERS | {"depth": 3}, {k: v for k, v in PARAMETERS.items() if k != "dim"}):
        with pytest.raises(ValueError, match="depth is an unknown field|dim is missing"):
            schema.from_mapping(Synthetic, wrong)
