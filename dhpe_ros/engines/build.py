"""Builds an engine: export, compile, compare with eager torch on crops, time, write."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from dhpe_ros.engines.quantise import quantised
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.networks.localiser import decode
from dhpe_ros.types import CROP_SIZE

LIMITS = {  # of `Parity`: px, mm
    "fp32": (0.5, 0.5), "bf16": (4.0, 3.0), "fp16": (4.0, 3.0), "int8": (16.0, 8.0),
}  # fmt: skip
STEPS = 7  # that ``progress`` is told of
_ROUNDS = 20  # of timing, eager and compiled in turn


class BuildError(Exception):
    """An engine that cannot be built, or must not be used, and why."""


@dataclass(frozen=True)
class Views:
    """Inputs that the networks are tried on, of ``N`` frames with a hand."""

    crops: Tensor  # (N, 3, 224, 224) in 0..1, of the hand
    pictures: Tensor  # (N, 3, *SIZE) uint8, the whole frame as the localiser sees it

    def __getitem__(self, rows: slice) -> Views:
        return Views(self.crops[rows], self.pictures[rows])


@dataclass(frozen=True)
class Parity:
    """Distances of compiled results from eager ones on the same frames.

    Joints are those of the heat maps, of the refiner and of the mesh, in pixels of the 224 crop;
    boxes where the localiser is surest, in pixels of its input.
    """

    frames: int
    joints_px_mean: float
    joints_px_max: float
    vertices_mm_mean: float
    vertices_mm_max: float
    boxes_px_mean: float
    boxes_px_max: float

    def within(self, pixels: float, vertices_mm: float) -> bool:
        """True if no joint, box or vertex is farther off; false if a figure is not a number."""
        near = self.joints_px_max <= pixels and self.boxes_px_max <= pixels
        return near and self.vertices_mm_max <= vertices_mm


@dataclass(frozen=True)
class Operators:
    """Counts of the operators that the compiler has kernels for, and that it leaves to torch."""

    supported: dict[str, int]
    unsupported: dict[str, int]


@dataclass(frozen=True)
class Times:
    """Median milliseconds, measured alternately, so that a busy machine slows both alike."""

    eager_ms: float
    compiled_ms: float


@dataclass(frozen=True)
class Built:
    """Engine that was built, and its measurements."""

    sidecar: Path
    bytes: int
    seconds: float
    operators: Operators
    parity: Parity
    times: dict[str, Times]  # of a crop to its 63 parameters, and of the search of a picture


def export_all(
    eager: EagerNetworks, precision: str, device: torch.device, views: Views
) -> dict[str, ExportedProgram]:
    """The graphs as exported programs, by name; int8 has its ranges from ``views``."""
    modules = graphs.make_graphs(
        eager.evidence, eager.mesh_estimator, eager.projection, eager.localiser, precision
    )
    programs = {
        name: graphs.export(module, graphs.examples(name, device))
        for name, module in modules.items()
    }
    if precision == "int8":
        for name, inputs in (("evidence", views.crops), ("localiser", views.pictures.float())):
            programs[name] = quantised(programs[name], inputs.contiguous().split(1))
    return programs


def dry_run(
    eager: EagerNetworks, device: torch.device, compiler: str, precision: str, views: Views
) -> Operators:
    """Count what the compiler supports, without compiling. Raises ``BuildError``."""
    _check_fit(compiler, device, precision)
    programs = export_all(eager, precision, device, views)
    if compiler == "tensorrt":
        for name, program in programs.items():
            tensorrt.dry_run(program, graphs.examples(name, device), precision)
    return count_operators(programs, compiler)


def count_operators(programs: dict[str, ExportedProgram], compiler: str) -> Operators:
    """Count the graphs' operators that the compiler supports and that it does not."""
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
    views: Views,
    limits: tuple[float, float],
    progress: Callable[[str], None],
) -> Built:
    """Build the engine of a configuration and write it into its folder.

    Every other one of ``views`` is compared, those between give int8 its ranges; ``limits`` are
    pixels and millimetres; ``progress`` is told what begins. Raises ``BuildError`` if it cannot be
    compiled or is too far off, ``EngineError`` for a folder that is open to others, ``OSError`` if
    it cannot be written.
    """
    begun = time.monotonic()
    _check_fit(compiler, device, precision)
    folder = engines_folder(model)
    store.prepare_folder(folder)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as name,
        _temporary_files_in(Path(name)),
    ):
        progress("export")
        programs = export_all(eager, precision, device, views[1::2])
        paths = compile_all(programs, compiler, precision, device, Path(name), progress)
        if device.type == "cuda":
            try_elsewhere(compiler, paths, device)
        engines = load_engines(compiler, compiler, paths, device)
        progress("compare with eager")
        parity = compare(eager, engines, views[::2])
        if not parity.within(*limits):
            raise BuildError(
                f"too far from eager torch: joints {parity.joints_px_max:.2f} px, boxes "
                f"{parity.boxes_px_max:.2f} px, vertices {parity.vertices_mm_max:.2f} mm at most "
                f"(limits {limits[0]:g} px, {limits[1]:g} mm); nothing was written. Another "
                "--precision is closer, --joint-limit and --vertex-limit allow more"
            )
        progress("measure")
        times = {
            what: Times(*measure([eager, engines], views[:1], run)) for what, run in RUNS.items()
        }
        operators = count_operators(programs, compiler)
        about = {
            "seconds": round(time.monotonic() - begun, 1),
            "parity": asdict(parity),
            "times": {what: asdict(both) for what, both in times.items()},
            "operators": asdict(operators),
        }
        progress("write")
        size = sum(path.stat().st_size for path in paths.values())
        identity = identify(model, device, compiler, precision)
        sidecar = store.write(folder, identity, paths, about)
    seconds = time.monotonic() - begun
    return Built(sidecar, size, seconds, operators, parity, times)


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


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let compilers, and the processes that they start, write there alone."""
    ours = {"TMPDIR": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    before = {name: os.environ.pop(name, None) for name in ours}
    os.environ.update(ours)
    try:
        from torch._inductor.utils import fresh_cache  # makes the folder of its cache at once

        with fresh_cache(dir=str(folder)):  # and ignores the earlier cache
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def try_elsewhere(compiler: str, paths: dict[str, Path], device: torch.device) -> None:
    """Load and run engines in a process of its own, which a broken one may take with it.

    Raises ``BuildError`` if it does.
    """
    words = [sys.executable, "-c", _TRIAL, compiler, str(device)]
    words += [f"{name}={path}" for name, path in paths.items()]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise BuildError(
            f"the {compiler} engine was built and ends the process that loads it ({said[0]}); "
            "nothing was written. Try another --precision or --backend, or go on without"
        )


_TRIAL = """\
import sys
from pathlib import Path
import torch
from dhpe_ros.engines.networks import load_engines, run_once
compiler, device, *files = sys.argv[1:]
device = torch.device(device)
paths = {name: Path(path) for name, path in (file.split("=", 1) for file in files)}
with torch.no_grad():
    run_once(load_engines(compiler, compiler, paths, device), device)
"""


@torch.no_grad()
def compare(eager: EagerNetworks, engines: EngineNetworks, views: Views) -> Parity:
    """Both ways of running the networks on the same frames."""
    results = []
    for networks in (eager, engines):
        evidence = networks.see(views.crops)
        parameters, joints_2d = networks.regress(evidence)
        hand = eager.projection(parameters)
        scale = HandParameters.split(parameters).scale[..., None]
        results.append(((evidence.joints, joints_2d, hand.joints[..., :2]), hand.vertices, scale))
    (mine, vertices, scale), (others, other_vertices, _) = results
    apart = [(a - b).norm(dim=-1) for a, b in zip(mine, others, strict=True)]
    joints_px = torch.stack(apart) * (CROP_SIZE / 2)
    vertices_mm = 1000 * ((vertices - other_vertices) / scale).norm(dim=-1)
    pairs = ((eager.locate(p), engines.locate(p)) for p in views.pictures.split(1))
    boxes_px = torch.stack([_boxes_apart(*pair) for pair in pairs])
    figures = (f(of) for of in (joints_px, vertices_mm, boxes_px) for f in (torch.mean, torch.max))
    return Parity(len(views.crops), *(round(float(figure), 4) for figure in figures))


def _boxes_apart(one: Tensor, other: Tensor) -> Tensor:
    """``(4,)``: how far the numbers of two boxes are apart, of ``(1, 5, h, w)`` answers.

    Where ``one`` is surest of a hand.
    """
    row, column = (one[0, 0] == one[0, 0].max()).nonzero()[:1].T
    boxes = (decode(answer[0, 1:, row, column], row, column) for answer in (one, other))
    return torch.sub(*boxes)[0].abs()


def _regress(networks: EagerNetworks | EngineNetworks, view: Views) -> None:
    networks.regress(networks.see(view.crops))


def _search(networks: EagerNetworks | EngineNetworks, view: Views) -> None:
    networks.locate(view.pictures)


RUNS = {"crop": _regress, "picture": _search}  # timed


@torch.no_grad()
def measure(
    ways: Sequence[EagerNetworks | EngineNetworks],
    view: Views,
    run: Callable[[EagerNetworks | EngineNetworks, Views], None],
) -> list[float]:
    """Median milliseconds that ``run`` takes on one view, of each way, taken in turn."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(_ROUNDS + 1):
        for way, taken in zip(ways, times, strict=True):
            start = time.perf_counter()
            run(way, view)
            if view.crops.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [round(1000 * statistics.median(taken[1:]), 3) for taken in times]
