"""Reward models kept after a run, outputs/NAME/models/KEY/, and what they predict.

A model's folder holds spec.json and model.safetensors (MLP) or model-I.txt (LightGBM, a member I).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rmsweep import files, machine
from rmsweep.cache.checks import first_nonfinite
from rmsweep.config.launchers import Place
from rmsweep.config.losses import Mlp
from rmsweep.config.spec import SEMANTICS, Item, RunSpec
from rmsweep.errors import one_line
from rmsweep.provenance import versions
from rmsweep.results import dataset, sweep_record
from rmsweep.training.predict import FittedRun, blocks, predict, stack


@dataclass(frozen=True)
class SavedModel:
    """A fitted reward model, or an ensemble, read back."""

    run: FittedRun
    dim: int
    place: Place

    @property
    def spec(self) -> RunSpec:
        return self.run.item.spec

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Predicted rewards of embeddings, (rows, D) or (prompts, K, D): without their last axis.

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
        found = []
        for first, last in blocks(*x.shape[:2]) if x.size else ():
            block = _plain(x[first:last])
            if (bad := first_nonfinite(block)) is not None:
                where = (first + bad[0], bad[1])[: embeddings.ndim - 1]
                raise ValueError(f"embeddings hold NaN or inf at {where}")
            found.append(
                predict(stack([self.run]), block.reshape(-1, self.dim), self.spec, self.place)[0]
            )
        return np.concatenate(found or [np.empty(0)]).reshape(embeddings.shape[:-1])


def _plain(block: np.ndarray) -> np.ndarray:
    """A copy as float16 or float32, C order: torch warns of a read-only memory map."""
    dtype = block.dtype if block.dtype == np.float16 else np.dtype(np.float32)
    return np.array(block, dtype=dtype, order="C")


def save(directory: Path, run: FittedRun, place: Place) -> None:
    """Write a run's model, whole or not at all; one that is there is replaced."""
    target = dataset.model_folder(directory, run.item.key)
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.whole_folder(target) as unfinished:
        if run.item.spec.loss.reward_model == "mlp":
            save_file(_tensors(run.models), unfinished / "model.safetensors")
        else:
            for i, model in enumerate(run.models):
                model.save_model(unfinished / f"model-{i}.txt")
        hashes = {path.name: _sha256(path) for path in sorted(unfinished.iterdir())}
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


def load(name: str, key: str) -> SavedModel:
    """The model of a run of sweep `name`; key: of the run, or its first digits.

    FileNotFoundError without one, ValueError for one that is not as it was written, and for one
    that was saved under another SEMANTICS.
    """
    from lightgbm.basic import LightGBMError

    dataset.require_sweep(name)
    saved = dataset.saved_keys(dataset.folder(name))

    def refusal(n: int) -> FileNotFoundError:
        reason = f"{n} start with that" if n else f"{len(saved)} others have"
        return FileNotFoundError(
            f"no run {key!r} of {name!r} has a saved model ({reason}); the sweep's command with "
            "save_model=true makes them"
        )

    path = dataset.model_folder(dataset.folder(name), dataset.only_key(key, saved, refusal))
    try:
        about = json.loads((path / "spec.json").read_text())
        if (saved_under := about["semantics"]) == SEMANTICS:
            return _read(path, about)
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError, OSError,
            SafetensorError, LightGBMError) as error:  # fmt: skip
        what = one_line(error, 200)
        raise ValueError(f"{path} is not a saved model as it was written: {what}") from None
    raise ValueError(
        f"{path} was saved under SEMANTICS {saved_under!r:.20} and it is {SEMANTICS} here: it "
        "might score otherwise; load it with the versions in its spec.json, or run the sweep again"
    )


def _read(path: Path, about: dict[str, Any]) -> SavedModel:
    """A model's folder, about: its spec.json; raises what its content makes the readers raise."""
    spec = sweep_record.stored_spec(json.dumps(about["spec"]), str(about["label"]), False)
    for name, digest in about["files"].items():
        if Path(name).name != name or _sha256(path / name) != digest:
            raise ValueError(f"{name} has changed")
    if spec.loss.reward_model == "mlp":
        tensors = load_file(path / "model.safetensors")
        models: list[Any] = [_layers(tensors, i, about["dim"], spec) for i in range(spec.n_members)]
    else:
        import lightgbm

        paths = [path / f"model-{i}.txt" for i in range(spec.n_members)]
        models = [lightgbm.Booster(model_file=file) for file in paths]
    centres = [float(centre) for centre in about["centres"]]
    key = spec.key(str(about["fingerprint"]))  # any change of the spec makes it another
    if len(centres) != spec.n_members or not key == about["key"] == path.name:
        raise ValueError("spec.json is that of another model")
    run = FittedRun(Item(about["key"], spec), models, centres, {}, None)
    place = Place(None, _device(about["device"]), machine.cores())
    if spec.loss.reward_model == "mlp":
        run = FittedRun(
            run.item, [[p.to(place.device) for p in model] for model in models], centres, {}, None
        )
    return SavedModel(run, about["dim"], place)


def _device(fitted_on: str) -> str:
    """That of the run, where there is one here, else the CPU."""
    try:
        return machine.device(fitted_on)
    except ValueError:
        return "cpu"


def _tensors(models: Sequence[list[torch.Tensor]]) -> dict[str, torch.Tensor]:
    """By name: member.I.layer.J.weight (in, out) and .bias (out,)."""
    return {
        f"member.{i}.layer.{j // 2}.{('weight', 'bias')[j % 2]}": (
            p.detach()[0].flatten() if j % 2 else p.detach()[0]
        )
        .cpu()
        .clone()
        for i, model in enumerate(models)
        for j, p in enumerate(model)
    }


def _layers(
    tensors: dict[str, torch.Tensor], member: int, dim: int, spec: RunSpec
) -> list[torch.Tensor]:
    """Parameters of one member as mlp.py has them; ValueError where they are not the spec's."""
    assert isinstance(spec.loss.options, Mlp)
    widths = (dim, *spec.loss.options.hidden, 1)
    found = []
    for j, shape in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        weight = tensors[f"member.{member}.layer.{j}.weight"]
        bias = tensors[f"member.{member}.layer.{j}.bias"]
        if tuple(weight.shape) != shape or tuple(bias.shape) != shape[1:]:
            raise ValueError(f"layer {j} must be {shape}, found {tuple(weight.shape)}")
        found += [weight[None].float(), bias[None, None].float()]
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def score(name: str, key: str, embeddings: Path, out: Path | None) -> Path:
    """Write predicted rewards of a .npy file as a .npy file without its last axis; its path.

    out: where; else in this folder, EMBEDDINGS.KEY.npy. The file is mapped, not read whole.
    """
    model = load(name, key)
    out = out or Path(f"{embeddings.stem}.{model.run.item.key}.npy")
    rewards = model.predict(_mapped(embeddings))
    with files.whole(out) as unfinished, open(unfinished, "wb") as file:
        np.save(file, rewards)
    return out


def _mapped(path: Path) -> np.ndarray:
    """A .npy file of floats as a memory map; ValueError where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no embeddings at {path}")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001  numpy lets many kinds through
        what = f"{type(error).__name__}: {one_line(error, 160)}"
        raise ValueError(f"{path} must be a whole .npy file of numbers, found {what}") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        raise ValueError(f"{path} must hold floats, found {getattr(found, 'dtype', 'an archive')}")
    return found
