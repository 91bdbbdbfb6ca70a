"""Every encoding against an image that is known, and messages that do not add up."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhpe_ros.media import image_messages
from dhpe_ros.media.image_messages import (
    ENCODINGS,
    UnknownEncodingError,
    compressed_to_rgb,
    depth_to_metres,
    fill_image,
    image_to_rgb,
)
from dhpe_ros.media.white_level import WhiteLevel

H, W = 6, 8
RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (H, W, 3), np.uint8)
GREY = RNG.integers(0, 256, (H, W), np.uint8)


def message(pixels, encoding, padding=0, bigendian=False):
    """A message whose rows carry ``padding`` more bytes, from an array whose rows are the data."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=bigendian,
        step=rows.shape[1],
        data=rows.tobytes(),
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", (0, 1, 2)), ("bgr8", (2, 1, 0)), ("8UC3", (2, 1, 0))],
)
def test_three_channels_come_out_as_rgb(encoding, channels, padding):
    sent = message(RGB[..., channels], encoding, padding)
    np.testing.assert_array_equal(image_to_rgb(sent), RGB)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(("encoding", "channels"), [("rgba8", (0, 1, 2)), ("bgra8", (2, 1, 0))])
def test_alpha_is_left_out(encoding, channels, padding):
    pixels = np.dstack((RGB[..., channels], GREY))
    np.testing.assert_array_equal(image_to_rgb(message(pixels, encoding, padding)), RGB)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_repeated_in_the_three_channels(encoding):
    rgb = image_to_rgb(message(GREY, encoding, padding=2))
    np.testing.assert_array_equal(rgb, np.repeat(GREY[..., None], 3, -1))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_16_bits_are_scaled_by_what_the_camera_fills(bits, bigendian, padding):
    order = ">u2" if bigendian else "<u2"
    grey = np.maximum(GREY, GREY.max() // 2)
    grey[0, 0] = 255
    stored = (grey.astype(np.uint16) << (bits - 8)).astype(order)
    rgb = image_to_rgb(message(stored, "mono16", padding, bigendian))
    np.testing.assert_array_equal(rgb[..., 1], grey)
    colour = RGB.copy()
    colour[0, 0, 0] = 255
    stored = (colour[..., ::-1].astype(np.uint16) << (bits - 8)).astype(order)
    rgb = image_to_rgb(message(stored, "bgr16", padding, bigendian))
    np.testing.assert_array_equal(rgb, colour)


def test_a_stream_of_16_bits_does_not_flicker():
    white = WhiteLevel()
    dim, bright = (message(np.full((H, W), v, np.uint16), "mono16") for v in (1000, 4000))
    seen = [image_to_rgb(sent, white=white)[0, 0, 0] for sent in (dim, bright, dim, bright)]
    assert seen == [250, 250, 62, 250]
    png = cv2.imencode(".png", np.full((H, W), 1000, np.uint16))[1].tobytes()
    sent = SimpleNamespace(format="mono16; png compressed ", data=png)
    assert compressed_to_rgb(sent, white=white)[0, 0].tolist() == [62, 62, 62]
    assert compressed_to_rgb(sent)[0, 0].tolist() == [250, 250, 250]


@pytest.mark.parametrize(
    ("encodings", "order"),
    [(("yuv422", "uyvy"), "uyvy"), (("yuv422_yuy2", "yuyv"), "yuyv")],
)
def test_both_spellings_of_yuv422_give_the_colour(encodings, order):
    red = np.array((200, 30, 40), float)
    y = 16 + (65.738 * red[0] + 129.057 * red[1] + 25.064 * red[2]) / 256  # BT.601
    u = 128 + (-37.945 * red[0] - 74.494 * red[1] + 112.439 * red[2]) / 256
    v = 128 + (112.439 * red[0] - 94.154 * red[1] - 18.285 * red[2]) / 256
    quad = {"u": round(u), "y": round(y), "v": round(v)}
    row = np.array([quad[letter] for letter in order] * (W // 2), np.uint8)
    pixels = np.tile(row, (H, 1)).reshape(H, W, 2)
    for encoding in encodings:
        rgb = image_to_rgb(message(pixels, encoding, padding=6))
        assert rgb.shape == (H, W, 3)
        assert np.abs(rgb - red).max() <= 3


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("depth", [8, 16])
def test_bayer_gives_the_colour_of_a_plain_wall(pattern, depth):
    wall = {"r": 220, "g": 120, "b": 30}
    cell = np.array([wall[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(cell, (H // 2, W // 2))
    stored = mosaic if depth == 8 else (mosaic.astype("<u2") << 8)
    white = WhiteLevel()
    white.to_8_bit(np.array([65535], np.uint16))
    rgb = image_to_rgb(message(stored, f"bayer_{pattern}{depth}", padding=4), white=white)
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], np.full((H - 4, W - 4, 3), (220, 120, 30)))


def test_the_last_row_may_lack_its_padding():
    sent = message(RGB, "rgb8", padding=5)
    sent.data = sent.data[:-5]
    np.testing.assert_array_equal(image_to_rgb(sent), RGB)


@pytest.mark.parametrize("encoding", ["", "rgb", "jpeg", "32FC3", "nv21", "RGB8"])
def test_an_unknown_encoding_is_named_with_those_that_are_known(encoding):
    with pytest.raises(UnknownEncodingError, match=f"'{encoding}'.*rgb8, bgr8"):
        image_to_rgb(message(RGB, encoding))


def test_the_cv_bridge_of_pypi_is_not_asked(monkeypatch):
    """It lies beside the other packages of Python, but not in ROS's index."""
    packages = pytest.importorskip("ament_index_python.packages", reason="needs ROS 2")

    def not_in_the_index(name):
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "get_package_prefix", not_in_the_index)
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    image_messages._cv_bridge.cache_clear()
    try:
        with pytest.raises(UnknownEncodingError, match=r"'rgba16' is unknown; known are rgb8"):
            image_to_rgb(message(np.dstack((RGB, GREY)).astype(np.uint16), "rgba16"))
    finally:
        image_messages._cv_bridge.cache_clear()


def test_a_cv_bridge_that_does_not_fit_numpy_is_told_once_and_not_used(monkeypatch, caplog):
    packages = pytest.importorskip("ament_index_python.packages", reason="needs ROS 2")

    class CvBridge:
        def encoding_to_cvtype2(self, _):
            raise ImportError("numpy.core.multiarray failed to import")

    monkeypatch.setattr(packages, "get_package_prefix", lambda _: "/opt/ros")
    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=CvBridge))
    image_messages._cv_bridge.cache_clear()
    try:
        for _ in range(2):
            with pytest.raises(UnknownEncodingError, match=r"'rgba16' is unknown; known are rgb8"):
                image_to_rgb(message(np.dstack((RGB, GREY)).astype(np.uint16), "rgba16"))
    finally:
        image_messages._cv_bridge.cache_clear()
    (said,) = caplog.messages
    assert said.startswith("cv_bridge cannot be loaded (numpy.core.multiarray failed to import)")


def test_depth_in_place_of_colour_is_said_so():
    with pytest.raises(UnknownEncodingError, match="depth image"):
        image_to_rgb(message(GREY.astype(np.uint16), "16UC1"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 0}, "empty"),
        ({"height": 0}, "empty"),
        ({"step": 0}, "step 0 is too small"),
        ({"step": 3 * W - 1}, "at least 24"),
        ({"data": b""}, "0 bytes of data are too few"),
        ({"data": bytes(3 * W * H - 1)}, "143 bytes"),
        ({"height": 2**32 - 1}, "too few"),
        ({"width": 2**31}, "too small"),
        ({"encoding": "yuv422", "width": 7}, "even width"),
        ({"encoding": "bayer_rggb8", "height": 1}, "2x2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_numbers(changes, reason):
    sent = message(RGB, "rgb8")
    vars(sent).update(changes)
    with pytest.raises(ValueError, match=reason):
        image_to_rgb(sent)


SIDES = st.integers(0, 9) | st.sampled_from((2**16, 2**31, 2**32 - 1))  # and absurd ones


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from((*ENCODINGS, "16UC1", "32FC1")),
    height=SIDES,
    width=SIDES,
    step=st.integers(0, 80) | st.sampled_from((2**31, 2**32 - 1)),
    data=st.binary(max_size=700),
    bigendian=st.booleans(),
)
def test_whatever_comes_is_an_image_or_a_value_error(
    encoding, height, width, step, data, bigendian
):
    sent = SimpleNamespace(
        encoding=encoding, height=height, width=width, step=step, data=data, is_bigendian=bigendian
    )
    for read, shape, dtype in (
        (image_to_rgb, (height, width, 3), np.uint8),
        (depth_to_metres, (height, width), np.float32),
    ):
        try:
            pixels = read(sent)
        except ValueError:
            continue
        assert (pixels.shape, pixels.dtype) == (shape, dtype)


def test_png_comes_back_exactly_and_jpeg_nearly():
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_LINEAR)
    for suffix, tolerance in ((".png", 0), (".jpg", 12)):
        data = cv2.imencode(suffix, smooth[..., ::-1])[1].tobytes()
        rgb = compressed_to_rgb(SimpleNamespace(format="rgb8; compressed", data=data))
        assert np.abs(rgb.astype(int) - smooth).mean() <= tolerance


def test_compressed_depth_is_refused():
    with pytest.raises(UnknownEncodingError, match="depth"):
        compressed_to_rgb(SimpleNamespace(format="16UC1; compressedDepth png", data=b"123"))


@pytest.mark.parametrize("pixels", [RGB, GREY, RGB[:, ::2]])
def test_what_is_written_is_read_back(pixels):
    encoding = "rgb8" if pixels.ndim == 3 else "mono8"
    sent = fill_image(SimpleNamespace(), pixels, encoding)
    assert (sent.height, sent.width, sent.step) == (*pixels.shape[:2], pixels[0].size)
    assert sent.is_bigendian == (sys.byteorder == "big")
    back = image_to_rgb(sent)
    np.testing.assert_array_equal(back if pixels.ndim == 3 else back[..., 0], pixels)
