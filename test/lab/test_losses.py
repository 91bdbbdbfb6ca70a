"""The losses of Eqs. 2-12 against values computed by hand."""

import dataclasses

import pytest
import torch

from dhpe_lab.training import losses
from dhpe_lab.training.batches import Batch
from dhpe_lab.training.losses import heatmap_targets
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.projection import ProjectedHand
from dhpe_ros.networks.evidence import EvidenceMaps
from dhpe_ros.networks.mesh_estimator import MeshEstimate
from dhpe_ros.networks.weights import hand_model_path

NO_MASKS = torch.zeros(2, 4, 4)
NO_HAND = torch.zeros(2)


@pytest.fixture
def batch():
    """Two right hands whose joints' boxes are 1.0 and 0.5 wide, depths zero and trusted."""
    joints = torch.zeros(2, 21, 2)
    joints[0, 1], joints[1, 1] = torch.tensor((1.0, 0.5)), torch.tensor((0.5, 0.25))
    return Batch(
        images=torch.zeros(2, 3, 128, 128),
        hand=torch.tensor([True, True]),
        right=torch.tensor([True, True]),
        near=torch.tensor([True, True]),
        joints=joints,
        depth=torch.zeros(2, 21),
        depth_trust=torch.ones(2),
        mask=torch.zeros(2, 128, 128),
        mask_known=torch.tensor([True, True]),
        mask_exact=torch.tensor([True, True]),
        synthetic=torch.tensor([True, False]),
        rotation=torch.eye(3).repeat(2, 1, 1),
        pose=torch.zeros(2, 15, 3),
        shape=torch.zeros(2, 10),
    )


def _hand(batch, flat=0.0, deep=0.0):
    joints = torch.cat((batch.joints + flat, batch.depth[..., None]), 2)
    joints[:, 3, 2] += deep
    return ProjectedHand(torch.zeros(2, 778, 3), joints)


def test_skeleton_is_normalised_by_one_and_a_half_boxes(batch):
    assert losses.skeleton(_hand(batch), batch).tolist() == [0.0, 0.0]
    # every joint off by 0.3 in x and in y: 21 * 2 * 0.09 / 1.5^2 and / 0.75^2
    expected = [21 * 0.18 / 2.25, 21 * 0.18 / 0.5625]
    assert losses.skeleton(_hand(batch, flat=0.3), batch).tolist() == pytest.approx(expected)
    # one joint 0.3 too deep
    assert losses.skeleton(_hand(batch, deep=0.3), batch).tolist() == pytest.approx([0.04, 0.16])


def test_depth_counts_as_far_as_it_is_trusted(batch):
    half = dataclasses.replace(batch, depth_trust=torch.tensor([0.5, 0.0]))
    value = losses.skeleton(_hand(batch, deep=0.3), half)
    assert value.tolist() == pytest.approx([0.02, 0.0])


def test_refined_joints(batch):
    estimate = MeshEstimate(HandParameters.start(2), _hand(batch), batch.joints + 0.3)
    expected = [21 * 0.18 / 2.25, 21 * 0.18 / 0.5625]
    assert losses.refined_joints(estimate, batch).tolist() == pytest.approx(expected)


def test_heatmaps_are_zero_at_the_target_and_count_cells(batch):
    inside = dataclasses.replace(batch, joints=torch.full((2, 21, 2), 0.1))
    targets = heatmap_targets(inside.joints)
    exact = EvidenceMaps(torch.zeros(2, 2048), (targets,), torch.zeros(2), NO_MASKS, NO_HAND)
    assert losses.joint_heatmaps(exact, inside).tolist() == [0.0, 0.0]
    off = targets.clone()
    off[0, 4, 0, 0] += 2.0  # one cell of one of 21 maps off by 2
    wrong = EvidenceMaps(torch.zeros(2, 2048), (off,), torch.zeros(2), NO_MASKS, NO_HAND)
    assert losses.joint_heatmaps(wrong, inside).tolist() == pytest.approx([4 / 21, 0.0])


def test_heatmaps_weigh_the_same_at_any_size_and_width(batch):
    inside = dataclasses.replace(batch, joints=torch.full((2, 21, 2), 0.1))
    seen = []
    for size, sigma in ((32, 25 / 256), (48, 25 / 256), (48, 16 / 256)):
        nothing = (torch.zeros(2, 21, size, size),)
        maps = EvidenceMaps(torch.zeros(2, 2048), nothing, torch.zeros(2), NO_MASKS, NO_HAND)
        seen.append(losses.joint_heatmaps(maps, inside, sigma)[1].item())
    assert seen[1:] == pytest.approx(2 * seen[:1], rel=0.01)


def test_heatmaps_of_left_hands_count_a_tenth(batch):
    joints = torch.full((2, 21, 2), 0.1)
    mixed = dataclasses.replace(batch, joints=joints, right=torch.tensor([False, True]))
    off = heatmap_targets(joints) + 0.5
    maps = EvidenceMaps(torch.zeros(2, 2048), (off,), torch.zeros(2), NO_MASKS, NO_HAND)
    right = 32 * 32 * 0.25
    assert losses.joint_heatmaps(maps, mixed).tolist() == pytest.approx([0.1 * right, right])
    background = dataclasses.replace(mixed, hand=torch.tensor([False, True]))
    flat = torch.full_like(off, 0.5)
    empty = EvidenceMaps(torch.zeros(2, 2048), (flat,), torch.zeros(2), NO_MASKS, NO_HAND)
    assert losses.joint_heatmaps(empty, background)[0] == pytest.approx(right)


def test_joints_outside_and_missing_hands_want_empty_heatmaps(batch):
    joints = torch.full((2, 21, 2), 0.1)
    joints[0] = 1.2
    none = dataclasses.replace(batch, joints=joints, hand=torch.tensor([True, False]))
    empty = EvidenceMaps(
        torch.zeros(2, 2048), (torch.zeros(2, 21, 32, 32),), torch.zeros(2), NO_MASKS, NO_HAND
    )
    assert losses.joint_heatmaps(empty, none).tolist() == [0.0, 0.0]


def test_the_gate_opens_at_fifteen_pixels_of_224(batch):
    def gate(pixels):
        hand = _hand(batch)
        shift = torch.tensor((pixels / 112, 0.0, 0.0))
        moved = ProjectedHand(hand.vertices, hand.joints + shift)
        return losses.shape_gate(moved, batch.joints).tolist()

    assert gate(14.9) == [1.0, 1.0]
    assert gate(15.1) == [0.0, 0.0]


def test_masks_and_features_are_mean_squares():
    value = losses.silhouettes(torch.ones(1, 4, 4), torch.full((1, 4, 4), 0.5))
    assert value.tolist() == [0.25]
    assert losses.masked_features(torch.ones(1, 8), torch.full((1, 8), 3.0)).tolist() == [4.0]


def test_masks_count_on_the_hands_side_of_the_wrist_unless_they_are_exact(batch):
    joints = torch.zeros(2, 21, 2)
    joints[:, 9, 1] = -0.5  # the middle finger's root above the wrist, which is in the middle
    mask = torch.zeros(2, 8, 8)
    mask[:, :4, :4] = 1.0  # a quarter of the picture, half of what is above the wrist
    of = dataclasses.replace(
        batch, joints=joints, mask=mask, mask_exact=torch.tensor([True, False])
    )
    logits = torch.full((2, 4, 4), 2.0)
    maps = EvidenceMaps(torch.zeros(2, 2048), (), torch.zeros(2), logits, NO_HAND)
    right, wrong = 0.1269280, 2.1269280  # log(1 + exp(-2)), log(1 + exp(2))
    expected = [right / 4 + wrong * 3 / 4, right / 2 + wrong / 2]
    assert losses.masks(maps, of).tolist() == pytest.approx(expected)


def test_side_counts_hands_only(batch):
    maps = EvidenceMaps(torch.zeros(2, 2048), (), torch.zeros(2), NO_MASKS, NO_HAND)
    half = dataclasses.replace(batch, hand=torch.tensor([True, False]))
    assert losses.side(maps, half).tolist() == pytest.approx([0.6931472, 0.0])


def test_a_hand_and_none_are_told_apart_in_every_crop(batch):
    logits = torch.tensor((2.0, 2.0))
    maps = EvidenceMaps(torch.zeros(2, 2048), (), torch.zeros(2), NO_MASKS, logits)
    half = dataclasses.replace(batch, hand=torch.tensor([True, False]))
    assert losses.hand(maps, half).tolist() == pytest.approx([0.02538560, 21.269280])


def test_parameters_count_for_synthetic_hands_only(batch):
    model = HandModel(hand_model_path())
    h = HandParameters.start(2)
    h[:, 8:53] = model.theta_from_pose(torch.zeros(2, 15, 3))
    exact = losses.model_parameters(MeshEstimate(h, None, None), batch, model)
    assert exact.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    h[:, 4:8] = torch.tensor((0.0, 1.0, 0.0, 0.0))  # half a turn about x: |R - I|^2 = 8
    h[:, 53] = 2.0
    wrong = losses.model_parameters(MeshEstimate(h, None, None), batch, model)
    assert wrong.tolist() == pytest.approx([0.5 * 8 + 0.02 * 4, 0.0], abs=1e-4)


def test_plausibility_is_in_standard_deviations():
    model = HandModel(hand_model_path())
    h = HandParameters.start(1)
    h[0, 8:53], h[0, 53:] = 2 * model.theta_std, 3.0
    estimate = MeshEstimate(h, None, None)
    value = losses.plausibility(estimate, PoseSpace(model))
    assert value.tolist() == pytest.approx([4.0 + 9.0])
