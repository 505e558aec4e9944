"""The commands on a sweep, status, retry and cancel, and on its runs, reproduce, verify and score.

The docstring of a command is what its --help says.
"""

import argparse
import sys
from pathlib import Path

from rmsweep.cli import arguments
from rmsweep.cli.arguments import Commands, add_command, add_config_dir, add_name


def add(commands: Commands) -> None:
    """Add the commands to those of `rmsweep`."""
    text = "how a sweep goes: done, failed, running, missing; its jobs"
    status = add_command(commands, _status, "status", text, description=_status.__doc__)
    add_name(status)
    status.add_argument("--key", help="of one run: its spec, row, traceback and log")
    status.add_argument("--watch", action="store_true", help="redraw until nothing moves")
    status.add_argument("--json", action="store_true")

    text = "run again what failed or is missing"
    retry = add_command(commands, _retry, "retry", text, description=_retry.__doc__)
    add_name(retry)
    add_config_dir(retry)
    retry.add_argument("--wait", action="store_true", help="on a cluster: follow to the end")

    text = "stop a sweep's jobs, or its launch on this machine; keeps what is done"
    add_name(add_command(commands, _cancel, "cancel", text))
    _add_of_runs(commands)


def _add_of_runs(commands: Commands) -> None:
    text = "the one command that repeats a run; or the versions that it ran with"
    again = add_command(commands, _reproduce, "reproduce", text, description=_reproduce.__doc__)
    add_name(again)
    again.add_argument("key", metavar="KEY", help="of the run, or its first digits")
    again.add_argument("--lock", action="store_true", help="print a requirements file instead")
    add_config_dir(again)

    text = "run a random sample again and compare every number"
    verify = add_command(commands, _verify, "verify", text, description=_verify.__doc__)
    add_name(verify)
    verify.add_argument("--sample", type=int, default=20, help="runs (default: %(default)s)")
    verify.add_argument("--key", help="this run, or its first digits, instead of a sample")
    verify.add_argument("--seed", type=int, help="of the sample (default: another each time)")
    add_config_dir(verify)

    text = "predicted rewards of embeddings, by a reward model that save_model=true kept"
    score = add_command(commands, _score, "score", text, description=_score.__doc__)
    add_name(score)
    score.add_argument("key", metavar="KEY", help="of the run, or its first digits")
    score.add_argument("embeddings", metavar="EMBEDDINGS.npy")
    score.add_argument("--out", metavar="FILE", help="default: ./EMBEDDINGS.KEY.npy")
    add_config_dir(score)


def _use(config_dirs: list[str]) -> None:
    """Check folders of the user's own groups; their yamls may name code in the working folder."""
    arguments.require_folders(config_dirs)
    if config_dirs:
        arguments.import_from_here()


def _status(args: argparse.Namespace) -> int:
    """Print a sweep's runs by state, failures by kind, pace and time left, and its jobs by Slurm's
    state (asked once, and at most every 30 s). Exit status: 0 if all is done, 1 if not.
    """
    from rmsweep.cli import show_status

    if args.key is not None:
        return show_status.print_run_status(args.name, args.key)
    if args.watch:
        return show_status.watch_status(args.name)
    return show_status.print_status(args.name, as_json=args.json)


def _retry(args: argparse.Namespace) -> int:
    """Launch again, with the settings of the last launch, what has no done row and is in no job.
    Runs of tasks that were killed, as for memory, get packs half as large and twice the memory.
    Code of your own (a loss, launcher.setup) must be in a config file: give the launch's
    --config-dir again.
    """
    from rmsweep.cli import show_sweep
    from rmsweep.launch import retry

    _use(args.config_dir)
    return show_sweep.print_launched(retry.retry_sweep(args.name, args.config_dir, waits=args.wait))


def _cancel(args: argparse.Namespace) -> int:
    from rmsweep.launch import cancel

    if (pid := cancel.stop_launch(args.name)) is not None:
        print(f"stopped the launch of process {pid}", flush=True)
    n_tasks = cancel.cancel_jobs(args.name)
    print(f"cancelled {n_tasks} tasks; what is done is kept, and the same command runs the rest")
    return 0


def _reproduce(args: argparse.Namespace) -> int:
    """Print the command that repeats a run, with every field that determines its numbers; on
    stderr, what is not here what it was then: versions, CPU or GPU, commit.
    """
    from rmsweep.launch import reproduce

    _use(args.config_dir)
    row = reproduce.recorded_row(args.name, args.key)
    if args.lock:
        print(reproduce.requirements(row))
        return 0
    print(reproduce.shell_command(row, reproduce.recorded_spec(row), args.config_dir))
    for note in reproduce.differences_here(args.name, row):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Run done runs of a sweep again, alone and in another pack, and compare every number with its
    row: bit for bit on a CPU; on CUDA the scalar metrics within 0.02 x max(1, |metric|). Exit
    status: 0 all match, 1 some differ or cannot be compared (versions, CPU or GPU model, data or
    code are not what they were), 2 bad input.
    """
    from rmsweep.launch import pool, verify

    _use(args.config_dir)
    pool.warm_up()
    if args.key is not None:
        rows = verify.row_of(args.name, args.key)
    else:
        rows, n_done, seed = verify.drawn_rows(args.name, args.sample, args.seed)
        print(f"{len(rows)} of {n_done} done runs, drawn with --seed {seed}")
    verdicts = verify.verify_rows(rows, args.config_dir)
    for verdict in verdicts:
        reasons = "; ".join([*verdict.unlike, *verdict.differs])
        why = "" if verdict.state == "match" else f": {reasons}"
        print(f"{verdict.key}  {verdict.state}{why}")
    n_match, n_differ = (sum(v.state == state for v in verdicts) for state in ("match", "differs"))
    n_others = len(verdicts) - n_match - n_differ
    print(
        f"{n_match} of {len(verdicts)} runs match, {n_differ} differ, {n_others} cannot be compared"
    )
    return int(n_match < len(verdicts))


def _score(args: argparse.Namespace) -> int:
    """Write the predicted rewards of a .npy file of embeddings, (rows, D) or (prompts, K, D), as a
    .npy file without the last axis, and print its path. A reward model of your own needs the
    --config-dir of its yaml again.
    """
    from rmsweep.training import saved_models

    _use(args.config_dir)
    out = None if args.out is None else Path(args.out)
    path = saved_models.score_file(args.name, args.key, Path(args.embeddings), out, args.config_dir)
    print(path)
    return 0
