"""What sweeps and files may be called."""

import os

MOST_BYTES = 200  # of the 255 that file systems take: unfinished files have longer names
RULE = f"one folder's name, printable, of at most {MOST_BYTES} bytes, and not begin with . or -"


def is_name(name: object) -> bool:
    """Whether a sweep can be called so, in outputs/ and on a terminal: RULE."""
    return (
        isinstance(name, str)
        and _is_part(name)
        and name[0] not in ".-"
        and len(os.fsencode(name)) <= MOST_BYTES
    )


def require_stems(**stems: str) -> None:
    """ValueError unless these stems, by field, can stand in the name of a file."""
    for field, stem in stems.items():
        if not _is_part(stem):
            raise ValueError(
                f"the stem of {field} must be part of a file's name, printable and without /, "
                f"got {stem!r}"
            )


def _is_part(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and "/" not in text
