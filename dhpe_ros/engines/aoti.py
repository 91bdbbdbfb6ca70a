"""AOTInductor: a graph as a shared library for this machine, by torch alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dhpe_ros.engines.cuda_graph import replayed
from dhpe_ros.engines.identity import instruction_set

SUFFIX = ".pt2"
DEVICES = ("cpu", "cuda")


def unfit(device: torch.device, precision: str) -> str:
    """Why this device cannot have an engine of this precision; empty if it can."""
    if precision == "int8":
        return _unfit_for_int8(device)
    if device.type != "cpu" or precision == "fp32":
        return ""
    if precision == "fp16":
        return "fp16 is for GPUs; on a CPU choose bf16 or fp32"
    has_mkldnn = torch.backends.mkldnn.is_available()
    if not (has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return "this CPU has no bf16 instructions (AVX-512 on x86); choose fp32"
    return ""


def _unfit_for_int8(device: torch.device) -> str:
    if device.type != "cpu":
        return "int8 is for CPUs; on a GPU choose fp16"
    if not {"avx512_vnni", "avx_vnni"} & set(instruction_set().split()):
        return "this CPU has no instructions for sums of 8-bit products (VNNI on x86); choose fp32"
    return ""


def compile_program(
    program: ExportedProgram, inputs: tuple[Tensor, ...], precision: str, path: Path
) -> None:
    """Write the engine; raises whatever the compiler raises."""
    from torch._inductor import aoti_compile_and_package

    # Freezing packs the weights for the CPU's kernels. The number of threads is not built in: the
    # engine runs with as many as torch has where it is loaded.
    on_cpu = inputs[0].device.type == "cpu"
    options = {"freezing": True, "cpp.dynamic_threads": True} if on_cpu else {}
    with torch.no_grad():
        aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def load(path: Path, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
    """The engine as a function of tensors that look as ``inputs``; on a GPU as a CUDA graph."""
    device = inputs[0].device
    if device.type == "cpu":
        return _opened(path)
    return replayed(_opened_as_documented(path, device.index), inputs)


def _opened(path: Path) -> Callable[..., Any]:
    """As ``aoti_load_package``, by the loader beneath it where this torch has that.

    The documented function imports the whole compiler first, which is half of a node's start. For
    CPUs: on a GPU, with torch 2.11, the loader took the process with it.
    """
    try:
        run = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1).run
    except (AttributeError, TypeError):
        return _opened_as_documented(path)
    return lambda *tensors: run(list(tensors))


def _opened_as_documented(path: Path, device_index: int = -1) -> Callable[..., Any]:
    """On a GPU by its number; without, CUDA's own choice, whatever the current device is."""
    from torch._inductor import aoti_load_package

    return aoti_load_package(str(path), device_index=device_index)


def decompose(program: ExportedProgram) -> ExportedProgram:
    """The program in the operators that inductor itself works on."""
    from torch._inductor import lowering  # noqa: F401  # which the table asks without importing it
    from torch._inductor.decomposition import select_decomp_table

    return program.run_decompositions(select_decomp_table())


def has_kernel(operator: Any) -> bool:
    """True where inductor makes its own code of an operator; the others call torch's.

    A composite one is taken apart before.
    """
    from torch._inductor import lowering

    composite = torch._C._dispatch_has_kernel_for_dispatch_key(
        operator.name(), "CompositeImplicitAutograd"
    )
    own = operator in lowering.lowerings and operator not in lowering.fallbacks
    return composite or own
