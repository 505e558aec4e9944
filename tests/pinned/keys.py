"""`python tests/pinned/keys.py`, after SEMANTICS was raised, writes the two tables beside it anew.

Specs with their ids and keys, fingerprints of files, and the numbers of tiny runs, as results that
users already have hold them. Refused where a key changed and SEMANTICS did not.
"""

import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from rmsweep import machine, provenance
from rmsweep.cache.inputs import open_inputs
from rmsweep.cache.layout import embeddings_path, open_files, open_pairs, rewards_path
from rmsweep.cache.synthetic import SyntheticSource
from rmsweep.config import compose, expand, launchers, sweep_specs
from rmsweep.config.spec import SEMANTICS, Item
from rmsweep.launch import packs
from rmsweep.launch.worker import run_pack
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, schema

HERE = Path(__file__).parent
KEYS, TINY_RUNS = HERE / "keys.tsv", HERE / "tiny_runs.json"
ANY_DATA = "0" * 32  # the fingerprint in keys of specs that read files
LOSSES = "bt_mlp,clf_mlp,clf_lgb,normbt"
FILES = ["backbone=gemma2b", "dataset=hh_harmless"]
ALSO = "bt_margin,bt_golden_margin,bt_smoothed,bt_flip_robust,hinge_mlp,thurstone_mlp"
OTHERS = "bt_linear,normbt_linear,clf_linear,bt_lgb,clf_logistic,clf_hgb"
SYNTHETIC = ["dataset.synthetic.dim=64,128", "dataset.synthetic.noise=0.1,0.5"]
LABELS = ["dataset=hh_harmless_pairs", "backbone=minilm"]
GOLDEN = "evaluation.golden={base_llm:alpaca-strong,dataset:alpacaeval}"
ALONE = [  # a run each
    "annotation.beta=3",
    "annotation.beta=.inf",
    "annotation.link=probit",
    "selection=similar pairing=cross_prompt",
    "selection=diversified",
    "loss.hidden=[]",
    "loss.hidden=[64,32]",
    "training.protocol=rbt_scripts loss=clf_mlp",
    "training.patience=null training.max_epochs=10",
    "training.learning_rate=0.0003 training.batch_pairs=256 training.validation_share=0.1",
    "evaluation.n=16",
    "dataset.synthetic.seed=3 dataset.synthetic.dim=64 dataset.reward_scale=2",
    "base_llm=gemma2b backbone=gemma2b dataset=hh_harmless quantity=40000",
    "base_llm=llama3_8b_sft backbone=gemma7b dataset=hh_helpful loss=clf_lgb quantity=5000",
    "base_llm=alpaca_weak backbone=minilm dataset=alpacaeval loss=normbt quantity=2400",
    "base_llm=tulu2_dpo_13b backbone=lsa dataset=ultrafeedback",
    "loss.ensemble=10 loss.pick=1",
    "loss.member=3",
]
SWEEPS = [
    [f"loss={LOSSES}", "pairing=same_prompt,cross_prompt", "seed=range(5)"],
    [f"loss={LOSSES}", "annotation.beta=0,0.5,1,5,.inf", "quantity=500,5000"],
    ["base_llm=gemma2b,gemma2b_sft,gemma7b,llama3_8b_sft", f"loss={LOSSES}", *FILES],
    ["dataset=alpacaeval", "base_llm=alpaca_mid,alpaca_weak", "backbone=lsa,minilm", "seed=1,2"],
    ["selection=random,similar,diversified", "annotation.link=logistic,probit", "quantity=100,200"],
    ["loss=bt_mlp,normbt", "training.protocol=pairs,rbt_scripts", "training.patience=1,3,null"],
    ["loss=bt_mlp", "loss.hidden=[],[64,32]", "loss.ensemble=2,10", "loss.pick=mean,min,1"],
    ["loss=normbt", "loss.objective.scale=ema,batch,none", "loss.objective.power=0.5,1,2"],
    [*SYNTHETIC, "dataset.synthetic.seed=0,1"],
    ["loss=clf_lgb", "loss.rounds=10,100", "dataset.reward_scale=std,1,6.0", "evaluation.n=null,4"],
    [f"loss={ALSO}", "seed=0,1"],
    [f"loss={OTHERS}", "seed=0,1"],
    ["loss=bt_margin_out,normbt_golden_margin,normbt_smoothed,normbt_margin_out", "seed=0,1"],
    ["loss=normbt", "loss.objective.distance=embedding,cosine,mahalanobis", "loss.norm=null,layer"],
    ["loss=bt_mlp,clf_mlp", "training.weight_decay=null,0.0001,0.01"],
    ["precision=fp32", "training.learning_rate=1e-4,0.001", "training.batch_pairs=512,5120"],
    ["loss.member=null,1,2", "training.validation_share=0.1,0.2", "training.max_epochs=5,30"],
    ["dataset=helpsteer,hh_helpful,ultrafeedback", "base_llm=gemma7b_sft,llama3_8b,tulu2_dpo_13b",
     "backbone=gemma2b,gemma7b"],
    ["loss=clf_lgb,bt_lgb", "loss.bins=run,cache", "loss.rounds=50,100"],
    ["dataset=hh_harmless_pairs,hh_helpful_pairs", "backbone=lsa,minilm", "loss=bt_mlp,normbt"],
    [*LABELS, "annotation.flip_rate=0.0,0.1,0.25", "evaluation.held_out=0.1,0.2", "seed=0,1"],
    [*LABELS, "evaluation=rewardbench"],
    [*LABELS, "evaluation.pairs=[llmbar],[llmbar,rewardbench]", "evaluation.n=null"],
    [*LABELS, GOLDEN, "evaluation.n=null,8", "quantity=1300"],
    ["base_llm=alpaca_strong", "backbone=minilm", "dataset=alpacaeval",
     "evaluation.pairs=[hh-harmless],[llmbar]", "loss=bt_mlp,clf_lgb"],
    *(line.split() for line in ALONE),
]  # fmt: skip
SHAPE = {"train_prompts": 80, "train_responses": 4, "test_prompts": 12, "test_responses": 8}
SHAPE |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
TINY = [f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()]
TINY += ["precision=fp32", "quantity=60", "training.max_epochs=4", "training.learning_rate=0.01"]
TINY_SWEEPS = [
    ["loss=bt_mlp,clf_mlp,normbt,bt_margin,thurstone_mlp", "loss.hidden=[7,5]", "seed=0,1"],
    ["loss=bt_mlp", "loss.hidden=[4]", "pairing=cross_prompt", "annotation.beta=0,.inf"],
    ["loss=bt_mlp,clf_mlp", "loss.hidden=[4]", "training.protocol=rbt_scripts"],
    ["loss=clf_lgb", "loss.rounds=5", "selection=similar,diversified"],
    ["loss=bt_lgb", "loss.rounds=5"],
    ["loss=clf_logistic"],
    ["loss=clf_mlp", "loss.hidden=[4]", "loss.ensemble=3", "loss.pick=min,1"],
    ["loss=normbt", "loss.hidden=[4]", "evaluation.diagnostics=true"],
    ["loss=normbt_margin_out", "loss.hidden=[7,5]", "loss.norm=layer", "training.weight_decay=0.1"],
    ["loss=normbt", "loss.hidden=[7,5]", "loss.objective.distance=cosine,mahalanobis"],
]
TINY_OF_FILES = ["precision=fp32", "quantity=40", "training.max_epochs=4", "backbone=minilm"]
TINY_OF_FILES += ["training.learning_rate=0.01"]
OF_CACHE = ["base_llm=alpaca_strong", "dataset=alpacaeval"]
SWEEPS_OF_FILES = [
    [*OF_CACHE, "loss=bt_lgb", "loss.rounds=5", "loss.bins=run,cache"],
    [*OF_CACHE, "loss=bt_mlp", "loss.hidden=[4]", "evaluation.pairs=[hh-harmless]"],
    [LABELS[0], "loss=bt_mlp", "loss.hidden=[4]", "annotation.flip_rate=0,0.1"],
    [LABELS[0], "loss=clf_mlp", "loss.hidden=[4]", "evaluation.pairs=[bench]", GOLDEN],
]


def specs_of(sweeps, fixed=()):
    """(what was asked for, spec) of every run of the sweeps."""
    specs = []
    with compose.hydra_at_conf():
        for overrides in sweeps:
            axes = compose.read_axes([*fixed, *overrides, "name=keys"], [])
            for config in expand.expand(axes, []):
                precision = {"precision": config.values["precision"] or "bf16"}
                config = dataclasses.replace(config, values=config.values | precision)
                asked = [o for o in overrides if o.partition("=")[0] not in axes.fields]
                specs.append(
                    (" ".join([*asked, *config.overrides]), sweep_specs.config_spec(config, "cpu"))
                )
    return specs


def key_of(spec):
    source = spec.dataset.synthetic
    if source is None:
        return spec.key(ANY_DATA)
    stems = {name: getattr(spec, name).stem for name in ("base_llm", "backbone", "dataset")}
    return spec.key(SyntheticSource(**stems, **dataclasses.asdict(source)).fingerprint)


def keys(sweeps=SWEEPS):
    """(overrides, spec id, key) of each different spec, as lines of keys.tsv have them."""
    distinct = {}
    for asked, spec in specs_of(sweeps):
        distinct.setdefault(spec.spec_id, (asked, spec.spec_id, key_of(spec)))
    return [*distinct.values()]


def read_keys():
    """SEMANTICS of the committed table, and its lines."""
    first, *lines = KEYS.read_text().splitlines()
    return int(first.rpartition(" ")[2]), [tuple(line.split("\t")) for line in lines]


def numbers(*shape):
    """Multiples of 1/128, which hang on no library's random numbers."""
    return (np.arange(np.prod(shape)) * 7919 % 1009 - 504).reshape(shape) / 128


def write_cache(root, stems, train, test):
    """Embeddings and golden rewards in the released layout; train, test: (prompts, K, D)."""
    for split, shape in (("train", train), ("test", test)):
        np.save(embeddings_path(root, *stems, split), numbers(*shape).astype(np.float16))
        np.save(rewards_path(root, *stems, split), numbers(*shape[:2], 1).astype(np.float32))


def write_files(root):
    """What the specs of SWEEPS_OF_FILES read. Parquet's bytes depend on pyarrow: committed."""
    write_cache(root, ("alpaca-strong", "minilm", "alpacaeval"), (30, 4, 16), (12, 8, 16))
    for name, n in (("hh-harmless", 60), ("bench", 24)):
        embeddings = numbers(n, 2, 16)
        embeddings[: 4 * n // 5, 0, :4] += 2  # most of the chosen lie ahead
        np.save(root / f"embd_pairs_{name}_minilm.npy", embeddings.astype(np.float16))
        shutil.copy(HERE / f"tiny_pairs/pairs_{name}.parquet", root)


def fingerprints():
    """Of files; those of the large cache are sampled."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root)
        stems = ("a", "b", "c")
        write_cache(root, stems, (160, 16, 1024), (4, 4, 1024))
        caches = {name: open_pairs(root, name, "minilm") for name in ("hh-harmless", "bench")}
        caches["cache"] = open_files(root, "alpaca-strong", "minilm", "alpacaeval")
        caches["large cache"] = open_files(root, *stems)
        return {name: files.fingerprint for name, files in caches.items()}


def tiny_runs():
    """Key and every number of each tiny run, by its overrides."""
    specs = specs_of(TINY_SWEEPS, TINY) + specs_of(SWEEPS_OF_FILES, TINY_OF_FILES)
    with tempfile.TemporaryDirectory() as folder:
        write_files(root := Path(folder))
        items = [Item(spec.key(open_inputs(spec, root).fingerprint), spec) for _, spec in specs]
        for pack in packs.packs_of(items, len):
            run_pack(pack, launchers.Place(str(root), "cpu", 1), SweepFolder(root))
        rows = dataset.read_rows(SweepFolder(root)).set_index("key")
    assert set(rows["status"]) == {"done"}, rows["error"].dropna().unique()
    runs = {}
    for (asked, _), item in zip(specs, items, strict=True):
        exact = {name: _exact(rows.at[item.key, name]) for name in schema.NUMBERS}
        numbers = {name: value for name, value in exact.items() if value is not None}
        runs[asked] = {"key": item.key} | numbers
    return runs


def _exact(value):
    """A number as JSON holds it, every bit; of a long list a digest; None where absent."""
    if isinstance(value, str):
        return value
    if not (hasattr(value, "tolist") and getattr(value, "ndim", 0)):
        return None if value is None or value != value else float(value)
    values = value.tolist()
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
    return values if len(values) <= 4 else f"{len(values)}: {digest}"


def refuse_change(what, before, after, semantics):
    """SystemExit where something that was there changed and SEMANTICS did not."""
    changed = [name for name, value in before.items() if after.get(name) != value]
    if changed and semantics == SEMANTICS:
        sys.exit(f"{len(changed)} {what} changed and SEMANTICS did not, as of {changed[0]}")


def write_keys():
    lines_now = keys()
    if KEYS.exists():
        semantics, before = read_keys()
        before, after = ({asked: rest for asked, *rest in lines} for lines in (before, lines_now))
        refuse_change("keys", before, after, semantics)
    head = f"# overrides, spec id, key; SEMANTICS {SEMANTICS}"
    KEYS.write_text("\n".join([head, *map("\t".join, lines_now)]) + "\n")


def write_tiny_runs():
    prints, runs = fingerprints(), tiny_runs()
    if TINY_RUNS.exists():
        before = json.loads(TINY_RUNS.read_text())
        semantics = before["origin"]["semantics"]
        refuse_change("fingerprints", before.get("fingerprints", {}), prints, semantics)
        was, now = ({a: run["key"] for a, run in r.items()} for r in (before["runs"], runs))
        refuse_change("keys of tiny runs", was, now, semantics)
    origin = {"semantics": SEMANTICS, "cpu": machine.cpu(), "versions": provenance.versions()}
    head = f'"origin": {json.dumps(origin)},\n"fingerprints": {json.dumps(prints)}'
    lines = ",\n".join(f"{json.dumps(asked)}: {json.dumps(run)}" for asked, run in runs.items())
    TINY_RUNS.write_text(f'{{{head},\n"runs": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    write_keys()
    write_tiny_runs()
