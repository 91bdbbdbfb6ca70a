"""Torch devices by the name that a user gives, and torch's threads."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def torch_device(name: str, setting: str = "device") -> torch.device:
    """``auto``, a GPU where there is one, or any name that torch knows.

    Raises ``ValueError``, which names the ``setting``, if it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{setting} {name!r} is not there ({reason}); use auto or cpu") from error
    return device


def free_memory() -> None:
    """Give back the memory of networks that nobody uses any more, a GPU's too."""
    gc.collect()  # networks and those that call them refer to each other
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return_freed_memory()


def return_freed_memory() -> None:
    """Give back what is free already: the C library of Linux keeps it for what may come."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch by one thread meanwhile: for small work, which others would only wait for, spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
