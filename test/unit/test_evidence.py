"""The evidence networks' shapes and names, and the read-out of heat maps."""

import pytest
import torch

from dhpe_lab.training.losses import heatmap_targets
from dhpe_ros.networks.evidence import (
    Evidence,
    build_evidence,
    read_joints,
    turning_sense,
)
from dhpe_ros.networks.layers import IMAGENET_MEAN, fuse_batch_norms
from dhpe_ros.networks.posenet import PoseNet
from dhpe_ros.networks.resnet import ResNet50
from dhpe_ros.networks.trunks import LITE_TRUNKS
from dhpe_ros.types import FEATURE_COUNT


@pytest.mark.parametrize(("profile", "stages"), [("lite", 1), ("full", 3)])
def test_both_profiles_have_the_same_outputs(profile, stages):
    network = build_evidence(profile).eval()
    crops = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        maps = network.maps(crops)
        evidence = network(crops)
    assert maps.features.shape == evidence.features.shape == (2, 2048)
    assert [stage.shape for stage in maps.heatmaps] == [(2, 21, 32, 32)] * stages
    assert evidence.joints.shape == (2, 21, 2)
    assert evidence.confidences.shape == (2, 21)
    assert evidence.right.shape == (2,)
    features = network.features(network.feature_input(crops))
    assert torch.allclose(features, maps.features, atol=1e-5)


def test_a_lite_trunk_sees_the_pixels_it_was_built_for():
    network = build_evidence("lite", "efficientnet_lite0", 96).eval()
    with torch.no_grad():
        maps = network.maps(torch.rand(1, 3, 224, 224))
        features = network.features(network.feature_input(torch.rand(1, 3, 224, 224)))
    assert maps.heatmaps[-1].shape == (1, 21, 24, 24)
    assert maps.mask_logits.shape == (1, 48, 48)
    assert features.shape == (1, 2048)
    with pytest.raises(ValueError, match="multiple of 32 pixels, got 100"):
        build_evidence("lite", "efficientnet_lite0", 100)


def test_what_a_mask_hides_is_the_mean_colour():
    network = build_evidence("lite").eval()
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None].expand(1, 3, 224, 224)
    assert network.feature_input(mean).abs().max() < 1e-5
    assert network.feature_input(torch.rand(2, 3, 300, 300)).shape == (2, 3, 128, 128)


@pytest.mark.parametrize(
    ("profile", "trunk"), [("lite", "pyramid"), ("lite", "efficientnet_lite0"), ("full", "")]
)
def test_fused_batch_norms_change_nothing(profile, trunk):
    torch.manual_seed(0)
    network = build_evidence(profile, trunk)
    with torch.no_grad():
        network.maps(torch.rand(2, 3, 224, 224))  # batch statistics that are not 0 and 1
        network.eval()
        crops = torch.rand(1, 3, 224, 224)
        before = network.maps(crops)
        fuse_batch_norms(network)
        after = network.maps(crops)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert torch.allclose(before.features, after.features, rtol=1e-3, atol=1e-4)
    assert torch.allclose(before.heatmaps[-1], after.heatmaps[-1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("trunk", LITE_TRUNKS.values())
def test_the_lite_trunks_are_small(trunk):
    assert sum(p.numel() for p in trunk().parameters()) <= 6_000_000


def test_resnet_has_torchvisions_parameters():
    state = ResNet50().state_dict()
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer1.0.downsample.1.running_mean"].shape == (256,)
    assert state["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert state["layer3.5.bn2.weight"].shape == (256,)
    # torchvision's resnet50 has 25,557,032 parameters, 2,049,000 of them in the classifier.
    assert sum(p.numel() for p in ResNet50().parameters()) == 25_557_032 - 2_049_000


def test_posenet_has_the_published_layers():
    state = PoseNet().state_dict()
    assert state["conv1_1.weight"].shape == (64, 3, 3, 3)
    assert state["conv4_7.weight"].shape == (128, 256, 3, 3)
    assert state["conv5_2.weight"].shape == (21, 512, 1, 1)
    assert state["conv6_1.weight"].shape == state["conv7_1.weight"].shape == (128, 149, 7, 7)
    assert state["conv7_7.bias"].shape == (21,)


def test_read_out_inverts_the_targets():
    torch.manual_seed(0)
    joints = torch.rand(3, 21, 2) * 1.8 - 0.9
    found, heights = read_joints(heatmap_targets(joints))
    assert torch.allclose(found, joints, atol=1e-3)
    assert (heights > 0.95).all()


def test_targets_are_the_stated_gaussians():
    joints = torch.full((1, 21, 2), 1 / 32)  # the centre of cell 16
    target = heatmap_targets(joints)[0, 0]
    assert float(target[16, 16]) == pytest.approx(1.0)
    distance_px, sigma_px = 3 * 8, 25  # three cells of eight pixels at 256
    assert float(target[16, 19]) == pytest.approx(
        torch.tensor(-((distance_px / sigma_px) ** 2)).exp().item(), rel=1e-5
    )


def test_read_out_of_nothing_is_finite_and_unsure():
    joints, heights = read_joints(torch.zeros(1, 21, 32, 32))
    assert joints.isfinite().all()
    assert (heights == 0).all()
    joints, _ = read_joints(heatmap_targets(torch.full((1, 21, 2), 3.0)))
    assert (joints.abs() <= 1).all()


def test_rows_and_replacements_take_everything_along():
    parts = [torch.rand(3, *rest) for rest in ((FEATURE_COUNT,), (21, 2), (21,), (), (64, 64), ())]
    evidence, other = Evidence(*parts), Evidence(*(part + 1 for part in parts))
    for of, part in zip(vars(evidence.rows(torch.tensor([1, 2]))).values(), parts, strict=True):
        assert torch.equal(of, part[1:])
    mixed = evidence.replaced(torch.tensor([True, False, False]), other)
    for of, part in zip(vars(mixed).values(), parts, strict=True):
        assert torch.equal(of, torch.cat((part[:1] + 1, part[1:])))
    bare = Evidence(*parts[:-2]).rows(torch.tensor([0]))
    assert bare.mask is None and bare.hand is None


def test_a_score_is_of_the_joints_and_of_there_being_a_hand():
    parts = torch.zeros(2, FEATURE_COUNT), torch.zeros(2, 21, 2), torch.full((2, 21), 0.8)
    sides = torch.ones(2)
    assert Evidence(*parts, sides).score.tolist() == pytest.approx([0.8, 0.8])
    scores = Evidence(*parts, sides, None, torch.tensor((1.0, 0.25))).score
    assert scores.tolist() == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("profile", ["lite", "full"])
def test_an_untrained_network_takes_every_crop_for_a_hand(profile):
    network = build_evidence(profile).eval()
    with torch.no_grad():
        assert (network(torch.rand(2, 3, 224, 224)).hand > 0.9).all()


@pytest.mark.parametrize(("profile", "size"), [("lite", 64), ("full", 56)])
def test_every_crop_has_a_mask_of_probabilities(profile, size):
    with torch.no_grad():
        mask = build_evidence(profile).eval()(torch.rand(2, 3, 224, 224)).mask
    assert mask.shape == (2, size, size)
    assert ((mask >= 0) & (mask <= 1)).all()


def test_a_side_follows_from_palm_or_back_and_the_layout():
    palm = torch.zeros(1, 21, 2)  # a right one, fingers up: thumb and index to the right
    palm[:, 0, 1], palm[:, 5], palm[:, 17] = 0.8, torch.tensor((0.3, 0)), torch.tensor((-0.3, 0))
    mirrored = palm * torch.tensor((-1.0, 1.0))
    turned = palm.flip(2) * torch.tensor((-1.0, 1.0))
    edge_on = palm * torch.tensor((0.0, 1.0))
    senses = [turning_sense(joints).item() for joints in (palm, mirrored, turned, edge_on)]
    assert senses == [-1, 1, -1, 0]
    network = build_evidence("lite", "efficientnet_lite0")
    torch.nn.init.constant_(network.right_head[-1].weight, 0.0)
    features = torch.rand(1, 2048)
    logits = [network.right_logit(features, heatmap_targets(j)) for j in (palm, mirrored)]
    bias = network.right_head[-1].bias
    assert torch.allclose(logits[0] - bias, bias - logits[1], atol=1e-5)
    assert (logits[0] - logits[1]).abs() > 1e-4
