"""TensorRT by torch-tensorrt 2.8 (JetPack 6.2) to 2.14; what differs among them is here alone.

The graphs come with their precision in them (`graphs`), so TensorRT is told to keep the types it
is given: the one way that all these versions know. Their set of allowed precisions is gone from
2.13 on and refused from 2.10 on.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dhpe_ros.engines.store import EngineError, Parts, Source, UnavailableError

ROWS = 1  # that a call takes
_ENGINE = "engine.ep"


def check_fit(device: torch.device, precision: str) -> None:
    """Raises ``UnavailableError`` if this device cannot have an engine of this precision."""
    if device.type != "cuda":
        raise UnavailableError(f"tensorrt needs an NVIDIA GPU, the device is {device.type}")
    if precision == "int8":
        raise UnavailableError("int8 is for CPUs; with TensorRT choose fp16")


def versions(device: torch.device) -> dict[str, str]:
    """Versions and device that an engine is built for; another one does not load it."""
    return {
        "torch": f"{torch.__version__} {torch.version.git_version[:10]}",
        "torch-tensorrt": _version("torch-tensorrt"),
        "TensorRT": _version("tensorrt"),
        "CUDA": torch.version.cuda or "none",
        "GPU": torch.cuda.get_device_name(device),
        "compute capability": "{}.{}".format(*torch.cuda.get_device_capability(device)),
        "driver": _found(r"\b\d+\.\d+(?:\.\d+)?\b", "/proc/driver/nvidia/version"),
        "L4T": _found(".+", "/etc/nv_tegra_release"),
    }


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


def compile_program(program: ExportedProgram, precision: str, calibration: Tensor | None) -> Parts:
    """Compile a graph for this GPU; raises whatever the compiler raises."""
    torch_tensorrt, inputs = _runtime(), list(program.example_inputs[0])
    settings = compile_settings(torch_tensorrt.__version__, precision)
    with tempfile.TemporaryDirectory() as folder:  # the default is a fixed name in /tmp
        settings["timing_cache_path"] = str(Path(folder, "timing_cache.bin"))
        module = torch_tensorrt.dynamo.compile(program, arg_inputs=inputs, **settings)
        path = Path(folder, _ENGINE)
        torch_tensorrt.save(module, str(path), arg_inputs=inputs)
        return {_ENGINE: path.read_bytes()}


def load(source: Source, inputs: tuple[Tensor, ...], precision: str) -> Callable[..., Any]:
    """The engine as a function of tensors that look as ``inputs``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _ENGINE)
        path.write_bytes(source.read()[_ENGINE])
        return _runtime().load(str(path)).module()


def _runtime() -> Any:
    try:
        import torch_tensorrt
    except (ImportError, OSError) as error:  # its libraries may be missing
        raise EngineError(
            f"torch_tensorrt cannot be imported ({error}): docs/how-to/jetson.md"
        ) from error
    return torch_tensorrt


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _found(pattern: str, path: str) -> str:
    """The first match in a file; ``none`` where there is no match or no file."""
    try:
        found = re.search(pattern, Path(path).read_text(errors="replace"))
    except OSError:
        return "none"
    return found[0] if found else "none"
