"""Device of the tests of Triton kernels: a GPU, or the interpreter on the CPU without one."""

import importlib

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load(module):
    """Import a module of kernels for `DEVICE`; skips the file that asks where Triton is missing.

    Kernels are interpreted if the variable is set when they, and Triton itself, are imported. It is
    taken back at once, so that no other test and no other process sees it.
    """
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
        pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
        return importlib.import_module(module)
