"""Hostile input: each is refused in one clear message or read right; no trace, hang or code run."""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import pickle
import signal
import string
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from omegaconf.errors import OmegaConfBaseException

from rmsweep import paths
from rmsweep.analysis import claims, fields, metrics
from rmsweep.annotation import pairing as pairings
from rmsweep.annotation import preferences
from rmsweep.cache.building import records, stages, verify
from rmsweep.cache.layout import open_files, open_pairs
from rmsweep.cli import main
from rmsweep.config import compose, expand, launchers, sweep_specs
from rmsweep.config.spec import Item
from rmsweep.evaluation import best_of_n as bon
from rmsweep.launch import lock
from rmsweep.launch.slurm.arrays import JobArray, submitted_arrays, write_array
from rmsweep.paths import SweepFolder
from rmsweep.results import dataset, parquet, schema, sweep_record
from rmsweep.results.sweep_record import stored_spec
from rmsweep.training import saved_models
from rmsweep.training.reward_models.interface import FittedRun

REFUSED = (ValueError, OSError)  # what the command prints as one line
CONFIG = (*REFUSED, HydraException, OmegaConfBaseException, yaml.YAMLError)  # and these
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 0))  # make soak: so many, drawn at random
QUICK = settings(
    max_examples=EXAMPLES or 60, deadline=None, derandomize=not EXAMPLES, database=None,
    print_blob=bool(EXAMPLES),
    suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
STEMS = ("synthetic", "synthetic", "made")


@pytest.fixture(autouse=True)
def no_hydra_left():
    yield
    GlobalHydra.instance().clear()


# ---- one byte, many bytes, a cut: files that a disk, a copy or an enemy changed


def spoilt(whole, rng):
    """The bytes with one of five kinds of damage."""
    data, kind = bytearray(whole), rng.integers(5)
    at = int(rng.integers(len(data)))
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at : at + 16] = rng.bytes(16)
    elif kind == 3:
        data[at:at] = rng.bytes(int(rng.integers(1, 40)))
    else:
        data[at : at + 64] = bytes(64)
    return bytes(data)


def a_cache(root):
    rng = np.random.default_rng(0)
    for split, shape in (("train", (6, 3)), ("test", (4, 4))):
        for kind, width in (("embd", 4), ("reward", 1)):
            stem = "synthetic_synthetic_made" if kind == "embd" else "synthetic_synthetic_made"
            array = rng.normal(size=(*shape, width)).astype(np.float32)
            np.save(root / f"{kind}_{stem}_{split}.npy", array)
    return sorted(root.glob("*.npy")), lambda: open_files(root, *STEMS).fingerprint


def labelled_pairs(root):
    table = pd.DataFrame({name: list("abcdef") for name in ("prompt", "chosen")})
    table["rejected"] = list("ghijkl")
    table.to_parquet(root / "pairs_made.parquet")
    np.save(root / "embd_pairs_made_lsa.npy", np.ones((6, 2, 4), np.float32))
    return [root / "pairs_made.parquet"], lambda: open_pairs(root, "made", "lsa").table


def some_results(root):
    rows = [
        {"key": f"{i:016x}", "spec_id": "a", "status": "done", "improvement": i / 7,
         "improvement_by_prompt": [i / 3] * 5, "loss": "bt_mlp", "seed": i,
         "finished_at": pd.Timestamp(i, unit="s", tz="UTC")}
        for i in range(20)
    ]  # fmt: skip
    dataset.write_part(SweepFolder(root), rows)
    columns = ["key", "improvement", "improvement_by_prompt", "loss", "seed"]

    def read():
        rows = dataset.read_done(SweepFolder(root))[columns]
        return json.dumps(rows.assign(improvement_by_prompt=rows["improvement_by_prompt"].map(list))
                          .to_dict("records"), default=str)  # fmt: skip

    return list((root / "runs").iterdir()), read


def what_is_wanted(root):
    rows = [{"key": f"{i}", "spec_id": "a", "canonical": '{"loss": {}}', "loss.label": "A"}
            for i in range(9)]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema.WANTED), root / "specs.parquet")
    return [root / "specs.parquet"], lambda: sweep_record.read_wanted(SweepFolder(root)).to_pydict()


def launches(root):
    one = {"at": "now", "overrides": ["seed=1"], "axes": {"seed": ["seed=1"]}, "runs": 1}
    text = yaml.safe_dump({"launches": [one | {"settings": {"device": "cpu"}}] * 2})
    (root / "sweep.yaml").write_text(text)
    return [root / "sweep.yaml"], lambda: sweep_record.launches(SweepFolder(root))


def arrays(root):
    tasks, place = [[["k1", "k2"]], [["k3"]]], launchers.Place(None, "cpu", 1)
    write_array(
        SweepFolder(root), JobArray("a-0", tasks, "now", place, 1, ".", {"mem_gb": 1}, ["run"])
    )
    return [root / "jobs/a-0.parquet"], lambda: submitted_arrays(SweepFolder(root))


def a_lock(root):
    said = {"pid": os.getpid(), "host": "elsewhere", "started": "3", "runs": True}
    (root / ".launch").write_text(json.dumps(said))
    return [root / ".launch"], lambda: lock.holder(SweepFolder(root))


def some_claims(root):
    (root / "mine.yaml").write_text(
        (paths.SHIPPED / "claims/normbt.yaml").read_text()
        if (paths.SHIPPED / "claims/normbt.yaml").exists()
        else "a: {}\n"
    )
    return [root / "mine.yaml"], lambda: claims.read_claims(root / "mine.yaml")


def a_spec(root):
    with compose.hydra_at_conf():
        axes = compose.read_axes(["precision=fp32", "name=a"], [])
        (spec,) = sweep_specs.distinct_specs(axes, [], "cpu")
    (root / "spec.json").write_text(spec.canonical)
    read = lambda: stored_spec((root / "spec.json").read_text(), "A", False)  # noqa: E731
    return [root / "spec.json"], read


def a_build(root):
    """Manifest, mark and record of embeddings that a build wrote."""
    identity = {"n_parts": 1, "input": "0" * 32, "model": "sha256:1", "shape": {"prompts": 2}}
    noted = {"model": "a-model", "revision": "sha256:1", "counts": {"rows": 2}}
    stage = stages.open_stage(root / "stages/embed-a", noted, identity)
    array = np.ones((2, 3, 4), np.float32)
    stage.write_array(0, array, {"texts": 12, "truncated": 10})
    path = root / "embd_pairs_a_b.npy"
    np.save(path, array)
    record = {"file": path.name, "sha256": stages.file_digest(path), "stage": stage.identity}
    stages.write_json(records.record_path(path), record)
    files = [*root.glob("stages/*.json"), *root.glob("stages/*/*.json")]
    return files, lambda: (records.origin(path), [*verify.verify_cache(root, 0, 0, False)])


def a_saved_model(root):
    _, read = a_spec(root)
    spec = dataclasses.replace(read(), loss=small_mlp(read().loss))
    key = spec.key("0" * 32)
    run = FittedRun(Item(key, spec), [[torch.ones(1, 4, 3), torch.ones(1, 1, 3),
                    torch.ones(1, 3, 1), torch.ones(1, 1, 1)]], [0.0],
                    {"fingerprint": "0" * 32, "dim": 4}, None)  # fmt: skip
    (root / "outputs/small/runs").mkdir(parents=True)
    saved_models.save_model(
        SweepFolder(root / "outputs/small"), run, launchers.Place(None, "cpu", 1)
    )

    def load():
        with contextlib.chdir(root):
            return saved_models.load_model("small", key).predict(np.ones((2, 4), np.float32))

    return [*root.glob("outputs/small/models/*/*")], load


def small_mlp(loss):
    return dataclasses.replace(loss, options=dataclasses.replace(loss.options, hidden=(3,)))


# Files with checksums are refused or read right; of others, other content is other data.
EXACT = {"results": some_results, "wanted": what_is_wanted}
KINDS = EXACT | {
    "cache": a_cache, "pairs": labelled_pairs, "launches": launches, "arrays": arrays,
    "lock": a_lock, "claims": some_claims, "spec": a_spec, "build": a_build,
    "saved model": a_saved_model,
}  # fmt: skip


def corrupted(root, kind, n, seed):
    """Spoil the files of one kind n times; each is refused in a message, or read."""
    files, read = KINDS[kind](root)
    rng, sound = np.random.default_rng(seed), read()
    n_read = 0
    for i in range(n):
        path = files[i % len(files)]
        whole = path.read_bytes()
        path.write_bytes(spoilt(whole, rng))
        began = time.monotonic()
        try:
            found = read()
        except REFUSED as error:
            assert str(error).strip(), error
        else:
            n_read += 1
            if kind in EXACT:
                assert found == sound, f"{kind}: damage {i} of seed {seed} was read as other data"
        assert time.monotonic() - began < 60
        path.write_bytes(whole)
    return n_read


@pytest.mark.parametrize("kind", KINDS)
def test_300_corrupted_files(kind, tmp_path):
    corrupted(tmp_path, kind, 1 + 300 // len(KINDS), seed=0)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_10000_corrupted_files(kind, tmp_path):
    n = 1 + 10_000 // len(KINDS)
    n_read = corrupted(tmp_path, kind, n, seed=1)
    print(f"{kind}: {n} files damaged, {n - n_read} refused in a message, {n_read} read")


@pytest.mark.parametrize("text", ["[]", "{}", "null", "3", '{"identity": 3}', '{"identity": {}}',
                                  '{"file": 3, "stage": []}', '{"file": "../a", "sha256": "0"}',
                                  '{"identity": {"n_parts": 1000000000000000}}'])  # fmt: skip
def test_notes_of_a_build_that_are_none(text, tmp_path):
    files, read = a_build(tmp_path)
    for path in files:
        whole = path.read_bytes()
        path.write_text(text)
        with pytest.raises(ValueError, match="repeat the build"):
            read()
        path.write_bytes(whole)


def test_what_pandas_noted_in_a_file_of_pairs_is_not_read(tmp_path):
    (path,), read = labelled_pairs(tmp_path)
    sound, table = read(), pq.read_table(path)
    for before, after in ((b"unicode", b"unicodE"), (b'"index_columns"', b'"index_colums"')):
        noted = table.schema.metadata[b"pandas"]
        assert before in noted
        pq.write_table(
            table.replace_schema_metadata({b"pandas": noted.replace(before, after)}), path
        )
        pd.testing.assert_frame_equal(read(), sound)


# ---- what asks for the impossible, and what would run code


PEAK = """
import resource, sys
from pathlib import Path
{0}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sys.argv[1:]:
    try:
        {1}
        print("read")
    except ValueError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def refused_in_little_memory(imports, read, folders):
    """What a process of its own says of each folder; earlier tests cannot hide its peak."""
    command = [sys.executable, "-c", PEAK.format(imports, read), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *said, peak_kib = done.stdout.splitlines()
    assert int(peak_kib) < 100_000 and len(said) == len(folders), done
    return said


def test_a_header_that_claims_what_is_not_there(tmp_path):
    expected = {}
    for rows, i in itertools.product([10**15, 2**62, 0, -3], range(4)):
        root = tmp_path / f"{rows}-{i}"
        root.mkdir()
        files, _ = a_cache(root)
        with open(files[i], "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 3, 4)}
            npy.write_array_header_1_0(file, header)
        expected[root] = files[i].name
    read = f"layout.open_files(Path(folder), *{STEMS}).fingerprint"
    said = refused_in_little_memory("from rmsweep.cache import layout", read, expected)
    for name, line in zip(expected.values(), said, strict=True):
        assert name in line


def test_a_small_part_that_claims_a_lot_takes_no_memory(tmp_path):
    """A few kB of equal values."""
    n = 3_000_000
    columns = {name: pa.repeat("a", n) for name in ("key", "spec_id", "status")}
    columns["finished_at"] = pa.repeat(pa.scalar(0, pa.timestamp("us", tz="UTC")), n)
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs/part-a.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 100_000
    imports = "from rmsweep.paths import SweepFolder\nfrom rmsweep.results import dataset"
    read = 'dataset.read_done(SweepFolder(Path(folder)), ["key"])'
    (said,) = refused_in_little_memory(imports, read, [tmp_path])
    assert path.name in said and "3,000,000 rows, more than a pack's" in said


@pytest.mark.parametrize("what", parquet.MOST)
def test_what_a_file_may_claim_is_bounded(what, tmp_path, monkeypatch):
    _, read = some_results(tmp_path)
    read()
    monkeypatch.setitem(parquet.MOST, what, 19)
    with pytest.raises(ValueError, match=f"{what}, more than a pack's"):
        read()


class Owned:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_pickle_is_loaded(tmp_path):
    files, read = a_cache(tmp_path)
    owned = tmp_path / "owned"
    for path in files:
        whole = path.read_bytes()
        np.save(path, np.array([Owned(owned)], object), allow_pickle=True)
        with pytest.raises(ValueError, match="pickled"):
            read()
        path.write_bytes(pickle.dumps(Owned(owned)))
        with pytest.raises(ValueError, match="header"):
            read()
        path.write_bytes(whole)
    assert not owned.exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system"])
def test_no_yaml_tag_is_obeyed(tag, tmp_path):
    text = f"launches: [{tag} ['touch {tmp_path / 'owned'}']]\n"
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"sweep.yaml"):
        sweep_record.launches(SweepFolder(tmp_path))
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"claims.yaml"):
        claims.read_claims(tmp_path / "claims.yaml")
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/mine.yaml").write_text(text)
    with pytest.raises(CONFIG), compose.hydra_at_conf():
        compose.compose_one(["loss=mine", compose.search_path([str(tmp_path)])])
    assert not (tmp_path / "owned").exists()


def test_deep_nesting_and_wide_aliases_are_refused(tmp_path):
    wide = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    for text in ("[" * 20_000, wide):
        (tmp_path / "sweep.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"sweep.yaml"):
            sweep_record.launches(SweepFolder(tmp_path))


def test_a_spec_imports_nothing(tmp_path):
    _, read = a_spec(tmp_path)
    text = (tmp_path / "spec.json").read_text()
    ours = "rmsweep.objectives.bradley_terry.bradley_terry"
    assert (
        stored_spec(text.replace(ours, "this.s"), "A", False).loss.objective["_target_"] == "this.s"
    )
    assert "this" not in sys.modules


@pytest.mark.parametrize("pid", [-1, 0, 2**40, "1", 1.5, True])
def test_a_lock_cannot_aim_a_signal(pid, tmp_path):
    (tmp_path / ".launch").write_text(json.dumps({"pid": pid, "host": "here"}))
    with pytest.raises(ValueError, match="no lock file"):
        lock.holder(SweepFolder(tmp_path))


# ---- values that nobody thought of

TEXT = st.text(string.printable, max_size=12)
FIELDS = st.sampled_from(
    ["seed", "quantity", "loss", "annotation.beta", "loss.hidden", "training.patience", "sweep.zip",
     "dataset.synthetic.dim", "loss.objective._target_", "evaluation.n", "name", "cache.root",
     "sweep.exclude", "launcher", "nothing", "hydra.run.dir", "~seed", "+a.b", "annotation"]
)  # fmt: skip
VALUES = st.one_of(
    TEXT, st.integers().map(str), st.floats().map(str),
    st.sampled_from(["null", "range(3)", "[1,2]", "{a:1}", "${seed}", "${oc.env:HOME}", "1,2",
                     "glob(*)", "choice(1,2)", "interval(0,1)", "???", "os.system", "range(9**9)"]),
)  # fmt: skip


@settings(QUICK, max_examples=EXAMPLES or 25)  # each composes a sweep
@given(st.lists(st.tuples(FIELDS, VALUES), min_size=1, max_size=3))
def test_any_overrides_compose_or_are_refused(given_overrides):
    overrides = [f"{name}={value}" for name, value in given_overrides]
    try:
        with compose.hydra_at_conf():
            axes = compose.read_axes(overrides, [])
            found = [
                sweep_specs.config_spec(config, "cpu")
                for config in itertools.islice(expand.expand(axes, []), 3)
            ]
    except CONFIG as error:
        assert str(error).strip()
    else:
        for spec in found:
            again = stored_spec(spec.canonical, spec.loss.label, spec.evaluation.diagnostics)
            assert again == spec and again.spec_id == spec.spec_id


@QUICK
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["loss", "dataset", "options", "evaluation", "name",
                                             "reward_model", "seed"]), inner, max_size=5),
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_any_json_is_a_spec_or_is_refused(value):
    with pytest.raises(ValueError, match="not as it was written"):
        stored_spec(json.dumps(value), "A", False)


@QUICK
@given(
    st.integers(2, 12), st.integers(2, 6), st.sampled_from(pairings.SELECTIONS),
    st.sampled_from(pairings.PAIRINGS), st.integers(0, 2**32), st.booleans(), st.data(),
)  # fmt: skip
def test_pairs_are_distinct_and_of_the_kind(prompts, k, selection, pairing, seed, ties, data):
    rng = np.random.default_rng(seed)
    golden = rng.integers(0, 3, (prompts, k)) * 1.0 if ties else rng.normal(size=(prompts, k))
    most = pairings.most_pairs(prompts, k, selection, pairing)
    quantity = data.draw(st.integers(1, max(1, most)))
    if not most:
        return
    found = pairings.pairs_to_annotate(golden, selection, pairing, quantity, rng)
    assert found.shape == (quantity, 2) and found.min() >= 0 and found.max() < prompts * k
    of = found // k
    assert ((of[:, 0] == of[:, 1]) == (pairing == "same_prompt")).all()
    assert (found[:, 0] != found[:, 1]).all()
    assert len({frozenset(pair) for pair in found.tolist()}) == quantity


@QUICK
@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20),
    st.floats(0, allow_nan=False), st.sampled_from(sorted(preferences.LINKS)),
)  # fmt: skip
def test_probabilities_are_fair_and_monotone(margins, beta, link):
    margin = np.sort(np.array(margins))
    with np.errstate(over="ignore"):
        first = preferences.preference_probability(margin, beta, link)
        second = preferences.preference_probability(-margin, beta, link)
    np.testing.assert_allclose(first + second, 1, atol=1e-12)
    assert (np.diff(first) >= 0).all() and (first[margin == 0] == 0.5).all()


@QUICK
@given(st.integers(2, 7), st.integers(0, 2**32), st.booleans())
def test_best_of_n_is_the_mean_over_all_subsets(m, seed, ties):
    rng = np.random.default_rng(seed)
    golden = rng.normal(size=(1, m))
    predicted = np.arange(m)[None, None] * 1.0 if not ties else rng.integers(0, 2, (1, 1, m)) * 1.0
    ns = list(range(1, m + 1))
    found = bon.best_of_n(predicted, golden, ns)[0, 0]
    for n, value in zip(ns, found, strict=True):
        picks = []
        for subset in itertools.combinations(range(m), n):
            scores = predicted[0, 0, list(subset)]
            best = [golden[0, i] for i, s in zip(subset, scores, strict=True) if s == scores.max()]
            picks.append(np.mean(best))
        # ties share their ranks' weights: the same as a random order of the tied
        np.testing.assert_allclose(value, np.mean(picks), atol=1e-9)


NAMES = st.one_of(
    st.lists(st.sampled_from(["loss", "seed", "annotation.beta", "quantity", "los", "key", "status",
                              "loss.label", "loss.hidden", "base_llm", ""]), max_size=3)
    .map(",".join),
    TEXT,
)  # fmt: skip
WORDS = st.one_of(
    st.tuples(st.sampled_from(["--rows", "--columns"]), NAMES),
    st.tuples(st.just("--metric"), st.one_of(TEXT, st.sampled_from(
        [*metrics.METRICS, "accuracy:chat", "key", "loss"]))),
    st.tuples(st.just("--against"), st.one_of(TEXT, st.sampled_from(["bt_mlp", "1", "null"]))),
    st.tuples(st.just("--where"), st.one_of(TEXT, st.tuples(
        st.sampled_from(["loss", "seed", "annotation.beta", "status"]), VALUES).map("=".join))),
    st.tuples(st.just("--format"), st.sampled_from(["text", "md", "latex", "csv", "html", "pdf"])),
    st.tuples(st.just("--seed"), st.one_of(TEXT, st.integers().map(str))),
    st.tuples(TEXT),
)  # fmt: skip


@pytest.fixture(scope="module")
def few_runs(tmp_path_factory):
    """A working directory with a small sweep of made-up runs: 2 losses, 2 betas, 3 seeds."""
    root = tmp_path_factory.mktemp("few")
    runs = [
        {"key": f"{i:016x}", "spec_id": f"{i:016x}", "loss": loss, "loss.label": loss, "seed": seed,
         "annotation.beta": beta, "quantity": 5, "loss.options": '{"hidden": [4]}'}
        for i, (loss, beta, seed) in enumerate(
            itertools.product(["bt_mlp", "<b>"], [0.5, float("inf")], range(3)))
    ]  # fmt: skip
    directory = root / "outputs/few"
    parquet.write_table(
        pa.Table.from_pylist(runs, schema=schema.WANTED), directory / "specs.parquet"
    )
    done = {"status": "done", "improvement_by_prompt": [0.1, 0.2], "improvement": 0.15}
    ended = pd.Timestamp(0, tz="UTC")
    dataset.write_part(
        SweepFolder(directory), [run | done | {"finished_at": ended} for run in runs[:-1]]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@settings(QUICK, max_examples=25)
@given(st.lists(WORDS, max_size=4))
def test_any_command_line_of_a_table_prints_one_or_is_refused(few_runs, words):
    words = [word for several in words for word in several]
    err, before = io.StringIO(), signal.getsignal(signal.SIGPIPE)
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        with pytest.raises(SystemExit) as stop:
            main.main(["table", "few", *words])
    signal.signal(signal.SIGPIPE, before)
    assert stop.value.code in (0, 1, 2)
    if stop.value.code == 2:
        assert err.getvalue().startswith("rmsweep: "), err.getvalue()


@QUICK
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(["loss", "seed", "annotation.beta", "key", "quantity"]), TEXT),
        st.lists(st.one_of(st.none(), TEXT, st.integers(), st.floats()), max_size=3), max_size=3,
    )
)  # fmt: skip
def test_any_query_of_a_table_selects_or_is_refused(conditions):
    rows = [{"key": f"{i}", "spec_id": f"{i}", "loss": "bt_mlp", "seed": i, "annotation.beta": 1.0,
             "quantity": 5} for i in range(4)]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=schema.WANTED).to_pandas()
    wanted = table.drop(columns=["canonical", "diagnostics"])
    try:
        found = fields.select_specs(wanted, conditions)
    except ValueError as error:
        assert str(error).strip()
    else:
        assert 0 < len(found) <= 4
