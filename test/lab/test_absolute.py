"""Absolute positions against the truth of rendered videos, and what those look like."""

from dataclasses import replace

import numpy as np
import pytest
from fake_tracker import make_hand

from dhpe_lab.evaluation.videos.absolute import CASES, WALL_M, depth_images, root_errors_mm
from dhpe_lab.evaluation.videos.sequences import random_sequence
from dhpe_ros.types import MIDDLE_MCP


@pytest.fixture(scope="module")
def sequence():
    """Three frames, shown for a long time: an even seed, so of a left hand."""
    short = random_sequence(2, frames=3)
    return replace(
        short,
        images=[short.images[0]] * 45,
        joints_m=np.repeat(short.joints_m[:1], 45, axis=0),
        depths_m=[short.depths_m[0]] * 45,
    )


def test_the_depth_image_shows_the_hand_s_surface_before_a_wall(sequence):
    depth_m, joints_m = depth_images(sequence)[0], sequence.joints_m[0]
    x, y = np.rint(sequence.camera.project(joints_m)).astype(int).T
    before_m = joints_m[:, 2] - depth_m[y, x]
    before_m = before_m[np.isfinite(before_m)]
    assert len(before_m) > 15
    assert np.median(before_m) == pytest.approx(0.008, abs=0.008)
    assert depth_m[5, 5] == pytest.approx(WALL_M, abs=0.02)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_known_size_or_a_depth_image_undo_a_wrong_size_and_learning_does_not(sequence, factor):
    truth_m = sequence.joints_m[0]
    hand = replace(
        make_hand(),
        joints_m=(truth_m * factor).astype(np.float32),
        vertices_m=np.repeat(truth_m * factor, 38, axis=0).astype(np.float32)[:778],
        vertices_px=np.repeat(sequence.camera.project(truth_m), 38, axis=0)[:778],
        normals=np.tile(np.float32((0, 0, -1)), (778, 1)),
    )
    off_mm = abs(factor - 1) * 1000 * np.linalg.norm(truth_m[MIDDLE_MCP])
    errors = {
        name: root_errors_mm([hand] * 45, sequence, *case(sequence)).mean()
        for name, case in CASES.items()
    }
    assert errors["each picture"] == pytest.approx(off_mm, rel=0.01)
    assert errors["learned"] == pytest.approx(off_mm, rel=0.01)
    assert errors["known"] < 3
    assert errors["depth"] < 25


def test_a_frame_without_a_hand_counts_for_nothing(sequence):
    assert len(root_errors_mm([None] * 45, sequence, *CASES["known"](sequence))) == 0
