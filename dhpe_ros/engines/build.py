"""Builds an engine: export, compile, compare with eager torch on crops, time, write."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines import graphs, store, tensorrt
from dhpe_ros.engines.identity import identify
from dhpe_ros.engines.networks import (
    COMPILERS,
    EagerNetworks,
    EngineNetworks,
    engines_folder,
    load_engines,
)
from dhpe_ros.hand_parameters import HandParameters
from dhpe_ros.types import CROP_SIZE

LIMITS = {"fp32": (0.5, 0.5), "bf16": (2.0, 3.0), "fp16": (2.0, 3.0)}  # of `Parity`: px, mm
STEPS = 6  # that ``progress`` is told of
_ROUNDS = 20  # of timing, eager and compiled in turn


class BuildError(Exception):
    """An engine that cannot be built, or must not be used, and why."""


@dataclass(frozen=True)
class Parity:
    """How far compiled results are from eager ones on the same crops.

    Joints are those of the heat maps, of the refiner and of the mesh, in pixels of the 224 crop.
    """

    crops: int
    joints_px_mean: float
    joints_px_max: float
    vertices_mm_mean: float
    vertices_mm_max: float

    def within(self, joints_px: float, vertices_mm: float) -> bool:
        """Whether no joint and no vertex is farther off; false if a figure is not a number."""
        return self.joints_px_max <= joints_px and self.vertices_mm_max <= vertices_mm


@dataclass(frozen=True)
class Operators:
    """How often the graphs use what the compiler has kernels for, and what it leaves to torch."""

    supported: dict[str, int]
    unsupported: dict[str, int]


@dataclass(frozen=True)
class Built:
    """What has been built, and what is known of it."""

    sidecar: Path
    bytes: int
    seconds: float
    operators: Operators
    parity: Parity
    eager_ms: float
    compiled_ms: float


def export_all(
    eager: EagerNetworks, precision: str, device: torch.device
) -> dict[str, ExportedProgram]:
    """Both graphs as exported programs, by name."""
    modules = graphs.make_graphs(eager.evidence, eager.mesh_estimator, eager.projection, precision)
    return {
        name: graphs.export(module, graphs.examples(name, device))
        for name, module in modules.items()
    }


def dry_run(eager: EagerNetworks, device: torch.device, compiler: str, precision: str) -> Operators:
    """What the compiler can do of the networks, without compiling. Raises ``BuildError``."""
    _check_fit(compiler, device, precision)
    programs = export_all(eager, precision, device)
    if compiler == "tensorrt":
        for name, program in programs.items():
            tensorrt.dry_run(program, graphs.examples(name, device), precision)
    return count_operators(programs, compiler)


def count_operators(programs: dict[str, ExportedProgram], compiler: str) -> Operators:
    """What the compiler can do of the graphs."""
    kind = COMPILERS[compiler]
    counts = Counter(
        node.target
        for program in programs.values()
        for node in kind.decompose(program).graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )
    able, unable = (
        {str(op): n for op, n in counts.most_common() if kind.has_kernel(op) is wanted}
        for wanted in (True, False)
    )
    return Operators(able, unable)


def build(
    eager: EagerNetworks,
    model: ModelConfig,
    device: torch.device,
    compiler: str,
    precision: str,
    crops: Tensor,
    limits: tuple[float, float],
    progress: Callable[[str], None],
) -> Built:
    """Build the engine of a configuration and write it into its folder.

    ``crops`` ``(N, 3, 224, 224)`` show hands; ``limits`` are pixels and millimetres; ``progress``
    is told what begins. Raises ``BuildError`` if it cannot be compiled or is too far off,
    ``EngineError`` for a folder that is open to others, ``OSError`` if it cannot be written.
    """
    begun = time.monotonic()
    _check_fit(compiler, device, precision)
    folder = engines_folder(model)
    store.prepare_folder(folder)
    progress("export")
    programs = export_all(eager, precision, device)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as name:
        paths = compile_all(programs, compiler, precision, device, Path(name), progress)
        engines = load_engines(compiler, compiler, paths, device)
        progress("compare with eager")
        parity = compare(eager, engines, crops)
        if not parity.within(*limits):
            raise BuildError(
                f"too far from eager torch: joints {parity.joints_px_max:.2f} px, vertices "
                f"{parity.vertices_mm_max:.2f} mm at most (limits {limits[0]:g} px, "
                f"{limits[1]:g} mm); nothing was written. Another --precision is closer, "
                "--joint-limit and --vertex-limit allow more"
            )
        progress("measure")
        eager_ms, compiled_ms = measure([eager, engines], crops[:1])
        operators = count_operators(programs, compiler)
        about = {
            "seconds": round(time.monotonic() - begun, 1),
            "parity": asdict(parity),
            "eager_ms": eager_ms,
            "compiled_ms": compiled_ms,
            "operators": asdict(operators),
        }
        progress("write")
        size = sum(path.stat().st_size for path in paths.values())
        identity = identify(model, device, compiler, precision)
        sidecar = store.write(folder, identity, paths, about)
    seconds = time.monotonic() - begun
    return Built(sidecar, size, seconds, operators, parity, eager_ms, compiled_ms)


def _check_fit(compiler: str, device: torch.device, precision: str) -> None:
    reason = COMPILERS[compiler].unfit(device, precision)
    if reason:
        raise BuildError(reason)


def compile_all(
    programs: dict[str, ExportedProgram],
    compiler: str,
    precision: str,
    device: torch.device,
    folder: Path,
    progress: Callable[[str], None],
) -> dict[str, Path]:
    """Compile programs into files in ``folder``, by name. Raises ``BuildError``."""
    kind = COMPILERS[compiler]
    paths = {}
    for name, program in programs.items():
        progress(f"compile {name}")
        paths[name] = folder / f"{name}{kind.SUFFIX}"
        try:
            kind.compile_program(program, graphs.examples(name, device), precision, paths[name])
        except Exception as error:  # of whatever type compilers raise
            raise BuildError(
                f"{compiler} cannot compile the {name} network: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            ) from error
    return paths


@torch.no_grad()
def compare(eager: EagerNetworks, engines: EngineNetworks, crops: Tensor) -> Parity:
    """Both ways of running the networks on crops ``(N, 3, 224, 224)``."""
    results = []
    for networks in (eager, engines):
        seen = networks.see(crops)
        parameters, joints_2d = networks.regress(seen)
        hand = eager.projection(parameters)
        scale = HandParameters.split(parameters).scale[..., None]
        results.append(((seen.joints, joints_2d, hand.joints[..., :2]), hand.vertices, scale))
    (mine, vertices, scale), (others, other_vertices, _) = results
    apart = [(a - b).norm(dim=-1) for a, b in zip(mine, others, strict=True)]
    joints_px = torch.stack(apart) * (CROP_SIZE / 2)
    vertices_mm = 1000 * ((vertices - other_vertices) / scale).norm(dim=-1)
    figures = joints_px.mean(), joints_px.max(), vertices_mm.mean(), vertices_mm.max()
    return Parity(len(crops), *(round(float(figure), 4) for figure in figures))


@torch.no_grad()
def measure(ways: Sequence[EagerNetworks | EngineNetworks], crop: Tensor) -> list[float]:
    """Median milliseconds from a crop ``(1, 3, 224, 224)`` to the 63 parameters, of each way.

    Taken in turn, so that a busy machine slows all alike.
    """
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(_ROUNDS + 1):
        for way, taken in zip(ways, times, strict=True):
            start = time.perf_counter()
            way.regress(way.see(crop))
            if crop.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [round(1000 * statistics.median(taken[1:]), 3) for taken in times]
