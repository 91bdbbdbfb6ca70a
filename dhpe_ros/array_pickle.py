"""Reads pickles of arrays that others publish, without running what else they may hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

_NUMPY_NAMES = frozenset(("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"))
_NUMPY_MODULES = frozenset(
    f"numpy{core}" for core in ("", ".core.multiarray", "._core.multiarray", "._core.numeric")
)


class RefusedError(pickle.UnpicklingError):
    """A pickle holds what does not belong there."""


class ArrayUnpickler(pickle.Unpickler):
    """Finds what numpy arrays in plain containers are made of, and refuses everything else."""

    holds = "only numpy arrays and plain containers belong there"

    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY_MODULES and name in _NUMPY_NAMES:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # bytes in protocols below 3
            return super().find_class(module, name)
        raise RefusedError(f"refused to load {module}.{name}: {self.holds}")


def read_array_pickle(
    path: Path, unpickler: type[ArrayUnpickler] = ArrayUnpickler, *, expected: str
) -> Any:
    """What a pickle of Python 2 or 3 holds.

    Raises ``ValueError`` that names the file, and what was ``expected`` where it is no pickle.
    """
    try:
        with path.open("rb") as file:
            return unpickler(file, encoding="latin1").load()  # as numpy asks for, of Python 2's
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ValueError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}); expected {expected}"
        ) from error
