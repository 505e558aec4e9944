"""The text of `rmsweep demo --text`: made-up answers with a golden reward that is a known rule."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmsweep import files

CACHE = Path("demo-cache")
NAME = "demo_text"
SHAPES = {"train": (240, 6), "test": (60, 12)}
QUANTITY = 600
SUBJECTS = (
    "otters owls bees whales foxes spiders tulips oaks ferns cacti mushrooms bamboo hammers "
    "kettles bicycles clocks magnets bridges volcanoes glaciers rivers deserts comets auroras "
    "violins drums trumpets cheese bread coffee"
).split()
ASKED = ("Tell me about {}.", "What should I know about {}?", "Explain {} to a child.")
HELPFUL = (
    "{} have been studied for centuries.",
    "The best known fact about {} is how they change.",
    "There are many kinds of {} in the world.",
    "People often use {} in daily life.",
    "With patience, anyone can learn about {}.",
    "Most books on {} begin with their history.",
)
RUDE = (
    "That is a stupid question.",
    "I do not care about that.",
    "Look it up yourself.",
    "Nobody wants to hear about this.",
)
WORTH = {"helpful": 1.0, "off_topic": -0.7, "rude": -1.5}  # of a sentence, in golden reward
NOISE = 0.3


def write_texts(folder: Path, seed: int = 0) -> None:
    """Write texts_train.parquet and texts_test.parquet: prompt, response, golden_reward."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    asked = rng.permutation([(form, a, b) for form in ASKED for a in SUBJECTS for b in SUBJECTS])
    first = 0
    for split, (n_prompts, k) in SHAPES.items():
        rows = []
        for form, subject, other in asked[first : first + n_prompts]:
            prompt = form.format(subject) + ("" if other == subject else f" Not {other}.")
            rows += [_response(prompt, subject, other, rng) for _ in range(k)]
        with files.whole(folder / f"texts_{split}.parquet") as unfinished:
            pd.DataFrame(rows).to_parquet(unfinished)
        first += n_prompts


def _response(prompt: str, subject: str, other: str, rng: np.random.Generator) -> dict[str, Any]:
    sentences, golden = [], rng.normal(0, NOISE)
    for kind in rng.choice(list(WORTH), size=rng.integers(1, 5), p=(0.6, 0.25, 0.15)):
        about = {"helpful": subject, "off_topic": other}.get(kind)
        form = rng.choice(RUDE if about is None else HELPFUL)
        sentences.append(form.format((about or "").capitalize() if form[0] == "{" else about))
        golden += WORTH[kind]
    return {"prompt": prompt, "response": " ".join(sentences), "golden_reward": golden}


def build_demo_cache() -> int:
    """Write the texts and embed them, as a user would; return the exit status."""
    write_texts(CACHE)
    words = f"rmsweep cache build --backbone minilm --train {CACHE}/texts_train.parquet"
    words += f" --test {CACHE}/texts_test.parquet --base-llm-name templates --dataset manners"
    words += f" --out {CACHE}"
    print(words, flush=True)
    return subprocess.run([sys.executable, "-m", *words.split()]).returncode


def sweep_overrides() -> list[str]:
    """Return the overrides of the sweep on them: two losses, two noise levels, five seeds."""
    names = ["base_llm=templates", "backbone=minilm", "dataset=manners"]
    axes = ["loss=bt_mlp,clf_lgb", "annotation.beta=1,10", "seed=range(5)"]
    return [*names, *axes, f"quantity={QUANTITY}", f"cache.root={CACHE}", f"name={NAME}"]
