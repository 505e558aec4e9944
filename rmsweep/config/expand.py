"""A sweep's axes become configs: each option is composed once, plain values are put in."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from rmsweep.config.compose import (
    Axes,
    Config,
    compose_one,
    folders_of,
    interpolated,
    overrides_parser,
    search_path,
)
from rmsweep.errors import nearest, one_line

# A line of an option's file with which it sets fields of other groups, or takes other options
REACHES_OUT = re.compile(r"""\s*#\s*@package|["']?defaults["']?\s*:""")
Entry = tuple[str, tuple[str, ...], Any]  # of `_entry`


def expand(axes: Axes, config_dirs: Sequence[str]) -> Iterator[Config]:
    """Yield every config of the sweep, the last axis fastest, but those that `exclude` matches.

    Hydra composes each option once, not each combination of options: `_entry` says which options
    fill their own group alone. Options that are but a name (selection, pairing) and plain values
    are put in afterwards.
    """
    compositions = _Compositions(axes.fixed, config_dirs)
    for combination in itertools.product(*_dimensions(axes)):
        overrides = tuple(itertools.chain.from_iterable(combination))
        entries = {override: _entry(override, tuple(config_dirs)) for override in overrides}
        composed = compositions.of(entries)
        values, choices = composed.values, composed.choices
        for how, path, value in entries.values():
            if how == "value":
                values = _replaced(values, path, value, ".".join(path))
            elif how == "name":
                choices = {**choices, path[0]: value}
        values = interpolated(values)
        if not any(_matches(values, choices, rule) for rule in axes.exclude):
            yield Config(values, choices, overrides)


class _Compositions:
    """What Hydra composes for the combinations of a sweep, each option composed once."""

    def __init__(self, fixed: Sequence[str], config_dirs: Sequence[str]):
        self.fixed, self.path = list(fixed), search_path(config_dirs)
        self.composed: dict[tuple[str, ...], Config] = {}
        self.first_options: dict[tuple[str, ...], dict[str, str]] = {}

    def of(self, entries: Mapping[str, Entry]) -> Config:
        """Return the config of a combination, without its plain values and empty options.

        It is that of the first combination with the same other overrides, in which each group that
        an option fills alone is replaced by what Hydra composes of that option there.
        """
        others = tuple(o for o, (how, _, _) in entries.items() if how == "compose")
        options = {path[0]: o for o, (how, path, _) in entries.items() if how == "option"}
        first = self.first_options.setdefault(others, options)
        config = self._composed(others, first)
        values, choices = dict(config.values), dict(config.choices)
        for group, override in options.items():
            if override != first[group]:
                alone = self._composed(others, first | {group: override})
                values[group], choices[group] = alone.values[group], alone.choices[group]
        return Config(values, choices, ())

    def _composed(self, others: tuple[str, ...], options: Mapping[str, str]) -> Config:
        overrides = (*others, *options.values())
        if overrides not in self.composed:
            try:
                self.composed[overrides] = compose_one([*self.fixed, *overrides, self.path])
            except (HydraException, OmegaConfBaseException) as error:
                raise ValueError(f"{one_line(error)} [in {' '.join(overrides)}]") from None
        return self.composed[overrides]


def _dimensions(axes: Axes) -> list[list[tuple[str, ...]]]:
    """Return a list for each independent axis, in order of first fields; an entry sets fields."""
    dimensions, seen = [], set()
    for name in axes.fields:
        together = next((names for names in axes.zipped if name in names), [name])
        if name not in seen:
            dimensions.append(list(zip(*(axes.fields[other] for other in together), strict=True)))
            seen.update(together)
    return dimensions


@functools.lru_cache(maxsize=65536)
def _entry(override: str, config_dirs: tuple[str, ...]) -> Entry:
    """Return how an override enters a config, the path of its field, and its value.

    "compose": by Hydra. "option": by Hydra, as an option that fills the group of its name and no
    other. "name": as an option that holds nothing. "value": put in by us.
    """
    parsed = overrides_parser().parse_override(override)
    key, value, path = parsed.key_or_group, parsed.value(), tuple(parsed.key_or_group.split("."))
    folders = folders_of(key, config_dirs)
    if key != parsed.get_key_element() or isinstance(value, dict):
        return "compose", path, value
    if not any(folder.is_dir() for folder in folders):
        return "value", path, value
    files = [file for folder in folders if (file := folder / f"{value}.yaml").is_file()]
    lines = [line for file in files for line in file.read_text().splitlines()]
    if files and all(line.startswith("#") or not line.strip() for line in lines):
        return "name", path, value
    fills_its_group = files and "/" not in key and not any(map(REACHES_OUT.match, lines))
    return "option" if fills_its_group else "compose", path, value


def _replaced(values: Any, path: tuple[str, ...], value: Any, field: str) -> dict[str, Any]:
    """Return a copy of nested dicts with one value replaced; what they share is not copied."""
    if not isinstance(values, dict) or path[0] not in values:
        raise ValueError(f"{field} is an unknown field; {nearest(path[0], values or ())}")
    inner = value if len(path) == 1 else _replaced(values[path[0]], path[1:], value, field)
    return {**values, path[0]: inner}


def _matches(values: dict[str, Any], choices: dict[str, str], rule: dict[str, Any]) -> bool:
    """Tell whether a config has all of a rule's values; a group is named by its option."""
    for name, wanted in rule.items():
        value: Any = choices.get(name, values)
        for part in () if name in choices else name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ValueError(f"sweep.exclude: {name} is an unknown field")
            value = value[part]
        if value != wanted:
            return False
    return True
