"""The commands `rmsweep cache ...`, but `build`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rmsweep.cli import cache_build, cache_build_arguments

INSPECT = """\
Print what a cache holds, and what to know before thousands of runs on it: shapes, types, the
fingerprint that enters the key of its runs; golden rewards' spread within and between prompts,
ties, floor and ceiling; embeddings' variance, norms and repeats; of labelled pairs also lengths
and subsets. Embeddings are read in blocks; warnings begin with '!'.
"""
INSPECT_EPILOG = """\
  rmsweep cache inspect DIR                                 every cache in a folder
  rmsweep cache inspect DIR/embd_A_B_C_train.npy            this one, both splits
  rmsweep cache inspect DIR --json | jq '.[].cautions'
  rmsweep cache inspect DIR --picture caches.png            or .pdf, .svg

exit status: 0, whatever was found; 2 where a file is missing or is no such file
"""


VERIFY = """\
Check what `rmsweep cache build` wrote: that all parts are there, that no file has changed (SHA-256
of every byte), and that the backbone, at the revision of the manifest, gives the same embeddings
for a sample of the texts (cosine >= 0.999).

exit status: 0 all is sound, 1 something is not, 2 it cannot be checked
"""


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands to those of `rmsweep cache`."""
    _add_inspect(commands)
    _add_verify(commands)
    _add_synthesize(commands)
    cache_build_arguments.add(commands, cache_build.build_cache)
    _add_import_pairs(commands)


def _add_inspect(commands: "argparse._SubParsersAction[Any]") -> None:
    inspect = commands.add_parser(
        "inspect",
        help="what a cache holds: shapes, statistics, warnings",
        description=INSPECT,
        epilog=INSPECT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspect.add_argument("paths", nargs="+", metavar="PATH", help="folders or embd_*.npy files")
    inspect.add_argument("--json", action="store_true", help="all of it, as a list of objects")
    inspect.add_argument("--picture", metavar="FILE", help="draw it, too: .png, .pdf or .svg")
    inspect.set_defaults(call=_inspect)


def _add_verify(commands: "argparse._SubParsersAction[Any]") -> None:
    verify = commands.add_parser(
        "verify",
        help="is a cache what its build wrote? checksums, and a sample embedded again",
        description=VERIFY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("root", metavar="DIR", help="the build's --out")
    verify.add_argument(
        "--sample",
        type=int,
        default=64,
        metavar="N",
        help="responses of each file to embed again; 0 loads no model (default: 64)",
    )
    verify.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    verify.add_argument("--trust-remote-code", action="store_true")
    verify.set_defaults(call=_verify)


def _add_synthesize(commands: "argparse._SubParsersAction[Any]") -> None:
    synthesize = commands.add_parser(
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


def _add_import_pairs(commands: "argparse._SubParsersAction[Any]") -> None:
    pairs = commands.add_parser(
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


def _inspect(args: argparse.Namespace) -> int:
    """Print what caches hold, and draw it where asked for."""
    from rmsweep.cache.inspecting import caches, text

    picture = None if args.picture is None else _picture_path(args.picture)
    reports = [
        caches.describe_cache(folder, name)
        for folder, name in caches.find_caches([*map(Path, args.paths)])
    ]
    print(json.dumps(reports, indent=2) if args.json else text.caches_text(reports))
    if picture is not None:
        from rmsweep.analysis.figures.caches import draw_caches
        from rmsweep.analysis.figures.style import save_figure

        save_figure(draw_caches(reports), picture)
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Print a line for each thing checked; 1 where something is wrong."""
    from rmsweep.cache.building import verify

    if args.sample < 0:
        raise ValueError(f"--sample must be >= 0, got {args.sample}")
    n_wrong = 0
    root, is_trusted = Path(args.root), args.trust_remote_code
    for finding in verify.verify_cache(root, args.sample, args.seed, is_trusted):
        n_wrong += finding.wrong is not None
        mark, told = ("ok", finding.detail) if finding.wrong is None else ("WRONG", finding.wrong)
        print(f"{mark:<6}{finding.what}: {told}", flush=True)
    return int(n_wrong > 0)


def _picture_path(name: str) -> Path:
    """Return the path of a picture; an error, before any work, for one that cannot be written."""
    from rmsweep.analysis.figures.style import FORMATS

    path = Path(name)
    if path.suffix[1:] not in FORMATS:
        raise ValueError(f"--picture must end in .{', .'.join(FORMATS)}, got {name}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--picture: there is no folder {path.parent}")
    return path


def _synthesize(args: argparse.Namespace) -> int:
    """Write a synthetic cache in the released layout."""
    from rich.progress import Progress

    from rmsweep.cache.synthetic import SyntheticSource
    from rmsweep.cache.write_synthetic import write_cache
    from rmsweep.config import compose

    with compose.hydra_at_conf():
        config = compose.compose_one(
            ["dataset=synthetic", *args.overrides, compose.search_path([])]
        )
    stems = {group: config.values[group]["stem"] for group in ("base_llm", "backbone", "dataset")}
    source = SyntheticSource(**stems, **config.values["dataset"]["synthetic"])
    responses = source.train_prompts * source.train_responses
    responses += source.test_prompts * source.test_responses
    n_bytes = responses * (source.dim * (2 if args.dtype == "float16" else 4) + 4)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"{n_bytes / 1e9:.2f} GB", total=n_bytes)
        write_cache(Path(args.root), source, args.dtype, lambda n: progress.update(task, advance=n))
    print(
        f"wrote {source.base_llm}, {source.backbone}, {source.dataset} (train, test) to {args.root}"
    )
    return 0


def _import_pairs(args: argparse.Namespace) -> int:
    """Bring labelled pairs into a cache's layout."""
    from rmsweep.cache.import_pairs import import_pairs

    if (args.embeddings is None) != (args.backbone is None):
        raise ValueError("--embeddings and --backbone go together: give both, or neither")
    embeddings = None if args.embeddings is None else Path(args.embeddings)
    written = import_pairs(Path(args.file), args.name, Path(args.root), embeddings, args.backbone)
    print(f"wrote {', '.join(map(str, written))}" if written else "these pairs are there already")
    return 0
