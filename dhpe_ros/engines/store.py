"""Engines on disk. They are code: they load only from the user's own folder, and only by hash.

One JSON file says what the engine is and lists its files with their hashes; it is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dhpe_ros.engines.identity import Identity
from dhpe_ros.files.resources import user_cache

FORMAT_VERSION = 1


class EngineError(ValueError):
    """An engine that is there but may not be used, or that was wanted and failed; the remedy."""


class MissingEngineError(EngineError):
    """No engine has been built, with the command that builds it."""


def default_folder() -> Path:
    """Folder of this user's engines; the user's home may lie behind a link."""
    return user_cache().resolve() / "engines"


def prepare_folder(folder: Path) -> None:
    """Make it, for the user alone; raises ``EngineError`` if it is open to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_folder(folder)


def write(
    folder: Path, identity: Identity, engines: Mapping[str, Path], about: Mapping[str, Any]
) -> Path:
    """Move ``engines``, finished files by network, into ``folder``; the path of the JSON file.

    Whoever reads meanwhile finds an engine that is complete, or refuses it.
    """
    files = {}
    for network, source in engines.items():
        target = folder / f"{identity.name}.{network}{source.suffix}"
        source.chmod(0o600)
        files[network] = {"file": target.name, "size": source.stat().st_size}
        files[network]["sha256"] = _digest(source)
        source.replace(target)
    sidecar = folder / f"{identity.name}.json"
    content = {
        "format": FORMAT_VERSION, "items": identity.items, "files": files, "about": dict(about),
    }  # fmt: skip
    partial = sidecar.with_suffix(".json.partial")
    partial.write_text(json.dumps(content, indent=1), "utf-8")
    partial.chmod(0o600)
    partial.replace(sidecar)
    return sidecar


def find(folder: Path, identity: Identity) -> dict[str, Path]:
    """The checked files of the engine of ``identity``, by network.

    Raises ``MissingEngineError`` if none of its kind was built; ``EngineError`` if one was built
    for something else, or is damaged, or is not the user's alone.
    """
    if folder.exists():
        _check_folder(folder)
    sidecar = folder / f"{identity.name}.json"
    if not sidecar.exists():
        raise _no_match(folder, identity)
    content = _read(sidecar)
    differences = identity.differences(content["items"])
    if differences:
        raise EngineError(_mismatch(sidecar, differences, identity))
    return {
        network: _checked(folder / Path(entry["file"]).name, entry, identity)
        for network, entry in content["files"].items()
    }


def _no_match(folder: Path, identity: Identity) -> EngineError:
    """Why there is none: the engine of the same label that differs least, or no engine at all."""
    others = []
    for path in folder.glob(f"{identity.label}-*.json"):
        try:
            differences = identity.differences(_read(path)["items"])
        except EngineError:
            continue
        others.append((len(differences), str(path), differences))
    if others:
        _, nearest, differences = min(others)
        return EngineError(_mismatch(Path(nearest), differences, identity))
    return MissingEngineError(
        f"no engine {identity.label} in {folder}; build it: {identity.rebuild}"
    )


def _mismatch(sidecar: Path, differences: list[str], identity: Identity) -> str:
    return (
        f"{sidecar}: built for something else ({'; '.join(differences)}); "
        f"build it again: {identity.rebuild}"
    )


def _read(sidecar: Path) -> dict[str, Any]:
    """The JSON file, its shape checked."""
    _check_owned(sidecar, stat.S_ISREG)
    try:
        content = json.loads(sidecar.read_text("utf-8"))
        known = content["format"] == FORMAT_VERSION
        well_formed = isinstance(content["items"], dict) and all(
            isinstance(entry["file"], str) and {"size", "sha256"} <= entry.keys()
            for entry in content["files"].values()
        )
    except Exception as error:  # a damaged file can raise nearly anything
        raise EngineError(f"{sidecar}: damaged ({error!r}); delete it and build again") from error
    if not (known and well_formed):
        raise EngineError(f"{sidecar}: of another version of dhpe_ros; delete it and build again")
    return content


def _checked(path: Path, entry: Mapping[str, Any], identity: Identity) -> Path:
    """``path`` if it is the file that was written."""
    _check_owned(path, stat.S_ISREG)
    size = path.stat().st_size
    if size != entry["size"]:
        what = f"{size} bytes instead of {entry['size']}"
    elif _digest(path) != entry["sha256"]:
        what = "its content is not what was written"
    else:
        return path
    raise EngineError(f"{path}: damaged ({what}); build it again: {identity.rebuild}")


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
            raise EngineError(
                f"{place}: others may write it, and engines are code; "
                f"delete the engine, chmod go-w {place}, build again"
            )
    _check_owned(folder, stat.S_ISDIR)


def _check_owned(path: Path, is_kind: Any) -> None:
    """Raises ``EngineError`` unless ``path`` is the user's and nobody else may write it."""
    try:
        found = path.lstat()
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}; build the engine again") from error
    if not is_kind(found.st_mode):
        raise EngineError(f"{path}: not a plain file or folder; engines are code, delete it")
    if found.st_uid != os.geteuid():
        raise EngineError(
            f"{path}: belongs to user {found.st_uid}, not to {os.geteuid()}; engines are code and "
            "load only from their owner's folder: build your own"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineError(
            f"{path}: others may write it, and engines are code; "
            f"delete the engine, chmod go-w {path.parent if path.is_file() else path}, build again"
        )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
