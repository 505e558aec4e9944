"""The one command that repeats a run, and the versions that it ran with."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rmsweep import machine, provenance
from rmsweep.config import compose, sweep_specs, trusted_code
from rmsweep.config.reward_models import options_of_row
from rmsweep.config.spec import OPTION_GROUPS, SEMANTICS, RunSpec
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, sweep_record

PLAIN = re.compile(r"[A-Za-z_][\w./-]*")  # text that Hydra reads as itself
OWN_OPTIONS = ("loss.objective.", "loss.validation_", "loss.estimator.", "loss.reward_model.")
READS_AS_ELSE = {"null", "true", "false", "yes", "no", "on", "off", "inf", "nan"}


def recorded_row(name: str, key: str) -> Mapping[str, Any]:
    """Return the done row of a sweep with this key, or with these first digits of it."""
    dataset.require_sweep(name)
    return provenance.parsed_row(dataset.done_row(name, key))


def recorded_spec(row: Mapping[str, Any]) -> RunSpec:
    """Return the spec of a row; ValueError where this version would give other numbers."""
    if not isinstance(row["canonical"], str):
        raise ValueError(f"the row of {row['key']} is older than the column `canonical`; run anew")
    if row["semantics"] != SEMANTICS:
        raise ValueError(
            f"SEMANTICS was {row['semantics']:g} and is {SEMANTICS} here: the same spec gives "
            f"other numbers now; take commit {row['git_commit']}"
        )
    has_diagnostics = row["decile_distance"] is not None
    return sweep_record.stored_spec(row["canonical"], row["loss.label"], has_diagnostics)


def shell_command(row: Mapping[str, Any], spec: RunSpec, config_dirs: Sequence[str]) -> str:
    """Return the command, for a shell, of a sweep of this one run in a folder of its own."""
    words = ["rmsweep", "run", "-m", *(word for d in config_dirs for word in ("--config-dir", d))]
    words += overrides_of(row, spec, config_dirs)
    words += [f"device={row['device']}", f"name=reproduced-{row['key']}"]
    if isinstance(row["cache_root"], str):
        words.append(f"cache.root={hydra_value(row['cache_root'])}")
    return shlex.join(words)


def overrides_of(row: Mapping[str, Any], spec: RunSpec, config_dirs: Sequence[str]) -> list[str]:
    """Return what composes to a row's spec: each group's option, each field that they do not set.

    ValueError where nothing does, or where the spec names code that no config file names: specs
    come from data files, which never can. Nor can they name a folder of config files: what a row's
    command line had is said, and has to be given again.
    """
    try:
        return _overrides(spec, config_dirs)
    except ValueError as error:
        then = [] if config_dirs else config_dirs_of(row["command"])
        if not then:
            raise
        typed = shlex.join(word for folder in then for word in ("--config-dir", folder))
        raise ValueError(f"{error}; its command line had {typed!r}") from None


def _overrides(spec: RunSpec, config_dirs: Sequence[str]) -> list[str]:
    wanted = json.loads(spec.canonical)
    known = compose.options_by_group(list(config_dirs))
    chosen = []
    for group in OPTION_GROUPS:
        option = wanted[group]["name"] if isinstance(wanted[group], dict) else wanted[group]
        if option is None:  # of labelled pairs, whose dataset's option says so
            continue
        if option not in known.get(group, {}):
            raise ValueError(
                f"{group}={option} is no option here; if it is your own, give its --config-dir"
            )
        chosen.append(f"{group}={option}")
    chosen.append(f"precision={spec.precision}")
    judged = [f"evaluation.{name}" for name in ("held_out", "pairs", "golden")]
    fields = _flat(spec)  # what is judged is given at once: without any of it nothing parses
    chosen += [f"{name}={hydra_value(fields[name])}" for name in judged if name in fields]
    with compose.hydra_at_conf():
        chosen += _differences(_flat(_parsed(chosen, config_dirs)), fields, config_dirs)
        if _parsed(chosen, config_dirs).canonical != spec.canonical:
            raise ValueError(
                f"{spec.spec_id} cannot be composed here: the source of loss={spec.loss.name} "
                "has changed since"
            )
        choices = compose.compose_one([]).choices
    if spec.annotation.source == "labels":  # whose dataset's option changes the others' defaults
        return chosen
    defaults = {f"{group}={option}" for group, option in choices.items()}  # need not be written
    return [override for override in chosen if override not in defaults]


def _parsed(overrides: list[str], config_dirs: Sequence[str]) -> RunSpec:
    config = compose.compose_one([*overrides, compose.search_path(config_dirs)])
    values = compose.interpolated(config.values)
    return sweep_specs.config_spec(compose.Config(values, config.choices, ()), "cpu")


def _flat(spec: RunSpec) -> dict[str, Any]:
    """Return the spec's fields by their names on the command line."""
    values = json.loads(spec.canonical)
    values["loss"] |= values["loss"].pop("options")
    del values["loss"]["source_sha256"]
    fields: dict[str, Any] = {}

    def walk(inner: Any, path: str) -> None:
        if not isinstance(inner, dict) or path == "evaluation.golden":
            fields[path] = inner
            return
        for name, value in inner.items():
            if path not in OPTION_GROUPS or name != "name":
                walk(value, f"{path}.{name}" if path else name)

    walk({name: v for name, v in values.items() if name not in ("selection", "pairing")}, "")
    return fields


def _differences(
    base: dict[str, Any], wanted: dict[str, Any], config_dirs: Sequence[str]
) -> list[str]:
    """Return the overrides that turn base into wanted; ValueError for code that no yaml names.

    An objective's options may be added or taken away; any other field that is absent is null.
    """
    trusted = trusted_code.named("_target_", config_dirs)
    changes = []
    for name in sorted(base.keys() | wanted.keys()):
        if base.get(name) == wanted.get(name) and (name in base) == (name in wanted):
            continue
        is_code = name.rpartition(".")[2] == "_target_" and name in wanted
        if is_code and wanted[name] not in trusted:
            raise ValueError(
                f"{name}={wanted[name]} is named by no config file here; if it is your own, "
                "give the --config-dir of a yaml that names it"
            )
        is_option = name.startswith(OWN_OPTIONS)
        if is_option and name not in wanted:
            changes.append(f"~{name}")
        else:
            added = "+" if is_option and name not in base else ""
            changes.append(f"{added}{name}={hydra_value(wanted.get(name))}")
    return changes


def hydra_value(value: Any) -> str:
    """Write a value in Hydra's syntax, so that neither a quote nor ${...} acts as one."""
    if isinstance(value, list):
        return f"[{','.join(map(hydra_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{hydra_value(v)}' for name, v in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value).replace("Infinity", "inf")
    if PLAIN.fullmatch(value) and value.lower() not in READS_AS_ELSE:
        return value
    value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # else OmegaConf would interpolate
    inner = re.sub(r"(\\+)\Z", r"\1\1", re.sub(r"(\\*)'", r"\1\1\\'", value))
    return f"'{inner}'"


def config_dirs_of(typed: str | None) -> list[str]:
    """Return the folders that a row's command line gave with --config-dir."""
    words = shlex.split(typed) if typed is not None else []
    after = [value for word, value in pairwise(words) if word in ("--config-dir", "-cd")]
    return after + [w.partition("=")[2] for w in words if w.startswith(("--config-dir=", "-cd="))]


def differences_here(name: str, row: Mapping[str, Any]) -> list[str]:
    """Return what is not here what it was when the run was made, a sentence each."""
    here = provenance.provenance()
    device = machine.device(None) if row["device"] != "cpu" else "cpu"
    options = options_of_row(row["loss.reward_model"], row["loss.options"])
    threads = None if options.same_on_any_threads else 1  # of the command's worker
    notes = provenance.differences(row, device, threads)
    for column, what in (("git_commit", "commit"), ("git_diff", "changes not committed")):
        if row[column] != here[column]:
            notes.append(f"{what} {row[column] or 'none'} then, {here[column] or 'none'} here")
    if row["git_diff"] is not None:
        path = SweepFolder.named(name).diffs / f"{row['git_diff']}.diff"
        notes.append(f"`git apply {shlex.quote(str(path))}` makes the changes that it was run with")
    return notes


def requirements(row: Mapping[str, Any]) -> str:
    """Return a requirements file of a row's versions; ValueError unless they are rmsweep's."""
    versions = dict(row["versions"])
    if absent := [name for name in ("python", "rmsweep", "torch") if name not in versions]:
        raise ValueError(
            f"versions of run {row['key']} have no {absent[0]}: its row is older than that; run it "
            "anew for a requirements file"
        )
    if others := versions.keys() - {"python", *provenance.PACKAGES}:
        raise ValueError(
            f"versions of run {row['key']} have {min(others)}, which this rmsweep does not record: "
            "its row is damaged, or newer"
        )
    python, rmsweep = versions.pop("python"), versions.pop("rmsweep")
    commit = "" if row["git_commit"] is None else f", commit {row['git_commit']}"
    lines = [f"# run {row['key']}: Python {python}, rmsweep {rmsweep}{commit}"]
    _, _, build = versions["torch"].partition("+")
    if build:  # such as cpu or cu128: not on PyPI
        lines.append(f"--extra-index-url https://download.pytorch.org/whl/{build}")
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in versions.items())])
