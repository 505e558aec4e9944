"""The one door to what a run reads: files in the released layout, or the synthetic source."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rmsweep.cache.layout import Cache, open_files
from rmsweep.cache.synthetic import Synthetic, generate


def open_cache(
    root: Path, base_llm: str, backbone: str, dataset: str, synthetic: Mapping[str, Any] | None
) -> Cache:
    """Cache of these file stems; with synthetic, the fields of Synthetic but the stems, no file.

    ValueError or FileNotFoundError as in open_files, and ValueError where synthetic embeddings
    would be labelled with a model that had no part in them.
    """
    if synthetic is None:
        return open_files(root, base_llm, backbone, dataset)
    for field, stem in (("base_llm", base_llm), ("backbone", backbone)):
        if not stem.startswith("synthetic"):
            raise ValueError(
                f"{field} must start with 'synthetic' with synthetic dataset {dataset!r}, got "
                f"{stem!r}: no such model had a part in it; set {field}=synthetic"
            )
    wanted = {field.name for field in fields(Synthetic)} - {"base_llm", "backbone", "dataset"}
    if synthetic.keys() != wanted:
        raise ValueError(
            f"synthetic must have the fields {sorted(wanted)}; missing "
            f"{sorted(wanted - synthetic.keys())}, unknown {sorted(synthetic.keys() - wanted)}"
        )
    return generate(Synthetic(base_llm=base_llm, backbone=backbone, dataset=dataset, **synthetic))
