"""Rules that the values of a spec obey, beyond their types."""

from rmsweep.annotation.pairing import PAIRINGS, SELECTIONS
from rmsweep.annotation.preferences import LINKS
from rmsweep.config import losses
from rmsweep.config.columns import spec_columns
from rmsweep.config.schema import Rule, require_rules
from rmsweep.config.spec import PROTOCOLS, RunSpec
from rmsweep.errors import nearest

# Fields that mean something for one source of annotations only, and why
SIMULATED = {
    "base_llm": "the responses are those that people compared",
    "selection": "the pairs are those that people compared",
    "pairing": "the pairs are those that people compared",
    "annotation.beta": "people labelled these pairs, no annotator is simulated",
    "annotation.link": "people labelled these pairs, no annotator is simulated",
    "dataset.reward_scale": "there are no golden rewards",
    "dataset.synthetic": "the pairs are read from files",
}
LABELLED = {
    "annotation.flip_rate": "annotation.beta sets the noise",
    "evaluation.held_out": "the test split is a file of its own",
    "evaluation.golden": "Best-of-N is scored on the run's own test split",
}


def require_sound(spec: RunSpec) -> None:
    """Raise ValueError unless the values of a spec, of the right types, make sense together."""
    _require_fields_of_source(spec)
    for name, value, valid in (
        ("selection", spec.selection, SELECTIONS),
        ("pairing", spec.pairing, PAIRINGS),
        ("precision", spec.precision, ("bf16", "fp32")),
        ("annotation.link", spec.annotation.link, LINKS),
        ("training.protocol", spec.training.protocol, PROTOCOLS),
        ("loss.rows", spec.loss.rows, ("pairs", "responses")),
    ):
        if value is not None and value not in valid:
            raise ValueError(f"{name} {value!r} is unknown; {nearest(value, valid)}")
    a, t, e = spec.annotation, spec.training, spec.evaluation
    beta, scale, flips = a.beta, spec.dataset.reward_scale, a.flip_rate
    n_validation = spec.n_validation if 0 < t.validation_share < 1 else 0  # not of nan or inf
    n_kept = spec.quantity - n_validation
    held_out = f"such that 1 to {spec.quantity - 1} of {spec.quantity} pairs are held out"
    count = ">= 1 or null"
    decay = t.weight_decay
    is_scale = scale in (None, "std") or losses.is_positive(scale)
    rules: list[Rule] = [
        ("seed", spec.seed, ">= 0", spec.seed >= 0),
        ("quantity", spec.quantity, ">= 2", spec.quantity >= 2),
        ("annotation.beta", beta, ">= 0 (0 = coin flip, inf = noise-free)", (beta or 0) >= 0),
        ("annotation.flip_rate", flips, "in [0, 0.5)", 0 <= (flips or 0) < 0.5),
        ("dataset.reward_scale", scale, "std or > 0", is_scale),
        ("training.batch_pairs", t.batch_pairs, ">= 1", t.batch_pairs >= 1),
        ("training.learning_rate", t.learning_rate, "> 0", losses.is_positive(t.learning_rate)),
        ("training.max_epochs", t.max_epochs, ">= 1", t.max_epochs >= 1),
        ("training.patience", t.patience, count, t.patience is None or t.patience >= 1),
        ("training.validation_share", t.validation_share, held_out, n_kept >= 1 <= n_validation),
        ("training.weight_decay", decay, "> 0 or null", decay is None or losses.is_positive(decay)),
        ("evaluation.n", e.n, count, e.n is None or e.n >= 1),
        ("evaluation.held_out", e.held_out, "in (0, 1)", e.held_out is None or 0 < e.held_out < 1),
        ("evaluation.pairs", [], "file stems, or null for none", e.pairs != ()),
    ]
    require_rules(rules)
    if not spec.loss.options.trains_in_epochs and t.protocol != "pairs":
        raise ValueError(
            f"training.protocol={t.protocol} is for MLPs (the public scripts have nothing else): "
            f"loss={spec.loss.name} needs training.protocol=pairs"
        )
    require_rules(losses.rules_of(spec.loss))
    require_golden(spec)


def _require_fields_of_source(spec: RunSpec) -> None:
    """Raise ValueError unless the fields that are set belong to the source of the annotations."""
    source, sources = spec.annotation.source, ("simulated", "labels")
    if source not in sources:
        raise ValueError(f"annotation.source {source!r} is unknown; {nearest(source, sources)}")
    refused, needed = (SIMULATED, LABELLED) if source == "labels" else (LABELLED, SIMULATED)
    values = spec_columns(spec) | {
        "dataset.synthetic": spec.dataset.synthetic and spec.dataset.name,
        "evaluation.golden": spec.evaluation.golden and spec.evaluation.golden.dataset,
    }
    for name, why in refused.items():
        if values[name] is not None:
            raise ValueError(
                f"{name} must be null with annotation.source={source} ({why}), got {values[name]}"
            )
    optional = {"dataset.synthetic", "evaluation.held_out", "evaluation.golden"}
    for name in needed:
        if name not in optional and values[name] is None:
            raise ValueError(f"{name} must be given with annotation.source={source}, got null")
    e = spec.evaluation
    if source == "labels" and e.held_out is None and e.pairs is None and e.golden is None:
        raise ValueError(
            "evaluation says nothing to judge: with annotation.source=labels give "
            "evaluation.held_out, evaluation.pairs or evaluation.golden"
        )
    if source == "labels" and spec.training.protocol != "pairs":
        raise ValueError(
            f"training.protocol={spec.training.protocol} splits rows, which puts a prompt on both "
            "sides: annotation.source=labels needs training.protocol=pairs"
        )


def require_golden(spec: RunSpec) -> None:
    """Raise ValueError where the loss reads golden rewards that the annotations' source has not."""
    a = spec.annotation
    if losses.reads_margin(spec.loss) and a.source != "simulated":
        raise ValueError(
            f"loss={spec.loss.name} needs golden rewards, which annotation.source={a.source} has "
            "not: take loss=bt_margin, or annotation.source=simulated"
        )
