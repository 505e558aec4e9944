"""Planning rbt_full: 12,960 specs with ids, against hydra.compose one by one. Needs no data."""

import random
import time

from hydra import compose

from rmsweep.config.compose import hydra_at_conf, read_axes, search_path
from rmsweep.config.expand import expand
from rmsweep.config.sweep_specs import distinct_specs


def main() -> None:
    overrides = ["sweeps=rbt_full", "precision=bf16"]
    with hydra_at_conf():
        started = time.perf_counter()
        axes = read_axes(overrides, [])
        ids = {spec.spec_id for spec in distinct_specs(axes, [], "cpu")}
        planning_s = time.perf_counter() - started
        sample = random.Random(0).sample(list(expand(axes, [])), 50)
        started = time.perf_counter()
        for config in sample:
            compose("config", [*overrides, *config.overrides, search_path([])])
        one_s = (time.perf_counter() - started) / len(sample)
    print(f"planning {len(ids)} specs: {planning_s:.1f} s")
    print(f"hydra.compose: {1000 * one_s:.0f} ms each, {one_s * len(ids):.0f} s for all")
    print(f"ratio: {one_s * len(ids) / planning_s:.0f} x")


if __name__ == "__main__":
    main()
