"""The commands that show what runs say: `rmsweep table`, `figure`, `claims` and `report`."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmsweep.analysis import metrics
from rmsweep.analysis.figures import catalogue
from rmsweep.cli.arguments import Commands, add_command, add_names, conditions_of, listed, say_error
from rmsweep.errors import MissingData, nearest
from rmsweep.paths import SweepFolder

if TYPE_CHECKING:
    import pandas as pd

OWN_CLAIMS: dict[str, Any] = {"action": "append", "default": [], "metavar": "YAML"}
OWN_CLAIMS |= {"help": "your own claims too"}
SIZE = (120, 24)  # columns and lines, where the output is no terminal


def add(commands: Commands) -> None:
    """Add these commands to those of `rmsweep`."""
    for add_one in (_add_table, _add_figure, _add_claims, _add_report):
        add_one(commands)


def _add_table(commands: Commands) -> None:
    text = "the result table of one or several sweeps"
    table = add_command(commands, _table, "table", text, epilog=metrics.metric_lines())
    add_names(table)
    add = table.add_argument
    add("--rows", metavar="FIELD,...", help="what is compared (default: loss)")
    add("--columns", metavar="FIELD,...", help="default: the first field that varies")
    add("--metric", default="improvement", help="one of those below; default: %(default)s")
    add("--against", metavar="OPTION", help="differences from this row or column, such as bt_mlp")
    text = "take of this swept field the value with the lowest validation loss, in each cell"
    add("--tune", metavar="FIELD", help=text)
    formats = ["text", "md", "latex", "csv", "html"]
    add("--format", default="text", choices=formats, help="default: text")


def _add_figure(commands: Commands) -> None:
    text = "the figures of one or several sweeps, as files"
    more = "Draw every figure that the runs have the data for, into outputs/NAME/figures/"
    texts = {"description": more, "epilog": catalogue.figure_list()}
    figure = add_command(commands, _figure, "figure", text, **texts)
    add_names(figure)
    add = figure.add_argument
    add("--figure", metavar="FIGURE,...", help="only these")
    add("--out", metavar="DIR", help="default: outputs/NAME/figures")
    add("--format", default="png", metavar="png,pdf,svg", help="default: png")
    text = (
        "95 %% intervals over seeds and prompts (default), or the standard error over seeds, which "
        "the figures of arXiv:2411.04991 alone offer"
    )
    add("--error-bars", default="interval", choices=["interval", "standard-error"], help=text)
    text = (
        "what RBT's figures show, of the metrics in `rmsweep table --help`; default: each its own"
    )
    add("--metric", metavar="METRIC", help=text)


def _add_claims(commands: Commands) -> None:
    text = "the verdict of the runs on each published claim"
    claims = add_command(commands, _claims, "claims", text, epilog=metrics.metric_lines())
    add_names(claims)
    claims.add_argument("--file", **OWN_CLAIMS)
    text = "of the claims that name none, one of those below; default: improvement"
    claims.add_argument("--metric", help=text)
    claims.add_argument("--format", default="text", choices=["text", "md", "json", "html"])


def _add_report(commands: Commands) -> None:
    text = "one HTML page: claims, what was run, tables, figures, provenance"
    report = add_command(commands, _report, "report", text, description=_report.__doc__)
    add_names(report)
    report.add_argument("--out", metavar="FILE", help="default: outputs/NAME/report.html")
    report.add_argument("--file", **OWN_CLAIMS)


def _table(args: argparse.Namespace) -> int:
    """Print a result table; 1 where runs are missing."""
    import numpy as np

    from rmsweep.analysis import fields, table_fields, table_notes, table_text, tables, tuned
    from rmsweep.config.columns import column_types

    metrics.check_metric(args.metric)
    columns, notes = ["key", *metrics.metric_columns(args.metric)], []
    columns += [] if args.tune is None else [*fields.id_fields(column_types()), tuned.COLUMN]
    rows, wanted = _rows_and_wanted(args, columns)
    n_missing = int((~wanted["key"].isin(rows["key"])).sum())
    if args.tune is not None:
        rows = rows[rows["key"].isin(wanted["key"])]
        chosen = tuned.tuned_runs(rows, args.tune)
        notes += tuned.choice_notes(rows, chosen, args.tune, n_missing)
        rows, wanted = chosen, wanted[wanted["key"].isin(chosen["key"])].assign(**{args.tune: None})
    row_fields, column_fields = listed(args.rows), listed(args.columns)
    spec_fields, _ = fields.spec_fields(wanted)
    table_fields.checked_fields(spec_fields, row_fields, column_fields)  # which set the defaults
    row_fields = row_fields or table_fields.default_rows(wanted, args.metric, column_fields)
    if args.columns is None:
        column_fields = table_fields.default_columns(wanted, args.metric, row_fields)
    what = (row_fields, column_fields, args.metric)
    rng = np.random.default_rng(args.seed)
    compared = tables.compare(rows, wanted, *what, rng, args.against)
    if compared["n_runs"].any() and compared["mean"].isna().all():
        raise ValueError(
            f"no done run has {args.metric}; where responses have golden rewards runs have "
            "improvement, where labelled pairs are judged accuracy"
        )
    notes = table_notes.table_notes(compared, wanted, *what, args.against) + notes
    width = shutil.get_terminal_size(SIZE).columns
    print(table_text.render_table(compared, *what, notes, args.format, width))
    return int(n_missing > 0)


def _claims(args: argparse.Namespace) -> int:
    """Print the verdict on each claim; 1 where runs are missing."""
    from rmsweep.analysis import claims, published_effects, verdict_text, verdicts

    tested = claims.published_and_own_claims(args.file)
    if args.metric is not None:
        metrics.check_metric(args.metric)
        tested = claims.with_metric(tested, args.metric)
    rows, wanted = _rows_and_wanted(args, claims.claim_columns(tested))
    if args.where:
        rows = rows[rows["key"].isin(wanted["key"])].reset_index(drop=True)
    lines = verdicts.verdict_table(rows, tested, args.seed)
    n_done = int(wanted["key"].isin(rows["key"]).sum())
    effects = published_effects.published_effects(rows, tested, args.seed)
    notes = verdict_text.verdict_notes(lines, n_done, len(wanted))
    notes += published_effects.published_notes(effects)
    width = shutil.get_terminal_size(SIZE).columns
    print(verdict_text.render_verdicts(lines, effects, notes, args.format, width))
    return int(n_done < len(wanted))


def _rows_and_wanted(
    args: argparse.Namespace, columns: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the done runs, and those wanted that meet --where; end the process if none is done.

    Say, too, where rows of one run disagree.
    """
    from rmsweep.analysis import fields
    from rmsweep.results import disagreements, sweep_record

    rows, wanted, repeated = sweep_record.load_sweeps(args.names, columns)
    if runs := disagreements.disagreeing_runs(args.names, repeated):
        say_error(disagreements.disagreement_line(runs))
    if rows.empty:
        say_error(f"no done runs in {', '.join(args.names)}; `rmsweep run -m ...` makes some")
        sys.exit(1 if len(wanted) else 2)
    if args.where:
        wanted = fields.select_specs(wanted, conditions_of(args.where))
    return rows, wanted


def _figure(args: argparse.Namespace) -> int:
    """Draw figures into files; 1 where runs are missing, or a figure that was asked for."""
    from rmsweep.analysis.figures import style, write

    if args.out is None and len(args.names) > 1:
        raise ValueError("figures of several sweeps need --out DIR, the folder to write them to")
    asked, formats = listed(args.figure), listed(args.format)
    lists = {"--figure": (asked, catalogue.FIGURES), "--format": (formats, style.FORMATS)}
    for option, (typed, valid) in lists.items():
        if unknown := [name for name in typed if name not in valid]:
            raise ValueError(f"{option}: {unknown[0]!r} is unknown; {nearest(unknown[0], valid)}")
    offered = _offered_figures(args, asked)
    columns = metrics.metric_columns(args.metric) if args.metric is not None else []
    rows = write.read_runs(args.names, conditions_of(args.where), columns)
    n_done = (rows["status"] == "done").sum()
    folder = SweepFolder.named(args.names[0]).figures if args.out is None else Path(args.out)
    names, missing = " ".join(args.names), []
    if n_done == 0:
        say_error(f"nothing to draw: 0 of {len(rows):,} runs of {names} are done")
        return 1
    for name in asked or offered:
        how = args.seed, args.error_bars, args.metric
        try:
            paths = write.write_figure(rows, name, folder, formats, *how)
        except MissingData as error:
            missing.append(name)
            print(f"{name}: not drawn, it needs {error}")
        else:
            print(f"{name}: {', '.join(map(str, paths))}")
    if n_done < len(rows):
        say_error(f"INCOMPLETE: {n_done:,} of {len(rows):,} runs of {names} are done")
    return int(n_done < len(rows) or bool(asked and missing))


def _offered_figures(args: argparse.Namespace, asked: list[str]) -> list[str]:
    """Return the figures that offer what the options ask for; ValueError if one asked does not."""
    offered = list(catalogue.FIGURES)
    options = []
    if args.error_bars != "interval":
        options.append((f"--error-bars {args.error_bars}", "bars"))
    if args.metric is not None:
        metrics.check_metric(args.metric)
        options.append((f"--metric {args.metric}", "metric"))
    for option, parameter in options:
        offered = [name for name in offered if name in catalogue.figures_with(parameter)]
        if others := [name for name in asked if name not in offered]:
            raise ValueError(f"{option} is not for {others[0]}, but for {', '.join(offered)}")
    return offered


def _report(args: argparse.Namespace) -> int:
    """Write one HTML file that needs no other: the verdict on each claim, what was run, tables that
    sort and filter, every figure that the runs have the data for, where the numbers come from, and
    the command behind each part.
    """
    from rmsweep.analysis.report import page
    from rmsweep.analysis.report.request import ReportRequest
    from rmsweep.results import dataset

    if args.out is None and len(args.names) > 1:
        raise ValueError("a report of several sweeps needs --out FILE, the file to write")
    for name in args.names:
        dataset.require_sweep(name)
    path = Path(args.out) if args.out else SweepFolder.named(args.names[0]).report
    if path.is_dir():
        raise ValueError(f"--out must be a file, {path} is a folder")
    names, where, files = map(tuple, (args.names, args.where, args.file))
    conditions = conditions_of(args.where)
    built = page.build_page(ReportRequest(names, where, conditions, args.seed, files))
    page.write_page(built, path)
    print(f"{path}: {len(built.html.encode()) / 1e6:.1f} MB; open it in a browser")
    if built.n_done < built.n_wanted:
        counts = f"{built.n_done:,} of {built.n_wanted:,} runs are done, {built.n_failed:,} failed"
        say_error(f"INCOMPLETE: {counts}")
    return int(built.n_done < built.n_wanted)
