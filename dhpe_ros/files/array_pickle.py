"""Reader of pickled arrays that others publish; it trusts nothing in them.

Nothing that a pickle names is looked up or called: stand-ins take the place of numpy's functions,
accept numbers only and check that shapes fit the data. NumPy's own would follow the pointers of a
forged ``dtype``. The opcodes are walked through once before, which bounds nesting and memory.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

_NUMPY_MODULES = frozenset(
    f"numpy{core}"
    for core in ("", ".core.multiarray", ".core.numeric", "._core.multiarray", "._core.numeric")
)
_DEEPEST = 50  # Python hashes tuples within tuples by recursion in C
_MOST_AXES = 8
_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_FILL = frozenset(("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"))
_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))


class RefusedError(pickle.UnpicklingError):
    """A pickle holds something that is not allowed there."""


class StandIn:
    """Stand-in for a pickle's object; ``resolve`` gives its numbers."""

    def resolve(self) -> np.ndarray:
        """The array. Raises ``ValueError`` where the object has none."""
        raise NotImplementedError


class ArrayStandIn(StandIn):
    """A numpy array, once it has its state."""

    _array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self._array = _array_of(data, dtype, shape, "F" if fortran else "C")

    def resolve(self) -> np.ndarray:
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


class ArrayUnpickler(pickle.Unpickler):
    """Makes stand-ins of numpy arrays in plain containers, and refuses everything else."""

    holds = "only numpy arrays and plain containers belong there"

    def find_class(self, module: str, name: str) -> Any:
        # Methods, for a pickle can set attributes of functions, and cannot of bound methods.
        if (module, name) == ("_codecs", "encode"):  # bytes in protocols below 3
            return self._encode
        if module in _NUMPY_MODULES and name == "ndarray":
            return name  # an argument of _reconstruct, never called
        known = {
            "_reconstruct": self._reconstruct,
            "_frombuffer": self._frombuffer,
            "dtype": self._dtype,
            "scalar": self._scalar,
        }
        if module in _NUMPY_MODULES and name in known:
            return known[name]
        raise RefusedError(f"refused to load {module}.{name}: {self.holds}")

    def _encode(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise RefusedError(f"refused to encode as {encoding!r:.40}")
        return text.encode("latin1")

    def _reconstruct(self, *_arguments: Any) -> ArrayStandIn:
        return ArrayStandIn()

    def _frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> ArrayStandIn:
        array = ArrayStandIn()
        array.__setstate__((1, shape, dtype, order == "F", data))
        return array

    def _dtype(self, *arguments: Any) -> _DtypeStandIn:
        return _DtypeStandIn(*arguments)

    def _scalar(self, dtype: Any, data: Any) -> Any:
        return _array_of(data, dtype, (), "C")[()]


def as_array(value: Any) -> np.ndarray:
    """The array that a value of a pickle stands for.

    Raises ``ValueError`` for anything else, lists of numbers included: lists that share their
    parts would unfold.
    """
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
        data = path.read_bytes()
        _check_opcodes(data)
        return unpickler(io.BytesIO(data), encoding="latin1").load()  # as numpy asks of Python 2's
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ValueError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}); expected {expected}"
        ) from error


def _array_of(data: Any, dtype: Any, shape: Any, order: Literal["F", "C"]) -> np.ndarray:
    if isinstance(data, str):  # Python 2's bytes
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _DtypeStandIn):
        raise RefusedError("arrays must hold numbers, got objects")
    sides_fit = isinstance(shape, tuple) and len(shape) <= _MOST_AXES
    if not (sides_fit and all(type(side) is int and side >= 0 for side in shape)):
        raise RefusedError(f"{shape!r:.80} is no shape of an array")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise RefusedError(f"an array of {dtype.dtype} {shape} cannot have {len(data)} bytes")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _check_opcodes(data: bytes) -> None:
    """Raise ``RefusedError`` for deep nesting and for a memo larger than the file.

    Raises other errors for what is no pickle, as a string that ends behind the file.
    """
    file = io.BytesIO(data)
    depths: list[int | None] = []  # of what is on the unpickler's stack; None is a mark
    memo: dict[int, int | None] = {}
    while (opcode := pickletools.code2op[file.read(1).decode("latin1")]).name != "STOP":  # type: ignore[attr-defined]
        argument = None
        if opcode.name == "STRING":  # whose own reader knows ASCII only
            file.readline()
        elif opcode.arg:
            argument = opcode.arg.reader(file)
        if opcode.name in _PUT:
            number = len(memo) if argument is None else argument
            if number > len(data):
                raise RefusedError("its memo is larger than the file")
            memo[number] = depths[-1]
        elif opcode.name in _GET:
            depths.append(memo[argument])  # type: ignore[index]  # None raises KeyError
        elif opcode.name == "MARK":
            depths.append(None)
        elif opcode.stack_before:
            depths.extend([_depth(opcode, depths)] * len(opcode.stack_after))
        else:
            depths.extend([0] * len(opcode.stack_after))


def _depth(opcode: pickletools.OpcodeInfo, depths: list[int | None]) -> int:
    """Take an opcode's arguments from the stack; return the nesting depth of its result."""
    needs, parts = opcode.stack_before, list[int]()
    if pickletools.markobject in needs:
        while (depth := depths.pop()) is not None:
            parts.append(depth)
        needs = needs[: needs.index(pickletools.markobject)]
    parts += [depths.pop() or 0 for _ in needs]
    filled = parts.pop() if opcode.name in _FILL else 0
    depth = max(filled, 1 + max(parts, default=0))
    if depth > _DEEPEST:
        raise RefusedError(f"it nests deeper than {_DEEPEST}")
    return depth
