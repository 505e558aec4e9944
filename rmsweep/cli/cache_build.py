"""The command `rmsweep cache build`: its arguments become a request, done here or on Slurm."""

import argparse
import dataclasses
import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rmsweep.cli import cache_build_arguments as arguments
from rmsweep.cli.arguments import listed
from rmsweep.paths import LaunchFolder

SAY = functools.partial(print, flush=True)  # seen at once in a log, too


def build_cache(args: argparse.Namespace) -> int:
    """Build what was asked for, here or on Slurm, and say how a sweep reads it."""
    from rmsweep.cache.building import hub

    hub.require_text_packages()
    if args.launcher:
        return _submit(args)
    if args.shards is not None:
        raise ValueError("--shards is for launcher=slurm; --shard I/N does one of them here")
    request = _request(args)
    if LaunchFolder(request.root).jobs.is_dir():
        from rmsweep.launch.slurm import cache_jobs

        cache_jobs.require_none_live(LaunchFolder(request.root))
    return _build_here(args, request)


def _build_here(args: argparse.Namespace, request: Any) -> int:
    from rmsweep.cache.building import pipeline, run_options

    request.root.mkdir(parents=True, exist_ok=True)
    written = pipeline.run_build(request, pipeline.enter_texts(request, SAY), SAY)
    for path in written:
        SAY(f"wrote {path}")
    if written:
        SAY(f"next: rmsweep cache inspect {shlex.quote(args.out)}")
        SAY(f"then: {run_options.write_options_and_command(request.root, request.names)}")
    return 0


def _submit(args: argparse.Namespace) -> int:
    """Enter the texts here, and give the shards that have parts left to Slurm."""
    from rmsweep.cache.building import pipeline
    from rmsweep.config import compose
    from rmsweep.launch import launchers
    from rmsweep.launch.slurm import cache_jobs

    if wrong := [text for text in args.launcher if not text.lstrip("+").startswith("launcher")]:
        raise ValueError(f"only launcher=... and launcher.FIELD=... can be set so, got {wrong[0]}")
    if args.shard or args.until or not args.precision:
        raise ValueError(
            "with a Slurm launcher --precision must be given, since this machine cannot know what "
            "the nodes have, and --shard and --until not: every shard and stage is submitted"
        )
    n = arguments.SHARDS if args.shards is None else args.shards
    if n < 1:
        raise ValueError(f"--shards must be >= 1, got {n}")
    with compose.hydra_at_conf():
        config = compose.compose_one([*args.launcher, compose.search_path(args.config_dir)])
    values = compose.interpolated(config.values)["launcher"]
    cluster = launchers.launcher_of(values, args.device).for_build()
    request = _request(argparse.Namespace(**vars(args) | {"device": "cpu"}))
    request.root.mkdir(parents=True, exist_ok=True)
    entered = pipeline.enter_texts(request, SAY)
    steps = pipeline.open_model_stages(request, entered)
    n = min(n, max(stage.n_parts for stage in entered.values()))
    shards = [(i, n) for i in range(n) if any(step.left((i, n)) for step in steps.values())]
    if not shards:
        return _build_here(args, request)
    folder = LaunchFolder(request.root.absolute())
    jobs = cache_jobs.submit_stages(folder, request.kinds, shards, cluster, run_build_task)
    numbers = ", ".join(f"{kind} {job}" for kind, job in jobs.items())
    SAY(f"submitted {len(shards)} tasks a stage, and one that joins them: {numbers}")
    SAY(
        f"logs: {LaunchFolder(request.root).logs}; when all have ended: rmsweep cache verify "
        f"{shlex.quote(args.out)}"
    )
    return 0


def run_build_task(folder: str, array: str, task: int) -> None:
    """Do the part of a build that is an array's task; called on a node, by submitit."""
    from rmsweep.launch.slurm import cache_jobs

    submission, kind, shard = cache_jobs.begin_task(folder, array, task)
    own = [] if kind == cache_jobs.JOIN else ["--until", kind, "--shard", shard]
    parser = argparse.ArgumentParser()
    arguments.add(parser.add_subparsers(), build_cache)
    args = parser.parse_args([*submission.command[1:], "--device", submission.place.device, *own])
    _build_here(args, _request(args))


def _request(args: argparse.Namespace) -> Any:
    """Return the request, its models located and checked; nothing is written."""
    from rmsweep import machine
    from rmsweep.cache.building import hub, models
    from rmsweep.cache.building.generate import Sampling
    from rmsweep.cache.building.request import BuildRequest

    sources = _sources(args)
    _refuse_idle(args, sources)
    left = {name: value for name, value in arguments.DEFAULTS.items() if vars(args)[name] is None}
    args = argparse.Namespace(**vars(args) | left)
    trusts = args.trust_remote_code
    device = machine.device(args.device)
    engine = models.Engine(device, machine.precision(args.precision, device), trusts)
    fields = {field.name for field in dataclasses.fields(BuildRequest)}
    values = {name: value for name, value in vars(args).items() if name in fields}
    for kind in ("base_llm", "adapter", "backbone", "reward_model"):
        name = values[kind]
        values[kind] = name and hub.locate_model(name, kind.replace("_", " "), trusts)
    tokenizer = args.prompt_tokenizer
    drawing = (args.temperature, args.top_p, args.max_new_tokens, args.seed)
    values |= {
        "prompt_tokenizer": tokenizer and hub.locate_tokenizer(tokenizer, trusts),
        "root": Path(args.out),
        "sources": sources,
        "names": names_in_files(args, sources),
        "columns": _columns(args.columns),
        "prompt_format": _unescaped(args.prompt_format),
        "n_prompts": {"train": args.train_prompts, "test": args.test_prompts},
        "sampling": {
            "train": Sampling(args.train_responses, *drawing),
            "test": Sampling(args.test_responses, *drawing),
        },
        "stop": _unescaped(args.stop),
        "engine": engine,
        "shard": _shard(args.shard or "0/1"),
    }
    return BuildRequest(**values)


def _sources(args: argparse.Namespace) -> dict[str, str]:
    """Return the file of each split, or of pairs; ValueError where they do not go together."""
    sources = {name: vars(args)[name] for name in ("train", "test", "pairs") if vars(args)[name]}
    if not sources or ("pairs" in sources) == ("train" in sources) or sources.keys() == {"test"}:
        raise ValueError(
            "give --train FILE (with --test FILE or --test-prompts N), or --pairs FILE"
        )
    if args.base_llm and not args.reward_model and "pairs" not in sources:
        raise ValueError("--base-llm needs --reward-model, which scores what it writes")
    return sources


def _refuse_idle(args: argparse.Namespace, sources: dict[str, str]) -> None:
    """Raise ValueError for an option that has nothing to do, which would be ignored in silence."""

    def refuse(names: Sequence[str], why: str) -> None:
        for name in names:
            if vars(args)[name] is not None:
                raise ValueError(f"--{name.replace('_', '-')} {why}")

    if "pairs" in sources:
        refuse(arguments.NOT_OF_PAIRS, "has nothing to do for --pairs, which are labelled")
    elif args.base_llm:
        refuse(arguments.OF_GIVEN_RESPONSES, "has nothing to do where --base-llm responds")
    else:
        refuse(arguments.OF_BASE_LLM, "needs --base-llm, which writes responses; these are given")
        if "test" in sources:
            refuse(["seed"], "has nothing to do: neither responses nor test prompts are drawn")
    if not args.reward_model:
        refuse(arguments.OF_REWARD_MODEL, "needs --reward-model, which scores responses")


def names_in_files(args: argparse.Namespace, sources: dict[str, str]) -> dict[str, str]:
    """Return the names in files: as given, else the last part of what they stand for."""
    from rmsweep.cache.building.sources import SUFFIXES

    source = sources.get("train") or sources["pairs"]
    file = Path(source.rpartition(":")[2]).name.partition(".")[0]
    dataset = args.dataset or (file if source.endswith(SUFFIXES) else _end_of(source))
    names = {"backbone": args.backbone_name or _end_of(args.backbone), "dataset": dataset}
    if "pairs" in sources:
        return names
    if not args.base_llm_name and not args.base_llm:
        raise ValueError("--base-llm-name NAME must say who wrote the responses")
    written_by = args.base_llm_name or _end_of(args.base_llm) + ("-sft" if args.adapter else "")
    return {"base_llm": written_by, **names}


def _end_of(model: str) -> str:
    return Path(model.partition("@")[0]).name


def _columns(text: str) -> dict[str, str]:
    """Return our name of a column by the file's."""
    valid = ("prompt", "response", "golden_reward", "prompt_id", "chosen", "rejected", "subset")
    columns = {}
    for item in listed(text):
        ours, _, theirs = item.partition("=")
        if ours not in valid or not theirs:
            raise ValueError(
                f"--columns takes OURS=YOURS, OURS of {', '.join(valid)}; got {item!r}"
            )
        columns[theirs] = ours
    return columns


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n")


def _shard(text: str) -> tuple[int, int]:
    first, _, n = text.partition("/")
    if not (first.isdecimal() and n.isdecimal()):
        raise ValueError(f"--shard must be I/N, such as 0/16, got {text!r}")
    return int(first), int(n)
