"""Synthetic embeddings with a golden reward, generated from a shape and a seed; no file needed.

A prompt belongs to a cluster and has a place in it; a response has a latent of its own. Both are of
low dimension and are mapped to D dimensions by a random linear map, the backbone. The golden reward
is a nonlinear function of the latents, so it needs no embeddings:

    golden = between_std * f(prompt) + within_std * g(prompt, response)

f and g have mean 0 and variance 1 by construction (normal latents, orthonormal directions, Hermite
polynomials), g for each prompt; so no statistic of the data enters, and the first prompts are the
same whatever the number of prompts. Prompts depend on dataset and seed, responses also on base_llm,
embeddings also on backbone; golden rewards do not depend on the backbone. Products are np.einsum's,
because BLAS rounds otherwise with another number of threads (seen), and a key must mean one cache.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from rmsweep.cache.fingerprint import N_DIGITS
from rmsweep.cache.layout import Cache
from rmsweep.config.spec import Synthetic

VERSION = 1  # raised whenever the same parameters would give other numbers
CHUNK_PROMPTS = 64  # latents are drawn for so many prompts at a time

# Shares of the variance of f: effect of the cluster, linear and curved in the place in it.
CLUSTER, PROMPT_LINEAR, PROMPT_CURVED = 0.5, 0.25, 0.25
# Shares of the variance of g. INTERACTION: in a direction that depends on the prompt's cluster.
# UNEXPLAINED: not in the embedding, as a judge's noise is not. LINEAR bounds what a linear model
# ranks: sqrt(0.3) = 0.55 is near its best correlation within a prompt.
LINEAR, INTERACTION, CURVED, UNEXPLAINED = 0.3, 0.25, 0.25, 0.2
N_CURVED = 2  # directions in which golden rewards are curved


@dataclass(frozen=True, kw_only=True)
class SyntheticSource(Synthetic):
    """The parameters of a synthetic cache of three file stems; ValueError for one out of range."""

    base_llm: str
    backbone: str
    dataset: str

    def __post_init__(self) -> None:
        for name in ("between_std", "within_std", "variance_ratio", "noise"):
            value = getattr(self, name)
            _require(name, "a number", value, type(value) in (int, float) and math.isfinite(value))
            object.__setattr__(self, name, float(value))  # 2 and 2.0 are one cache
        at_least = {"seed": 0, "train_prompts": 1, "train_responses": 2, "test_prompts": 1}
        at_least |= {"test_responses": 2, "n_clusters": 2, "intrinsic_dim": 1 + N_CURVED}
        at_least["dim"] = 2 * (1 + N_CURVED)
        for name, low in at_least.items():
            value = getattr(self, name)
            _require(name, f"an integer >= {low}", value, type(value) is int and value >= low)
        _require("between_std", ">= 0", self.between_std, self.between_std >= 0)
        _require("within_std", "> 0", self.within_std, self.within_std > 0)
        _require("variance_ratio", "> 0", self.variance_ratio, self.variance_ratio > 0)
        _require("noise", "in [0, 1)", self.noise, 0 <= self.noise < 1)
        rule = f"<= dim / 2 = {self.dim / 2:g} (prompt and response latents have one each)"
        _require("intrinsic_dim", rule, self.intrinsic_dim, 2 * self.intrinsic_dim <= self.dim)

    def shape(self, split: str) -> tuple[int, int]:
        """Return the number of prompts of a split, and of responses to each."""
        if split == "train":
            return self.train_prompts, self.train_responses
        return self.test_prompts, self.test_responses

    @property
    def fingerprint(self) -> str:
        """The identity of the data, 32 hex digits of a SHA-256 of all parameters and VERSION."""
        return _sha256("cache", asdict(self)).hex()[:N_DIGITS]


class World(NamedTuple):
    """The golden reward of a dataset and seed; directions: orthonormal columns over d latents."""

    centres: np.ndarray  # (clusters, d) float32, over clusters mean 0 and variance 1
    cluster_effects: np.ndarray  # (clusters,), mean 0 and variance 1
    cluster_directions: np.ndarray  # (clusters, d), unit length, orthogonal to the linear direction
    prompt_directions: np.ndarray  # (d, 1 + N_CURVED), the linear one first
    response_directions: np.ndarray  # (d, 1 + N_CURVED), the linear one first


class Latents(NamedTuple):
    """The latents of one chunk of prompts, all standard normal but the clusters."""

    clusters: np.ndarray  # (CHUNK_PROMPTS,) int
    places: np.ndarray  # (CHUNK_PROMPTS, d) float32, place of the prompt in its cluster
    responses: np.ndarray  # (CHUNK_PROMPTS, K, d) float32
    unexplained: np.ndarray  # (CHUNK_PROMPTS, K) float32


@lru_cache(maxsize=8)
def synthetic_cache(source: SyntheticSource) -> Cache:
    """Return the cache of these parameters; its float16 embeddings are made when asked for."""
    return Cache(
        fingerprint=source.fingerprint,
        train_prompts=source.train_prompts,
        train_responses=source.train_responses,
        test_prompts=source.test_prompts,
        test_responses=source.test_responses,
        dim=source.dim,
        train_golden=synthetic_rewards(source, "train"),
        test_golden=synthetic_rewards(source, "test"),
        train_embeddings=partial(_train_embeddings, source),
        read_test=partial(synthetic_embeddings, source, "test"),
    )


@lru_cache(maxsize=1)  # 1.6 GB at RBT's shape
def _train_embeddings(source: SyntheticSource) -> np.ndarray:
    embeddings = synthetic_embeddings(source, "train", 0, source.train_prompts)
    embeddings.flags.writeable = False
    return embeddings


def synthetic_embeddings(source: SyntheticSource, split: str, first: int, last: int) -> np.ndarray:
    """Return embeddings of prompts [first, last) of a split, (last - first, K, D) float16."""
    n_prompts, n_responses = source.shape(split)
    assert 0 <= first < last <= n_prompts, (first, last, n_prompts)
    centres = _world(source.dataset, source.seed, source.n_clusters, source.intrinsic_dim).centres
    between_map, within_map = _backbone(source.backbone, source.intrinsic_dim, source.dim)
    between = source.variance_ratio / (1 + source.variance_ratio)
    shares, kept = (between, 1 - between), 1 - source.noise
    between_noise, within_noise = (math.sqrt(share * source.noise) for share in shares)
    between_scale, within_scale = (np.float32(math.sqrt(share * kept)) for share in shares)
    stems = (source.base_llm, source.backbone, source.dataset, source.seed, source.dim, split)
    embeddings = np.empty((last - first, n_responses, source.dim), np.float16)
    for prompt in range(first, last):
        chunk, i = divmod(prompt, CHUNK_PROMPTS)
        latents = chunk_latents(source, split, chunk)
        # Of the variance between prompts, half is between clusters.
        place = (centres[latents.clusters[i]] + latents.places[i]) * np.float32(math.sqrt(0.5))
        shared = np.einsum("d,dn->n", between_scale * place, between_map)
        rng = _rng("embedding noise of the prompt", *stems[1:], prompt)
        shared += _noise(rng, (source.dim,), between_noise)
        embedded = np.einsum("kd,dn->kn", within_scale * latents.responses[i], within_map)
        rng = _rng("embedding noise of the responses", *stems, prompt)
        embedded += _noise(rng, embedded.shape, within_noise)
        embedded += shared
        embeddings[prompt - first] = embedded
    return embeddings


def _noise(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> np.ndarray:
    """Return uniform noise of 256 levels, mean 0, float32: it is drawn in a seventh of the time."""
    levels = np.frombuffer(rng.bytes(math.prod(shape)), np.uint8).reshape(shape)
    noise = levels - np.float32(127.5)
    noise *= np.float32(std * math.sqrt(12 / (256**2 - 1)))
    return noise


def synthetic_rewards(source: SyntheticSource, split: str) -> np.ndarray:
    """Return golden rewards of a split, (prompts, K) float64, read-only, exact in float32."""
    n_prompts, n_responses = source.shape(split)
    golden = np.empty((n_prompts, n_responses))
    for chunk in range(-(-n_prompts // CHUNK_PROMPTS)):
        part = golden[chunk * CHUNK_PROMPTS : (chunk + 1) * CHUNK_PROMPTS]
        part[:] = _chunk_golden(source, chunk_latents(source, split, chunk))[: len(part)]
    golden.flags.writeable = False
    return golden


def _chunk_golden(source: SyntheticSource, latents: Latents) -> np.ndarray:
    """Return golden rewards of a chunk, (CHUNK_PROMPTS, K) float32."""
    world = _world(source.dataset, source.seed, source.n_clusters, source.intrinsic_dim)
    prompt = np.einsum("pd,dn->pn", latents.places, world.prompt_directions)
    response = np.einsum("pkd,dn->pkn", latents.responses, world.response_directions)
    of_cluster = world.cluster_directions[latents.clusters]
    interaction = np.einsum("pkd,pd->pk", latents.responses, of_cluster)
    between = (
        math.sqrt(CLUSTER) * world.cluster_effects[latents.clusters]
        + math.sqrt(PROMPT_LINEAR) * prompt[:, 0]
        + math.sqrt(PROMPT_CURVED) * _curved(prompt[:, 1:])
    )
    within = (
        math.sqrt(LINEAR) * response[:, :, 0]
        + math.sqrt(INTERACTION) * interaction
        + math.sqrt(CURVED) * _curved(response[:, :, 1:])
        + math.sqrt(UNEXPLAINED) * latents.unexplained
    )
    golden = source.between_std * between[:, np.newaxis] + source.within_std * within
    return golden.astype(np.float32)


def _curved(normal: np.ndarray) -> np.ndarray:
    """Return second Hermite polynomials of (..., n) independent standard normals, summed.

    The sum has mean 0 and variance 1, and is uncorrelated with any linear function of them.
    """
    return (normal**2 - 1).sum(axis=-1) / math.sqrt(2 * normal.shape[-1])


@lru_cache(maxsize=2)
def chunk_latents(source: SyntheticSource, split: str, chunk: int) -> Latents:
    """Draw what one chunk of a split's prompts and responses is made from."""
    n_responses, d = source.shape(split)[1], source.intrinsic_dim
    stems = (source.dataset, source.seed, d, split, chunk)
    rng = _rng("prompts", *stems, source.n_clusters)
    clusters = rng.integers(source.n_clusters, size=CHUNK_PROMPTS)
    places = rng.standard_normal((CHUNK_PROMPTS, d), np.float32)
    rng = _rng("responses", source.base_llm, *stems, n_responses)
    responses = rng.standard_normal((CHUNK_PROMPTS, n_responses, d), np.float32)
    unexplained = rng.standard_normal((CHUNK_PROMPTS, n_responses), np.float32)
    return Latents(clusters, places, responses, unexplained)


@lru_cache(maxsize=8)
def _world(dataset: str, seed: int, n_clusters: int, d: int) -> World:
    rng = _rng("world", dataset, seed, n_clusters, d)
    centres = _standardised(rng.standard_normal((n_clusters, d)))
    effects = _standardised(rng.standard_normal(n_clusters))
    prompt, response = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    others = np.einsum("cn,dn->cd", rng.standard_normal((n_clusters, d - 1)), response[:, 1:])
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    prompt, response = prompt[:, : 1 + N_CURVED], response[:, : 1 + N_CURVED]
    return World(centres.astype(np.float32), effects, others, prompt, response)


@lru_cache(maxsize=2)
def _backbone(backbone: str, d: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return maps of prompt and response latents, (d, D) float32, mean squared column norm 1."""
    maps = _rng("backbone", backbone, d, dim).standard_normal((2, d, dim))
    maps *= np.sqrt(dim / np.square(maps).sum(axis=(1, 2), keepdims=True))
    between_map, within_map = maps.astype(np.float32)
    return between_map, within_map


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _rng(purpose: str, *fields: object) -> np.random.Generator:
    """Return a stream of random numbers of its own for a purpose and the fields it depends on."""
    entropy = int.from_bytes(_sha256(purpose, fields)[:16], "little")
    return np.random.default_rng(np.random.SeedSequence(entropy))


def _sha256(purpose: str, fields: object) -> bytes:
    text = json.dumps([VERSION, purpose, fields], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def _require(field: str, rule: str, value: object, is_met: bool) -> None:
    if not is_met:
        raise ValueError(f"{field} of the synthetic source must be {rule}, got {value!r}")
