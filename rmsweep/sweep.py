"""Many runs: axes become specs, specs become keyed items, items become packs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rmsweep import machine
from rmsweep.cache.layout import Cache
from rmsweep.compose import Axes, Config, expand
from rmsweep.inputs import cache_of, check
from rmsweep.spec import NOT_IN_SPEC, Item, RunSpec, loss_options, parse
from rmsweep.typed import build


@dataclass(frozen=True)
class Launcher:
    """How runs are spread over this machine; nothing here changes their numbers."""

    workers: int
    threads: int  # of each worker
    pack_runs: int  # most runs in a pack


@dataclass(frozen=True)
class CachedData:
    """The field `cache`."""

    root: str | None


def cache_root(values: dict) -> str | None:
    """Of a config: the folder of the cached embeddings."""
    return build(CachedData, values.get("cache"), "cache").root


def spec_of(config: Config, on: str) -> RunSpec:
    """The spec of a config, its precision made concrete for the device `on`."""
    precision = machine.precision(config.values.get("precision"), on)
    return parse(config.values | {"precision": precision}, config.choices)


def specs_of(axes: Axes, config_dirs: Sequence[str]) -> list[RunSpec]:
    """The sweep's distinct specs in order; ValueError names field and run."""
    on = machine.device(axes.base.values.get("device"))
    for name in axes.fields:
        if name.partition(".")[0] in NOT_IN_SPEC or name == "loss.label":
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
    caches: dict[tuple, Cache] = {}
    found = []
    for spec in specs:
        source = (spec.base_llm.stem, spec.backbone.stem, spec.dataset)
        if source not in caches:
            caches[source] = cache_of(spec, root)
        check(spec, caches[source])
        found.append(Item(spec.key(caches[source].fingerprint), spec))
    return found


def settle(values: dict, device: str) -> Launcher:
    """The launcher of a config, nulls decided; workers x threads may not exceed the cores."""
    cores = machine.cores()
    threads = values.get("threads") or 1
    workers = max(1, cores // threads) if isinstance(threads, int) else 1
    default = {"workers": workers, "threads": 1, "pack_runs": 16 if device == "cpu" else 64}
    decided = {name: default.get(name) if v is None else v for name, v in values.items()}
    launcher = build(Launcher, decided, "launcher")
    for name, value in vars(launcher).items():
        if value < 1:
            raise ValueError(f"launcher.{name} must be >= 1, got {value}")
    if launcher.workers * launcher.threads > cores:
        raise ValueError(
            f"launcher.workers x launcher.threads must be at most {cores}, this machine's cores; "
            f"got {launcher.workers} x {launcher.threads} (more would be up to 10 times slower)"
        )
    return launcher


def packs(items: Sequence[Item], launcher: Launcher, device: str) -> list[list[Item]]:
    """Runs that share cache, loss, quantity and training, together; slow kinds first.

    At most pack_runs in a pack, of an ensemble its members, which stay together; on a CPU fewer
    where that keeps every worker in work to the end.
    """
    groups: dict[tuple, list[Item]] = {}
    for item in items:
        groups.setdefault(_shared(item.spec), []).append(item)
    size = launcher.pack_runs
    if device == "cpu":
        size = max(1, min(size, len(items) // (8 * launcher.workers)))
    found = []
    for runs in groups.values():
        step = max(1, size // (runs[0].spec.loss.ensemble or 1))
        found += [runs[i : i + step] for i in range(0, len(runs), step)]
    return sorted(found, key=lambda p: (p[0].spec.loss.reward_model == "mlp", -p[0].spec.quantity))


def _shared(spec: RunSpec) -> tuple:
    source = (spec.base_llm.stem, spec.backbone.stem, spec.dataset)
    loss = (spec.loss.reward_model, loss_options(spec.loss), spec.loss.ensemble, spec.loss.pick)
    return (*source, *loss, spec.quantity, spec.training, spec.evaluation, spec.precision)


ALIKE = ("loss.reward_model", "backbone.stem", "quantity")  # what a run's cost depends on most
COST = [*ALIKE, "loss.ensemble", "wall_s"]


def hours_left(missing: Sequence[Item], done: pd.DataFrame) -> float | None:
    """Hours of the missing runs at the mean wall_s of done runs ALIKE; None if some have none.

    An ensemble costs as much as its members. done: rows with the columns COST.
    """
    kinds: Counter[tuple] = Counter()
    for spec in (item.spec for item in missing):
        kind = (spec.loss.reward_model, spec.backbone.stem, spec.quantity)
        kinds[kind] += spec.loss.ensemble or 1
    of_member_s = done["wall_s"] / done["loss.ensemble"].fillna(1).astype(float)
    mean_s = of_member_s.groupby([done[name] for name in ALIKE]).mean()
    if not set(kinds) <= set(mean_s.index):
        return None
    return sum(mean_s[kind] * count for kind, count in kinds.items()) / 3600
