"""The options that name a built cache for `rmsweep run`, and the command that reads it."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml
from hydra.core.override_parser.types import Quote, QuotedString

from rmsweep import paths
from rmsweep.annotation import pairing
from rmsweep.cache.building.stages import write_bytes
from rmsweep.cache.layout import open_files, open_pairs

MOST_QUANTITY = 2000  # in the command
GOLDEN = "reward_scale: std # of all train golden rewards\nsynthetic: null\n"


def write_options_and_command(root: Path, names: Mapping[str, str]) -> str:
    """Return the command of a run on the cache under root; write its options under root/conf.

    names: base_llm (absent: of pairs), backbone and dataset.
    """
    folder = root / "conf"
    is_pairs = "base_llm" not in names
    option_of = {group: _option(folder, group, name, is_pairs) for group, name in names.items()}
    if is_pairs:
        n_pairs = open_pairs(root, names["dataset"], names["backbone"]).n_pairs
        text = (paths.SHIPPED / "conf/evaluation/held_out_pairs.yaml").read_text()
        most = n_pairs - round(float(yaml.safe_load(text)["held_out"]) * n_pairs)
    else:
        cache = open_files(root, names["base_llm"], names["backbone"], names["dataset"])
        n_prompts, k = cache.train_golden.shape
        most = pairing.most_pairs(n_prompts, k, "random", "same_prompt")
    options = [f"{group}={option}" for group, option in option_of.items()]
    options += [f"quantity={min(MOST_QUANTITY, most)}", f"cache.root={_hydra(root)}"]
    return shlex.join(["rmsweep", "run", "--config-dir", str(folder), *options])


def _hydra(root: Path) -> str:
    """Return a path as a value of Hydra's grammar."""
    text = str(root)
    is_plain = re.fullmatch(r"[\w./ -]+", text, re.ASCII) and " " not in (text[0], text[-1])
    return text if is_plain else QuotedString(text, Quote.single).with_quotes()


def _option(folder: Path, group: str, name: str, is_pairs: bool) -> str:
    """Return an option with this file stem: one that comes with rmsweep, or a new one."""
    option, text = re.sub(r"\W", "_", name), f"stem: {json.dumps(name)}\n"
    if group == "dataset" and is_pairs:
        option, text = f"{option.removesuffix('_pairs')}_pairs", _pairs_text(text.strip())
    elif group == "dataset":
        text += GOLDEN
    shipped = paths.SHIPPED / "conf" / group / f"{option}.yaml"
    if shipped.exists() and yaml.safe_load(shipped.read_text()) != yaml.safe_load(text):
        option += "_built"
    path = folder / group / f"{option}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    package = text[: text.index("\n") + 1] if text.startswith("# @") else ""  # must come first
    note = "# built with rmsweep cache build\n"
    write_bytes(path, (package + note + text.removeprefix(package)).encode())
    return option


def _pairs_text(stem: str) -> str:
    """Return the text of the option of labelled pairs that comes with rmsweep, for these pairs."""
    shipped = (paths.SHIPPED / "conf/dataset/hh_harmless_pairs.yaml").read_text()
    package, _, text = shipped.split("\n", 2)
    return package + "\n" + re.sub(r"stem: .*", stem, text)
