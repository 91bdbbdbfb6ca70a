"""The graphs that are compiled compute what the pipeline's networks do."""

import pytest
import torch
from torch.nn import functional

from dhpe_ros.detection.localiser import load_fused
from dhpe_ros.engines import graphs
from dhpe_ros.engines.networks import EagerNetworks
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.layers import fuse_batch_norms
from dhpe_ros.networks.weights import (
    build_networks,
    hand_model_path,
    load_networks,
    localiser_path,
    weights_path,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def eager():
    networks = load_networks(weights_path("lite"), "lite")
    projection = Projection(HandModel(hand_model_path()))
    return EagerNetworks(*networks.modules(), projection, load_fused(localiser_path(), CPU))


@pytest.mark.parametrize("size", [(128, 128), (100, 180), (223, 7)])
def test_the_resize_by_products_is_torch_s(size):
    x = torch.rand(2, 3, 224, 224, dtype=torch.float64)
    theirs = functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    ours = graphs._resize_by_products(x, size, False, None)
    assert torch.allclose(ours, theirs, atol=1e-9)


def test_the_cross_product_and_the_maximum_are_torch_s():
    a, b = torch.randn(2, 5, 3, 4).movedim(2, -1).split(1)
    for one, other in ((a, b), (a, b[..., :1, :]), (a.movedim(-1, 1), b.movedim(-1, 1))):
        dim = 1 if one.shape[1] == 3 else -1
        ours = graphs._cross_by_products(one, other, dim)
        assert torch.allclose(ours, torch.linalg.cross(one, other, dim=dim), atol=1e-6)
    for keepdim in (False, True):
        for ours, theirs in zip(
            graphs._max_by_argmax(a, 2, keepdim), a.max(2, keepdim), strict=True
        ):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("any_rows", [False, True])
@torch.no_grad()
def test_exported_graphs_compute_what_the_networks_do(eager, any_rows):
    (crop,) = graphs.examples("evidence", CPU)
    seen = eager.infer(crop)
    (picture,) = graphs.examples("localiser", CPU)
    inputs = {
        "evidence": (crop,), "mesh": (seen.features, seen.joints), "localiser": (picture,),
    }  # fmt: skip
    expected = {
        "evidence": tuple(vars(seen).values()),
        "mesh": eager.regress(seen),
        "localiser": (eager.locate(picture),),
    }
    for name in graphs.EXAMPLES:
        program = graphs.export(eager.graph(name, "fp32"), graphs.examples(name, CPU), any_rows)
        for ours, theirs in zip(program.module()(*inputs[name]), expected[name], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4), name
        assert not {node.target for node in program.graph.nodes} & graphs.STAND_INS.keys()


@torch.no_grad()
def test_a_lower_precision_is_for_the_convolutions_and_leaves_the_networks_alone(eager):
    graph = eager.graph("evidence", "bf16")
    kinds = {p.dtype for p in graph.evidence.trunk.parameters()}
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in graph.evidence.right_head.parameters()} == {torch.float32}
    assert {p.dtype for p in eager.evidence.parameters()} == {torch.float32}
    (crop,) = graphs.examples("evidence", CPU)
    outputs = graph(crop)
    assert {output.dtype for output in outputs} == {torch.float32}
    seen = eager.infer(crop)
    assert 0 < (outputs[0] - seen.features).abs().max() < 0.1 * seen.features.abs().max()


@pytest.mark.parametrize(
    ("profile", "trunk"), [("lite", "pyramid"), ("lite", "efficientnet_lite0"), ("full", "")]
)
@torch.no_grad()
def test_a_capture_finds_nothing_elsewhere_and_nothing_to_wait_for(profile, trunk):
    """On the device ``meta``, where a constant left on the CPU is refused, and reading a value."""
    networks = build_networks(profile, trunk)
    parts = *networks.modules(), Projection(HandModel(hand_model_path()))
    parts = *parts, load_fused(localiser_path(), CPU)
    for part in parts:
        part.eval().requires_grad_(False)
    fuse_batch_norms(networks.evidence)
    mesh = EagerNetworks(*parts).graph("mesh", "fp16").to("meta")
    eager = EagerNetworks(*(part.to("meta") for part in parts))
    for name in graphs.EXAMPLES:
        inputs = [tensor.to("meta") for tensor in graphs.examples(name, CPU)]
        graph = mesh if name == "mesh" else eager.graph(name, "fp16", fused=True)
        outputs = graph(*inputs)
        assert {output.device.type for output in outputs} == {"meta"}, name
