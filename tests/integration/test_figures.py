"""`rmsweep figure` on real sweeps: whole ones, partial ones, failed ones, and bad options."""

import subprocess
import sys

import pytest

from rmsweep.analysis.figures import catalogue
from rmsweep.cli import main


def test_figures_leave_pyplot_alone():
    code = (
        "import importlib, sys, numpy, pandas\n"
        "from rmsweep.analysis.figures import catalogue, write\n"
        "for module, _ in catalogue.FIGURES.values():\n"
        "    importlib.import_module(f'rmsweep.analysis.figures.{module}')\n"
        "heavy = {'matplotlib.pyplot', 'torch', 'hydra', 'lightgbm', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.fixture
def figure(here, capfd):
    """figure(arguments...): what `rmsweep figure` prints, to stdout and stderr, in tmp_path."""

    def call(*arguments, status=0):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main.main(["figure", *arguments])
        assert (end.value.code or 0) == status
        return capfd.readouterr()

    return call


def test_figures_of_a_real_sweep(inside, tiny, tmp_path, figure):
    axes = ["loss=bt_mlp,normbt", "annotation.beta=1,10", "quantity=20,30", "seed=range(2)"]
    axes += ["pairing=same_prompt,cross_prompt", "loss.hidden=[8]", "evaluation.diagnostics=true"]
    inside("run", "-m", *tiny, *axes, "name=small")
    found = figure("small").out
    assert [line.partition(":")[0] for line in found.splitlines()] == list(catalogue.FIGURES)
    assert "fig5: not drawn, it needs runs with selection=similar or diversified" in found
    folder = tmp_path / "outputs" / "small" / "figures"
    expected = {"fig1", "fig2", "fig3", "fig4", "fig8", "fig10", "fig12", "bon_n", "bon_kl", "cost"}
    expected |= {"heatmap", "win_rates", "nbt_gradients", "nbt_updates", "nbt_accuracy"}
    expected |= {"nbt_full_gradient", "nbt_gradients_by_error"}
    assert {path.stem for path in folder.iterdir()} >= expected
    assert {path.suffix for path in folder.iterdir()} == {".png"}

    where = ["--where", "annotation.beta=10", "--out", "here", "--format", "png,pdf,svg"]
    figure("small", "--figure", "fig1", *where)
    files = {path.name: path.stat().st_size for path in (tmp_path / "here").iterdir()}
    assert set(files) == {"fig1.png", "fig1.pdf", "fig1.svg"} and min(files.values()) > 5000
    assert "fig5: not drawn" in figure("small", "--figure", "fig5", status=1).out
    found = figure("small", "--metric", "regret", "--out", "regret").out
    assert [line.partition(":")[0] for line in found.splitlines()] == catalogue.figures_with(
        "metric"
    )
    assert {"fig1.png", "fig2.png", "fig4.png"} <= {
        path.name for path in (tmp_path / "regret").iterdir()
    }


def test_partial_and_failed_sweeps(inside, tiny, tmp_path, figure):
    sweep = ["run", "-m", *tiny, "seed=range(2)", "loss.hidden=[8]", "name=part"]
    inside(*sweep)
    inside(*sweep, "loss=normbt", "training.learning_rate=1e30", status=1)
    found = figure("part", "--figure", "fig1", status=1)
    assert "INCOMPLETE: 2 of 4 runs of part are done" in found.err
    assert (tmp_path / "outputs" / "part" / "figures" / "fig1.png").exists()
    found = figure("part", "--where", "loss=normbt", status=1)
    assert "nothing to draw: 0 of 2 runs of part are done" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small", "--figure", "costs"], "did you mean cost"),
        (["small", "--format", "gif"], "valid: pdf, png, svg"),
        (
            ["small", "--figure", "cost", "--error-bars", "standard-error"],
            "--error-bars standard-error is not for cost, but for fig1, ",
        ),
        (
            ["small", "--figure", "fig6", "--metric", "spearman"],
            "--metric spearman is not for fig6, but for fig1, ",
        ),
        (["small", "--metric", "bon_gold"], "unknown metric 'bon_gold'; did you mean bon_golden?"),
        (["small", "--error-bars", "sd"], "invalid choice: 'sd'"),
        (["small", "small"], "--out DIR"),
        (["small", "--where", "beta"], "--where must be FIELD=VALUE"),
        (["other"], "no sweep 'other'"),
    ],
)
def test_bad_input(arguments, message, figure):
    assert message in figure(*arguments, status=2).err


def test_help_lists_the_figures(figure):
    assert all(f"  {name} " in figure("--help").out for name in ("fig1", "heatmap"))
