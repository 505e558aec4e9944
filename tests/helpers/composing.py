"""Configs as Hydra composes them, sooner: of numbers it is asked once for many values."""

import functools
import json
import re

from rmsweep.config.compose import Config, compose_one, hydra_at_conf, interpolated, search_path

NUMBER = re.compile(r"[\w.]+=(?:-?\d+(?:\.\d+)?(?:e-?\d+)?|true|false|\[\d*(?:,\d+)*\])")


@functools.cache
def by_hydra(overrides, dirs=()):
    """Return the config that Hydra composes of these overrides, interpolations as they are."""
    with hydra_at_conf():
        return compose_one([*overrides, search_path(dirs)])


@functools.cache
def composed(*overrides, dirs=()):
    """Return the config of these overrides, numbers put into what Hydra composes of the others.

    An unknown field is left to Hydra, which refuses it.
    """
    numbers = [override for override in overrides if NUMBER.fullmatch(override)]
    config = by_hydra(tuple(o for o in overrides if o not in numbers), dirs)
    try:
        values = config.values
        for field, _, text in (override.partition("=") for override in numbers):
            values = replaced(values, field.split("."), json.loads(text))
    except KeyError:
        values = by_hydra(overrides, dirs).values
    return Config(interpolated(values), config.choices, ())


def replaced(values, path, value):
    """Return a copy of nested dicts with the value at a path replaced; KeyError if it has none."""
    first, *others = path
    inner = values[first]  # None has no fields either
    if others:
        value = replaced(inner if isinstance(inner, dict) else {}, others, value)
    return {**values, first: value}
