"""Finger widths of masks against those of meshes, on hands whose masks are the meshes' own."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.hand_building.finger_width import finger_widths
from dhpe_ros.geometry.crop import crop_to_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import Box

SIZE = 320


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path())).eval()


def open_hands(projection, grown_px, right):
    """Flat hands seen from the palm, turned in the picture, with masks grown by so many pixels."""
    angles = torch.linspace(-0.6, 0.6, 5)
    parameters = HandParameters.start(len(angles))
    p = HandParameters.split(parameters)
    p.rotation[:] = 0
    p.rotation[:, 0], p.rotation[:, 1] = 1, 1  # the palm, which faces -y, to the viewer
    about_view = torch.stack((angles.cos(), 0 * angles, 0 * angles, angles.sin()), 1)
    p.rotation[:] = product(about_view, p.rotation)
    model = projection.hand_model
    p.pose[:] = model.theta_from_pose(torch.zeros(1, 15, 3))
    p.translation[:] -= projection(parameters).joints.mean(1)
    hands = projection(parameters)
    masks = projection.silhouette(hands, SIZE).numpy()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown_px + 1, 2 * grown_px + 1))
    for mask, joints in zip(masks, hands.joints.numpy(), strict=True):
        opacity = cv2.dilate((255 * mask).astype(np.uint8), kernel)
        opacity = opacity if right else opacity[:, ::-1].copy()
        points = crop_to_image(joints[:, :2], Box(0, 0, SIZE, SIZE), mirrored=not right)
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        yield Sample(image, points, right, "drawn", mask=opacity, opacity=opacity)


def product(one, other):
    w, v = one[:, :1], one[:, 1:]
    s, u = other[:, :1], other[:, 1:]
    scalar = w * s - (v * u).sum(1, keepdim=True)
    both = torch.cat((scalar, w * u + s * v + torch.linalg.cross(v, u)), 1)
    return both / both.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("right", [True, False])
def test_masks_of_the_mesh_itself_are_as_wide_as_it_and_grown_ones_wider(projection, right):
    same = finger_widths(list(open_hands(projection, 0, right)), projection)
    wider = finger_widths(list(open_hands(projection, 2, right)), projection)
    assert len({finger for finger, _ in same}) == 5
    for key in same.keys() & wider.keys():
        assert np.median(same[key]) == pytest.approx(1, abs=0.06), key
        assert 1.08 < np.median(wider[key]) < 1.6, key


def test_what_does_not_stand_free_is_not_measured(projection):
    full = np.full((SIZE, SIZE), 255, np.uint8)
    samples = [
        replace(sample, mask=full, opacity=full) for sample in open_hands(projection, 0, True)
    ]
    assert finger_widths(samples, projection) == {}
