"""Small cache builds: their arguments, and what a build wrote."""

import numpy as np
import pandas as pd
import torch
import transformers

from rmsweep.cache.building import models
from rmsweep.cache.building.tokens import join_texts

FP32 = models.Engine("cpu", "fp32", False)


SMALL = ["--train-responses", "3", "--test-responses", "5", "--max-new-tokens", "5"]


def read_stage(out, stage):
    (folder,) = out.glob(f"stages/{stage}")
    parts = sorted(folder.glob("part-*.parquet"))
    return pd.concat([pd.read_parquet(path) for path in parts], ignore_index=True)


def files(out):
    return {path.name: path.read_bytes() for path in out.glob("*.npy")}


def one_by_one(folder, kind, prompts, responses):
    """Return the outputs of plain transformers for each text alone, without padding."""
    words = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    outputs = []
    for prompt, response in zip(prompts, responses, strict=True):
        with torch.inference_mode():
            outputs.append(model(**words(join_texts(prompt, response)[0], return_tensors="pt")))
    return outputs


def texts_file(path, golden=True, **changed):
    """Write texts of 8 prompts with 3 responses each, and return them."""
    rows = pd.DataFrame({"prompt": np.repeat([f"Question {i}?" for i in range(8)], 3)})
    rows["response"] = [f"answer {i}" for i in range(24)]
    if golden:
        rows["golden_reward"] = np.random.default_rng(0).normal(size=24)
    for name, values in changed.items():
        rows[name] = values
    rows.to_parquet(path)
    return rows
