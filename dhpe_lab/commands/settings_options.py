"""Settings as they are typed on the command line: ``section.name=value``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from dhpe_ros.files.yaml_text import load_yaml


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
