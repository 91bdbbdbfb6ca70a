"""Lens models: what they do to rays, and back, at the edges and beyond what they are made for."""

import cv2
import numpy as np
import pytest

from dhpe_ros.geometry.lens import BrownConrady, Equidistant, lens_of

LENSES = {
    "none": BrownConrady(),
    "webcam": lens_of("plumb_bob", (-0.35, 0.15, 1e-3, -2e-3, -0.03)),
    "barrel that turns back": lens_of("plumb_bob", (-0.3, 0.0, 0.0, 0.0, 0.0)),
    "pincushion": lens_of("plumb_bob", (0.3, 0.1, 1e-3, 0.0)),
    "wide": lens_of("rational_polynomial", (0.6, 0.05, 1e-4, 2e-4, 3e-3, 0.95, 0.15, 6e-3)),
    "depth camera": lens_of(
        "rational_polynomial", (0.52, -2.6, 6e-4, -2e-4, 1.5, 0.4, -2.42, 1.43)
    ),
    "prism": lens_of("rational_polynomial", (0.6, 0.05, 0, 0, 0, 0.95, 0.15, 0, *(1e-3,) * 4)),
    "fisheye": lens_of("equidistant", (-0.02, 0.01, -4e-3, 5e-4)),
    "ideal fisheye": Equidistant(),
}


def points(extent: float) -> np.ndarray:
    line = np.linspace(-extent, extent, 41)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_each_point_has_one_ray_also_far_outside_the_picture(lens):
    rays = lens.undistort(points(2.0))
    assert np.allclose(np.linalg.norm(rays, axis=1), 1)
    assert np.abs(lens.distort(rays) - points(2.0)).max() < 1e-8


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_within_its_limit_a_lens_is_opencv_s(lens):
    angles = np.linspace(0, min(lens.limit_rad, 1.5) * 0.99, 20)
    around = np.linspace(0, 6, 20)
    flat = np.tan(angles)[:, None] * np.stack((np.cos(around), np.sin(around)), axis=1)
    rays, zero = np.column_stack((flat, np.ones(20))), np.zeros(3)
    project = cv2.fisheye.projectPoints if lens.model == "equidistant" else cv2.projectPoints
    expected = project(rays[:, None], zero, zero, np.eye(3), np.array(lens.coefficients))[0]
    np.testing.assert_allclose(lens.distort(rays), expected.reshape(-1, 2), atol=1e-9)


def test_what_a_polynomial_would_fold_into_the_picture_stays_outside():
    lens = LENSES["barrel that turns back"]  # its own radius is largest, 0.70, at 46.5 degrees
    steep = np.tan(np.radians((40.0, 44.0, 60.0, 80.0)))
    seen = lens.distort(np.column_stack((steep, np.zeros(4), np.ones(4))))[:, 0]
    assert (np.diff(seen) > 0).all()


def test_a_fisheye_sees_what_lies_beside_and_behind_it():
    angles = np.radians((80.0, 90.0, 100.0))
    rays = np.column_stack((np.sin(angles), np.zeros(3), np.cos(angles)))
    for lens in (LENSES["fisheye"], LENSES["ideal fisheye"]):
        np.testing.assert_allclose(lens.undistort(lens.distort(rays)), rays, atol=1e-9)
    np.testing.assert_allclose(Equidistant().distort(rays)[:, 0], angles)
    assert np.isfinite(Equidistant().undistort(points(50.0))).all()


@pytest.mark.parametrize(
    ("model", "coefficients", "reason"),
    [
        ("equidistant", (0.1,) * 5, "equidistant has 4 coefficients, got 5"),
        ("plumb_bob", (0.1, 0.2), "got 2"),
        ("plumb_bob", (float("nan"),) * 5, "finite"),
        ("spherical", (0.1,), "'spherical' is not known; known are plumb_bob, rational_polynomial"),
    ],
)
def test_other_coefficients_and_models_are_refused(model, coefficients, reason):
    with pytest.raises(ValueError, match=reason):
        lens_of(model, coefficients)
