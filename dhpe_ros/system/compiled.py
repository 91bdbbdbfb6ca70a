"""Compiled kernels, and where their machine code is kept.

A kernel is compiled at its first call. What comes of it is kept in a folder named after all that it
depends on, so copies of the same sources share it, wherever they are installed. An installation may
bring such folders (``machine_code`` in this package, made by CMake); else they are in
``NUMBA_CACHE_DIR`` or the user's cache; where none of these can be written kernels are compiled
again in each process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba.core import caching
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.core.runtime import nrt

from dhpe_ros.files.resources import user_cache

# Not resolved: linked sources are no place for it.
INSTALLED = Path(__file__).parents[1] / "machine_code"

_COMPILING = "compiling kernels for this processor, up to a minute of one core"

_log = logging.getLogger(__name__)
_announce = functools.cache(_log.warning)  # each line once


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """Compile ``function`` at its first call, to run without the GIL; ``options``: of ``njit``."""
    if function is None:
        return functools.partial(kernel, **options)
    dispatcher = numba.njit(nogil=True, **options)(function)
    dispatcher._cache = _Kept(function) if _folder_of(function.__module__) else _NotKept()
    return dispatcher


@functools.cache
def _folder_of(module: str) -> Path | None:
    """Folder of the machine code of a module's kernels, or None."""
    try:
        name = f"{module}-{_digest(module)}"
        if (INSTALLED / name).is_dir():
            return INSTALLED / name
        folder = _root() / name
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _root() -> Path:
    """The folder of all kernels' folders; raises ``OSError`` where it is not the user's alone.

    Machine code is loaded without a question: nobody else may write it.
    """
    chosen = getattr(numba.config, "CACHE_DIR", "")
    root = (Path(chosen) / "dhpe_ros" if chosen else user_cache()) / "kernels"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{root} is not the user's alone")
    return root


@functools.cache
def _digest(module: str) -> str:
    """Of all that a module's machine code depends on, but for the arguments' types.

    That is its text, the kernels that it calls, the constants that it takes in, compiler and CPU.
    """
    namespace = vars(sys.modules[module])
    digest = hashlib.sha256(Path(namespace["__file__"]).read_bytes())
    target = numba.__version__, cpu_target.target_context.codegen().magic_tuple()
    digest.update(repr(target).encode())
    for name, value in sorted(namespace.items()):
        owner = _owner_of_kernels(value)
        if owner:
            digest.update(_digest(owner).encode() if owner != module else b"")
        elif isinstance(value, np.ndarray):
            digest.update(value.tobytes())
        elif isinstance(value, int | float | tuple) and not name.startswith("__"):
            digest.update(f"{name}={value!r}".encode())
    return digest.hexdigest()[:16]


def _owner_of_kernels(value: Any) -> str | None:
    """Name of the module of a kernel, or of a module that has kernels."""
    if isinstance(value, Dispatcher):
        return value.py_func.__module__
    is_owner = isinstance(value, ModuleType) and any(
        isinstance(one, Dispatcher) for one in vars(value).values()
    )
    return value.__name__ if is_owner else None


@functools.cache
def _name_runtime() -> None:
    """Give LLVM the functions of numba's runtime that machine code calls, as numba does itself."""
    for name, address in nrt._nrt.c_helpers.items():
        llvmlite.binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


class _Locator(caching._CacheLocator):
    """Numba's interface for where a function's machine code is."""

    def __init__(self, function: Callable) -> None:
        self._folder, self._line = _folder_of(function.__module__), function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable, _: str) -> _Locator:
        return cls(function)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""  # the folder's name has it

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (_Locator,)  # type: ignore[assignment]  # numba writes a list

    def rebuild(self, target: Any, payload: Any) -> Any:
        """The kernel from what was kept, its LLVM code unread until another kernel is compiled."""
        (name, kind, (machine_code, bitcode)), *about = payload
        names = {about[0].llvm_func_name, about[0].llvm_cpython_wrapper_name}
        target.codegen()._engine._defined_symbols |= names  # which numba reads from the LLVM code
        found = super().rebuild(target, ((name, kind, (machine_code, _nothing())), *about))

        def read() -> Any:
            found.library._shared_module = llvmlite.binding.parse_bitcode(bitcode)
            del found.library._get_module_for_linking
            return found.library._shared_module

        found.library._get_module_for_linking = read
        return found


@functools.cache
def _nothing() -> bytes:
    """LLVM code of an empty module."""
    return llvmlite.binding.parse_assembly("").as_bitcode()


class _Kept(caching.FunctionCache):
    """The machine code of one kernel. What cannot be loaded is compiled again."""

    _impl_class = _Implementation

    def load_overload(self, signature: Any, target: Any) -> Any:
        _name_runtime()
        try:
            # Not numba's own, which loads its whole compiler before: 60 MB, a third of a second.
            found = self._load_overload(signature, target)
        except Exception as error:  # a damaged file: unpickling it raises anything
            _log.warning("%s: %s; compiling it again", self.cache_path, error)
            with contextlib.suppress(OSError):
                self.flush()
            found = None
        if found is None:
            kept = f"once; what comes of it is kept in {Path(self.cache_path).parent}"
            _announce(f"{_COMPILING}, {kept}")
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super().save_overload(signature, compiled)
        except OSError as error:
            reason = f"{self.cache_path}: {error.strerror}"
            _announce(f"compiled kernels cannot be kept: {reason}")


class _NotKept(caching.NullCache):
    def load_overload(self, signature: Any, target: Any) -> None:
        _announce(
            f"{_COMPILING}, at each start: neither NUMBA_CACHE_DIR nor XDG_CACHE_HOME nor ~/.cache "
            "is a folder that can be written"
        )
