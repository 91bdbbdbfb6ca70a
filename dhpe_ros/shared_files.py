"""Finds what ships beside the code (``weights/``, ``config/``, ``msg/``), and the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def shared_file(name: str) -> Path:
    """The path of e.g. ``config/hand.yaml``.

    Raises ``FileNotFoundError`` that says where it was looked for.
    """
    places = [Path(__file__).resolve().parents[1]]
    places += [prefix / "share/dhpe_ros" for prefix in install_prefixes()]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"no {name} in {', '.join(str(place) for place in places)}")


def install_prefixes() -> list[Path]:
    """Where packages are installed: the sourced workspaces, the Python environment."""
    sourced = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(prefix) for prefix in (*sourced, sys.prefix) if prefix]


def user_cache() -> Path:
    """Where this user's files are kept that can be made again (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "dhpe_ros"
    except RuntimeError:  # a user without a home has the root folder, as a container says too
        return Path("/.cache/dhpe_ros")
