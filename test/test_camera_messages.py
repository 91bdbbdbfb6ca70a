"""From camera_info to the camera; no ROS needed."""

from types import SimpleNamespace

import numpy as np
import pytest

from dhpe_ros.media.camera_messages import camera_from_info, may_be_distorted


def region(x_offset=0, y_offset=0, width=0, height=0):
    return SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=width, height=height)


def info(width=640, height=480, fx=500.0, **fields):
    """What a camera_info has, as far as it is read."""
    zeros = {"d": [], "p": [0.0] * 12, "binning_x": 0, "binning_y": 0, "roi": region()}
    k = [fx, 0.0, 320.0, 0.0, fx, 240.0, 0.0, 0.0, 1.0]
    return SimpleNamespace(**{**zeros, "width": width, "height": height, "k": k, **fields})


PROJECTION = [450.0, 0.0, 310.0, 0.0, 0.0, 460.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_k_is_the_camera():
    camera = camera_from_info(info(), 640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 500, 320, 240)
    assert not camera.assumed


def test_binning_and_roi_are_counted_in():
    roi = region(x_offset=100, y_offset=40, width=400, height=300)
    camera = camera_from_info(info(binning_x=2, binning_y=2, roi=roi), 200, 150)
    point = np.array((0.3, -0.2, 2.0))
    full = camera_from_info(info(), 640, 480).project(point[None])[0]
    corner = full - (100, 40) + 0.5  # from the corner of the region, where binning begins
    np.testing.assert_allclose(camera.project(point[None])[0], corner / 2 - 0.5)


def test_a_rectified_image_has_the_intrinsics_of_p():
    camera = camera_from_info(info(p=PROJECTION, d=[0.1, 0.0]), 640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (450, 460, 310, 230)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"d": [0.0] * 5}, False),
        ({"d": [0.1, 0.0]}, True),
        ({"d": [0.1, 0.0], "p": PROJECTION}, False),
    ],
)
def test_distortion_without_p_may_mean_an_image_that_is_not_rectified(fields, expected):
    assert may_be_distorted(info(**fields)) == expected


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (info(fx=0.0), "zero K.*[Cc]alibrate"),
        (info(k=[0.0] * 9), "zero K"),
        (info(width=320, height=240), "320x240.*640x480"),
        (info(fx=float("nan")), "finite"),
    ],
)
def test_an_unusable_camera_info_says_what_to_do(message, reason):
    with pytest.raises(ValueError, match=reason):
        camera_from_info(message, 640, 480)
