"""Builds the networks of a backend: export, compile, compare with eager torch, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines import graphs, store
from dhpe_ros.engines.identity import file_name
from dhpe_ros.engines.networks import (
    COMPILERS,
    EagerNetworks,
    EngineNetworks,
    compile_network,
    engines_folder,
    kept_precision,
    load_engines,
    precisions,
)
from dhpe_ros.engines.store import EngineError
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.networks.localiser import decode
from dhpe_ros.system.errors import one_line
from dhpe_ros.types import CROP_SIZE

LIMITS = {  # of `Parity`: joints and boxes in the mean and at most, px; vertices at most, mm
    # float32 too: OpenVINO takes crops as bytes, after they are shrunk
    "fp32": (0.2, 4.0, 4.0), "bf16": (0.5, 4.0, 4.0), "fp16": (0.5, 4.0, 4.0),
    "int8": (1.5, 8.0, 8.0),
}  # fmt: skip
_UNDECIDED = 0.4  # confidence of a joint below which rounding may choose between two places
STEPS = 5  # that ``progress`` is told of


@dataclass(frozen=True)
class Views:
    """Inputs that the networks are tried on."""

    crops: Tensor  # (N, 3, 224, 224) in 0..1, of hands
    pictures: Tensor  # (M, 3, *SIZE) uint8, whole frames as the localiser sees them

    def __getitem__(self, rows: slice) -> Views:
        return Views(self.crops[rows], self.pictures[rows])


@dataclass(frozen=True)
class Parity:
    """Distances of compiled results from eager ones on the same frames.

    Joints are those of the heat maps, of the refiner and of the mesh, in pixels of the 224 crop, of
    crops in which eager ones are decided; boxes where the localiser is surest, in pixels of its
    input.
    """

    frames: int
    joints_px_mean: float
    joints_px_max: float
    vertices_mm_mean: float
    vertices_mm_max: float
    boxes_px_mean: float
    boxes_px_max: float

    def within(self, mean_px: float, most_px: float, most_mm: float) -> bool:
        """True if nothing is farther off; false if a figure is not a number."""
        near = max(self.joints_px_mean, self.boxes_px_mean) <= mean_px
        near &= max(self.joints_px_max, self.boxes_px_max) <= most_px
        return near and self.vertices_mm_max <= most_mm

    def __str__(self) -> str:
        return (
            f"error on {self.frames} frames: joints {self.joints_px_mean:.3f} px "
            f"(max {self.joints_px_max:.3f}), vertices {self.vertices_mm_mean:.3f} mm "
            f"(max {self.vertices_mm_max:.3f}), boxes {self.boxes_px_mean:.3f} px "
            f"(max {self.boxes_px_max:.3f})"
        )


def build(
    eager: EagerNetworks,
    model: ModelConfig,
    device: torch.device,
    backend: str,
    views: Views,
    ranges: Views | None,
    progress: Callable[[str], None],
    force: bool = False,
) -> tuple[list[Path], Parity]:
    """Build the networks of a configuration and write them into its folder.

    Every other one of ``views`` is compared. int8 has its ranges from ``ranges``, without them from
    the views between, in more kinds of light. ``progress`` is told what begins. Raises
    ``EngineError`` if a network cannot be compiled or is farther off than ``LIMITS``, unless by
    ``force``, or if the folder is open to others; ``OSError`` if it cannot be written.
    """
    compiler, precision = COMPILERS[backend], precisions(model, device)[0]
    compiler.check_fit(device, precision)
    folder = engines_folder(model)
    store.prepare_folder(folder)
    ranges = ranges or Views(_varied(views.crops[1::2]), views.pictures[1::2])
    inputs = {"evidence": ranges.crops, "localiser": ranges.pictures.float()}
    parts, names = {}, {}
    for network in graphs.EXAMPLES:
        progress(f"compile {network}")
        kept = kept_precision(backend, network, precision)
        names[network] = file_name(network, backend, kept, model)
        try:
            parts[network] = compile_network(
                eager, network, backend, kept, device, inputs.get(network)
            )
        except EngineError:
            raise
        except Exception as error:  # of whatever type compilers raise
            raise EngineError(
                f"{backend} cannot compile the {network} network: "
                f"{type(error).__name__}: {one_line(error)[:500]}"
            ) from error
    progress("compare with eager")
    sources = {network: store.Source(one.copy) for network, one in parts.items()}
    engines = load_engines(backend, sources, precision, device)
    parity, limits = compare(eager, engines, views[::2]), LIMITS[precision]
    if not (force or parity.within(*limits)):
        raise EngineError(
            f"too far from eager torch: {parity}; allowed are {limits[0]:g} px in the mean, "
            f"{limits[1]:g} px and {limits[2]:g} mm at most; nothing was written. Another "
            "--precision is closer, --force writes it"
        )
    progress("write")
    for network, one in parts.items():
        store.write(folder / names[network], one, compiler.versions(device))
    return [folder / name for name in names.values()], parity


def _varied(crops: Tensor) -> Tensor:
    """``(N, 3, H, W)`` in 0..1 in eight kinds of light and colour, ``(8 N, 3, H, W)``.

    int8 takes its ranges from them. Those of one clip as it is are too small for other pictures.
    """
    noise = torch.rand(crops.shape, generator=torch.Generator().manual_seed(0)).to(crops)
    strong, bright = (1.8 * crops - 0.4).clamp(0, 1), (1.6 * crops).clamp(0, 1)
    noisy, other = 0.6 * crops + 0.4 * noise, crops[:, [2, 0, 1]]
    return torch.cat((crops, 1 - crops, 0.4 * crops, strong, other, crops.flip(3), noisy, bright))


def write_onnx(eager: EagerNetworks, folder: Path, progress: Callable[[str], None]) -> list[Path]:
    """Write the graphs as ONNX files for one row, in float32.

    Raises ``EngineError``, ``OSError``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{network}.onnx" for network in graphs.EXAMPLES]
    for network, path in zip(graphs.EXAMPLES, paths, strict=True):
        progress(f"convert {network}")
        inputs = graphs.examples(network, torch.device("cpu"))
        program = graphs.export(eager.graph(network, "fp32"), inputs, any_rows=False)
        try:
            torch.onnx.export(
                program, (), path, output_names=graphs.OUTPUTS[network], external_data=False
            )
        except ImportError as error:
            raise EngineError(f"{one_line(error)}: pip install onnx onnxscript") from error
    return paths


@torch.no_grad()
def compare(eager: EagerNetworks, engines: EngineNetworks, views: Views) -> Parity:
    """Both ways of running the networks on the same frames."""
    decided = eager.infer(views.crops).confidences.amin(1) >= _UNDECIDED
    crops = views.crops[decided] if decided.any() else views.crops
    results = []
    for networks in (eager, engines):
        evidence = networks.infer(crops)
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
    return Parity(len(crops), *(round(float(figure), 4) for figure in figures))


def _boxes_apart(one: Tensor, other: Tensor) -> Tensor:
    """``(4,)``: how far the numbers of two boxes are apart, of ``(1, 5, h, w)`` answers.

    Where ``one`` is surest of a hand.
    """
    row, column = (one[0, 0] == one[0, 0].max()).nonzero()[:1].T
    boxes = (decode(answer[0, 1:, row, column], row, column) for answer in (one, other))
    return torch.sub(*boxes)[0].abs()
