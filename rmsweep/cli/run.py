"""`rmsweep run`: one run, or with -m a sweep; Hydra's application answers --help and --cfg."""

import contextlib
import io
import os
import sys

from rmsweep import paths
from rmsweep.cli.arguments import Parser, import_from_here, require_folders
from rmsweep.config import compose


def run_command(argv: list[str]) -> int:
    """Do what the arguments after `rmsweep run` ask for; return the exit status."""
    parser = Parser("rmsweep run", add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    parser.add_argument("-c", "--cfg")
    parser.add_argument("-p", "--package")
    parser.add_argument("-i", "--info", nargs="?", const="all")
    args, rest = parser.parse_known_args(argv)
    values = {name: vars(args)[name] for name in ("cfg", "package", "info")}
    flags = [f"--{name}={value}" for name, value in values.items() if value]
    flags += [argument for argument in rest if argument.startswith("-")]
    overrides = [argument for argument in rest if not argument.startswith("-")]
    require_folders(args.config_dir)
    import_from_here()
    if not args.multirun:
        if args.plan or args.limit is not None:
            raise ValueError("--plan and --limit are for sweeps: rmsweep run -m ...")
        return _run_one(flags, overrides, args.config_dir)
    if {"-h", "--help"} & set(flags):
        return _run_one(["--help"], [], args.config_dir)
    if flags:
        raise ValueError(
            f"unknown option {flags[0]}; a sweep takes --plan, --limit N, --config-dir DIR"
        )
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be >= 1, got {args.limit}")
    if not args.plan:
        return launch_and_print(overrides, args.config_dir, args.limit)
    from rmsweep.cli import show_sweep
    from rmsweep.launch import run_sweep

    show_sweep.print_plan(run_sweep.sweep_request(overrides, args.config_dir), args.limit)
    return 0


def launch_and_print(overrides: list[str], config_dirs: list[str], limit: int | None = None) -> int:
    """Launch a sweep, or the first `limit` of its runs; print how it ended; return the status."""
    from rmsweep.cli import show_sweep
    from rmsweep.launch import pool, run_sweep

    if not any(override.startswith("launcher=") for override in overrides):
        pool.warm_up()
    request = run_sweep.sweep_request(overrides, config_dirs)
    return show_sweep.print_launched(run_sweep.launch_sweep(request, limit))


def _run_one(flags: list[str], overrides: list[str], config_dirs: list[str]) -> int:
    if any("hydra.mode=" in override for override in overrides):
        raise ValueError("hydra.mode is not for rmsweep; a sweep is `rmsweep run -m ...`")
    path = compose.search_path(config_dirs)
    if flags or any(override.lstrip("+~").startswith("hydra") for override in overrides):
        config = _through_hydra([*flags, *overrides, path])
    else:  # Hydra's application would compose everything twice
        with compose.hydra_at_conf():
            config = compose.compose_one([*overrides, path])
    if config is None:
        return 0

    from rmsweep.cli import show_run
    from rmsweep.launch import run_one

    return show_run.print_run(run_one.run_one(config))


def _through_hydra(arguments: list[str]) -> compose.Config | None:
    """Return the config that Hydra composes, or None where it printed what a flag asks for."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    configs = []
    application = hydra.main(
        config_path=str(paths.SHIPPED / "conf"), config_name="config", version_base="1.3"
    )(lambda cfg: configs.append(compose.as_config(cfg, dict(HydraConfig.get().runtime.choices))))
    argv, sys.argv = sys.argv, ["rmsweep run", *arguments]
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors, do not print them
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            application()
    except SystemExit as stop:
        if stop.code:  # Hydra's argparse has printed usage, then the error
            message = printed.getvalue().strip().rpartition("error: ")[2]
            raise ValueError(f"{message}; see `rmsweep run --help`") from None
        raise
    finally:
        sys.argv = argv
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return configs[0] if configs else None
