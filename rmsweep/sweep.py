"""Many runs: axes become specs, specs become keyed items, items become packs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rmsweep import machine
from rmsweep.cache.layout import Cache
from rmsweep.compose import Axes, Config, expand
from rmsweep.inputs import cache_of, check
from rmsweep.spec import Item, RunSpec, loss_options, parse
from rmsweep.typed import build


@dataclass(frozen=True)
class Launcher:
    """The group `launcher`; null is decided by `settle`."""

    workers: int | None
    threads: int
    pack_runs: int | None


def spec_of(config: Config, on: str) -> RunSpec:
    """The spec of a config, its precision made concrete for the device `on`."""
    precision = machine.precision(config.values.get("precision"), on)
    return parse(config.values | {"precision": precision}, config.choices)


def specs_of(axes: Axes, config_dirs: Sequence[str], limit: int | None = None) -> list[RunSpec]:
    """The sweep's distinct specs in order, the first `limit` of them; ValueError names field and run."""
    on = machine.device(axes.base.values.get("device"))
    found: dict[str, RunSpec] = {}
    for config in expand(axes, config_dirs):
        try:
            spec = spec_of(config, on)
        except ValueError as error:
            where = " ".join(config.overrides) or "the base config"
            raise ValueError(f"{error} [in {where}]") from None
        found.setdefault(spec.spec_id, spec)
        if limit is not None and len(found) == limit:
            break
    if not found:
        raise ValueError("the sweep has no runs: an axis is empty or everything is excluded")
    return list(found.values())


def keyed(specs: Sequence[RunSpec], root: str | None) -> list[Item]:
    """Specs with their keys; opens each cache once and checks that it is large enough for each spec."""
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
    """The launcher of a config with nothing left open; workers x threads may not exceed the cores."""
    launcher, cores = build(Launcher, values, "launcher"), machine.cores()
    threads = cores if device != "cpu" else launcher.threads
    workers = launcher.workers or (cores // threads if device == "cpu" else 1)
    pack_runs = launcher.pack_runs or (16 if device == "cpu" else 64)
    for name, value in (("workers", workers), ("threads", threads), ("pack_runs", pack_runs)):
        if value < 1:
            raise ValueError(f"launcher.{name} must be >= 1, got {value}")
    if workers * threads > cores:
        raise ValueError(
            f"launcher.workers x launcher.threads must be at most {cores}, the cores of this machine; "
            f"got {workers} x {threads} (oversubscribed, fits are up to 10 times slower)"
        )
    return Launcher(workers, threads, pack_runs)


def packs(items: Sequence[Item], launcher: Launcher) -> list[list[Item]]:
    """Runs that share cache, loss, quantity and training, together; slow kinds first.

    At most pack_runs in a pack, fewer where that keeps every worker in work to the end.
    """
    groups: dict[tuple, list[Item]] = {}
    for item in items:
        groups.setdefault(_shared(item.spec), []).append(item)
    size = max(1, min(launcher.pack_runs, len(items) // (8 * launcher.workers)))
    found = [runs[i : i + size] for runs in groups.values() for i in range(0, len(runs), size)]
    return sorted(found, key=lambda p: (p[0].spec.loss.reward_model != "trees", -p[0].spec.quantity))


def _shared(spec: RunSpec) -> tuple:
    source = (spec.base_llm.stem, spec.backbone.stem, spec.dataset)
    loss = (spec.loss.reward_model, loss_options(spec.loss))
    return (*source, *loss, spec.quantity, spec.training, spec.evaluation, spec.precision)


def hours_left(missing: Sequence[Item], done: pd.DataFrame) -> float | None:
    """Compute hours of the missing runs, at the mean wall_s of done runs like them.

    done: rows with loss.reward_model, quantity and wall_s. Like them: the same reward model and, where
    there are any, the same quantity. None where a reward model has not been measured yet.
    """
    total = 0.0
    for item in missing:
        model, quantity = item.spec.loss.reward_model, item.spec.quantity
        like = done[done["loss.reward_model"] == model]
        if like.empty:
            return None
        same = like[like["quantity"] == quantity]
        total += (like if same.empty else same)["wall_s"].mean()
    return total / 3600
