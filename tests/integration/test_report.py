"""The report of a real sweep says what the other commands say."""

import json
import re
import shlex

import pandas as pd
from helpers.html_reader import Reader
from helpers.small_sweep import SWEEP


def as_shown(markdown):
    """The cells of a table in Markdown, as plain text."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    plain = [[re.sub(r"\*\*|\\", "", c.replace(r"\*", "\0")) for c in line] for line in cells]
    return [[c.replace("\0", "*") for c in line] for line in plain if set(line) != {"---"}]


def test_a_real_sweep_has_the_numbers_of_its_commands(inside, small):
    said = inside("report", "small")
    assert "outputs/small/report.html" in said.stdout and said.stderr == ""
    found = Reader((small / "outputs/small/report.html").read_text())
    assert "24 of 24 runs done" in found.text and "Incomplete" not in found.text
    for metric in ("improvement", "oracle_share", "pairwise_accuracy"):
        (command,) = (c for c in found.code if c.endswith(f"--metric {metric}"))
        printed = inside(*shlex.split(command)[1:], "--format", "md").stdout
        assert found.tables[f"table-{metric}"] == as_shown(printed)
        assert printed.splitlines()[-1].replace("\\", "") in found.text  # a note
    lines = json.loads(inside("claims", "small", "--format", "json").stdout)
    tested = [line for line in lines if line["verdict"] != "not tested"]
    shown = found.tables["table-claims"][1:]
    assert len(shown) == len(tested) > 0
    for line, (verdict, claim, training, effect, interval, n) in zip(tested, shown, strict=True):
        assert line["verdict"] in verdict and line["claim"] in claim and line["source"] in claim
        assert training == line["training"] and f"{line['n_seeds']} seeds" in n
        numbers = [f"{line[k]:+z.3g}".replace("-", "−") for k in ("effect", "low", "high")]
        assert effect.startswith(numbers[0]) and f"[{numbers[1]}, {numbers[2]}]" in interval
    figures = [c for c in found.code if c.startswith("rmsweep figure")]
    assert len([tag for tag, _ in found.tags if tag == "figure"]) == len(figures) > 5
    for command in ("rmsweep status small", figures[0]):
        assert command in found.code
        inside(*shlex.split(command)[1:])
    assert "rmsweep report small" in found.code
    launches = [c for c in found.code if c.startswith("rmsweep run -m")]
    assert [shlex.split(c)[1:] for c in launches] == [SWEEP]
    row = pd.read_parquet(small / "outputs/small/runs").iloc[0]
    versions = [f"{name} {version}" for name, version in json.loads(row["versions"]).items()]
    origins = [f"commit {row['git_commit'][:12]}"] if row["git_commit"] else []
    assert len(versions) > 3 and row["command"].startswith("rmsweep run -m")
    for said in (row["host"], row["cpu"], row["device"], row["command"], *versions, *origins):
        assert said in found.text
    assert row["fingerprint"][:8] in found.text
    together = "".join(found.text.split())
    assert f"threadsarun{row['threads']}" in together
    assert f"SEMANTICS{row['semantics']}" in together
