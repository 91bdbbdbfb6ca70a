"""Encodings that only cv_bridge knows, with that of a ROS installation: the real one."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from ament_index_python.packages import get_package_prefix
from sensor_msgs.msg import Image

from dhpe_ros.media.image_messages import UnknownEncodingError, fill_image, image_to_rgb


def is_installed():
    try:
        return get_package_prefix("cv_bridge")
    except (LookupError, OSError):
        return False


pytestmark = pytest.mark.skipif(
    not is_installed(), reason="needs cv_bridge, of a ROS 2 installation"
)
RGB = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)


def message(encoding):
    rgba = np.dstack((RGB, np.full(RGB.shape[:2], 255, np.uint8))).astype(np.uint16) * 257
    return fill_image(Image(), rgba if encoding == "rgba16" else rgba[..., [2, 1, 0, 3]], encoding)


@pytest.mark.parametrize("encoding", ["rgba16", "bgra16"])
def test_it_converts_what_we_do_not_know(encoding):
    np.testing.assert_allclose(image_to_rgb(message(encoding)), RGB, atol=1)


def test_its_errors_are_ours_with_the_known_encodings():
    sent = message("rgba16")
    sent.encoding = "rgb48"
    with pytest.raises(UnknownEncodingError, match=r"Unrecognized .*rgb48.*; known are rgb8, bgr8"):
        image_to_rgb(sent)


@pytest.mark.parametrize(
    "broken",
    [
        {"width": 9},
        {"height": 60},
        {"step": 32},
        {"width": 0},
        {"height": 0},
        {"width": 2**32 - 1, "height": 2**32 - 1},
    ],
)
def test_a_message_that_does_not_add_up_is_refused(broken):
    sent = message("rgba16")
    for name, value in broken.items():
        setattr(sent, name, value)
    with pytest.raises(ValueError, match=r"cv_bridge cannot convert it|megapixels|empty"):
        image_to_rgb(sent)


def test_other_rows_than_ours_are_read_by_their_step():
    sent = message("rgba16")
    padded = np.pad(np.reshape(sent.data, (6, sent.step)), ((0, 0), (0, 8)))
    wide = fill_image(Image(), padded, "mono8")
    wide.width, wide.encoding = sent.width, sent.encoding
    np.testing.assert_allclose(image_to_rgb(wide), RGB, atol=1)
