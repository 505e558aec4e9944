"""The kinds of reward models: their options, and what is known of a kind before it is loaded."""

import dataclasses
import itertools
import json
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from rmsweep.config.schema import IF_SET, Rule, from_mapping
from rmsweep.config.targets import new_object, typed_options
from rmsweep.errors import one_line

PER_CELL = 400  # multiply-adds that take as long as LightGBM needs for a feature of a row
USUAL_ROUNDS = 100  # of LightGBM, and what other kinds are planned to cost
OWN_BINS = "run"  # null in a spec
PATH = "loss.reward_model"
SCORERS = ("decision_function", "predict_proba")  # of scikit-learn, one of which a classifier has


@dataclass(frozen=True)
class Options:
    """The options of a kind of reward model, and what the kind can.

    What computes is in training/reward_models/; nothing here loads it, so that sweeps are planned
    and results are read without torch.
    """

    module: ClassVar[str]  # of training/reward_models/, whose REWARD_MODEL fits models of the kind
    objectives: ClassVar[tuple[str, ...]] = ()  # its own, by name; without any it takes a function
    runs_on_gpu: ClassVar[bool] = False
    reads_precision: ClassVar[bool] = False
    trains_in_epochs: ClassVar[bool] = False  # so training.protocol and patience mean something
    same_on_any_threads: ClassVar[bool] = False  # bit for bit, so that a run alone has all cores
    predicts_at_once: ClassVar[bool] = False  # several blocks, in as many threads

    @classmethod
    def from_yaml(cls, values: dict[str, Any]) -> Self:
        """Return the options from the fields of a loss's yaml; ValueError for unsound ones."""
        options: Self = from_mapping(cls, values, "loss")
        return options

    @property
    def code(self) -> tuple[dict[str, Any], ...]:
        """The mappings with a `_target_` among the options: code that a fit runs."""
        return ()

    @property
    def why_unsaved(self) -> str | None:
        """Why a fitted model cannot be saved, as the rest of a sentence; None where it can."""
        return None

    @property
    def size(self) -> str:
        """The options that say how large the model is, as one text."""
        return str([value for value in vars(self).values() if not isinstance(value, dict)])

    def rules(self) -> list[Rule]:
        """Return the rules that the options obey, beyond their types."""
        return []

    def multiply_adds(self, epochs: int, quantity: int, dim: int, n_test: int) -> float:
        """Estimate the multiply-adds of a fit of at most `epochs` and of scoring n_test rows."""
        return float(PER_CELL * USUAL_ROUNDS * 2 * quantity * dim)


@dataclass(frozen=True)
class Mlp(Options):
    """The options of MLPs; without hidden layers, a linear head."""

    module: ClassVar[str] = "mlp"
    runs_on_gpu: ClassVar[bool] = True
    reads_precision: ClassVar[bool] = True
    trains_in_epochs: ClassVar[bool] = True
    predicts_at_once: ClassVar[bool] = True

    hidden: tuple[int, ...]
    norm: str | None = field(metadata=IF_SET)  # of the penultimate features: null, or layer

    @classmethod
    def from_yaml(cls, values: dict[str, Any]) -> Self:
        return super().from_yaml({"norm": None} | values)  # older yamls have no norm

    def rules(self) -> list[Rule]:
        is_norm = self.norm in (None, "layer")
        has_features = self.norm is None or bool(self.hidden)
        return [
            ("loss.hidden", self.hidden, ">= 1", min(self.hidden, default=1) >= 1),
            ("loss.norm", self.norm, "layer or null", is_norm),
            ("loss.norm", self.norm, "null without hidden layers", has_features),
        ]

    def multiply_adds(self, epochs: int, quantity: int, dim: int, n_test: int) -> float:
        widths = (dim, *(self.hidden or ()), 1)
        weights = sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(widths))
        return float(weights * (3 * 2 * quantity * epochs + n_test))  # forward, and twice backward


@dataclass(frozen=True)
class Trees(Options):
    """The options of LightGBM's boosted trees."""

    module: ClassVar[str] = "trees"
    objectives: ClassVar[tuple[str, ...]] = ("binary", "bradley_terry")
    same_on_any_threads: ClassVar[bool] = True

    rounds: int
    bins: str | None = field(metadata=IF_SET)  # whose: null, the run's own rows', or cache

    @classmethod
    def from_yaml(cls, values: dict[str, Any]) -> Self:
        if values.get("bins", OWN_BINS) == OWN_BINS:  # older yamls have no bins
            values = values | {"bins": None}
        return super().from_yaml(values)

    def rules(self) -> list[Rule]:
        return [
            ("loss.rounds", (self.rounds,), ">= 1", self.rounds >= 1),
            ("loss.bins", self.bins, f"{OWN_BINS} or cache", self.bins in (None, "cache")),
        ]

    def multiply_adds(self, epochs: int, quantity: int, dim: int, n_test: int) -> float:
        return float(PER_CELL * (self.rounds or USUAL_ROUNDS) * 2 * quantity * dim)


@dataclass(frozen=True)
class Classifier(Options):
    """The options of classifiers of scikit-learn's kind."""

    module: ClassVar[str] = "classifiers"
    objectives: ClassVar[tuple[str, ...]] = ("binary",)

    estimator: dict[str, Any]

    @classmethod
    def from_yaml(cls, values: dict[str, Any]) -> Self:
        options = super().from_yaml(values)
        _check_estimator(options.estimator)
        return options

    @property
    def code(self) -> tuple[dict[str, Any], ...]:
        return (self.estimator,)

    @property
    def why_unsaved(self) -> str | None:
        return "is a scikit-learn classifier, which only a pickle could hold"


@dataclass(frozen=True)
class Own(Options):
    """The options of a reward model of the user's own: `reward_model: {_target_: MODULE.CLASS}`."""

    module: ClassVar[str] = "own"
    objectives: ClassVar[tuple[str, ...]] = ("own",)

    reward_model: dict[str, Any]

    @classmethod
    def from_yaml(cls, values: dict[str, Any]) -> Self:
        reward_model = super().from_yaml(values).reward_model
        _require_methods(reward_model)
        reward_model = typed_options(reward_model, PATH)
        _try_on_few_pairs(reward_model)
        return cls(reward_model)

    @property
    def code(self) -> tuple[dict[str, Any], ...]:
        return (self.reward_model,)

    @property
    def why_unsaved(self) -> str | None:
        if hasattr(new_object(self.reward_model, PATH), "save"):
            return None
        return f"has a reward model, {self.reward_model['_target_']}, without save and load"


# By their names in loss.reward_model; any other name is the `_target_` of a user's own kind.
BUILT_IN_KINDS: dict[str, type[Options]] = {"mlp": Mlp, "trees": Trees, "classifier": Classifier}


def kind_of(reward_model: str) -> type[Options]:
    """Return the kind that the column loss.reward_model names; a user's own by its `_target_`."""
    return BUILT_IN_KINDS.get(reward_model, Own)


def options_of_row(reward_model: str, loss_options: str) -> Options:
    """Return the options from two columns of a row, absent ones None; nothing is imported."""
    kind, values = kind_of(reward_model), json.loads(loss_options)
    return kind(**{f.name: values.get(f.name) for f in dataclasses.fields(kind)})


def _check_estimator(estimator: dict[str, Any]) -> None:
    """Raise ValueError unless it is a classifier that fits a few rows with its options."""
    classifier: Any = new_object(estimator, "loss.estimator")
    methods = set(dir(classifier))
    if not {"fit", "get_params"} <= methods or methods.isdisjoint(SCORERS):
        raise ValueError(
            "loss.estimator must be a scikit-learn classifier with decision_function or "
            f"predict_proba; {estimator['_target_']} is none"
        )
    is_chosen = np.arange(20) % 2 == 0
    try:
        with warnings.catch_warnings(action="ignore"):
            classifier.fit(np.eye(20), is_chosen)
    except ValueError as error:
        raise ValueError(f"loss.estimator: {one_line(error)}") from None


def _require_methods(reward_model: dict[str, Any]) -> None:
    """Raise ValueError unless the class has fit and predict, and save and load or neither."""
    model = new_object(reward_model, PATH)
    methods = {name for name in ("fit", "predict", "save", "load") if hasattr(model, name)}
    needed = {"fit", "predict"} | ({"save", "load"} if methods & {"save", "load"} else set())
    if absent := sorted(needed - methods):
        raise ValueError(
            f"{PATH}: {reward_model['_target_']} has no {absent[0]}; a reward model has the "
            "methods fit(chosen, rejected, seed) and predict(x), and to be saved save(folder) and "
            "load(folder)"
        )


def _try_on_few_pairs(reward_model: dict[str, Any]) -> None:
    """Raise ValueError unless the class fits 10 pairs, then predicts a finite reward a row."""
    model: Any = new_object(reward_model, PATH)
    target = reward_model["_target_"]
    x = np.eye(20, dtype=np.float32)
    try:
        with warnings.catch_warnings(action="ignore"):
            model.fit(x[::2].copy(), x[1::2].copy(), seed=0)
            rewards = model.predict(x.copy())
    except Exception as error:  # noqa: BLE001  a user's class may raise anything
        what = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"{PATH}: {target} fails on 10 pairs of 20 dimensions ({what})") from None
    checked_rewards(rewards, len(x), target)


def checked_rewards(rewards: Any, n_rows: int, target: str) -> np.ndarray:
    """Return what a user's class predicted, as (rows,) float64; ValueError where it is not that."""
    try:
        values = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (n_rows,):
        what = getattr(rewards, "shape", type(rewards).__name__)
        raise ValueError(
            f"{PATH}: {target}.predict must return a reward for each row, ({n_rows},), got {what}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{PATH}: {target}.predict returned NaN or inf")
    return values
