"""TensorRT by torch-tensorrt 2.8 (JetPack 6.2) to 2.14; what differs among them is here alone.

The graphs come with their precision in them (`graphs`), so TensorRT is told to keep the types it
is given: the one way that all these versions know. Their set of allowed precisions is gone from
2.13 on and refused from 2.10 on.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

SUFFIX = ".ep"
DEVICES = ("cuda",)


def unfit(device: torch.device, precision: str) -> str:
    """Why this device cannot have an engine of this precision; empty if it can."""
    if device.type not in DEVICES:
        return f"TensorRT needs an NVIDIA GPU, the device is {device.type}; choose aoti"
    if precision == "int8":
        return "int8 is for CPUs; with TensorRT choose fp16"
    try:
        import torch_tensorrt  # noqa: F401
    except (ImportError, OSError) as error:  # its libraries may be missing
        return f"torch_tensorrt cannot be imported ({error}); docs/how-to/jetson.md, or choose aoti"
    return ""


def compile_settings(version: str, precision: str) -> dict[str, Any]:
    """Arguments of ``torch_tensorrt.dynamo.compile`` for a version, as ``2.8.0+cu126``.

    Raises ``ValueError`` for one that is older than all that are known.
    """
    major, minor = (int(number) for number in re.findall(r"\d+", version)[:2])
    if (major, minor) < (2, 8):
        raise ValueError(f"torch-tensorrt {version} is too old, 2.8 is the first that works")
    settings: dict[str, Any] = {
        "disable_tf32": precision == "fp32",
        "min_block_size": 1,
        # Its own cache of engines does not tell GPUs apart.
        "cache_built_engines": False,
        "reuse_cached_engines": False,
    }
    if (major, minor) < (2, 13):  # the default from 2.10 on, and no choice from 2.13 on
        settings["use_explicit_typing"] = True
    return settings


def compile_program(
    program: ExportedProgram, inputs: tuple[Tensor, ...], precision: str, path: Path
) -> None:
    """Write the engine; raises whatever the compiler raises."""
    import torch_tensorrt

    module = _compile(program, inputs, precision)
    torch_tensorrt.save(module, str(path), arg_inputs=list(inputs))


def dry_run(program: ExportedProgram, inputs: tuple[Tensor, ...], precision: str) -> None:
    """Let torch-tensorrt log how it would cut the graph, without building an engine."""
    _compile(program, inputs, precision, dryrun=True)


def load(path: Path, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
    """The engine as a function of tensors that look as ``inputs``."""
    import torch_tensorrt

    return torch_tensorrt.load(str(path)).module()


def decompose(program: ExportedProgram) -> ExportedProgram:
    """The program in the operators that torch-tensorrt converts."""
    from torch_tensorrt.dynamo.lowering import get_decompositions

    return program.run_decompositions(get_decompositions())


def has_kernel(operator: Any) -> bool:
    """True where TensorRT has a converter for an operator; the others run in torch."""
    from torch_tensorrt.dynamo.conversion._ConverterRegistry import DYNAMO_CONVERTERS

    return operator in DYNAMO_CONVERTERS


def _compile(
    program: ExportedProgram, inputs: tuple[Tensor, ...], precision: str, **more: Any
) -> Any:
    import torch_tensorrt

    settings = compile_settings(torch_tensorrt.__version__, precision)
    with tempfile.TemporaryDirectory() as folder:  # the default is a fixed name in /tmp
        timing = str(Path(folder) / "timing_cache.bin")
        return torch_tensorrt.dynamo.compile(
            program, arg_inputs=list(inputs), timing_cache_path=timing, **settings, **more
        )
