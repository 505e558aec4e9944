"""From a loss's `_target_` to the function, and to the hash of a user's source file."""

import functools
import hashlib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path


def resolve(objective: dict, path: str) -> Callable:
    """The objective `loss(batch, state)` that `_target_` names, its options bound and checked.

    objective: {_target_: MODULE.FUNCTION, _partial_: true, option: value, ...}; path: the field's
    name for the ValueError when it cannot be imported or does not take these options.
    """
    target = objective.get("_target_")
    if not isinstance(target, str) or objective.get("_partial_") is not True:
        raise ValueError(
            f"{path} must have _target_: MODULE.FUNCTION and _partial_: true, got {objective}"
        )
    function = _import(target, path)
    options = {name: value for name, value in objective.items() if not name.startswith("_")}
    try:
        inspect.signature(function).bind(None, None, **options)
    except TypeError as error:
        raise ValueError(f"{path}: {target}(batch, state, ...): {error}") from None
    return functools.partial(function, **options)


def judges_responses(objective: Callable) -> bool:
    """Whether the loss of a pair with one half absent still depends on the other (PairBatch)."""
    import torch  # here, since planning a sweep of trees needs none

    from rmsweep.objectives.pair_batch import PairBatch

    rewards, inf, features = torch.tensor([[-1.0, 0.0, 1.0]]), torch.inf, torch.zeros(1, 3, 1)
    alone = (
        PairBatch(rewards, torch.full_like(rewards, -inf), features, features),
        PairBatch(torch.full_like(rewards, inf), rewards, features, features),
    )
    losses = [objective(batch, {})[0] for batch in alone]
    return all(bool(loss.isfinite().all() and loss.std() > 0) for loss in losses)


@functools.cache
def source_sha256(target: str) -> str | None:
    """Of the file that defines an objective outside rmsweep: an edited loss is another run."""
    if target.startswith("rmsweep."):
        return None
    file = inspect.getsourcefile(inspect.unwrap(_import(target, "loss.objective")))
    assert file is not None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@functools.cache
def _import(target: str, path: str) -> Callable:
    module, _, name = target.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001  importing a user's module runs it
        raise ValueError(
            f"{path}._target_ {target!r} cannot be imported ({type(error).__name__}: {error}); "
            "put its module on PYTHONPATH or in the working directory"
        ) from None
    if not callable(function):
        raise ValueError(f"{path}._target_ {target!r} is not a function")
    return function
