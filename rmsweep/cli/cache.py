"""The commands `rmsweep cache ...`, but `build`; a docstring of some is what their --help says."""

import argparse
import json
import sys
from pathlib import Path

from rmsweep.cli import cache_build, cache_build_arguments
from rmsweep.cli.arguments import Commands, add_command

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


def add(commands: Commands) -> None:
    """Add the commands to those of `rmsweep cache`, in the order of its --help."""
    _add_inspect(commands)
    _add_verify(commands)
    _add_synthesize(commands)
    cache_build_arguments.add(commands, cache_build.build_cache)
    _add_import_pairs(commands)


def _add_inspect(commands: Commands) -> None:
    text = "what a cache holds: shapes, statistics, warnings"
    texts = {"description": INSPECT, "epilog": INSPECT_EPILOG}
    add = add_command(commands, _inspect, "inspect", text, **texts).add_argument
    add("paths", nargs="+", metavar="PATH", help="folders or embd_*.npy files")
    add("--json", action="store_true", help="all of it, as a list of objects")
    add("--picture", metavar="FILE", help="draw it, too: .png, .pdf or .svg")


def _add_verify(commands: Commands) -> None:
    text = "is a cache what its build wrote? checksums, and a sample embedded again"
    add = add_command(commands, _verify, "verify", text, description=VERIFY).add_argument
    add("root", metavar="DIR", help="the build's --out")
    text = "responses of each file to embed again; 0 loads no model (default: 64)"
    add("--sample", type=int, default=64, metavar="N", help=text)
    add("--seed", type=int, default=0, help="of the sample (default: 0)")
    add("--trust-remote-code", action="store_true")


def _add_synthesize(commands: Commands) -> None:
    text, more = "write a synthetic cache in the released layout", _synthesize.__doc__
    add = add_command(commands, _synthesize, "synthesize", text, description=more).add_argument
    add("root", help="folder to write into")
    add("overrides", nargs="*", metavar="FIELD=VALUE")
    add("--dtype", default="float16", choices=["float16", "float32"])


def _add_import_pairs(commands: Commands) -> None:
    text, more = "bring labelled pairs, such as RewardBench's, into a cache", _import_pairs.__doc__
    add = add_command(commands, _import_pairs, "import-pairs", text, description=more).add_argument
    add("file", metavar="FILE", help=".parquet or .jsonl")
    add("root", metavar="ROOT", help="folder of the cache, made if absent")
    add("--name", default="rewardbench", help="default: %(default)s")
    add("--embeddings", metavar="NPY", help="(pairs, 2, D), chosen first, in the order of FILE")
    add("--backbone", metavar="STEM", help="whose embeddings, such as minilm")


def _inspect(args: argparse.Namespace) -> int:
    """Print what caches hold, and draw it where asked for."""
    from rmsweep.cache.inspecting import caches, text

    picture = None if args.picture is None else _picture_path(args.picture)
    places = caches.find_caches([*map(Path, args.paths)])
    reports = [caches.describe_cache(folder, name) for folder, name in places]
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
    sample = (args.sample, args.seed, args.trust_remote_code)
    for finding in verify.verify_cache(Path(args.root), *sample):
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
    """Write the four files of a synthetic cache. Shape and statistics are fields of
    dataset.synthetic, such as dataset.synthetic.train_prompts=40000; base_llm.stem, backbone.stem
    and dataset.stem name the files.
    """
    from rich.progress import Progress

    from rmsweep.cache.synthetic import SyntheticSource
    from rmsweep.cache.write_synthetic import write_cache
    from rmsweep.config import compose

    with compose.hydra_at_conf():
        overrides = ["dataset=synthetic", *args.overrides, compose.search_path([])]
        values = compose.compose_one(overrides).values
    stems = {group: values[group]["stem"] for group in ("base_llm", "backbone", "dataset")}
    source = SyntheticSource(**stems, **values["dataset"]["synthetic"])
    n_responses = source.train_prompts * source.train_responses
    n_responses += source.test_prompts * source.test_responses
    n_bytes = n_responses * (source.dim * (2 if args.dtype == "float16" else 4) + 4)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"{n_bytes / 1e9:.2f} GB", total=n_bytes)
        write_cache(Path(args.root), source, args.dtype, lambda n: progress.update(task, advance=n))
    print(f"wrote {', '.join(stems.values())} (train, test) to {args.root}")
    return 0


def _import_pairs(args: argparse.Namespace) -> int:
    """Write pairs_NAME.parquet and, with embeddings, embd_pairs_NAME_BACKBONE.npy. FILE has the
    columns prompt, chosen, rejected and, to be judged by RewardBench's sections, subset. Then:
    rmsweep run evaluation.pairs=[NAME] cache.root=ROOT ...
    """
    from rmsweep.cache.import_pairs import import_pairs

    if (args.embeddings is None) != (args.backbone is None):
        raise ValueError("--embeddings and --backbone go together: give both, or neither")
    embeddings = None if args.embeddings is None else Path(args.embeddings)
    written = import_pairs(Path(args.file), args.name, Path(args.root), embeddings, args.backbone)
    print(f"wrote {', '.join(map(str, written))}" if written else "these pairs are there already")
    return 0
