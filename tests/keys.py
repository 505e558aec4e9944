"""`python tests/keys.py`, after SEMANTICS was raised, writes keys.tsv and tiny_runs.json anew.

200 specs with their ids and keys, and the numbers of 20 tiny runs, as results that users already
have hold them. Refused where a key changed and SEMANTICS did not.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from rmsweep import compose, machine, provenance, results, sweep
from rmsweep.cache.synthetic import Synthetic
from rmsweep.execute import run_pack
from rmsweep.spec import SEMANTICS, Item

KEYS = Path(__file__).with_name("keys.tsv")
TINY_RUNS = Path(__file__).with_name("tiny_runs.json")
ANY_DATA = "0" * 32  # the fingerprint in keys of specs that read files
LOSSES = "bt_mlp,clf_mlp,clf_lgb,normbt"
FILES = ["backbone=gemma2b", "dataset=hh_harmless"]
ALSO = "bt_margin,bt_golden_margin,bt_smoothed,bt_flip_robust,hinge_mlp,thurstone_mlp"
OTHERS = "bt_linear,normbt_linear,clf_linear,bt_lgb,clf_logistic,clf_hgb"
SYNTHETIC = ["dataset.synthetic.dim=64,128", "dataset.synthetic.noise=0.1,0.5"]
SWEEPS = [  # 200 distinct specs, and more
    [f"loss={LOSSES}", "pairing=same_prompt,cross_prompt", "seed=range(5)"],
    [f"loss={LOSSES}", "annotation.beta=0,0.5,1,5,.inf", "quantity=500,5000"],
    ["base_llm=gemma2b,gemma2b_sft,gemma7b,llama3_8b_sft", f"loss={LOSSES}", *FILES],
    ["dataset=alpacaeval", "base_llm=alpaca_mid,alpaca_weak", "backbone=lsa,minilm", "seed=1,2"],
    ["selection=random,similar,diversified", "annotation.link=logistic,probit", "quantity=100,200"],
    ["loss=bt_mlp,normbt", "training.protocol=pairs,rbt_scripts", "training.patience=1,3,null"],
    ["loss=bt_mlp", "loss.hidden=[],[64,32]", "loss.ensemble=2,10", "loss.pick=mean,min,1"],
    ["loss=normbt", "loss.objective.scale=ema,batch,constant", "loss.objective.power=0.5,1,2"],
    [*SYNTHETIC, "dataset.synthetic.seed=0,1"],
    ["loss=clf_lgb", "loss.rounds=10,100", "dataset.reward_scale=std,1,6.0", "evaluation.n=null,4"],
    [f"loss={ALSO}", "seed=0,1"],
    [f"loss={OTHERS}", "seed=0,1"],
    ["precision=fp32", "training.learning_rate=1e-4,0.001", "training.batch_pairs=512,5120"],
    ["loss.member=null,1,2", "training.validation_share=0.1,0.2", "training.max_epochs=5,30"],
]
SHAPE = {"train_prompts": 80, "train_responses": 4, "test_prompts": 12, "test_responses": 8}
SHAPE |= {"dim": 16, "n_clusters": 2, "intrinsic_dim": 4}
TINY = [f"dataset.synthetic.{name}={value}" for name, value in SHAPE.items()]
TINY += ["precision=fp32", "quantity=60", "training.max_epochs=4", "training.learning_rate=0.01"]
TINY_SWEEPS = [  # 20 runs
    ["loss=bt_mlp,clf_mlp,normbt,bt_margin,thurstone_mlp", "loss.hidden=[7,5]", "seed=0,1"],
    ["loss=bt_mlp", "loss.hidden=[4]", "pairing=cross_prompt", "annotation.beta=0,.inf"],
    ["loss=bt_mlp,clf_mlp", "loss.hidden=[4]", "training.protocol=rbt_scripts"],
    ["loss=clf_lgb", "loss.rounds=5", "selection=similar,diversified"],
    ["loss=bt_lgb", "loss.rounds=5"],
    ["loss=clf_logistic"],
    ["loss=clf_mlp", "loss.hidden=[4]", "loss.ensemble=3", "loss.pick=min,1"],
]


def specs_of(sweeps, fixed=()):
    """(what was asked for, spec) of every run of the sweeps."""
    found = []
    with compose.hydra_at_conf():
        for overrides in sweeps:
            axes = compose.read_axes([*fixed, *overrides, "name=keys"], [])
            for config in compose.expand(axes, []):
                precision = {"precision": config.values["precision"] or "bf16"}
                config = dataclasses.replace(config, values=config.values | precision)
                asked = [o for o in overrides if o.partition("=")[0] not in axes.fields]
                found.append((" ".join([*asked, *config.overrides]), sweep.spec_of(config, "cpu")))
    return found


def key_of(spec):
    source = spec.dataset.synthetic
    if source is None:
        return spec.key(ANY_DATA)
    stems = {name: getattr(spec, name).stem for name in ("base_llm", "backbone", "dataset")}
    return spec.key(Synthetic(**stems, **dataclasses.asdict(source)).fingerprint)


def keys():
    """(overrides, spec id, key) of each spec, as lines of keys.tsv have them."""
    distinct = {spec.spec_id: (asked, spec) for asked, spec in reversed(specs_of(SWEEPS))}
    lines = [(asked, spec_id, key_of(spec)) for spec_id, (asked, spec) in distinct.items()]
    return lines[::-1][:200]


def read_keys():
    """SEMANTICS of the committed table, and its lines."""
    first, *lines = KEYS.read_text().splitlines()
    return int(first.rpartition(" ")[2]), [tuple(line.split("\t")) for line in lines]


def tiny_runs():
    """Key and every number of each tiny run, by its overrides; lists as lists, absent as null."""
    specs = specs_of(TINY_SWEEPS, TINY)
    items = [Item(key_of(spec), spec) for _, spec in specs]
    place = machine.Place(None, "cpu", 1)
    with tempfile.TemporaryDirectory() as folder:
        for pack in sweep.packs(items, len):
            run_pack(pack, place, Path(folder))
        rows = results.read_parts(Path(folder)).set_index("key")
    assert set(rows["status"]) == {"done"}, rows["error"].dropna().unique()
    names = [*results.METRICS, "epochs", "bon_golden_by_n"]
    exact = {key: {n: _exact(rows.at[key, n]) for n in names} for key in rows.index}
    return {asked: {"key": item.key} | exact[item.key]
            for (asked, _), item in zip(specs, items, strict=True)}  # fmt: skip


def _exact(value):
    """A number as JSON holds it, every bit; absent is null."""
    if hasattr(value, "tolist") and getattr(value, "ndim", 0):
        return value.tolist()
    return None if value is None or value != value else float(value)


def write_keys():
    """SystemExit where a key changed and SEMANTICS did not."""
    made = keys()
    if KEYS.exists():
        semantics, before = read_keys()
        if changed := [line[0] for line in before if line not in made]:
            if semantics == SEMANTICS:
                sys.exit(f"{len(changed)} keys changed and SEMANTICS did not, as of {changed[0]}")
    head = f"# overrides, spec id, key; SEMANTICS {SEMANTICS}"
    KEYS.write_text("\n".join([head, *map("\t".join, made)]) + "\n")


def write_tiny_runs():
    origin = {"semantics": SEMANTICS, "cpu": machine.cpu(), "versions": provenance.versions()}
    runs = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in tiny_runs().items())
    TINY_RUNS.write_text(f'{{"origin": {json.dumps(origin)},\n"runs": {{\n{runs}\n}}}}\n')


if __name__ == "__main__":
    write_keys()
    write_tiny_runs()
