"""Depth images to metres."""

from types import SimpleNamespace

import numpy as np
import pytest

from dhpe_ros.media.image_messages import depth_to_metres

METRES = np.array(((0.0, 0.5, 1.25), (2.0, 0.001, 65.535)), np.float32)


def message(pixels, encoding, padding=0, big=False):
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    data = b"".join(row.tobytes() + b"x" * padding for row in rows)
    return SimpleNamespace(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=big,
        step=pixels.shape[1] * pixels.itemsize + padding, data=data,
    )  # fmt: skip


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 3, 8])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
def test_depth_is_metres_whatever_its_encoding_step_and_byte_order(encoding, padding, big):
    pixels = METRES if encoding == "32FC1" else np.rint(METRES * 1000).astype(np.uint16)
    depth_m = depth_to_metres(message(pixels, encoding, padding, big))
    assert depth_m.dtype == np.float32
    assert np.isnan(depth_m[0, 0])
    np.testing.assert_allclose(depth_m.ravel()[1:], METRES.ravel()[1:], rtol=1e-6)


def test_what_was_not_measured_is_nan():
    pixels = np.array(((np.nan, np.inf, -np.inf, -1.0, 0.0, 1.0),), np.float32)
    assert np.isnan(depth_to_metres(message(pixels, "32FC1"))[0]).tolist() == [True] * 5 + [False]


def test_what_is_no_depth_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="must be 16UC1"):
        depth_to_metres(message(METRES, "rgb8"))
    short = message(METRES, "32FC1")
    short.data = short.data[:-1]
    with pytest.raises(ValueError, match="23 bytes of data are too few"):
        depth_to_metres(short)
    short.step = 5
    with pytest.raises(ValueError, match="step 5 is too small"):
        depth_to_metres(short)


@pytest.mark.parametrize(
    ("pixels", "encoding", "said"),
    [
        (np.zeros((4, 5), np.uint16), "16UC1", "no pixel has a depth"),
        (np.full((4, 5), np.nan, np.float32), "32FC1", "no pixel has a depth"),
        (np.arange(20).reshape(4, 5).astype(np.uint16), "16UC1", "metres as 32FC1"),
        (np.full((4, 5), 520.0, np.float32), "32FC1", "millimetres as 16UC1"),
    ],
)
def test_what_cannot_be_the_depth_of_anything_is_refused_with_the_remedy(pixels, encoding, said):
    with pytest.raises(ValueError, match=said):
        depth_to_metres(message(pixels, encoding))


def test_a_few_odd_pixels_do_not_make_another_unit():
    near, far = np.full((4, 5), 600, np.uint16), np.full((40, 5), 0.6, np.float32)
    near[0, :2], far[:30] = 1, 1000.0  # noise; the sky of a simulator
    assert depth_to_metres(message(near, "16UC1")).max() == pytest.approx(0.6)
    assert depth_to_metres(message(far, "32FC1")).min() == pytest.approx(0.6)
