"""Names and paths that nobody would choose: each is taken as it is, or refused in one line."""

import html

import numpy as np
import pytest
from helpers import report_data
from helpers.report_data import IMAGE, SCRIPT, write_sweep

from rmsweep import paths
from rmsweep.cli import main
from rmsweep.config import compose
from rmsweep.paths import SweepFolder

ODD = ["my sweep", "übung 日本", "a'b\"c", "a=b,c;d", "50%_{$x}#&~^", "a\\b", "[red]x", "<b>x"]
UNPRINTABLE = ["a\nb", "a\x1b[31mb", "a\0b", "\u202egnp"]
NO_NAMES = [*UNPRINTABLE, "..", ".", "../up", "/tmp", "a/b", "-x", "x" * 201, "ü" * 101, "x" * 300]


def quoted(text):
    return compose.QuotedString(text, compose.Quote.single).with_quotes()


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main.main([str(argument) for argument in arguments])
    compose.GlobalHydra.instance().clear()
    return stop.value.code


@pytest.fixture
def run(tiny):
    return ["run", "-m", "loss.hidden=[4]", "seed=0,1", *tiny]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_of_sweeps(name, here, run, capfd):
    assert call(*run, f"name={quoted(name)}", "--plan") == 0
    assert f"sweep {name}: 2 runs" in capfd.readouterr().out
    write_sweep(SweepFolder.named(name).path)
    assert call("status", name) == 0
    assert f"sweep {name}: 240 of 240" in capfd.readouterr().out
    assert [path.name for path in (here / "outputs").iterdir()] == [name]


def test_a_sweep_of_an_odd_name_in_an_odd_folder(here, run, capfd, monkeypatch):
    folder = here / "mit Ümläut" / "a=b, 'c' [d]"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert call(*run, f"name={quoted(ODD[1])}") == 0
    assert "2 of 2 runs done" in capfd.readouterr().out
    for command in ("status", "table", "report", "retry"):
        assert call(command, ODD[1]) == 0
    assert (folder / "outputs" / ODD[1] / "report.html").exists()


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_that_are_none(name, refused, run, here):
    (here / "up").mkdir()
    (here / "outputs").mkdir()
    refused([*run, f"name={quoted(name)}"], "name must be one folder's name, printable")
    if name[0] != "-":  # which is an option there
        for command in ("status", "table", "figure", "report", "retry", "cancel", "verify"):
            refused([command, name], "no sweep")


def test_an_unquoted_name_says_how_to_quote(refused, run):
    refused([*run, "name=übung"], "quoted twice", "name='a=b'")
    refused([*run, "name=a=b"], "quoted twice")


@pytest.mark.parametrize("name", [*ODD, "${seed}", "a\nb"])
def test_odd_folders_of_groups_and_caches(name, here, run, capfd):
    groups = here / name / "loss"
    groups.mkdir(parents=True)
    text = (paths.SHIPPED / "conf/loss/bt_mlp.yaml").read_text()
    (groups / "mine.yaml").write_text(text)
    assert call(*run, "--config-dir", name, "loss=mine", "--plan") == 0
    rng = np.random.default_rng(0)
    for split, shape in (("train", (20, 3)), ("test", (8, 4))):
        for kind, width in (("embd", 6), ("reward", 1)):
            array = rng.normal(size=(*shape, width)).astype(np.float32)
            np.save(here / name / f"{kind}_a ü_synthetic_alpacaeval_{split}.npy", array)
    files = ["dataset=alpacaeval", "base_llm=synthetic", "base_llm.stem='a ü'", "quantity=10"]
    root = quoted(name.replace("${", "\\${"))
    capfd.readouterr()
    more = ["backbone=synthetic", f"cache.root={root}", "--plan"]
    assert call("run", "-m", "seed=0,1", *files, *more) == 0
    assert "missing: 2" in capfd.readouterr().out


@pytest.mark.parametrize("stem", ["../up", "/tmp/x", "a/b", " ", *UNPRINTABLE])
@pytest.mark.parametrize("group", ["base_llm", "backbone", "dataset"])
def test_stems_that_leave_the_cache(group, stem, refused, here):
    (here / "cache").mkdir()
    (here / "embd_..").mkdir()
    files = ["dataset=alpacaeval", "base_llm=synthetic", "backbone=synthetic", "quantity=10"]
    override = f"{group}.stem={quoted(stem)}"
    refused(["run", *files, "cache.root=cache", override], f"stem of {group}", repr(stem))
    refused(["cache", "synthesize", "new", override], f"stem of {group}")


LONG = "x" * 300


def test_paths_that_are_too_long(refused, here, run):
    (here / "cache").mkdir()
    files = ["dataset=alpacaeval", "base_llm=synthetic", "backbone=synthetic", "quantity=10"]
    refused(["run", *files, f"cache.root={LONG}"], "too long")
    refused(["run", *files, "cache.root=cache", f"base_llm.stem={LONG}"], "too long")
    refused([*run, "--config-dir", LONG], "too long")
    refused(["cache", "synthesize", LONG], "too long")
    refused(["cache", "inspect", LONG], LONG[:50])


def test_names_of_data_break_no_table(here, capfd):
    """Options with HTML, LaTeX and what steers a terminal, in every format."""
    write_sweep(SweepFolder.named("small").path)
    for format in ("text", "md", "html", "latex"):
        assert call("table", "small", "--rows", "base_llm,dataset", "--format", format) == 0
        page = capfd.readouterr().out
        if format in ("html", "md"):
            assert "<script" not in page and "<img" not in page
        if format == "html":
            assert html.escape(SCRIPT, quote=False) in page
            assert html.escape(IMAGE, quote=False) in page
        if format == "latex":
            assert r"\textless{}script\textgreater{}" in page


def test_what_steers_a_terminal_is_not_printed(here, capfd, monkeypatch):
    monkeypatch.setitem(report_data.AXES, "base_llm", ["a", "x\x1b[31m\n\r\x07y"])
    write_sweep(SweepFolder.named("small").path)
    for format in ("text", "md", "html", "latex"):
        assert call("table", "small", "--rows", "base_llm", "--format", format) == 0
        page = capfd.readouterr().out
        assert "x?[31m???y" in page.replace("{[}", "[") and "\x1b" not in page
