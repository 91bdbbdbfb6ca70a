"""Parts that the commands share: settings as they are typed, and errors of a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from dhpe_ros.files.yaml_text import load_yaml
from dhpe_ros.system.errors import CommandError, one_line


@contextmanager
def refused(*further: type[Exception]) -> Iterator[None]:
    """Turn what files, settings and ``further`` errors say into a ``CommandError``."""
    try:
        yield
    except (ValueError, OSError, *further) as error:
        raise CommandError(one_line(error)) from error


def read_changes(texts: Sequence[str], known: Mapping[str, object]) -> dict[str, object]:
    """Name -> value, of the type that ``known`` has for it. Raises ``ValueError``."""
    return dict(_change(text, known) for text in texts)


def _change(text: str, known: Mapping[str, object]) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected SECTION.NAME=VALUE, got {text!r}")
    if isinstance(known.get(name), str):
        return name, value
    if isinstance(known.get(name), float):
        with suppress(ValueError):  # YAML takes 1e-3 for a text
            return name, float(value)
    try:
        return name, load_yaml(value)
    except ValueError as error:
        raise ValueError(f"{name}: {value!r} is {error}") from error
