"""Reader of pickled arrays that others publish; it trusts nothing in them.

Nothing that a pickle names is looked up or called: stand-ins take the place of numpy's functions,
accept numbers only and check that shapes fit the data. NumPy's own would follow the pointers of a
forged ``dtype``. Python's own unpickler, not the one in C, reads the opcodes: its memory is bounded
by the file.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

_NUMPY_MODULES = frozenset(
    f"numpy{core}"
    for core in ("", ".core.multiarray", ".core.numeric", "._core.multiarray", "._core.numeric")
)
_MOST_AXES = 8
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class RefusedError(pickle.UnpicklingError):
    """A pickle holds something that is not allowed there."""


class StandIn:
    """Stand-in for a numpy array of a pickle; subclasses stand for other objects with numbers."""

    _array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self._array = _array_of(data, dtype, shape, "F" if fortran else "C")

    def resolve(self) -> np.ndarray:
        """The array. Raises ``ValueError`` where the object has none."""
        if self._array is None:
            raise ValueError("is an array without numbers")
        return self._array


class _DtypeStandIn:
    """A plain type of numbers; ``dtype`` has its byte order once the state came."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"b1|[iuf]\d\d?", code)):
            raise RefusedError(f"arrays must hold numbers, got the type {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, *structure = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise RefusedError("arrays must hold plain numbers, got a type with parts")
        self.dtype = self.dtype.newbyteorder(order)


class _Dictionary(dict):
    """A dictionary with plain keys: tuples within tuples would be hashed by recursion in C."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str | bytes | int):
            raise RefusedError(f"refused a key that is a {type(key).__name__}")
        super().__setitem__(key, value)


class ArrayUnpickler(_PythonUnpickler):
    """Makes stand-ins of numpy arrays in plain containers, and refuses everything else."""

    holds = "only numpy arrays and plain containers belong there"

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # bytes in protocols below 3
            return self.encode
        if module in _NUMPY_MODULES:
            if name == "ndarray":
                return name  # an argument of _reconstruct, never called
            # Methods, for a pickle can set attributes of functions, and cannot of bound methods.
            if name in ("_reconstruct", "_frombuffer", "dtype", "scalar"):
                return getattr(self, name)
        raise RefusedError(f"refused to load {module}.{name}: {self.holds}")

    def encode(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise RefusedError(f"refused to encode as {encoding!r:.40}")
        return text.encode("latin1")

    def _reconstruct(self, *_arguments: Any) -> StandIn:
        return StandIn()

    def _frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        return _array_of(data, dtype, shape, "F" if order == "F" else "C")

    def dtype(self, *arguments: Any) -> _DtypeStandIn:
        return _DtypeStandIn(*arguments)

    def scalar(self, dtype: Any, data: Any) -> Any:
        return _array_of(data, dtype, (), "C")[()]

    def _read_bytes(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))  # the file bounds it

    def _make_dictionary(self) -> None:
        self.append(_Dictionary())

    def _make_marked_dictionary(self) -> None:
        if self.pop_mark():  # picklers write it empty
            raise RefusedError("refused a dictionary at once")
        self._make_dictionary()

    dispatch: ClassVar = {
        **_PythonUnpickler.dispatch,
        pickle.BYTEARRAY8[0]: _read_bytes,
        pickle.EMPTY_DICT[0]: _make_dictionary,
        pickle.DICT[0]: _make_marked_dictionary,
    }
    del dispatch[pickle.ADDITEMS[0]], dispatch[pickle.FROZENSET[0]]  # sets, which hash too


def as_array(value: Any) -> np.ndarray:
    """The array that a value of a pickle stands for.

    Raises ``ValueError`` for anything else, lists of numbers included: lists that share their
    parts would unfold.
    """
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, StandIn):
        raise ValueError(f"is a {type(value).__name__}, not an array")
    return value.resolve()


def read_array_pickle(
    path: Path, unpickler: type[ArrayUnpickler] = ArrayUnpickler, *, expected: str
) -> Any:
    """Containers of a pickle of Python 2 or 3; `as_array` gives the arrays in them.

    Raises ``ValueError`` that names the file, and what was ``expected`` where it is no pickle.
    """
    try:
        data = io.BytesIO(path.read_bytes())
        return unpickler(data, encoding="latin1").load()  # as numpy asks of Python 2's
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ValueError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}); expected {expected}"
        ) from error


def _array_of(data: Any, dtype: Any, shape: Any, order: Literal["F", "C"]) -> np.ndarray:
    if isinstance(data, str):  # Python 2's bytes
        data = data.encode("latin1")
    if not isinstance(data, bytes) or not isinstance(dtype, _DtypeStandIn):
        raise RefusedError("arrays must hold numbers, got objects")
    sides_fit = isinstance(shape, tuple) and len(shape) <= _MOST_AXES
    if not (sides_fit and all(type(side) is int and side >= 0 for side in shape)):
        raise RefusedError(f"{shape!r:.80} is no shape of an array")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise RefusedError(f"an array of {dtype.dtype} {shape} cannot have {len(data)} bytes")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)
