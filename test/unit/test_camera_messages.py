"""From camera_info to the camera; no ROS needed."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhpe_ros.media.camera_messages import (
    camera_from_info,
    describe_reading,
    info_fields,
    is_rectified,
)


def region(x_offset=0, y_offset=0, width=0, height=0):
    return SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=width, height=height)


def info(width=640, height=480, fx=500.0, **fields):
    """The fields of a camera_info that are read."""
    zeros = {"d": [], "p": [0.0] * 12, "r": [0.0] * 9, "distortion_model": "plumb_bob"}
    zeros |= {"binning_x": 0, "binning_y": 0, "roi": region()}
    k = [fx, 0.0, 320.0, 0.0, fx, 240.0, 0.0, 0.0, 1.0]
    return SimpleNamespace(**{**zeros, "width": width, "height": height, "k": k, **fields})


DISTORTION = [-0.3, 0.12, 1e-3, -5e-4, -0.02]
TURN = np.array(((0.96, 0.0, 0.28), (0.0, 1.0, 0.0), (-0.28, 0.0, 0.96)))
PROJECTION = [450.0, 0.0, 310.0, 0.0, 0.0, 460.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def camera_of(message, width=640, height=480, rectified=False):
    return camera_from_info(message, width, height, rectified=rectified)


def intrinsics(camera):
    return camera.fx, camera.fy, camera.cx, camera.cy


def test_k_is_the_camera():
    for rectified in (False, True):
        camera = camera_of(info(), rectified=rectified)
        assert intrinsics(camera) == (500, 500, 320, 240)
        assert not camera.assumed
        assert not camera.lens.distorts


@pytest.mark.parametrize("d", [[], DISTORTION])
def test_binning_and_roi_are_counted_in(d):
    roi = region(x_offset=100, y_offset=40, width=400, height=300)
    camera = camera_of(info(d=d, binning_x=2, binning_y=2, roi=roi), 200, 150)
    point = np.array((0.3, -0.2, 2.0))
    full = camera_of(info(d=d)).project(point[None])[0]
    corner = full - (100, 40) + 0.5  # from the corner of the region, where binning begins
    np.testing.assert_allclose(camera.project(point[None])[0], corner / 2 - 0.5)


def test_a_raw_image_has_k_and_d_a_rectified_one_p():
    message = info(p=PROJECTION, d=DISTORTION, r=TURN.ravel().tolist())
    rectified, raw = camera_of(message, rectified=True), camera_of(message)
    assert intrinsics(rectified) == (450, 460, 310, 230)
    assert not rectified.lens.distorts
    assert intrinsics(raw) == (500, 500, 320, 240)
    assert raw.lens.coefficients == tuple(DISTORTION)


def test_raw_pixels_are_rectified_as_opencv_and_image_proc_do():
    message = info(p=PROJECTION, d=DISTORTION, r=TURN.ravel().tolist())
    k, p = np.reshape(message.k, (3, 3)), np.reshape(PROJECTION, (3, 4))
    d = np.array(DISTORTION)
    maps = cv2.initUndistortRectifyMap(k, d, TURN, p, (640, 480), cv2.CV_32FC1)
    y, x = np.mgrid[0:480:40, 0:640:40]
    raw = np.column_stack([one[y, x].ravel() for one in maps])
    seen = camera_of(message, rectified=True).project(camera_of(message).rays(raw))
    np.testing.assert_allclose(seen, np.column_stack((x.ravel(), y.ravel())), atol=1e-3)


@pytest.mark.parametrize(
    ("topic", "fields", "rectified"),
    [
        ("/camera/image_raw", {"d": DISTORTION}, False),
        ("/camera/image_raw", {"d": DISTORTION, "p": PROJECTION}, False),
        ("/camera/image_rect_color", {"d": DISTORTION, "p": PROJECTION}, True),
        ("/camera/image_rect/compressed", {"d": DISTORTION}, True),
        ("/camera/infra1/image_rect_raw", {"d": DISTORTION}, True),
        ("/zed/rgb/rect/image", {"d": DISTORTION}, True),
        ("/camera/image", {"d": DISTORTION, "p": PROJECTION}, False),
        ("/rectory/camera/image", {"d": DISTORTION}, False),
        ("/raw_cameras/image_rect", {"d": DISTORTION}, True),
        ("/camera/image", {"d": [0.0] * 5, "p": PROJECTION}, True),
        ("/camera/image", {"d": [0.0] * 4, "distortion_model": "equidistant"}, False),
        ("/camera/image", {"d": []}, True),
    ],
)
def test_raw_or_rectified_is_told_by_the_topic_and_the_distortion(topic, fields, rectified):
    assert is_rectified(info(**fields), topic) == rectified
    assert is_rectified(info(**fields), topic, "rectified")
    assert not is_rectified(info(**fields), topic, "raw")


def test_how_the_images_are_taken_is_said_with_what_changes_it():
    text = describe_reading(info(d=DISTORTION), "/camera/image", rectified=False)
    assert "/camera/image are read as raw, with the plumb_bob distortion" in text
    assert "set camera.images to rectified" in text


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "equidistant"])
def test_a_camera_goes_into_a_camera_info_and_back(model):
    d = {"plumb_bob": DISTORTION, "rational_polynomial": [*DISTORTION, 0.1, 0.0, 0.0]}
    sent = info(d=d.get(model, DISTORTION[:4]), distortion_model=model, r=TURN.ravel().tolist())
    camera = camera_of(sent)
    assert camera_of(info(**info_fields(camera))) == camera


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (info(fx=0.0), "zero K.*[Cc]alibrate"),
        (info(k=[0.0] * 9), "zero K"),
        (info(width=320, height=240), "320x240.*640x480"),
        (info(fx=float("nan")), "finite"),
        (info(fx=1e-3), "fx=0.001 means a field of view of 180 degrees.*give the intrinsics of"),
        (info(fx=1e300), r"fx=1e\+300 means a field of view of .* degrees"),
        (info(k=[500.0, 0, 320, 0, 1000.0, 240, 0, 0, 1]), "fx=500 and fy=1000 differ"),
        (info(k=[500.0, 0, 320, 0, 500.0, 900, 0, 0, 1]), "cy=900, lies outside the picture"),
        (info(k=[500.0, 0, 159.5, 0, 500.0, 240, 0, 0, 1]), "cx=159.5, lies far from the middle"),
        (info(d=[0.1] * 3), "plumb_bob has .* coefficients, got 3"),
        (info(d=DISTORTION, distortion_model="omni"), "'omni' is not known.*image_proc"),
        (info(d=[-90.0, 0.0, 0.0, 0.0, 0.0]), "implausible distortion: plumb_bob"),
        (info(r=[1.0] * 9), "R of camera_info is no rotation"),
    ],
)
def test_an_unusable_camera_info_says_what_to_do(message, reason):
    with pytest.raises(ValueError, match=reason):
        camera_of(message)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        # K of the image as it is sent, and binning or roi beside it
        ({"binning_x": 2, "binning_y": 2, "width": 1280, "height": 960}, "before binning and roi"),
        ({"binning_x": 2, "binning_y": 2}, "for 320x240 pixels"),
        ({"roi": region(320, 240, 640, 480)}, "lies outside its sensor of 640x480"),
        ({"roi": region(320, 240, 640, 480), "width": 1280, "height": 960}, "before binning"),
    ],
)
def test_what_is_counted_twice_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        camera_of(info(**fields))


def test_a_part_far_from_the_middle_of_the_sensor_is_plausible():
    camera = camera_of(info(roi=region(x_offset=480, width=160, height=120)), 160, 120)
    assert intrinsics(camera) == (500, 500, -160, 240)


def numbers(count, likely):
    """``count`` floats: the likely ones, a few of them replaced by any."""
    odd = st.dictionaries(st.integers(0, count - 1), st.floats(), max_size=2)
    return odd.map(lambda changes: [changes.get(k, likely[k]) for k in range(count)])


INFOS = st.fixed_dictionaries(
    {
        "k": numbers(9, [500.0, 0, 320, 0, 500.0, 240, 0, 0, 1]),
        "p": numbers(12, PROJECTION),
        "r": numbers(9, TURN.ravel().tolist()),
        "d": st.sampled_from((0, 4, 5, 8)).flatmap(
            lambda n: numbers(8, [0.0] * 8).map(lambda d: d[:n])
        ),
        "distortion_model": st.sampled_from(
            ("", "plumb_bob", "rational_polynomial", "equidistant")
        ),
        "binning_x": st.sampled_from((0, 1, 2)),
        "roi": st.builds(region, st.integers(0, 700), st.integers(0, 700)),
    }
)


@settings(max_examples=150, deadline=None)
@given(INFOS, st.booleans())
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_any_camera_info_gives_a_camera_or_a_reason(fields, rectified):
    is_rectified(info(**fields), "/camera/image")
    try:
        camera = camera_of(info(**fields), 640 // max(fields["binning_x"], 1), 480, rectified)
    except ValueError:
        return
    corners = np.array(((-1e4, 0.0), (0.0, 0.0), (639.0, 479.0), (0.0, 1e4)))
    assert np.isfinite(camera.rays(corners)).all()
    assert np.isfinite(camera.project(camera.rays(corners))).all()
