"""A drawn hand cut out along its rim, and refused where the cut cannot be believed."""

import cv2
import numpy as np
import pytest

from dhpe_lab.synthesis.cut_out import cut_out

SIZE = 160
SKIN, WALL = (205, 150, 120), (60, 110, 90)
WRIST = (80, 130)
# Knuckles and tips of thumb, index, middle, ring and little finger.
ENDS = (
    ((58, 112), (22, 84)),
    ((62, 84), (46, 34)),
    ((76, 80), (72, 22)),
    ((90, 82), (98, 28)),
    ((102, 90), (122, 46)),
)


def drawn(fingers=(0, 1, 2, 3, 4), arm=True, shift=(0, 0)):
    """(160, 160) bool: a palm with fingers, moved."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(mask, (81, 106), (27, 29), 0, 0, 360, 1, -1)
    for finger in fingers:
        cv2.line(mask, *ENDS[finger], 1, 9)
    if arm:
        cv2.line(mask, WRIST, (80, SIZE), 1, 30)
    moved = np.float32(((1, 0, shift[0]), (0, 1, shift[1])))
    return cv2.warpAffine(mask, moved, (SIZE, SIZE), flags=cv2.INTER_NEAREST) > 0


def joints(shift=(0, 0)):
    """(21, 2), wrist first, then along each finger."""
    along = np.linspace(0, 1, 4)[:, None]
    fingers = [np.array(a) * (1 - along) + np.array(b) * along for a, b in ENDS]
    return np.vstack((WRIST, *fingers)) + shift


def photograph(hand):
    """(160, 160, 3) uint8: skin before a wall, both a little uneven."""
    image = np.where(hand[..., None], SKIN, WALL) + np.random.default_rng(0).normal(
        0, 5, (SIZE, SIZE, 3)
    )
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def image():
    return photograph(drawn())


def test_hand_and_forearm_are_cut_along_their_rim(image):
    cut = cut_out(image, drawn(arm=False), joints())
    assert cut.dtype == np.uint8 and cut.shape == (SIZE, SIZE)
    wrong = (cut > 127) != drawn()
    assert wrong.mean() < 0.01
    beside = cv2.distanceTransform(1 - _rim(drawn()), cv2.DIST_L2, 3)
    assert beside[wrong].max(initial=0) < 5


def _rim(mask):
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))


def test_a_mesh_a_few_pixels_beside_the_hand_is_put_right(image):
    mesh = drawn(arm=False, shift=(3, -2))
    cut = cut_out(image, mesh, joints((3, -2)))
    assert ((cut > 127) != drawn()).mean() < 0.5 * (mesh != drawn(arm=False)).mean()


def test_the_same_picture_is_cut_the_same_way(image):
    image = cv2.add(image, np.random.default_rng(1).normal(0, 40, image.shape), dtype=cv2.CV_8U)
    cv2.setRNGSeed(99)
    one = cut_out(image, drawn(arm=False), joints())
    cv2.setRNGSeed(7)
    assert np.array_equal(one, cut_out(image, drawn(arm=False), joints()))


@pytest.mark.parametrize("finger", [0, 1, 4])
def test_a_hand_that_lost_a_finger_is_not_believed(finger):
    shown = photograph(drawn([f for f in range(5) if f != finger]))
    assert cut_out(shown, drawn(arm=False), joints()) is None


@pytest.mark.parametrize("shift", [(45, 30), (-40, -20)])
def test_a_mesh_that_lies_elsewhere_is_not_believed(image, shift):
    assert cut_out(image, drawn(arm=False, shift=shift), joints(shift)) is None


def test_a_mesh_much_thinner_than_the_hand_is_not_believed(image):
    thin = cv2.erode(drawn(arm=False).astype(np.uint8), np.ones((7, 7))) > 0
    assert cut_out(image, thin, joints()) is None


def test_joints_beyond_the_picture_are_not_believed(image):
    beyond = joints()
    beyond[12] = (72, -3)
    assert cut_out(image, drawn(arm=False), beyond) is None


@pytest.mark.parametrize("mesh", [np.zeros((SIZE, SIZE), bool), np.ones((SIZE, SIZE), bool)])
def test_a_mesh_that_is_nowhere_or_everywhere_is_not_believed(image, mesh):
    assert cut_out(image, mesh, joints()) is None
