"""Paths of files that ship (``weights/``, ``config/``, ``msg/``), and of the user's cache.

The code's own place tells where the rest is, whatever installed it: in the source tree (also where
an installation links to it) the folders lie beside this package, CMake puts them into ``share/``
of the prefix above, pip into the package itself (``setup.py``).
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
DEMO_CLIP = _PACKAGE / "assets/demo_clip.mp4"  # its truth lies beside it, as .json and .npz


def shared_file(name: str) -> Path:
    """The path of e.g. ``config/hand.yaml``.

    Raises ``FileNotFoundError`` that says where it was looked for.
    """
    places = [_PACKAGE.resolve().parent, _PACKAGE / "shared"]
    places += filter(Path.is_dir, (above / "share/dhpe_ros" for above in _PACKAGE.parents))
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"no {name} in {', '.join(str(place) for place in places)}")


def installed_program(name: str) -> Path | None:
    """The path of e.g. ``bin/dhpe`` in the prefix that this package is installed in, if any."""
    paths = (above / name for above in _PACKAGE.parents)
    return next(filter(Path.is_file, paths), None)


def user_cache() -> Path:
    """Folder of this user's files that can be made again (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "dhpe_ros"
    except RuntimeError:  # a user without a home has the root folder, as a container says too
        return Path("/.cache/dhpe_ros")
