"""What RBT's six base LLMs take: the table of docs/build-a-cache.md, computed, not measured.

`python benchmarks/building.py` prints it. Every number follows from the published shapes of the
models and from the assumptions below; nothing runs. Decoding reads all weights at each step, and
the keys and values of every sequence so far. The forward pass over a prompt is done for each of its
K responses, as `rmsweep cache build` does it.
"""

from dataclasses import dataclass

RESPONSES = 40_000 * 10 + 2_000 * 500
BATCH, PROMPT_MOST, NEW = 64, 450, 128  # sequences; tokens
TEXT = 350  # tokens of prompt and response, on average
BYTES_S = 0.5 * 2.0e12  # half of an A100's bandwidth
FLOP_S = 0.4 * 312e12  # 40 % of its bf16 peak


@dataclass(frozen=True)
class Model:
    """parameters and layers x key-value heads x head size, as published; what RBT used it for."""

    name: str
    parameters: float
    layers: int
    heads: int
    head_size: int
    roles: tuple[str, ...]


MODELS = (
    Model("gemma-2b, and its _sft", 2.51e9, 18, 1, 256, ("base LLM", "backbone")),
    Model("gemma-7b, and its _sft", 8.54e9, 28, 16, 256, ("base LLM", "reward model", "backbone")),
    Model("llama3-8b, and its _sft", 8.03e9, 32, 8, 128, ("base LLM",)),
    Model("gpt2-large", 0.774e9, 36, 20, 64, ("reward model",)),
)


def weights(model: Model) -> float:
    """Bytes in bf16."""
    return 2 * model.parameters


def keys_and_values(model: Model, tokens: float) -> float:
    """Bytes of a batch of sequences with so many tokens, in bf16."""
    return BATCH * tokens * 2 * 2 * model.layers * model.heads * model.head_size


def forward_hours(model: Model, tokens: int) -> float:
    """Of so many tokens of every response."""
    return RESPONSES * tokens * 2 * model.parameters / FLOP_S / 3600


def decoding_hours(model: Model) -> float:
    """Of all new tokens, a step for each of a batch's, with texts half written on average."""
    n_steps = RESPONSES / BATCH * NEW
    return n_steps * (weights(model) + keys_and_values(model, TEXT - NEW / 2)) / BYTES_S / 3600


def row(model: Model) -> list[str]:
    is_used = {role: role in model.roles for role in ("base LLM", "reward model", "backbone")}
    passed = f"{forward_hours(model, TEXT):.2g} h"
    responses = f"{forward_hours(model, TEXT - NEW):.2g} + {decoding_hours(model):.2g} h"
    stored = keys_and_values(model, PROMPT_MOST + NEW) / 1e9
    return [
        model.name,
        f"{weights(model) / 1e9:.2g} GB",
        f"{stored:.2g} GB" * is_used["base LLM"],
        responses * is_used["base LLM"],
        passed * is_used["reward model"],
        passed * is_used["backbone"],
    ]


def main() -> None:
    head = ["model", "weights", "keys and values", "responses: prompts + decoding",
            "as a reward model", "as the backbone"]  # fmt: skip
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * 5}")
    for cells in map(row, MODELS):
        print("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")


if __name__ == "__main__":
    main()
