"""Image and box to crop, and the exact way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhpe_ros.geometry.crop import crop_image, crop_to_image, image_to_crop
from dhpe_ros.types import CROP_SIZE, Box

_side = st.floats(2.0, 2000.0)
_place = st.floats(-500.0, 1500.0)


@given(_place, _place, _side, st.booleans(), st.floats(-2, 2), st.floats(-2, 2))
def test_to_the_image_and_back_is_identity(x, y, side, mirrored, cx, cy):
    box, points = Box(x, y, side, side), np.array([[cx, cy]])
    there = crop_to_image(points, box, mirrored)
    assert np.allclose(image_to_crop(there, box, mirrored), points, atol=1e-6)


def test_a_crop_of_the_whole_square_image_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (CROP_SIZE, CROP_SIZE, 3), np.uint8)
    crop = crop_image(image, Box(0, 0, CROP_SIZE, CROP_SIZE))
    assert np.array_equal(crop.image, image)
    mirrored = crop_image(image, Box(0, 0, CROP_SIZE, CROP_SIZE), mirrored=True)
    assert np.array_equal(mirrored.image, image[:, ::-1])


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.7])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_dot_lands_where_the_coordinates_say(scale, mirrored):
    image = np.zeros((900, 1200, 3), np.uint8)
    dot = np.array([601.0, 402.0])
    radius = int(np.ceil(3 * scale))
    image[402 - radius : 403 + radius, 601 - radius : 602 + radius] = 255
    side = CROP_SIZE * scale
    crop = crop_image(image, Box(601 - 0.4 * side, 402 - 0.45 * side, side, side), mirrored)
    expected = (crop.to_crop(dot[None])[0] + 1) / 2 * CROP_SIZE - 0.5
    bright = crop.image[..., 0].astype(float)
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    found = np.array([(bright * columns).sum(), (bright * rows).sum()]) / bright.sum()
    assert np.allclose(found, expected, atol=0.3)


def test_outside_the_image_is_grey():
    crop = crop_image(np.zeros((50, 50, 3), np.uint8), Box(1000, 1000, 80, 80))
    assert (crop.image == 127).all()


def test_a_tall_box_is_squared_about_its_centre():
    crop = crop_image(np.zeros((50, 50, 3), np.uint8), Box(10, 0, 20, 40))
    assert crop.box == Box(0, 0, 40, 40)
