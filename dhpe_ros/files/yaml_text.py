"""Reader of users' YAML: plain values, within generous bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_LONGEST = 100_000  # characters
_DEEPEST = 20


def load_yaml(text: str) -> Any:
    """The plain values of a text.

    Raises ``ValueError`` with one line for what is no YAML, has aliases (a few lines of them unfold
    to gigabytes, or without end), nests deeper than 20 or is longer than 100,000 characters.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters, too long for settings")
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except Exception as error:  # PyYAML lets errors of what it calls through
        raise ValueError(f"not readable as YAML: {' '.join(str(error).split())}") from error


def read_yaml(path: str | Path) -> Any:
    """As `load_yaml`, of a file; no more of it is read than may be. Raises ``OSError`` too."""
    with open(path, encoding="utf-8") as file:
        return load_yaml(file.read(_LONGEST + 1))


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self._refuse("aliases are not taken; write the value itself")
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"nested deeper than {_DEEPEST}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, reason: str) -> None:
        raise yaml.composer.ComposerError(None, None, reason, self.peek_event().start_mark)
