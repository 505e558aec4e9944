"""Command-line arguments that several commands share, and how they are read."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[Any]"  # what add_subparsers returns
Call: TypeAlias = Callable[[argparse.Namespace], int]  # does a command; returns the exit status


class Parser(argparse.ArgumentParser):
    """A parser whose errors are reported as all others are, in a line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see `{self.prog} --help`")


def add_command(
    commands: Commands, call: Call, name: str, help: str, **texts: Any
) -> argparse.ArgumentParser:
    """Add a command that `call` does, and return the parser of its arguments.

    texts: its description and epilog, whose lines are kept where there is an epilog or a paragraph.
    """
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, **texts)
    if "epilog" in texts or "\n\n" in (texts.get("description") or ""):
        command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.set_defaults(call=call)
    return command


def add_name(command: argparse.ArgumentParser) -> None:
    """Add the name of a sweep to the arguments of a command."""
    command.add_argument("name", metavar="NAME", help="of a sweep in outputs/")


def add_names(command: argparse.ArgumentParser) -> None:
    """Add names of sweeps, --where and --seed to the arguments of a command that reads results."""
    add = command.add_argument
    add("names", nargs="+", metavar="NAME", help="of a sweep in outputs/")
    add("--where", action="append", default=[], metavar="FIELD=VALUE,...", help="only these runs")
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def add_config_dir(command: argparse.ArgumentParser) -> None:
    """Add --config-dir, a user's own groups, to the arguments of a command."""
    command.add_argument("--config-dir", action="append", default=[], help="your own groups too")


def require_folders(config_dirs: list[str]) -> None:
    """Raise FileNotFoundError unless each --config-dir is a folder."""
    for folder in config_dirs:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"--config-dir {folder} must be a folder of config groups")


def import_from_here() -> None:
    """Import from the working directory, too, as `python -m` does: a user's own losses.

    Not for commands that run no code of the user's: outputs/ in it may be someone else's.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def listed(text: str | None) -> list[str]:
    """Return the names that an option lists, with commas between them."""
    return [name for name in (text or "").split(",") if name]


def conditions_of(texts: list[str]) -> dict[str, list[Any]]:
    """Return the values of each --where by field, read as yaml, as on `run`'s command line."""
    import yaml

    conditions: dict[str, list[Any]] = {}
    for text in texts:
        field, _, values = text.partition("=")
        try:
            several = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError:
            several = []
        if not field or not several:
            raise ValueError(f"--where must be FIELD=VALUE[,VALUE], got {text!r}")
        conditions.setdefault(field, []).extend(several)
    return conditions


def say_error(text: str) -> None:
    """Print a line on stderr as rmsweep's."""
    print(f"rmsweep: {text}", file=sys.stderr)
