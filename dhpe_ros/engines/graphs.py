"""The graphs that are compiled: a crop to its evidence, evidence to the 63 parameters, and a
picture to where hands are.

Whatever reads coordinates stays in float32; a lower precision is for the convolutions, which take
nearly all the time. Where a compiler chooses it by itself, as OpenVINO does, graphs are float32.
"""

from __future__ import annotations

import copy
from dataclasses import fields

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dhpe_ros.detection.localiser import SIZE
from dhpe_ros.hand.projection import JointProjection, Projection
from dhpe_ros.networks.evidence import Evidence, EvidenceNetwork
from dhpe_ros.networks.fused_resnet import FusedResNet50
from dhpe_ros.networks.localiser import LocaliserNetwork
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.networks.resnet import ResNet50
from dhpe_ros.types import CROP_SIZE, FEATURE_COUNT, JOINT_COUNT

VERSION = 1  # one more wherever the same weights make other graphs: older ones load no more
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_ROWS = 64  # of a graph for any number
EXAMPLES = {
    "localiser": ((1, 3, *SIZE),),
    "evidence": ((1, 3, CROP_SIZE, CROP_SIZE),),
    "mesh": ((1, FEATURE_COUNT), (1, JOINT_COUNT, 2)),
}
OUTPUTS = {
    "localiser": ["answer"],
    "evidence": [field.name for field in fields(Evidence)],
    "mesh": ["parameters", "joints_2d"],
}


class EvidenceGraph(nn.Module):
    """``(B, 3, 224, 224)`` in 0..1 to the six tensors of `Evidence`, in its order."""

    def __init__(self, evidence: EvidenceNetwork, precision: str, fused: bool) -> None:
        super().__init__()
        self.evidence, dtype = copy.deepcopy(evidence), DTYPES[precision]
        for name, network in list(self.evidence.named_children()):
            if network not in self.evidence.scalar_heads:
                if fused and isinstance(network, ResNet50):
                    network = FusedResNet50(network, dtype)
                setattr(self.evidence, name, _InPrecision(network, dtype))

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return tuple(vars(self.evidence(crops)).values())


class LocaliserGraph(nn.Module):
    """``(B, 3, *SIZE)`` in 0..255, as floats, to the output of `LocaliserNetwork`."""

    def __init__(self, localiser: LocaliserNetwork, precision: str) -> None:
        super().__init__()
        self.localiser = _InPrecision(copy.deepcopy(localiser), DTYPES[precision])
        self.normalised = localiser.normalised

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        return (self.localiser(self.normalised(pictures)),)


class MeshGraph(nn.Module):
    """F ``(B, 2048)`` and j2D ``(B, 21, 2)`` to h(3) ``(B, 63)`` and j2D(3) ``(B, 21, 2)``.

    All three iterations with the hand's joints, in plain torch, and the refiner between them.
    """

    def __init__(self, mesh_estimator: MeshEstimator, projection: Projection) -> None:
        super().__init__()
        self.mesh_estimator = mesh_estimator
        self.projection = JointProjection(projection)

    def forward(self, features: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        unused = features.new_zeros(1)
        evidence = Evidence(features, joints, unused, unused)
        last = self.mesh_estimator(evidence, self.projection)[-1]
        return last.parameters, last.joints_2d


class _InPrecision(nn.Module):
    """A network between casts: float32 outside, ``dtype`` inside."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Tensor | tuple:
        return _floats(self.network(*(x.to(self.dtype) for x in inputs)))


def _floats(outputs: Tensor | tuple) -> Tensor | tuple:
    if isinstance(outputs, tuple):
        return tuple(_floats(output) for output in outputs)
    return outputs.float()


def examples(network: str, device: torch.device) -> tuple[Tensor, ...]:
    """Inputs of a graph, for tracing and warming up."""
    generator = torch.Generator().manual_seed(0)
    most = 255 if network == "localiser" else 1
    inputs = (
        most * torch.rand(shape, dtype=torch.float32, generator=generator)
        for shape in EXAMPLES[network]
    )
    return tuple(x.to(device) for x in inputs)


@torch.no_grad()
def export(graph: nn.Module, inputs: tuple[Tensor, ...], any_rows: bool) -> ExportedProgram:
    """The graph as ``torch.export`` records it, in operations that compilers have kernels for.

    For one row, or for ``any_rows`` up to ``MOST_ROWS``.
    """
    shapes = None
    if any_rows:
        inputs = tuple(torch.cat((tensor, tensor)) for tensor in inputs)
        shapes = tuple({0: torch.export.Dim("rows", min=1, max=MOST_ROWS)} for _ in inputs)
    program = torch.export.export(graph, inputs, dynamic_shapes=shapes)
    return program.run_decompositions(STAND_INS)


def _resize_by_products(x: Tensor, size: list[int], align_corners: bool, scales: None) -> Tensor:
    """The antialiased bilinear resize, which compilers lack, as two matrix products."""
    rows, columns = (
        _triangle_filter(before, after, x) for before, after in zip(x.shape[2:], size, strict=True)
    )
    return rows @ x @ columns.T


def _triangle_filter(before: int, after: int, like: Tensor) -> Tensor:
    """``(after, before)``: how much of each old pixel each new one is, when an image shrinks."""
    step = before / after
    old = torch.arange(before, device=like.device, dtype=like.dtype)
    new = torch.arange(after, device=like.device, dtype=like.dtype)
    distance = (old + 0.5 - (new[:, None] + 0.5) * step) / max(step, 1.0)
    weights = (1 - distance.abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _cross_by_products(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """The cross product, which torch-tensorrt has from 2.14 on."""
    (a0, a1, a2), (b0, b1, b2) = a.unbind(dim), b.unbind(dim)
    return torch.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0), dim)


def _max_by_argmax(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The largest number and where it is; torch-tensorrt has one at a time."""
    index = x.argmax(dim, keepdim=True)
    value = x.gather(dim, index)
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


STAND_INS = {
    torch.ops.aten._upsample_bilinear2d_aa.vec: _resize_by_products,
    torch.ops.aten.linalg_cross.default: _cross_by_products,
    torch.ops.aten.max.dim: _max_by_argmax,
}  # for operators that a compiler lacks
