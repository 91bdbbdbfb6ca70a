"""Settings: frozen dataclasses whose fields carry their description and range.

YAML files, the command line and ROS parameters all go through ``Settings.replace``: unknown names
and values out of range are refused by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from dhpe_ros.files.yaml_text import read_yaml

_Settings = TypeVar("_Settings", bound="Settings")


def setting(
    default: Any,
    description: str,
    at_least: float | None = None,
    at_most: float | None = None,
    *,
    one_of: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """Declare a field with its description, range or choices; ``live`` ones change in a node."""
    about = {"description": description, "at_least": at_least, "at_most": at_most}
    return field(default=default, metadata={**about, "one_of": one_of, "live": live})


@dataclass(frozen=True)
class Settings:
    """Sections of settings, each a frozen dataclass. A setting has one dotted name everywhere."""

    def __post_init__(self) -> None:
        for name, setting_field, value in self.items():
            _check(name, setting_field.metadata, value)

    @staticmethod
    def name_of(section: str, field_name: str) -> str:
        """Join the name of a setting."""
        return f"{section}.{field_name}"

    def items(self) -> Iterator[tuple[str, Any, Any]]:
        """``(name, dataclass field, value)`` of every setting, in order."""
        for section in fields(self):
            values = getattr(self, section.name)
            for f in fields(values):
                yield self.name_of(section.name, f.name), f, getattr(values, f.name)

    def as_mapping(self) -> dict[str, Any]:
        """Name -> value."""
        return {name: value for name, _, value in self.items()}

    def replace(self: _Settings, changes: Mapping[str, Any]) -> _Settings:
        """A copy with the ``changes`` made, by name.

        Raises ``ValueError`` for an unknown name (with the nearest known one) or a bad value.
        """
        merged = self.as_mapping()
        for name, value in changes.items():
            if name not in merged:
                raise ValueError(f"unknown setting {name!r}{did_you_mean(name, merged)}")
            merged[name] = _convert(name, merged[name], value)
        sections = {}
        for section in fields(self):
            old = getattr(self, section.name)
            values = {f.name: merged[self.name_of(section.name, f.name)] for f in fields(old)}
            sections[section.name] = dataclasses.replace(old, **values)
        return dataclasses.replace(self, **sections)

    @classmethod
    def from_mapping(cls: type[_Settings], mapping: Mapping[str, Any]) -> _Settings:
        """From a nested or dotted mapping that holds overrides only.

        A section with nothing in it, as YAML allows, overrides nothing.
        """
        empty = {section.name: None for section in fields(cls)}.items()
        return cls().replace(dict(pair for pair in flatten(mapping) if pair not in empty))

    @classmethod
    def from_yaml(cls: type[_Settings], path: str | Path) -> _Settings:
        """From a YAML file of overrides.

        Raises ``ValueError`` that names the file, ``OSError`` if it cannot be read.
        """
        try:
            loaded = read_yaml(path) or {}
            if not isinstance(loaded, dict):
                raise ValueError(f"expected a mapping of settings, got {type(loaded).__name__}")
            return cls.from_mapping(loaded)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean <the nearest known name>?``, or nothing where none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted name, value)`` of a nested mapping."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _convert(name: str, default: Any, value: Any) -> Any:
    """``value`` as the type of ``default``; an int passes for a float, nothing else is bent."""
    if isinstance(default, float) and type(value) is int:
        return float(value) if abs(value) < 1e300 else math.inf  # which no setting may be
    if type(value) is not type(default):
        expected = type(default).__name__
        raise ValueError(f"{name} must be a {expected}, got {value!r} ({type(value).__name__})")
    return value


def _check(name: str, metadata: Mapping[str, Any], value: Any) -> None:
    one_of, low, high = (metadata[key] for key in ("one_of", "at_least", "at_most"))
    if one_of and value not in one_of:
        raise ValueError(f"{name} must be one of {', '.join(one_of)}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if low is not None and value < low:
        raise ValueError(f"{name} must be >= {low}, got {value}")
    if high is not None and value > high:
        raise ValueError(f"{name} must be <= {high}, got {value}")
