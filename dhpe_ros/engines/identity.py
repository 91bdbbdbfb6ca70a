"""Identity of an engine: all that it was built from and for, and needs where it runs."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import torch

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines import graphs, quantise
from dhpe_ros.hand import manopth_hand
from dhpe_ros.networks.weights import hand_model_path, localiser_path, weights_path
from dhpe_ros.system.programs import command

_EXPORTED = (graphs, quantise, manopth_hand)  # with all that they import
_PACKAGE = "dhpe_ros"
_NONE = "none"


@dataclass(frozen=True)
class Identity:
    """The key of the cache. ``items`` are name -> value, in words that a message can show."""

    items: dict[str, str]
    rebuild: str  # the command that builds an engine of these items

    @property
    def label(self) -> str:
        """The part that says which engine it is, as ``lite-cpu-aoti-bf16``."""
        return "-".join(self.items[k] for k in ("profile", "device", "backend", "precision"))

    @property
    def name(self) -> str:
        """A file name without suffix that no other identity has."""
        text = json.dumps(self.items, sort_keys=True)
        return f"{self.label}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def differences(self, items: dict[str, str]) -> list[str]:
        """One line for each item that ``items``, of an engine that was built, has otherwise."""
        names = [*self.items, *(items.keys() - self.items.keys())]
        pairs = ((n, items.get(n, _NONE), self.items.get(n, _NONE)) for n in names)
        return [_difference(name, was, now) for name, was, now in pairs if was != now]


def identify(model: ModelConfig, device: torch.device, backend: str, precision: str) -> Identity:
    """The identity of an engine for this configuration on this machine.

    ``backend`` is ``aoti`` or ``tensorrt``. Raises as `weights_path` does.
    """
    on_gpu = device.type == "cuda"
    items = {
        "profile": model.profile,
        "backend": backend,
        "precision": precision,
        "device": device.type,
        "network weights": _digest(model.weights or weights_path(model.profile)),
        "localiser weights": _digest(model.localiser or localiser_path()),
        "hand model": _digest(model.hand_model or hand_model_path()),
        "hand layer": model.hand_layer,
        "source code": _digest(*source_files(_EXPORTED)),
        "shapes": json.dumps(graphs.EXAMPLES),
        "torch": f"{torch.__version__} {torch.version.git_version[:10]}",
        "backend version": _tensorrt_version() if backend == "tensorrt" else torch.__version__,
        "CPU instruction set": instruction_set(),
        "CUDA": torch.version.cuda or _NONE if on_gpu else _NONE,
        "GPU": torch.cuda.get_device_name(device) if on_gpu else _NONE,
        "compute capability": _capability(device) if on_gpu else _NONE,
        "driver": _driver() if on_gpu else _NONE,
        "L4T": _first_line("/etc/nv_tegra_release") if on_gpu else _NONE,
    }
    return Identity(items, _command(model, backend, precision))


@cache
def source_files(modules: tuple[ModuleType, ...]) -> tuple[Path, ...]:
    """The files of ``modules`` and of all of this package that they import, directly or not.

    More than what is exported needs, and never less: a module may give a constant alone.
    """
    waiting, files = [module.__name__ for module in modules], {}
    root = Path(graphs.__file__).parents[2]
    while waiting:
        name = waiting.pop()
        place = root / name.replace(".", "/")
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if name not in files and path.is_file():
            files[name] = path
            waiting += _imports(path)
    return tuple(files[name] for name in sorted(files))


def _imports(path: Path) -> Iterator[str]:
    """Names that a file imports from this package; some are not modules but in one."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.startswith(_PACKAGE):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith(_PACKAGE))


def has_matrix_tiles() -> bool:
    """True where the CPU multiplies matrices of bf16 as such (AMX), faster than 8-bit integers."""
    return "amx_bf16" in instruction_set().split()


def has_fast_bf16(device: torch.device) -> bool:
    """True where convolutions are faster in bf16 than in fp32.

    They are on a CPU that takes matrix tiles and on AMD's with bf16 instructions; Intel's that have
    those alone multiply no faster by them (docs/how-to/engines.md).
    """
    full_rate = {"AuthenticAMD", "avx512_bf16"} <= set(instruction_set().split())
    return device.type == "cuda" or has_matrix_tiles() or full_rate


def instruction_set() -> str:
    """Maker and features of the processor, in the kernel's words: compilers use all of them."""
    about = _text("/proc/cpuinfo")
    names = re.search(r"^(?:flags|Features)\s*:(.*)$", about, re.M)
    maker = re.findall(r"^vendor_id\s*:\s*(\S+)$", about, re.M)[:1]
    return " ".join([platform.machine(), *maker, *sorted(names[1].split() if names else ())])


def _difference(name: str, was: str, now: str) -> str:
    """In short: of lists of words only those that differ, of digests their beginning."""
    lost, new = (sorted(set(a.split()) - set(b.split())) for a, b in ((was, now), (now, was)))
    if min(len(was.split()), len(now.split())) > 10:
        changes = [f"without {' '.join(lost)}"] * bool(lost) + [f"with {' '.join(new)}"] * bool(new)
        return f"{name}: this machine is {', '.join(changes)}"
    short = (value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value for value in (was, now))
    return "{}: {} then, {} now".format(name, *short)


def _command(model: ModelConfig, backend: str, precision: str) -> str:
    """Command that builds an engine of this configuration."""
    options = {"profile": model.profile, "backend": backend, "precision": precision}
    defaults = {field.name: field.default for field in fields(ModelConfig)}
    for option, name in (
        ("weights", "weights"), ("localiser", "localiser"), ("hand-model", "hand_model"),
        ("hand-layer", "hand_layer"), ("device", "device"), ("output", "engines"),
    ):  # fmt: skip
        if getattr(model, name) != defaults[name]:
            options[option] = getattr(model, name)
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return command("export", *words)


def _digest(*paths: str | Path) -> str:
    """SHA-256 of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _tensorrt_version() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in ("torch-tensorrt", "tensorrt"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _NONE


def _capability(device: torch.device) -> str:
    return "{}.{}".format(*torch.cuda.get_device_capability(device))


def _driver() -> str:
    """Of a desktop; on a Jetson the driver belongs to L4T."""
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", _text("/proc/driver/nvidia/version"))
    return found[0] if found else _NONE


def _first_line(path: str) -> str:
    return next(iter(_text(path).splitlines()), _NONE)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
