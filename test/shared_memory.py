"""The shared memory of Fast DDS, of which a killed process leaves megabytes behind."""

import os
import re
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")


def segments():
    """The names of all that is there."""
    names = os.listdir(FOLDER) if FOLDER.is_dir() else []
    return {name for name in names if re.match(r"(sem\.)?fast(rtps|dds)", name)}


def remove_unused_since(before):
    """Remove what appeared since ``segments()`` were ``before`` and no living process holds."""
    for name in segments() - before - _held():
        (FOLDER / name).unlink(missing_ok=True)


def _held():
    held = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            held |= set(re.findall(rf"{FOLDER}/(\S+)", (process / "maps").read_text()))
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    held.add(descriptor.readlink().name)
    return held
