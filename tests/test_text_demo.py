"""`rmsweep demo --text`: from text to a report with a real embedding model, offline."""

import shlex
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from rmsweep import results, text_demo
from rmsweep.cache.layout import open_files


def test_demo_from_text_to_report(rmsweep, tmp_path, monkeypatch):
    shown = rmsweep("demo", "--text", HF_HUB_OFFLINE="1").stdout
    assert "rmsweep cache build --backbone minilm" in shown and "20 of 20 runs done" in shown
    assert (tmp_path / "outputs/demo_text/report.html").stat().st_size > 10_000
    cache = open_files(tmp_path / "demo-cache", "templates", "minilm", "manners")
    assert (cache.train_golden.shape, cache.dim) == ((240, 6), 384)
    monkeypatch.chdir(tmp_path)
    rows = results.load("demo_text", ["loss", "improvement", "annotation.beta"])
    assert (rows[rows["annotation.beta"] == 10].groupby("loss")["improvement"].mean() > 0.5).all()


def test_the_texts_follow_their_rule(tmp_path):
    text_demo.write_texts(tmp_path)
    train, test = (
        pd.read_parquet(tmp_path / f"texts_{split}.parquet") for split in text_demo.SHAPES
    )
    assert not set(train.prompt) & set(test.prompt)
    is_rude = train.response.str.contains("|".join(text_demo.RUDE))
    assert spearmanr(is_rude, train.golden_reward)[0] < -0.4
    assert train.prompt.nunique() == 240 and (train.response.str.len() > 10).all()


def test_the_page_on_building_as_written(rmsweep, tmp_path):
    """The commands of docs/build-a-cache.md from a jsonl to a report."""
    page = (Path(__file__).parents[1] / "docs/build-a-cache.md").read_text()
    commands = [line for line in page.split("```")[1].splitlines() if line]
    text_demo.write_texts(tmp_path)
    texts = pd.read_parquet(tmp_path / "texts_train.parquet")
    texts.to_json(tmp_path / "texts.jsonl", orient="records", lines=True)
    few = {"--test-prompts 200": "--test-prompts 40", "range(5)": "range(1)"}
    few |= {"quantity=1000": "quantity=200 training.max_epochs=2"}
    for command in commands:
        for written, tried in few.items():
            command = command.replace(written, tried)
        rmsweep(*shlex.split(command)[1:])
    assert (tmp_path / "outputs/chats/report.html").exists()
