"""Print docs/losses.md from conf/loss/*.yaml and the docstrings of what they name: `make docs`."""

import inspect
from pathlib import Path

import yaml

from rmsweep.config.targets import import_objective
from rmsweep.objectives.boosted_bradley_terry import boosted_bradley_terry
from rmsweep.training.reward_models import classifiers, trees

ROOT = Path(__file__).parents[1]
FITS = {"trees": trees.fit_trees, "classifier": classifiers.fit_classifier}
HEAD = """\
# Losses

<!-- made by `make docs` from conf/loss/ and the docstrings; edit those -->

`loss=NAME`. Each field is one on the command line (`loss.objective.margin=2`), and so an axis.
Shapes, units and where they are from are the docstrings'. Any loss can be an ensemble:
`loss.ensemble=10` fits ten members on the same annotations, each with initial weights and
validation split of its own, and `loss.pick` makes one reward of theirs: `mean`, `min` (the most
pessimistic member's), or a number k, the mean minus k standard deviations (a lower confidence
bound); members are centred first, on the annotated responses. NormBT's paper fine-tunes whole LLMs;
on a head over frozen embeddings, as here, it is a related but different experiment. A loss of your
own: [add-a-loss.md](add-a-loss.md).
"""


def losses() -> dict[str, str]:
    """Text of each option's yaml."""
    return {path.stem: path.read_text() for path in sorted((ROOT / "conf/loss").glob("*.yaml"))}


def comment(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ")


def section(name: str, text: str) -> str:
    """Heading, docstrings and yaml of a loss."""
    values = yaml.safe_load(text)
    model, objective = values["reward_model"], values["objective"]
    functions = [FITS[model]] if model in FITS else [import_objective(objective, name).func]
    if objective == "bradley_terry":
        functions.append(boosted_bradley_terry)
    parts = [f"## {name}", f"{comment(text)}."]
    for function in functions:
        where = Path(inspect.getsourcefile(function)).relative_to(ROOT)
        parts += [f"{where}:", f"```text\n{inspect.getdoc(function)}\n```"]
    body = text.partition("\n")[2].strip()
    return "\n\n".join([*parts, f"```yaml\n{body}\n```"]) + "\n"


def page() -> str:
    found = losses()
    rows = [f"| [{name}](#{name}) | {comment(text)} |" for name, text in found.items()]
    table = "\n".join(["| loss | what it is |", "|---|---|", *rows])
    return "\n".join([HEAD, table, "", *(section(*loss) for loss in found.items())])


if __name__ == "__main__":
    print(page(), end="")
