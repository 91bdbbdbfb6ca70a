"""Reader of .npz files of arrays that checks their claims."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(
    path: str | Path,
    names: Collection[str],
    *,
    optional: Iterable[str] = (),
    most_bytes: int = 2**32,
) -> dict[str, np.ndarray]:
    """The arrays of ``names``, and of those ``optional`` that are there; no other is unpacked.

    Raises ``OSError``, or ``ValueError`` that names the file and the key: one that is missing,
    holds anything but numbers or text, claims more than ``most_bytes`` or does not fit its claim.
    """
    arrays, about = {}, ""
    try:
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            for name in (*names, *optional):
                about = f"key '{name}': "
                if f"{name}.npy" in there:
                    arrays[name] = _read(archive, f"{name}.npy", most_bytes)
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have many names for a broken file
        raise ValueError(f"{path}: {about}not a readable .npz file ({error})") from error
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path}: key '{name}' is missing")
    return arrays


def _read(archive: zipfile.ZipFile, member: str, most_bytes: int) -> np.ndarray:
    """Check shape and type of the header against the member's size, then read it."""
    size = archive.getinfo(member).file_size
    with archive.open(member) as file:
        shape, _, dtype = _READ_HEADER[npy.read_magic(file)](file)
        needed = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biufcU":
            raise ValueError(f"holds {dtype}, which are neither numbers nor text")
        if needed > most_bytes:
            raise ValueError(f"claims {needed} bytes, more than {most_bytes}")
        if file.tell() + needed != size:
            raise ValueError(f"claims {needed} bytes and has {size - file.tell()}")
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)
