"""`rmsweep demo --text`: from text to a report with a real embedding model, offline."""

import os
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from scipy.stats import spearmanr

from rmsweep.cache.layout import open_files
from rmsweep.cli import demo_text
from rmsweep.paths import CHECKOUT
from rmsweep.results import dataset

SMALL = "from rmsweep.cli import demo_text, main; demo_text.QUANTITY = 40;"
SMALL += "demo_text.SHAPES = {'train': (30, 3), 'test': (8, 4)}; main.main(['demo', '--text'])"


def test_a_small_demo_from_text_to_report(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SMALL], cwd=tmp_path, env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rmsweep cache build --backbone minilm" in done.stdout and " texts/s" in done.stderr
    assert "20 of 20 runs done" in done.stdout
    assert (tmp_path / "outputs/demo_text/report.html").stat().st_size > 10_000
    cache = open_files(tmp_path / "demo-cache", "templates", "minilm", "manners")
    assert (cache.train_golden.shape, cache.dim) == ((30, 3), 384)


@pytest.mark.soak
def test_the_demo_learns_what_is_rude(rmsweep, tmp_path, monkeypatch):
    assert "20 of 20 runs done" in rmsweep("demo", "--text", HF_HUB_OFFLINE="1").stdout
    monkeypatch.chdir(tmp_path)
    rows = dataset.load("demo_text", ["loss", "improvement", "annotation.beta"])
    assert (rows[rows["annotation.beta"] == 10].groupby("loss")["improvement"].mean() > 0.5).all()


def test_the_texts_follow_their_rule(tmp_path):
    demo_text.write_texts(tmp_path)
    train, test = (
        pd.read_parquet(tmp_path / f"texts_{split}.parquet") for split in demo_text.SHAPES
    )
    assert not set(train.prompt) & set(test.prompt)
    is_rude = train.response.str.contains("|".join(demo_text.RUDE))
    assert spearmanr(is_rude, train.golden_reward)[0] < -0.4
    assert train.prompt.nunique() == 240 and (train.response.str.len() > 10).all()


@pytest.mark.soak
def test_the_page_on_building_as_written(rmsweep, tmp_path):
    """The commands of docs/build-a-cache.md from a jsonl to a report, and from labelled pairs."""
    page = (CHECKOUT / "docs/build-a-cache.md").read_text().split("```")
    commands = [line for block in page[1:4:2] for line in block.splitlines() if line]
    demo_text.write_texts(tmp_path)
    texts = pd.read_parquet(tmp_path / "texts_train.parquet")
    texts.to_json(tmp_path / "texts.jsonl", orient="records", lines=True)
    asked = texts.sort_values("golden_reward").groupby("prompt")["response"]
    pairs = pd.DataFrame({"chosen": asked.last(), "rejected": asked.first()}).reset_index()
    pairs.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    few = {"--test-prompts 200": "--test-prompts 40", "range(5)": "range(1)"}
    few |= {"quantity=1000": "quantity=150 training.max_epochs=2"}
    for command in commands:
        for written, tried in few.items():
            command = command.replace(written, tried)
        rmsweep(*shlex.split(command)[1:])
    for name in ("chats", "mine"):
        assert (tmp_path / f"outputs/{name}/runs").is_dir()
