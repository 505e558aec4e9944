"""Models made on the spot: random weights, a tokenizer trained on a few lines, as safetensors."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

LINES = [
    "\n\nHuman: What is the tallest mountain?\n\nAssistant: Everest, of course.",
    "How do I bake bread? Mix flour, water, salt and yeast; wait; bake it.",
    "Name three birds. A robin, a wren and an owl.",
]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 24, "max_position_embeddings": 256}


def tokenizer(**special):
    """A byte-level BPE of about 300 tokens; special: its tokens, such as pad_token='<pad>'."""
    import transformers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    names = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, special_tokens=names, initial_alphabet=alphabet
    )
    bpe.train_from_iterator(LINES, trainer)
    if special.get("bos_token"):
        bpe.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, model_max_length=256, **special
    )


def make(folder: Path, kind: str, head: str, seed: int = 0, pad: bool = True, **more) -> str:
    """A GPT2, Llama or Gemma with this head (Model, ForCausalLM, ...), saved; the folder's path."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    special = {"eos_token": "</s>"} | ({"pad_token": "<pad>"} if pad else {})
    special |= {} if kind == "GPT2" else {"bos_token": "<s>"}
    words = tokenizer(**special)
    ids = {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id}
    ids["pad_token_id"] = words.pad_token_id
    sizes = {"vocab_size": len(words), **SIZES, **ids, **more}
    if kind == "Gemma":
        sizes |= {"num_key_value_heads": 1, "head_dim": 8}
    if kind == "GPT2":
        names = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "n": "n"}
        names |= {"num_attention_heads": "n_head", "max_position_embeddings": "n_positions"}
        names |= {"intermediate_size": "n_inner"}
        sizes = {names.get(name, name): value for name, value in sizes.items()}
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    if (kind, head) == ("GPT2", "ForCausalLM"):
        head = "LMHeadModel"
    model = getattr(transformers, f"{kind}{head}")(config)
    for parameter in model.parameters():  # apart, so that texts differ visibly
        parameter.data.normal_(0, 0.3) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def make_adapter(folder: Path, base: str, seed: int = 0) -> str:
    """A LoRA adapter with weights that are not zero."""
    import peft
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora" in name:
            parameter.data.normal_(0, 0.5)
    adapted.save_pretrained(folder)
    return str(folder)


def make_three(root: Path, backbone: str = "Llama") -> None:
    """root/llm, root/scorer and root/backbone: what a build from prompts takes."""
    make(root / "llm", "Llama", "ForCausalLM", 0)
    make(root / "scorer", "GPT2", "ForSequenceClassification", 1, num_labels=1)
    make(root / "backbone", backbone, "Model", 2)
