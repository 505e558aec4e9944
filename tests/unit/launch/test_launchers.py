"""Launchers by name: each yaml has one, and what each says of itself."""

import pytest
import yaml

from rmsweep import machine, paths
from rmsweep.config.launchers import place_of_one, place_of_saved_model
from rmsweep.config.reward_models import Mlp
from rmsweep.launch.launchers import LAUNCHERS, items_to_start, launcher_of
from rmsweep.launch.local import LocalLauncher
from rmsweep.launch.slurm.launcher import SlurmLauncher
from rmsweep.paths import SweepFolder

YAMLS = sorted((paths.SHIPPED / "conf/launcher").glob("*.yaml"))


def values_of(name):
    return yaml.safe_load((paths.SHIPPED / f"conf/launcher/{name}.yaml").read_text())


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_each_yaml_has_a_launcher(path):
    values = yaml.safe_load(path.read_text())
    assert type(launcher_of(values, None)) is LAUNCHERS[values["cluster"]]


def test_what_launchers_say_of_themselves():
    local, slurm = launcher_of(values_of("local"), "cpu"), launcher_of(values_of("slurm"), None)
    assert isinstance(local, LocalLauncher) and isinstance(slurm, SlurmLauncher)
    assert local.runs_here and local.where == "cpu" and local.fields.workers == machine.cores()
    assert not slurm.runs_here and slurm.where == "Slurm (cpu)"
    on_gpus = launcher_of(values_of("slurm") | {"gpu": True}, None)
    assert on_gpus.where == "Slurm (cuda)" and on_gpus.device == "cuda"


@pytest.mark.parametrize("cores, at_once", [(3, 3), (64, 8)])
def test_one_run_holds_few_blocks_at_once_on_many_cores(cores, at_once, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    mlp = Mlp((4,), None)
    assert place_of_one(mlp, None, "cpu").at_once == at_once
    assert place_of_saved_model(mlp, "cpu") == place_of_one(mlp, None, "cpu")
    assert place_of_saved_model(mlp, "cuda:0").at_once == 1


def test_nothing_is_retuned_where_no_array_was_submitted(tmp_path):
    for name in LAUNCHERS:
        launcher = launcher_of(values_of(name), None)
        assert launcher.retuned(SweepFolder(tmp_path), ["run"]) == [(["run"], launcher)]


@pytest.mark.parametrize("cluster", ["pbs", None, ["slurm"]])
def test_an_unknown_launcher_is_named(cluster):
    with pytest.raises(ValueError, match="launcher.cluster .* is unknown; .*local, slurm"):
        launcher_of({"cluster": cluster}, None)


class Pbs(SlurmLauncher):
    """A launcher of one's own, whose jobs have one run."""

    name = "PBS"

    @staticmethod
    def live_keys(directory):
        return {"b"}


def test_a_further_launcher_is_one_row(tmp_path, monkeypatch):
    """Its jobs count whoever launches next."""
    monkeypatch.setitem(LAUNCHERS, "pbs", Pbs)
    launcher = launcher_of(values_of("slurm") | {"cluster": "pbs"}, None)
    assert launcher.where == "PBS (cpu)"

    class Item:
        def __init__(self, key):
            self.key = key

    for asking in (launcher, launcher_of(values_of("local"), "cpu")):
        items = items_to_start(SweepFolder(tmp_path), [Item("a"), Item("b")], asking, saves=False)
        assert [item.key for item in items] == ["a"]
