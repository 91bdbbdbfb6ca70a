"""The graphs that are compiled compute what the pipeline's networks do."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import dhpe_ros
from dhpe_ros import types
from dhpe_ros.detection.localiser import load_fused
from dhpe_ros.engines import graphs, identity
from dhpe_ros.engines.networks import EagerNetworks
from dhpe_ros.hand.kernels import hand_kernels
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


def make(eager, precision):
    return graphs.make_graphs(
        eager.evidence, eager.mesh_estimator, eager.projection, eager.localiser, precision
    )


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


@torch.no_grad()
def test_exported_graphs_compute_what_the_networks_do(eager):
    (crop,) = graphs.examples("evidence", CPU)
    seen = eager.see(crop)
    (picture,) = graphs.examples("localiser", CPU)
    inputs = {
        "evidence": (crop,), "mesh": (seen.features, seen.joints), "localiser": (picture,),
    }  # fmt: skip
    expected = {
        "evidence": tuple(vars(seen).values()),
        "mesh": eager.regress(seen),
        "localiser": (eager.locate(picture),),
    }
    for name, graph in make(eager, "fp32").items():
        program = graphs.export(graph, graphs.examples(name, CPU))
        for ours, theirs in zip(program.module()(*inputs[name]), expected[name], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4), name
        assert not {node.target for node in program.graph.nodes} & graphs.STAND_INS.keys()


@torch.no_grad()
def test_a_lower_precision_is_for_the_convolutions_and_leaves_the_networks_alone(eager):
    graph = make(eager, "bf16")["evidence"]
    kinds = {p.dtype for p in graph.evidence.trunk.parameters()}
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in graph.evidence.right_head.parameters()} == {torch.float32}
    assert {p.dtype for p in eager.evidence.parameters()} == {torch.float32}
    (crop,) = graphs.examples("evidence", CPU)
    outputs = graph(crop)
    assert {output.dtype for output in outputs} == {torch.float32}
    seen = eager.see(crop)
    assert 0 < (outputs[0] - seen.features).abs().max() < 0.1 * seen.features.abs().max()


def on_meta(profile, trunk, precision, fused):
    """The graphs of weights of chance, and what goes into each, on the device ``meta``."""
    networks = build_networks(profile, trunk)
    parts = *networks.modules(), Projection(HandModel(hand_model_path()))
    parts = *parts, load_fused(localiser_path(), CPU)
    for part in parts:
        part.eval().requires_grad_(False)
    fuse_batch_norms(networks.evidence)
    parts = [part.to("meta") for part in parts]
    for name, graph in graphs.make_graphs(*parts, precision, fused).items():
        yield name, graph, [t.to("meta") for t in graphs.examples(name, CPU)]


NETWORKS = [("lite", "pyramid"), ("lite", "efficientnet_lite0"), ("full", "")]


@pytest.mark.parametrize(("profile", "trunk"), NETWORKS)
@torch.no_grad()
def test_a_capture_finds_nothing_elsewhere_and_nothing_to_wait_for(profile, trunk):
    """On the device ``meta``, where a constant left on the CPU is refused, and reading a value."""
    for name, graph, inputs in on_meta(profile, trunk, "fp16", fused=True):
        assert {output.device.type for output in graph(*inputs)} == {"meta"}, name


@pytest.mark.parametrize(("profile", "trunk"), NETWORKS)
@torch.no_grad()
def test_the_key_has_every_file_whose_code_an_engine_is_made_of(profile, trunk):
    package, run = str(Path(dhpe_ros.__file__).parent), set()

    def note(frame, event, argument):
        run.add(frame.f_code.co_filename)

    for _, graph, inputs in on_meta(profile, trunk, "fp32", fused=False):
        sys.setprofile(note)
        try:
            graph(*inputs)
        finally:
            sys.setprofile(None)
    ours = {path for path in run if path.startswith(package)}
    assert graphs.__file__ in ours
    assert ours <= set(map(str, identity.source_files(identity._EXPORTED)))


def test_the_key_has_files_that_give_constants_alone():
    files = identity.source_files(identity._EXPORTED)
    assert {Path(types.__file__), Path(hand_kernels.__file__)} <= set(files)
    assert list(files) == sorted(set(files))
