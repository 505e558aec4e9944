"""What README, docs/ and outputs/*/README.md tell a reader to type is run, or planned."""

import contextlib
import functools
import io
import itertools
import re
import shlex
import signal
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

import rmsweep
from rmsweep.cli import main
from rmsweep.paths import CHECKOUT, SHIPPED

PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "benchmarks/README.md"]
PAGES += [*CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("outputs/*/README.md")]
TEXTS = {page.relative_to(CHECKOUT).as_posix(): page.read_text() for page in sorted(PAGES)}
PROGRAMS = ("rmsweep", "make", "python", "pip", "wandb", "hf", "sbatch", "pytest")

READ = ("status", "table", "claims", "figure", "report", "score", "verify", "reproduce", "retry")
READ += ("cancel",)
OF_SEVERAL = ("table", "claims", "figure", "report")  # which take several sweeps
TINY = {"quantity=2000": "quantity=30"}  # as the tiny sweep has it

# Pages whose blocks of commands a test of this folder runs end to end, as they stand.
RUN_ELSEWHERE = {
    "docs/add-a-loss.md": "test_readme.py::test_add_a_loss_as_written",
    "docs/add-a-reward-model.md": "test_own_reward_model.py::test_the_page_as_written",
    "docs/labelled-pairs.md": "test_labelled_pairs.py::test_the_docs_commands_run_as_written",
    "docs/build-a-cache.md": "test_text_demo.py::test_the_page_on_building_as_written",
}
# Not run here, why, and what does; the command line is parsed all the same.
PARSED = {
    "cache synthesize DIR dataset.synthetic.dim=128": "at full size: test_readme.py",
    "demo --text": "embeds 2,160 texts: test_text_demo.py",
    "cache verify DIR": "needs what a build wrote: cache_building/test_verify.py",
    "cache verify cache": "needs what a build wrote: cache_building/test_verify.py",
    "figure theory_convergence --figure theory_convergence": "its sweep: unit/.../test_theory.py",
    "claims normbt_reviewers --file claims/studies/normbt_reviewers.yaml": "its sweeps are large",
    "table human_pairs --metric accuracy --against bt_mlp": "labels: test_labelled_pairs.py",
    "table human_pairs --metric section_chat_hard": "labels: test_labelled_pairs.py",
}
# Not of rmsweep, or an abbreviation of one: neither run nor parsed.
LEFT_OUT = {
    "rmsweep cache build ...": "stands for the command above it on the page",
    "wandb sync": "wants a network and a login",
    "wandb login": "wants a network",
    "hf download ID": "wants a network",
    "hf auth login": "wants a network",
    "python -m pytest -m soak": "18 minutes: make soak",
}


def spans(text):
    """Lines of blocks that are no other language's, and code within lines."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)
    text = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.S | re.M)
    blocks = [body for language, body in fences if language in ("", "sh", "bash", "shell")]
    blocks += re.findall(r"(?:^ {4}.*\n?)+", text, re.M)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^ {4}.*$", "", text, flags=re.M))
    return [line.strip() for block in blocks for line in block.splitlines()] + inline


def commands(program):
    """Each different command of a program: what follows its name, and a page that it is on."""
    found = {}
    for page, text in TEXTS.items():
        for span in spans(text):
            first, _, rest = " ".join(span.split()).partition(" ")
            if first == program and rest:
                found.setdefault(rest.partition(" #")[0].strip(), page)
    return found


RMSWEEP = commands("rmsweep")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny cache and a tiny sweep."""
    folder = tmp_path_factory.mktemp("docs")
    shape = "train_prompts=40 train_responses=3 test_prompts=12 test_responses=6 dim=16"
    shape += " n_clusters=2 intrinsic_dim=4"
    tiny = [f"dataset.synthetic.{field}" for field in shape.split()]
    with contextlib.chdir(folder):
        called(["cache", "synthesize", "DIR", *tiny])
        np.save("EMBEDDINGS.npy", np.ones((3, 16), np.float32))
        sweep = ["loss=bt_mlp,clf_mlp,normbt", "seed=0,1", "name=first", "save_model=true"]
        sweep += ["loss.hidden=[8]", "quantity=30", "training.max_epochs=2", "precision=fp32"]
        called(["run", "-m", *tiny, *sweep])
    return folder


def called(words):
    """What the command prints; it exits with 0."""
    printed, on_broken_pipe = io.StringIO(), signal.getsignal(signal.SIGPIPE)
    try:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
            main.main(words)
    finally:
        signal.signal(signal.SIGPIPE, on_broken_pipe)
    assert ended.value.code in (0, None), (words, ended.value.code)
    return printed.getvalue()


def planned(words):
    """The words of `rmsweep run ...`, as a sweep that is only planned; for speed of one seed.

    What a sweep file sweeps of groups is cut to the first option; test_compose.py looks at all.
    """
    words = [word for word in words if word not in ("-m", "--plan")]
    words = ["seed=0,1" if word == "..." else word for word in words]
    fixed = {word.partition("=")[0] for word in words}
    cut = {"seed": "0", "precision": "bf16"}
    for name in [word.removeprefix("sweeps=") for word in words if word.startswith("sweeps=")]:
        axes = yaml.safe_load((SHIPPED / f"sweeps/{name}.yaml").read_text())["sweep"]["axes"]
        groups = [field for field in axes if (SHIPPED / "conf" / field).is_dir()]
        cut |= {field: axes[field].partition(",")[0] for field in groups}
    words += [f"{field}={value}" for field, value in cut.items() if field not in fixed]
    return ("-m", *sorted(words), "--plan")


@functools.cache
def done(words):
    return called([*words])


@functools.cache  # rbt_full takes seconds, and is on a page with and without --plan
def plan(words):
    return called(["run", *words])


@pytest.mark.parametrize("command", RMSWEEP)
def test_command(command, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    in_a_block = RMSWEEP[command] in RUN_ELSEWHERE
    if any(f"rmsweep {command}".startswith(left) for left in LEFT_OUT):
        return
    words = shlex.split(command)
    if words in ([words[0]], ["cache", "build"], ["cache", "verify"]) and words != [
        "list"
    ]:  # only named
        assert called([*words, "--help"])
    elif words[0] == "run" and not in_a_block and words[1:] != ["--help"]:
        assert "runs" in plan(planned(words[1:]))
    elif command in PARSED or in_a_block:
        if words[0] != "run":
            main.command_parser().parse_args(words)
    else:
        (key, *_) = sorted(rmsweep.load("first", columns=["key"])["key"])
        given = {"KEY": key} | TINY
        if words[0] in READ and words[1:]:
            given[words[1]] = "first"  # all sweeps here are that one
        if words[0] in OF_SEVERAL:
            names = itertools.takewhile(lambda word: word[0] != "-", words[1:])
            given |= dict.fromkeys(names, "first")
        assert done(tuple(given.get(word, word) for word in words))


def test_what_is_not_run_here_is_on_a_page_and_run_by_the_test_named():
    everything = [*(f"rmsweep {command}" for command in RMSWEEP)]
    everything += [f"{program} {rest}" for program in PROGRAMS[1:] for rest in commands(program)]
    assert set(PARSED) <= set(RMSWEEP)
    for left in LEFT_OUT:
        assert any(command.startswith(left) for command in everything), f"{left} is on no page"
    for page, test in RUN_ELSEWHERE.items():
        file, _, name = test.partition("::")
        assert page in TEXTS and f"def {name}(" in Path(__file__).with_name(file).read_text()


def test_programs_that_are_not_rmsweep():
    targets = re.findall(r"^([\w-]+):", (CHECKOUT / "Makefile").read_text(), re.M)
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for rest in commands("make"):
        assert rest.split()[0] in targets, rest
    for rest in commands("pip"):
        (extra,) = re.findall(r"rmsweep\[(\w+)\]", rest)
        assert extra in extras["optional-dependencies"]
    for rest in commands("python"):
        if not any(f"python {rest}".startswith(left) for left in LEFT_OUT):
            file = rest.removeprefix("-m pytest ").split()[0]
            assert (CHECKOUT / file).is_file(), rest
    listed = subprocess.run(
        [CHECKOUT / "tests/versions/versions.sh", "files"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = listed.stdout.split()
    missing = [name for name in names if not (CHECKOUT / name).exists()]
    modules = [path for name in names for path in (CHECKOUT / name).rglob("test_*.py")]
    modules += [name for name in names if name.endswith(".py")]
    assert not missing and len(modules) > 20, f"versions.sh names what is not there: {missing}"
    others = [f"{program} {rest}" for program in PROGRAMS[4:] for rest in commands(program)]
    for command in others:
        assert any(command.startswith(left) for left in LEFT_OUT), f"{command}: why is it not run?"
