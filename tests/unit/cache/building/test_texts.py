"""How texts enter a build: files as they are found, prompts in a format, splits that are apart."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rmsweep.cache.building import sources, texts

PATH = Path("t.parquet")


def unfolded(rows):
    return sources.responses_of(pd.DataFrame(rows), PATH)


def test_rows_without_completions_are_a_choice():
    """As in UltraFeedback; as lists of JSON and as arrays of Parquet."""
    two = [{"response": f"r{k}", "overall_score": k} for k in range(2)]
    for make in (list, np.array):
        rows = [{"prompt": p, "completions": make(each)}
                for p, each in (("a", two), ("b", []), ("c", two))]  # fmt: skip
        table, n_bare = unfolded(rows)
        assert n_bare == 1 and table["prompt"].tolist() == list("aacc")
        with pytest.raises(ValueError, match="1 prompts have no responses: --unequal drop"):
            texts.prepare_responses(table, "refuse", "refuse", "t", n_bare)
        entered = texts.prepare_responses(table, "refuse", "drop", "t", n_bare)
        assert entered.n_prompts == 2 and entered.counts["unequal_prompts"] == 1


@pytest.mark.parametrize("wrong", [None, "text", ["text"], [None]])
def test_completions_of_another_kind_are_refused(wrong):
    with pytest.raises(ValueError, match="completions must be a list of maps with response"):
        unfolded([{"prompt": "a", "completions": wrong}])


def test_a_prompt_of_several_messages_is_refused():
    one, two = [{"role": "user", "content": "Hi"}], [{"content": "a"}, {"content": "b"}]
    assert sources.text_column(pd.DataFrame({"prompt": [one, "x"]}), "prompt", PATH) == ["Hi", "x"]
    assert sources.text_column(pd.DataFrame({"response": [two]}), "response", PATH) == ["b"]
    for given in (two, np.array(two)):
        with pytest.raises(ValueError, match="got a chat of 2 messages in row 1: join them"):
            sources.text_column(pd.DataFrame({"prompt": ["x", given]}), "prompt", PATH)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_files_that_begin_with_a_byte_order_mark(tmp_path, name):
    row = {"prompt": "é", "response": "a"}
    text = json.dumps(row) if name == "t.jsonl" else "prompt,response\né,a\n"
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert sources.read_source(tmp_path / name, {}).to_dict("records") == [row]


def entered(prompts):
    rows = pd.DataFrame({"prompt": np.repeat(prompts, 2), "response": ["a", "b"] * len(prompts)})
    rows["prompt_id"] = np.repeat(np.arange(len(prompts)), 2)
    return texts.prepare_responses(rows, "refuse", "refuse", "t")


def test_train_goes_without_the_prompts_of_test():
    train = texts.without(entered(["p", "q", "p", "r"]), entered(["p", "s"]))
    assert train.table["prompt"].tolist() == list("qqrr") and train.n_prompts == 2
    assert train.counts["in_other_split"] == 2
    with pytest.raises(ValueError, match="no train prompts are left: all 2 are test prompts"):
        texts.without(entered(["p", "q"]), entered(["q", "p"]))
