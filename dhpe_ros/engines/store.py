"""Compiled networks on disk, each one zip file: its parts, and what they were built for.

Engines of TensorRT are code: they load only from a folder that is the user's alone. What was cut
or damaged does not load: a zip file ends in its list of parts and has a checksum of each.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dhpe_ros.files.resources import shared_file, user_cache
from dhpe_ros.system.errors import one_line

_ABOUT = "about.json"  # name -> value, of all that must be the same where the file is used
Parts = dict[str, bytes]  # name in the zip file -> content
_log = logging.getLogger(__name__)


class EngineError(ValueError):
    """A compiled network that cannot be built, or may not be used, or that failed; the remedy."""


class Source(NamedTuple):
    """Where a network's parts come from, and where what is made of them is kept."""

    read: Callable[[], Parts]
    keep: Callable[[str, Mapping[str, str], Callable[[], Parts]], Parts] | None = None


class UnavailableError(EngineError):
    """A backend that is not for this machine, or has no engine: no fault if none was asked for."""


def default_folder() -> Path:
    """Folder of this user's compiled networks; the user's home may lie behind a link."""
    return user_cache().resolve() / "engines"


def prepare_folder(folder: Path) -> None:
    """Make it, for the user alone; raises ``EngineError`` if it is open to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_folder(folder)


def write(
    path: Path, parts: Parts, about: Mapping[str, str], compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write a file at once: whoever reads meanwhile finds a whole one. Raises ``OSError``."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial, "w") as target:
            for name, content in {**parts, _ABOUT: json.dumps(about).encode()}.items():
                # Without a time, so that two exports of one network are the same file.
                target.writestr(zipfile.ZipInfo(name), content, compression)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def find(folder: Path, name: str) -> Path | None:
    """A file in the user's folder, or of those that ship; None where there is none.

    Raises ``EngineError`` if it is not the user's alone.
    """
    path = folder / name
    if os.path.lexists(path):
        _check_folder(folder)
        _check_owned(path, stat.S_ISREG)
        return path
    try:
        return shared_file(f"weights/{name}")
    except FileNotFoundError:
        return None


def source(path: Path, about: Mapping[str, str], folder: Path) -> Source:
    """A file as a source; what is made of it is kept in ``folder``, by the file's content."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()

    def keep(name: str, made_for: Mapping[str, str], make: Callable[[], Parts]) -> Parts:
        own = folder / f"{path.stem}-{name}.zip"
        return _kept(own, {"file": content, **made_for}, make)

    return Source(partial(read, path, about), keep)


def _kept(path: Path, about: Mapping[str, str], make: Callable[[], Parts]) -> Parts:
    """Read a file that can be made again; it is, where there is none that is right."""
    try:
        if find(path.parent, path.name):
            return read(path, about)
    except EngineError as error:
        _log.info("made again: %s", error)
    parts = make()
    try:
        prepare_folder(path.parent)
        write(path, parts, about, zipfile.ZIP_STORED)  # read at each start
    except (OSError, EngineError) as error:
        _log.info("compiled at each start, for %s cannot be kept: %s", path.name, one_line(error))
    return parts


def read(path: Path, about: Mapping[str, str]) -> Parts:
    """Parts of a file; ``EngineError`` if it is damaged, or built for something else than that."""
    try:
        with zipfile.ZipFile(path) as source:
            parts = {name: source.read(name) for name in source.namelist()}
        was = dict(json.loads(parts.pop(_ABOUT)))
    except Exception as error:  # a damaged file can raise nearly anything
        raise EngineError(f"{path}: damaged ({error}); delete it and build it again") from error
    for name in dict.fromkeys((*about, *was)):
        then, now = was.get(name), about.get(name)
        if then != now:
            raise EngineError(
                f"{path}: built for something else ({name}: {then} then, {now} now); delete it "
                "and build it again"
            )
    return parts


def _check_folder(folder: Path) -> None:
    """Raises ``EngineError`` unless it is the user's, and nobody else can put another in its place.

    In a folder that all may write, as /tmp, others can do so unless its sticky bit is set.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.is_symlink():
            raise EngineError(
                f"{place}: a link, and engines are code; give the folder itself: {folder.resolve()}"
            )
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise _open_to_others(place, place)
    _check_owned(folder, stat.S_ISDIR)


def _check_owned(path: Path, is_right_type: Callable[[int], bool]) -> None:
    """Raises ``EngineError`` unless ``path`` is the user's and nobody else may write it."""
    found = path.lstat()
    if not is_right_type(found.st_mode):
        raise EngineError(f"{path}: not a plain file or folder; engines are code, delete it")
    if found.st_uid != os.geteuid():
        raise EngineError(
            f"{path}: belongs to user {found.st_uid}, not to {os.geteuid()}; engines are code and "
            "load only from their owner's folder: build your own"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _open_to_others(path, path.parent if path.is_file() else path)


def _open_to_others(path: Path, folder: Path) -> EngineError:
    return EngineError(
        f"{path}: others may write it, and engines are code; "
        f"delete the engine, chmod go-w {folder}, build again"
    )
