"""Command-line arguments that several commands share, and how they are read."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """One whose errors are reported like all others: in a line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see `{self.prog} --help`")


def add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="of a sweep in outputs/")


def add_names(command: argparse.ArgumentParser) -> None:
    """Sweeps, --where and --seed, of a command that reads results."""
    command.add_argument("names", nargs="+", metavar="NAME", help="of a sweep in outputs/")
    command.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE,...", help="only these runs"
    )
    command.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def add_config_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config-dir", action="append", default=[], help="your own groups too")


def require_folders(config_dirs: list[str]) -> None:
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
    return [name for name in (text or "").split(",") if name]


def conditions_of(texts: list[str]) -> dict[str, list[Any]]:
    """Field and values of each --where; values read as in yaml, as on the `run` command line."""
    import yaml

    found: dict[str, list[Any]] = {}
    for text in texts:
        field, _, values = text.partition("=")
        try:
            several = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError:
            several = []
        if not field or not several:
            raise ValueError(f"--where must be FIELD=VALUE[,VALUE], got {text!r}")
        found.setdefault(field, []).extend(several)
    return found


def say_error(text: str) -> None:
    print(f"rmsweep: {text}", file=sys.stderr)
