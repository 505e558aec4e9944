"""The function or class that a `_target_` names, and the hash of a user's source file."""

import functools
import hashlib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rmsweep.config.schema import convert
from rmsweep.errors import one_line

LIBRARIES = ("rmsweep", "sklearn")  # whose source is that of their version, not a user's


def import_objective(objective: dict[str, Any], path: str) -> Callable[..., Any]:
    """Return the objective `loss(batch, state)` that `_target_` names, its options bound.

    objective: {_target_: MODULE.FUNCTION, _partial_: true, option: value, ...}; an option that is
    such a mapping becomes that function. ValueError, which names the field `path`, when it cannot
    be imported or does not take these options.
    """
    target = objective.get("_target_")
    if not isinstance(target, str) or objective.get("_partial_") is not True:
        raise ValueError(
            f"{path} must have _target_: MODULE.FUNCTION and _partial_: true, got {objective}"
        )
    function, options = _import(target, path), options_of(objective)
    for name in _functions_of(options):
        options[name] = import_objective(options[name], f"{path}.{name}")
    try:
        inspect.signature(function).bind(None, None, **options)
    except TypeError as error:
        raise ValueError(f"{path}: {target}(batch, state, ...): {error}") from None
    return functools.partial(function, **options)


def new_object(estimator: dict[str, Any], path: str) -> object:
    """Return an object of the class of {_target_: MODULE.CLASS, option: value, ...}."""
    target = estimator.get("_target_")
    if not isinstance(target, str):
        raise ValueError(f"{path} must have _target_: MODULE.CLASS, got {estimator}")
    try:
        return _import(target, path)(**options_of(estimator))
    except TypeError as error:
        raise ValueError(f"{path}: {target}(...): {error}") from None


def options_of(objective: dict[str, Any]) -> dict[str, Any]:
    """Return what stands beside `_target_`."""
    return {name: value for name, value in objective.items() if not name.startswith("_")}


def _functions_of(options: dict[str, Any]) -> list[str]:
    """Return the names of the options that are functions, `_target_` and options of their own."""
    return [n for n, value in options.items() if isinstance(value, dict) and "_target_" in value]


def all_targets(objective: dict[str, Any]) -> list[str]:
    """Return the `_target_` of a mapping, and those of the functions among its options.

    ValueError for one that is no text, as a mapping may have that was never imported.
    """
    target = objective.get("_target_")
    if not isinstance(target, str):
        raise ValueError(f"_target_ must be MODULE.FUNCTION or MODULE.CLASS, got {target!r}")
    inner = [objective[name] for name in _functions_of(options_of(objective))]
    return [target, *(own for mapping in inner for own in all_targets(mapping))]


def typed_options(values: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a mapping with a `_target_`, its options of the types that are annotated there.

    So 1 and 1.0 are one run where int, float, str or bool is annotated. ValueError for another.
    """
    kinds: dict[object, type] = {}
    for kind in (int, float, str, bool):
        kinds |= {kind: kind, kind.__name__: kind}
    parameters = inspect.signature(_import(values["_target_"], path)).parameters
    types = {n: kinds[p.annotation] for n, p in parameters.items() if p.annotation in kinds}
    typed = {name: typed_options(values[name], f"{path}.{name}") for name in _functions_of(values)}
    return {
        name: convert(value, types[name], f"{path}.{name}") if name in types else value
        for name, value in (values | typed).items()
    }


def reads_margins(objective: Callable[..., Any]) -> bool:
    """Tell whether a resolved objective, or a function among its options, reads margins."""
    if not isinstance(objective, functools.partial):
        return getattr(objective, "needs_margin", False)
    inner = [option for option in objective.keywords.values() if callable(option)]
    return any(map(reads_margins, (objective.func, *inner)))


def try_objective(objective: Callable[..., Any], path: str, is_by_response: bool) -> None:
    """Raise ValueError where an objective fails on 3 pairs; by response: or on a half of each."""
    import torch  # here, since planning a sweep of trees needs none

    from rmsweep.objectives.pair_batch import PairBatch

    rewards, rows = torch.linspace(-1.0, 1.0, 3)[None], torch.eye(3)[None]
    batch = PairBatch(rewards, -rewards, rows, -rows, rows, -rows)
    if reads_margins(objective):
        batch = batch._replace(margin=rewards)
    try:
        returned = objective(batch, {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001  a user's function may raise anything
        what = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"{path} fails on a batch of one run and 3 pairs ({what})") from None
    kinds = [type(part) for part in returned] if isinstance(returned, tuple) else [type(returned)]
    if kinds != [torch.Tensor, dict] or returned[0].shape != (1, 3):
        shape = [tuple(part.shape) for part in returned if isinstance(part, torch.Tensor)]
        raise ValueError(
            f"{path} must return the loss per pair, (runs, batch), and the state, a dict; for one "
            f"run and 3 pairs it gave {', '.join(kind.__name__ for kind in kinds)} of shape {shape}"
        )
    absent, features = torch.full_like(rewards, torch.inf), torch.zeros(1, 3, 1)
    for chosen, rejected in ((rewards, -absent), (absent, rewards)) if is_by_response else ():
        loss = objective(PairBatch(chosen, rejected, features, features), {})[0]
        if not (loss.isfinite().all() and loss.std() > 0):
            raise ValueError(
                f"loss.rows=responses needs an objective with a term for each response; {path} is "
                "constant where the other half of a pair is absent"
            )


@functools.cache
def source_sha256(target: str) -> str | None:
    """Hash the file of a target outside rmsweep: with an edited one it is another run.

    ValueError for what has no such file: a function of C, or an object that can be called.
    """
    if target.partition(".")[0] in LIBRARIES:
        return None
    function = inspect.unwrap(_import(target, "loss"))
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        file = None
    if file is None:
        raise ValueError(
            f"loss: _target_ {target!r} has no Python source, whose hash tells runs apart; name a "
            "function or a class of a .py file"
        )
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@functools.cache
def _import(target: str, path: str) -> Callable[..., Any]:
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
