"""Made-up runs whose effects are known, and tables of them."""

import itertools

import numpy as np
import pandas as pd

from rmsweep.analysis.table_notes import table_notes
from rmsweep.analysis.table_text import render_table
from rmsweep.analysis.tables import compare

EFFECTS = {"bt_mlp": 2.0, "clf_mlp": 3.0, "clf_lgb": 2.995}


def specs(**axes):
    """Return wanted specs, the product of the axes; a name has __ for a dot."""
    axes = {"loss": list(EFFECTS), "dataset": ["hh_harmless"], "seed": range(5)} | axes
    names = [name.replace("__", ".") for name in axes]
    wanted = pd.DataFrame(itertools.product(*axes.values()), columns=names)
    return wanted.assign(key=[f"k{i}" for i in range(len(wanted))])


def done(wanted, n_prompts=80, shift=None, prompts_of=None):
    """Return the rows of all wanted runs: the loss's effect, common prompts, a little noise."""
    lines = []
    for i, spec in enumerate(wanted.to_dict("records")):
        n = (prompts_of or {}).get(spec["dataset"], n_prompts)
        prompt = np.random.default_rng(n).normal(size=n)
        noise = 0.02 * np.random.default_rng(i).normal(size=n)
        mean = EFFECTS[spec["loss"]] + (shift(spec) if shift else 0.0)
        improvement = (mean + prompt - prompt.mean() + noise - noise.mean()).astype(np.float32)
        spearman = improvement / 10
        spearman[0] = np.nan
        lines.append(
            {
                "key": spec["key"],
                "improvement": float(improvement.mean()),
                "bon_golden": mean + 0.01 * spec["seed"],
                "epochs": 10.0 + spec["seed"],
                "improvement_by_prompt": improvement,
                "spearman_by_prompt": spearman,
                "headroom_by_prompt": np.full(n, 4.0, np.float32),
                "base_by_prompt": np.full(n, -1.0, np.float32),
                "order_consistency": mean + 0.01 * spec["seed"],
            }
        )
    return pd.DataFrame(lines)


def with_odd_names():
    """Return rows, wanted specs, row and column fields of a table whose names need escaping."""
    wanted = specs(base_llm=["llama3_8b|x", "50%_{sft}"])
    return done(wanted), wanted, ["loss"], ["base_llm"]


def table(rows, wanted, row_fields=("loss",), column_fields=(), metric="improvement", seed=0, **k):
    """Return the cells of a table of the rows."""
    rng = np.random.default_rng(seed)
    return compare(rows, wanted, list(row_fields), list(column_fields), metric, rng, **k)


def page(
    rows, wanted, row_fields=("loss",), column_fields=(), metric="improvement", format="text", **k
):
    """Return a table of the rows in a format, with its notes."""
    fields = list(row_fields), list(column_fields)
    cells = table(rows, wanted, *fields, metric, **k)
    lines = table_notes(cells, wanted, *fields, metric, **k)
    return render_table(cells, *fields, metric, lines, format, width=200)
