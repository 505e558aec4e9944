"""Reward models kept after a run, outputs/NAME/models/KEY/, and what they predict.

A model's folder holds spec.json and what its kind writes (training/reward_models/).
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmsweep import files, machine
from rmsweep.cache.checks import first_nonfinite
from rmsweep.config import trusted_code
from rmsweep.config.launchers import Place, place_of_saved_model
from rmsweep.config.spec import SEMANTICS, Item, RunSpec
from rmsweep.errors import one_line
from rmsweep.paths import SweepFolder
from rmsweep.provenance import versions
from rmsweep.results import dataset, sweep_record
from rmsweep.training.predict import block_threads, predict_rewards, prompt_blocks, stack_models
from rmsweep.training.reward_models.interface import FittedRun, reward_model_of


@dataclass(frozen=True)
class SavedModel:
    """A fitted reward model, or an ensemble, read back."""

    run: FittedRun
    dim: int
    place: Place

    @property
    def spec(self) -> RunSpec:
        """The spec of the run."""
        return self.run.item.spec

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Predict rewards of embeddings, (rows, D) or (prompts, K, D): without their last axis.

        Bit for bit those of the sweep where these are its (prompts, M, D) test embeddings, its CPU
        model and versions; else the last bits may depend on how many rows come together.
        ValueError for another shape or D, and for NaN or inf.
        """
        if embeddings.ndim not in (2, 3) or embeddings.shape[-1] != self.dim:
            raise ValueError(
                f"embeddings must be (rows, {self.dim}) or (prompts, K, {self.dim}), as {self.dim} "
                f"is the D of this model; got {embeddings.shape}"
            )
        x = embeddings if embeddings.ndim == 3 else embeddings[:, np.newaxis]
        dtype = x.dtype if x.dtype == np.float16 else np.dtype(np.float32)
        models = stack_models([self.run])

        def predict_block(edge: tuple[int, int]) -> np.ndarray:
            block = np.array(
                x[slice(*edge)], dtype=dtype, order="C"
            )  # torch warns of read-only maps
            if (bad := first_nonfinite(block)) is not None:
                where = (edge[0] + bad[0], bad[1])[: embeddings.ndim - 1]
                raise ValueError(f"embeddings hold NaN or inf at {where}")
            return predict_rewards(models, block.reshape(-1, self.dim), self.place)[0]

        edges = prompt_blocks(*x.shape[:2]) if x.size else []
        with machine.threads(self.place.threads), block_threads(self.place) as pool:
            rewards = list(pool.map(predict_block, edges))
        return np.concatenate(rewards or [np.empty(0)]).reshape(embeddings.shape[:-1])


def save_model(folder: SweepFolder, run: FittedRun, place: Place) -> None:
    """Write a run's model, whole or not at all; one that is there is replaced."""
    target = folder.model(run.item.key)
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.whole_folder(target) as unfinished:
        reward_model_of(run.item.spec.loss).save(run.models, run.item.spec, unfinished)
        written = sorted(path for path in unfinished.rglob("*") if path.is_file())
        hashes = {path.relative_to(unfinished).as_posix(): _sha256(path) for path in written}
        about = {
            "key": run.item.key,
            "semantics": SEMANTICS,
            "spec": json.loads(run.item.spec.canonical),
            "label": run.item.spec.loss.label,
            "centres": run.centres,
            "fingerprint": run.facts["fingerprint"],
            "dim": run.facts["dim"],
            "device": place.device,
            "versions": versions(),
            "files": hashes,
        }
        (unfinished / "spec.json").write_text(json.dumps(about, indent=1))


def load_model(name: str, key: str, config_dirs: Sequence[str] = ()) -> SavedModel:
    """Read the model of a run of sweep `name`; key: of the run, or its first digits.

    config_dirs: of the yaml of a user's own reward model; code that no config file names is not
    run. FileNotFoundError without a model, ValueError for one that is not as it was written, and
    for one that was saved under another SEMANTICS.
    """
    path = _folder_of(name, key)
    with _refusing_damage(path):
        about = json.loads((path / "spec.json").read_text())
        if (saved_under := about["semantics"]) == SEMANTICS:
            text, label = json.dumps(about["spec"]), str(about["label"])
            spec = sweep_record.stored_spec(text, label, False)
    if saved_under != SEMANTICS:
        raise ValueError(
            f"{path} was saved under SEMANTICS {saved_under!r:.20} and it is {SEMANTICS} here: it "
            "might score otherwise; load it with the versions in its spec.json, or run the sweep "
            "again"
        )
    if spec.loss.options.code:
        trusted_code.require_trusted_loss(spec, config_dirs)
    with _refusing_damage(path):
        return _read(path, about, spec)


def _folder_of(name: str, key: str) -> Path:
    """Return the folder of the one saved model whose key begins so; FileNotFoundError without."""
    dataset.require_sweep(name)
    saved = dataset.saved_keys(SweepFolder.named(name))

    def refusal(n: int) -> FileNotFoundError:
        reason = f"{n} start with that" if n else f"{len(saved)} others have"
        return FileNotFoundError(
            f"no run {key!r} of {name!r} has a saved model ({reason}); the sweep's command with "
            "save_model=true makes them"
        )

    return SweepFolder.named(name).model(dataset.only_key(key, saved, refusal))


@contextlib.contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    """Turn what the content of a model's folder makes its readers raise into one ValueError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError, OSError) as error:
        what = one_line(error, 200)
        raise ValueError(f"{path} is not a saved model as it was written: {what}") from None


def _read(path: Path, about: dict[str, Any], spec: RunSpec) -> SavedModel:
    """Read a model's folder, about: its spec.json; raises what its content makes readers raise."""
    for name, digest in about["files"].items():
        is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not is_inside or _sha256(path / name) != digest:
            raise ValueError(f"{name} has changed")
    place = place_of_saved_model(spec.loss.options, _device(about["device"]))
    models = reward_model_of(spec.loss).load(path, spec, about["dim"], place)
    centres = [float(centre) for centre in about["centres"]]
    key = spec.key(str(about["fingerprint"]))  # any change of the spec makes it another
    if len(centres) != spec.n_members or not key == about["key"] == path.name:
        raise ValueError("spec.json is that of another model")
    return SavedModel(FittedRun(Item(key, spec), models, centres, {}, None), about["dim"], place)


def _device(fitted_on: str) -> str:
    try:
        return machine.device(fitted_on)
    except ValueError:
        return "cpu"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def score_file(
    name: str, key: str, embeddings: Path, out: Path | None, config_dirs: Sequence[str] = ()
) -> Path:
    """Write predicted rewards of a .npy file as one without its last axis; return its path.

    out: where; else in this folder, EMBEDDINGS.KEY.npy. config_dirs: as in `load_model`.
    """
    model = load_model(name, key, config_dirs)
    out = out or Path(f"{embeddings.stem}.{model.run.item.key}.npy")
    rewards = model.predict(_mapped(embeddings))
    with files.whole(out) as unfinished, open(unfinished, "wb") as file:
        np.save(file, rewards)
    return out


def _mapped(path: Path) -> np.ndarray:
    """Open a .npy file of floats as a memory map; ValueError where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no embeddings at {path}")
    try:
        embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001  numpy lets many kinds through
        what = f"{type(error).__name__}: {one_line(error, 160)}"
        raise ValueError(f"{path} must be a whole .npy file of numbers, found {what}") from None
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype.kind != "f":
        kind = getattr(embeddings, "dtype", "an archive")
        raise ValueError(f"{path} must hold floats, found {kind}")
    return embeddings
