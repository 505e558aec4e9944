"""Many runs: axes become specs, specs become keyed items, items become packs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rmsweep import machine
from rmsweep.cache.inputs import Inputs, check, read_by
from rmsweep.config.compose import Axes, Config, expand
from rmsweep.config.launchers import Local
from rmsweep.config.schema import build
from rmsweep.config.spec import NOT_IN_ID, NOT_IN_SPEC, Item, RunSpec, Shape, loss_options, parse


@dataclass(frozen=True)
class CachedData:
    """The field `cache`."""

    root: str | None


def cache_root(values: dict[str, Any]) -> str | None:
    """Of a config: the folder of the cached embeddings."""
    return build(CachedData, values.get("cache"), "cache").root


def flag(values: dict[str, Any], name: str) -> bool:
    """Of a config: `wait`, whether a launch on a cluster follows its jobs to the end; or
    `save_model`, whether reward models are kept.
    """
    if type(values.get(name)) is not bool:
        raise ValueError(f"{name} must be true or false, got {values.get(name)!r}")
    return values[name]


def spec_of(config: Config, on: str) -> RunSpec:
    """The spec of a config, its precision made concrete for the device `on`."""
    precision = machine.precision(config.values.get("precision"), on)
    return parse(config.values | {"precision": precision}, config.choices)


def specs_of(axes: Axes, config_dirs: Sequence[str], on: str) -> list[RunSpec]:
    """The sweep's distinct specs in order, for the device `on`; ValueError names field and run."""
    for name in axes.fields:
        if name.partition(".")[0] in NOT_IN_SPEC or name in NOT_IN_ID:
            raise ValueError(
                f"{name} cannot be swept: it is not part of a run's spec; give one value"
            )
    found: dict[str, RunSpec] = {}
    for config in expand(axes, config_dirs):
        try:
            spec = spec_of(config, on)
        except ValueError as error:
            where = " ".join(config.overrides) or "the base config"
            raise ValueError(f"{error} [in {where}]") from None
        found.setdefault(spec.spec_id, spec)
    if not found:
        raise ValueError("the sweep has no runs: an axis is empty or everything is excluded")
    return list(found.values())


def keyed(specs: Sequence[RunSpec], root: str | None) -> list[Item]:
    """Specs with their keys; opens each cache once and checks that it is large enough."""
    read: dict[tuple[Any, ...], Inputs] = {}
    found = []
    for spec in specs:
        if (source := source_of(spec)) not in read:
            read[source] = read_by(spec, root)
        inputs = read[source]
        check(spec, inputs)
        shape = Shape(inputs.dim, inputs.n_test)
        found.append(Item(spec.key(inputs.fingerprint), spec, shape))
    return found


def require_savable(specs: Sequence[RunSpec]) -> None:
    """ValueError, before any work, for reward models that have no format that is safe to read."""
    for spec in specs:
        if spec.loss.reward_model == "classifier":
            raise ValueError(
                f"save_model=true saves MLPs and LightGBM trees; loss={spec.loss.name} is a "
                "scikit-learn classifier, which only a pickle could hold: set save_model=false"
            )


def packs(items: Sequence[Item], most: Callable[[Sequence[Item]], int]) -> list[list[Item]]:
    """Runs that share cache, loss, quantity and training, together; slow kinds first.

    most: of runs that could all go together, how many may.
    """
    groups: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(_shared(item.spec), []).append(item)
    sized = [(runs, most(runs)) for runs in groups.values()]
    found = [runs[i : i + size] for runs, size in sized for i in range(0, len(runs), size)]
    return sorted(found, key=lambda p: (p[0].spec.loss.reward_model == "mlp", -p[0].spec.quantity))


def local_packs(items: Sequence[Item], launcher: Local, device: str) -> list[list[Item]]:
    """At most pack_runs in a pack, of an ensemble its members, which stay together.

    On a CPU fewer where that keeps every worker in work to the end.
    """
    size = launcher.pack_runs
    if device == "cpu":
        size = max(1, min(size, len(items) // (8 * launcher.workers)))
    return packs(items, lambda runs: max(1, size // runs[0].spec.n_members))


def source_of(spec: RunSpec) -> tuple[Any, ...]:
    """Which files a spec reads."""
    e, base_llm = spec.evaluation, spec.base_llm and spec.base_llm.stem
    return base_llm, spec.backbone.stem, spec.dataset, e.held_out, e.pairs, e.golden


def _shared(spec: RunSpec) -> tuple[Any, ...]:
    loss = (spec.loss.reward_model, loss_options(spec.loss), spec.loss.ensemble, spec.loss.pick)
    return (*source_of(spec), *loss, spec.quantity, spec.training, spec.evaluation, spec.precision)
