"""The report: its numbers, commands, escaping, and what it says of a sweep that is not whole."""

import json
import re
import shlex

import pyarrow as pa
import pytest
from helpers.html_reader import Reader
from helpers.report_data import ERROR, IMAGE, N_RUNS, SCRIPT, write_sweep

from rmsweep.analysis.figures import catalogue
from rmsweep.analysis.report import page
from rmsweep.analysis.report.request import ReportRequest
from rmsweep.cli import main
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet


@pytest.fixture
def report(tmp_path, monkeypatch, capfd):
    """report(arguments..., status): in this process and with one figure, since drawing takes time;
    what it said and the page, if there is one."""
    monkeypatch.setattr("rmsweep.paths.OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(catalogue, "FIGURES", {"fig2": catalogue.FIGURES["fig2"]})

    def call(name, *options, status=0):
        with pytest.raises(SystemExit) as end:
            main.main(["report", name, *options])
        said = capfd.readouterr()
        assert end.value.code == status, said
        path = tmp_path / "outputs" / name / "report.html"
        return said, path.read_text() if path.exists() else None

    return call


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Page and Reader of a report on the made-up sweep, of which some failed or are missing."""
    root = tmp_path_factory.mktemp("made_up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rmsweep.paths.OUTPUTS", root / "outputs")
        write_sweep(
            root / "outputs/half",
            is_done=lambda s: s["base_llm"] == "gemma2b" and s["seed"] < 4,
            is_failed=lambda s: s["base_llm"] != "gemma2b" and s["seed"] == 0,
        )
        made = page.build_page(ReportRequest(("half",), (), {}, 0))
    return made, Reader(made.html)


@pytest.mark.parametrize("versions", ["3", "[]", "{", "", '{"torch": null}'])
def test_versions_that_are_none_are_refused(versions, report, tmp_path):
    write_sweep(tmp_path / "outputs/odd", is_done=lambda s: s["seed"] < 1)
    (part,) = dataset.part_paths(SweepFolder(tmp_path / "outputs/odd"))
    table = parquet.read_table(part)
    column = pa.array([versions] * len(table), pa.string())
    parquet.write_table(
        table.set_column(table.column_names.index("versions"), "versions", column), part
    )
    said, made = report("odd", status=2)
    assert made is None and "versions of 48 runs must be JSON" in said.err
    assert len(said.err.splitlines()) == 1


def test_where_and_seed_reach_every_part(report, inside, tmp_path):
    write_sweep(tmp_path / "outputs/made")
    options = ["--where", "dataset=hh_helpful", "--where", "base_llm=gemma2b"]
    seventh, again = (report("made", *options, "--seed", "7")[1] for _ in range(2))
    assert seventh == again  # the same bytes
    found, default = Reader(seventh), Reader(report("made", *options)[1])
    assert "60 of 60 runs done" in found.text
    commands = [c for c in found.code if re.match("rmsweep (table|claims|figure|report)", c)]
    assert len(commands) == 7
    assert all(shlex.join(options) in c and "--seed 7" in c for c in commands)
    for table in ("claims", "improvement", "settings"):
        assert found.tables[f"table-{table}"] != default.tables[f"table-{table}"]
    (claims,) = (c for c in commands if c.startswith("rmsweep claims"))
    lines = json.loads(inside(*shlex.split(claims)[1:], "--format", "json").stdout)
    first = next(line for line in lines if line["verdict"] != "not tested")
    ends = ", ".join(f"{first[end]:+z.3g}" for end in ("low", "high"))
    assert f"[{ends}]" in found.tables["table-claims"][1][4].replace("−", "-")


def test_one_line_for_every_setting(made_up):
    _, found = made_up
    heads, *lines = found.tables["table-settings"]
    fields = ["loss", "dataset", "base_llm", "quantity", "annotation.beta"]
    assert heads[:5] == fields and len(lines) == 2 * 2 * 3 * 2 * 2
    done = {line[2]: line[-1] for line in lines}
    assert done == {"gemma2b": "4 of 5", IMAGE: "0 of 5"}
    assert {line[5] for line in lines if line[2] == IMAGE} == {"-"}


def test_what_is_not_done_is_said_first(made_up):
    made, found = made_up
    assert (made.n_done, made.n_failed, made.n_wanted) == (96, 24, N_RUNS)
    top = found.text.partition("What was run")[0]
    assert "96 of 240 runs done" in top and "24 failed and 120 missing" in top
    assert found.tables["table-failures"][1][:3] == ["24", ERROR, "training/fit.py:7 in fit"]
    assert "INCOMPLETE: 144 of 240 runs are missing" in found.text
    assert "gemma2b 96 of 120" in " ".join(found.text.split())
    assert "rmsweep retry half" in found.code


def test_text_of_data_is_text(made_up):
    made, found = made_up
    assert made.html.count("<script") == made.html.count("</script") == 1
    assert [a for tag, a in found.tags if tag == "img" and not a["src"].startswith("data:")] == []
    assert {name for _, a in found.tags for name in a if name.startswith("on")} == set()
    for label in (SCRIPT, IMAGE, ERROR, "mine & <b>yours</b>"):
        assert label in found.text


def test_nothing_is_fetched_and_all_has_words(made_up):
    _, found = made_up
    for _, attributes in found.tags:
        for name in ("src", "href", "srcset", "action"):
            assert re.match(r"data:|#|$", attributes.get(name, ""))
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(images) > 8 and all(len(image["alt"]) > 40 for image in images)
    names = {tag for tag, _ in found.tags}
    assert {"main", "nav", "header", "footer", "h1", "h2", "caption", "figcaption"} <= names
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in found.tags if t == "a"}
    assert targets <= set(ids)


def test_exit_status_of_partial_failed_only_and_empty(report, tmp_path):
    outputs = tmp_path / "outputs"
    write_sweep(outputs / "partial", is_done=lambda s: s["seed"] == 0)
    said, html = report("partial", status=1)
    assert "48 of 240 runs are done, 0 failed" in said.err and "48 of 240 runs done" in html
    write_sweep(outputs / "failed", is_done=lambda s: False, is_failed=lambda s: True)
    for command in ("table", "claims", "figure"):
        with pytest.raises(SystemExit) as end:
            main.main([command, "failed"])
        assert end.value.code == 1
    said, html = report("failed", status=1)
    assert "0 of 240 runs are done, 240 failed" in said.err
    found = Reader(html)
    assert "No run is done" in found.text and ERROR in found.text
    assert "Figures" not in found.text and "Claims" not in found.text
    (outputs / "empty/runs").mkdir(parents=True)
    said, html = report("empty", status=2)
    assert "no runs in empty" in said.err and html is None
    assert "no sweep 'absent'" in report("absent", status=2)[0].err


@pytest.mark.parametrize(
    "options, words",
    [
        (["one"], "needs --out"),
        (["--out", "."], "must be a file"),
        (["--where", "loss"], "--where must be"),
        (["--where", "loss=absent"], "no run has loss=absent"),
    ],
)
def test_bad_options(report, tmp_path, options, words):
    write_sweep(tmp_path / "outputs/one")
    said, html = report("one", *options, status=2)
    assert words in said.err and html is None


def test_own_claims_and_a_claim_without_an_interval(report, tmp_path):
    write_sweep(tmp_path / "outputs/one", is_done=lambda s: s["seed"] == 0)
    mine = tmp_path / "my claims.yaml"
    mine.write_text(
        "mine: {claim: Mine <i>agrees</i> more., source: me, metric: order_consistency, "
        "contrast: {field: loss, a: clf_mlp, b: bt_mlp}, test: greater}"
    )
    _, html = report("one", "--file", str(mine), status=1)
    found = Reader(html)
    *_, (verdict, claim, _, effect, interval, n) = found.tables["table-claims"]
    assert "undecided" in verdict and claim == "Mine <i>agrees</i> more. me"
    assert interval.strip() == "no interval" and "1 seeds" in n and "nan" not in effect
    n_bars = sum(a.get("class", "").startswith("bar ") for _, a in found.tags)
    assert n_bars == len(found.tables["table-claims"]) - 2
    commands = [c for c in found.code if "--file" in c]
    assert [c.split()[1] for c in commands] == ["claims", "report"]
    assert all(shlex.quote(str(mine)) in c for c in commands)
    assert "no.yaml" in report("one", "--file", "no.yaml", status=2)[0].err


def test_several_sweeps_are_one_page(report, tmp_path):
    write_sweep(tmp_path / "outputs/one", is_done=lambda s: s["seed"] == 0)
    write_sweep(tmp_path / "outputs/two", is_done=lambda s: s["seed"] > 0)
    out = tmp_path / "new/both.html"
    said, _ = report("one", "two", "--out", str(out))
    assert str(out) in said.out and "240 of 240 runs done" in out.read_text()
