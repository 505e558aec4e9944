"""Loading models from a folder: safetensors only, no remote code unless asked for."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmsweep import machine
from rmsweep.cache.building import tokens
from rmsweep.cache.building.hub import Located
from rmsweep.errors import one_line

HEAD = "ForSequenceClassification"
# Models that number positions from that of the pad token on, and so take fewer than they have.
NUMBERED_FROM_PAD = (
    "camembert data2vec-text esm ibert layoutlmv3 lilt longformer luke markuplm mpnet roberta "
    "roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod"
).split()


@dataclass(frozen=True)
class Engine:
    """The device and precision that models run in."""

    device: str
    precision: str  # of matrix products; bf16 keeps weights as they are stored
    remote_code: bool


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    id: str
    model: Any
    tokenizer: Any
    engine: Engine
    most: int  # tokens that it takes
    pad: int  # the token that fills batches

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Run the block without gradients and in the engine's precision."""
        import torch

        kind, is_bf16 = self.engine.device.partition(":")[0], self.engine.precision == "bf16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=is_bf16):
            yield

    def tensors(self, *arrays: Any) -> list[Any]:
        """Return arrays as tensors on the engine's device."""
        import torch

        return [torch.from_numpy(array).to(self.engine.device) for array in arrays]


def model_config(located: Located, remote_code: bool) -> Any:
    """Return a model's configuration; ValueError where it takes code that was not asked for."""
    with _loading(located):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(located.folder, trust_remote_code=remote_code)


def load_tokenizer(located: Located, remote_code: bool) -> Any:
    """Return a model's tokenizer, which must tell where in a text a token is."""
    with _loading(located):
        from transformers import AutoTokenizer

        words = AutoTokenizer.from_pretrained(located.folder, trust_remote_code=remote_code)
    if not words.is_fast:
        raise ValueError(f"{located.id}: its tokenizer must be a fast one (tokenizer.json)")
    return words


def require_head(located: Located, output: int | None, remote_code: bool) -> int:
    """Return the output that is the reward; ValueError for a model that does not score text."""
    config = model_config(located, remote_code)
    kinds = config.architectures or []
    if not any(kind.endswith(HEAD) for kind in kinds):
        raise ValueError(
            f"reward model {located.id} has no classification head: it is a "
            f"{', '.join(kinds) or 'model of unknown kind'}, and must be a ...{HEAD}"
        )
    n = config.num_labels
    if output is None and n != 1:
        names = ", ".join(f"{i} {name}" for i, name in sorted(config.id2label.items()))
        raise ValueError(
            f"reward model {located.id} has {n} outputs ({names}): choose one with --reward-output"
        )
    if not 0 <= (output or 0) < n:
        raise ValueError(f"--reward-output must be in [0, {n - 1}] for {located.id}, got {output}")
    return output or 0


def load_transformer(
    located: Located, kind: str, engine: Engine, adapter: Located | None = None
) -> Loaded:
    """Return a model and its tokenizer, on the engine's device.

    kind: a class of transformers, Auto... ValueError where it cannot be loaded, lacks weights, or
    the device would emulate its precision.
    """
    machine.require_native(engine.precision, engine.device)
    words = load_tokenizer(located, engine.remote_code)
    options = {"use_safetensors": True, "output_loading_info": True, "local_files_only": True}
    options |= {"trust_remote_code": engine.remote_code, "dtype": _dtype(located, engine)}
    with _loading(located):
        import transformers

        model, info = getattr(transformers, kind).from_pretrained(located.folder, **options)
    is_used = kind != "AutoModel"  # a pooler, which embeddings do without
    if missing := sorted(name for name in info["missing_keys"] if is_used or "pooler" not in name):
        raise ValueError(
            f"{located.id}: its weights lack {', '.join(missing[:3])}, which would be random"
        )
    if adapter is not None:
        model = _adapted(model, adapter)
    n_embeddings = model.get_input_embeddings().weight.shape[0]
    pad = tokens.pad_id(words, n_embeddings, located.id)
    if len(words("a")["input_ids"]):
        _require_vocabulary(words, n_embeddings, located.id)
    longest = most_tokens(model.config, words)
    model.config.get_text_config().pad_token_id = pad
    model.config.use_cache = kind == "AutoModelForCausalLM"
    for head in ("score", "classifier"):
        if kind.endswith(HEAD) and hasattr(model, head):
            _keep_fp32(getattr(model, head), engine.device)
    return Loaded(located.id, model.eval().to(engine.device), words, engine, longest, pad)


def _keep_fp32(head: Any, device: str) -> None:
    """Let a head compute in fp32: in bf16 it would give 500 responses few different rewards."""
    import torch

    inner = head.float().forward

    def forward(states: Any) -> Any:
        with torch.autocast(device.partition(":")[0], enabled=False):
            return inner(states.float())

    head.forward = forward


def _require_vocabulary(words: Any, n_embeddings: int, name: str) -> None:
    """Raise ValueError where the tokenizer has ordinary tokens that the model lacks."""
    added = {*words.all_special_ids, *words.added_tokens_decoder}
    beyond = [i for i in words.get_vocab().values() if i >= n_embeddings and i not in added]
    if beyond:
        raise ValueError(
            f"{name}: its tokenizer has {len(beyond)} tokens beyond the model's {n_embeddings}; "
            "they belong to different models"
        )


def _adapted(model: Any, adapter: Located) -> Any:
    """Return a model with a PEFT adapter's weights added to its own."""
    try:
        import peft
    except ImportError:
        raise ValueError("--adapter needs the package peft: pip install 'rmsweep[text]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
            adapted = peft.PeftModel.from_pretrained(model, adapter.folder)
        _require_applied(adapted, adapter)
        return adapted.merge_and_unload()
    except (ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"adapter {adapter.id} does not fit the base LLM: {one_line(error, 200)}"
        ) from None


def _require_applied(model: Any, adapter: Located) -> None:
    """Raise ValueError unless an adapter's weights are just those that the model takes."""
    import peft

    prefix = peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING.get(model.active_peft_config.peft_type, "")
    stored = peft.load_peft_weights(str(adapter.folder), device="cpu")
    wanted = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    stored_names, taken = ({name for name in names if prefix in name} for names in (stored, wanted))
    if odd := sorted(stored_names ^ taken):
        raise ValueError(
            f"{len(stored_names - taken)} of its {len(stored_names)} weights have no place there, "
            f"and {len(taken - stored_names)} are missing, such as {odd[0]}"
        )


def _dtype(located: Located, engine: Engine) -> Any:
    """Return the type of weights: for bf16 as stored, but bfloat16, of wider range, for float16."""
    import torch

    if engine.precision == "fp32":
        return torch.float32
    stored = json.loads((located.folder / "config.json").read_text())
    name = stored.get("dtype") or stored.get("torch_dtype")
    return torch.bfloat16 if name == "float16" else "auto"


def most_tokens(config: Any, words: Any) -> int:
    """Return how many tokens a model takes, by its configuration and its tokenizer."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if positions and text.model_type in NUMBERED_FROM_PAD:
        positions -= 1 + (text.pad_token_id or 0)
    return int(min(positions or 1 << 30, words.model_max_length))


def sentence_pooling(folder: Path) -> tuple[str, bool, int | None] | None:
    """Return pooling, normalisation and most tokens of a sentence-transformers model, else None."""
    path = folder / "modules.json"
    if not path.exists():
        return None
    kinds = [module["type"].rpartition(".")[2] for module in json.loads(path.read_text())]
    if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise ValueError(f"{folder}: sentence-transformers module {unknown.pop()} is not supported")
    stored = json.loads((folder / "1_Pooling/config.json").read_text())
    modes = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}
    own = stored.get("pooling_mode")
    is_on = [
        mode
        for mode, key in modes.items()
        if own in (mode, key) or stored.get(f"pooling_mode_{key}") is True
    ]
    if len(is_on) != 1:
        raise ValueError(f"{folder}: its pooling must be one of {', '.join(modes)}")
    path = folder / "sentence_bert_config.json"
    most = json.loads(path.read_text()).get("max_seq_length") if path.exists() else None
    return is_on[0], "Normalize" in kinds, most


@contextlib.contextmanager
def _loading(located: Located) -> Iterator[None]:
    """Load with transformers silent, whose errors become a ValueError of one line."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (ValueError, OSError, KeyError, ImportError, RuntimeError) as error:
        reason = f"cannot be loaded: {one_line(error, 200)}"
        if "trust_remote_code" in str(error):
            reason = "brings its own Python code, which is not run unless you trust it: "
            reason += "--trust-remote-code"
        raise ValueError(f"{located.id} {reason}") from None
