"""The objectives of conf/loss/, and made-up batches of pairs for them."""

import torch
from omegaconf import OmegaConf

from rmsweep.objectives.pair_batch import PairBatch
from rmsweep.paths import SHIPPED

OBJECTIVES = {}
for path in sorted((SHIPPED / "conf" / "loss").glob("*.yaml")):
    for field in ("objective", "validation_objective"):
        value = OmegaConf.to_container(OmegaConf.load(path)).get(field)
        if isinstance(value, dict):
            OBJECTIVES[f"{path.stem}.{field}"] = value


def batch_of(seed, runs=2, pairs=6, width=5, scale=1.0, features=None):
    g = torch.Generator().manual_seed(seed)
    chosen, rejected = torch.randn((2, runs, pairs), generator=g)
    h = scale * torch.randn((2, runs, pairs, width), generator=g)
    x, margin = torch.randn((2, runs, pairs, 3), generator=g), torch.randn(runs, pairs, generator=g)
    return PairBatch(chosen, rejected, *(h if features is None else features), *x, margin)
