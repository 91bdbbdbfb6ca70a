"""Augmentation: labels move with the pixels."""

import dataclasses

import cv2
import numpy as np
import pytest

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_lab.training import augmentation
from dhpe_lab.training.augmentation import INPUT_SIZE, augment, background_example
from dhpe_lab.training.batches import Batch, source_shares

BACKGROUNDS = [np.zeros((140, 160, 3), np.uint8)]


def _dotted(right=True, **labels):
    """A dark picture with a bright blob at every joint; joints on a ring around a middle."""
    angles = np.linspace(0, 2 * np.pi, 21, endpoint=False)
    joints = np.stack((80 + 40 * np.cos(angles), 75 + 40 * np.sin(angles)), 1).astype(np.float32)
    image = np.zeros((150, 160, 3), np.uint8)
    rows, columns = np.mgrid[:150, :160]
    near = ((columns - joints[8, 0]) ** 2 + (rows - joints[8, 1]) ** 2) < 30
    image[near] = 255
    return Sample(image, joints, right, "test", **labels)


def test_joints_follow_the_pixels():
    found = 0
    for seed in range(40):
        example = augment(_dotted(), BACKGROUNDS, np.random.default_rng(seed))
        place = (example.joints[8] + 1) / 2 * INPUT_SIZE - 0.5
        if not (place > 8).all() or not (place < INPUT_SIZE - 8).all():
            continue
        bright = example.image.astype(float).sum(2)
        x, y = place.round().astype(int)
        patch = bright[y - 2 : y + 3, x - 2 : x + 3].mean()
        found += patch > np.median(bright) + 60
    assert found >= 20  # tint, occluders and noise hide some


def test_a_hand_turned_in_the_mirror_changes_sides():
    sides = [augment(_dotted(), BACKGROUNDS, np.random.default_rng(s)).right for s in range(60)]
    assert 30 < sum(sides) < 58  # three of four look like right hands
    ring = augment(_dotted(), BACKGROUNDS, np.random.default_rng(0)).joints
    for seed in range(10):
        example = augment(_dotted(), BACKGROUNDS, np.random.default_rng(seed))
        ring = example.joints
        a, b = ring[0] - ring.mean(0), ring[5] - ring.mean(0)
        assert (a[0] * b[1] - a[1] * b[0] > 0) == example.right


def test_rotation_labels_turn_with_the_picture():
    axis = np.array((1.0, 0.0, 0.0))
    labels = {"rotation": np.eye(3, dtype=np.float32), "pose": np.zeros((15, 3), np.float32)}
    labels["shape"] = np.zeros(10, np.float32)
    for seed in range(20):
        example = augment(_dotted(**labels), BACKGROUNDS, np.random.default_rng(seed))
        if not example.right:
            assert not example.synthetic
            continue
        across = example.joints[0] - example.joints.mean(0)  # joint 0 lies along +x
        turned = (example.rotation @ axis)[:2]
        assert np.allclose(across / np.linalg.norm(across), turned, atol=1e-3)


def test_depth_scales_with_the_picture():
    depth = np.linspace(-10, 10, 21).astype(np.float32)
    hint = _dotted(relative_depth_px=depth, depth_trust=0.2)
    example = augment(hint, BACKGROUNDS, np.random.default_rng(0))
    scale = np.linalg.norm(example.joints[0] - example.joints[10]) / 80
    assert np.allclose(example.depth, depth * scale, rtol=0.1)
    assert example.depth_trust == 0.2


def test_exact_depth_is_trusted_and_its_picture_not_stretched():
    exact = _dotted(relative_depth_px=np.zeros(21, np.float32))
    for seed in range(10):
        example = augment(exact, BACKGROUNDS, np.random.default_rng(seed))
        assert example.depth_trust == 1
        radii = np.linalg.norm(example.joints - example.joints.mean(0), axis=1)
        assert np.ptp(radii) < 1e-4
    assert augment(_dotted(), BACKGROUNDS, np.random.default_rng(0)).depth_trust == 0


def test_a_stored_sample_is_read_once_for_an_example():
    read = []
    stored = StoredSample("test", lambda: read.append(1) or _dotted())
    example = augment(stored, BACKGROUNDS, np.random.default_rng(0))
    assert len(read) == 1
    same = augment(_dotted(), BACKGROUNDS, np.random.default_rng(0))
    assert np.array_equal(example.image, same.image)


def test_a_cut_out_hand_leaves_no_rim():
    rows, columns = np.mgrid[:150, :160]
    disc = (((columns - 80) ** 2 + (rows - 75) ** 2) < 1600).astype(np.uint8)
    image = disc[..., None] * np.full(3, 200, np.uint8)
    sample = _dotted(opacity=disc * 255)
    sample = dataclasses.replace(sample, image=image, rotation=np.eye(3, dtype=np.float32))
    grey = [np.full((140, 160, 3), 200, np.uint8)]
    for seed in range(30):
        rng = np.random.default_rng(seed)
        view = augmentation._random_view(sample, rng, mirrored=False)
        rng = _NoPlainBackground(seed)
        picture, _ = augmentation._compose(sample, view, grey, rng, INPUT_SIZE, varied=True)
        assert picture.min() >= 196, seed
        assert picture.max() <= 201, seed


class _NoPlainBackground(np.random.Generator):
    """Draws 0.6: no tint, no plain background, the rim blurred."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(seed))

    def random(self, *args, **kwargs):
        return 0.6


def test_ellipses_and_bars_stand_in_front():
    filled = []
    for seed in range(200):
        image = np.zeros((INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
        white = [np.full((150, 150, 3), 255, np.uint8)]
        image = augmentation._occlude(image, white, np.random.default_rng(seed))
        rows, columns = image[..., 0].nonzero()
        inside = len(rows) and min(rows.min(), columns.min()) > 0
        if inside and max(rows.max(), columns.max()) < INPUT_SIZE - 1 and len(rows) > 600:
            _, sides, _ = cv2.minAreaRect(np.stack((columns, rows), 1))
            filled.append(len(rows) / ((sides[0] + 1) * (sides[1] + 1)))
    bars = np.array(filled) > 0.87  # an ellipse fills 0.79 of its rectangle
    assert bars.sum() > 2
    assert (~bars).sum() > 2


def test_a_background_claims_no_hand():
    example = background_example(BACKGROUNDS, np.random.default_rng(0))
    assert not example.hand
    assert example.image.shape == (INPUT_SIZE, INPUT_SIZE, 3)


def test_batches_stack_everything():
    rng = np.random.default_rng(0)
    examples = [augment(_dotted(), BACKGROUNDS, rng), background_example(BACKGROUNDS, rng)]
    batch = Batch.stack(examples)
    assert batch.images.shape == (2, 3, INPUT_SIZE, INPUT_SIZE)
    assert batch.images.max() <= 1
    assert batch.hand.tolist() == [True, False]


def test_synthetic_hands_have_a_fixed_share_however_many_there_are():
    for count in (10, 100_000):
        shares = source_shares({"synthetic": count, "signs": 400, "rock_paper": 400})
        assert shares.sum() == pytest.approx(1)
        assert shares[0] == pytest.approx(0.45)
        assert shares[1] == pytest.approx(1.5 * shares[2])  # more people in it
    assert source_shares({"signs": 7}).tolist() == [1.0]
    assert source_shares({"synthetic": 7}).tolist() == [1.0]


def test_sets_of_photographs_weigh_by_the_root_of_their_number_up_to_a_thousand():
    shares = source_shares({"few": 10, "some": 90, "many": 1000, "most": 50_000})
    assert shares[1] == pytest.approx(3 * shares[0])
    assert shares[2] == pytest.approx(10 * shares[0])
    assert shares[3] == pytest.approx(shares[2])


def test_samples_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"joints_px must be \(21, 2\)"):
        Sample(np.zeros((5, 5, 3), np.uint8), np.zeros((20, 2)), True, "x")
    with pytest.raises(ValueError, match="mask must be as large"):
        mask = np.zeros((4, 5), np.uint8)
        Sample(np.zeros((5, 5, 3), np.uint8), np.zeros((21, 2)), True, "x", mask)


@pytest.mark.parametrize("right", [True, False])
def test_as_many_hands_look_right_as_asked_for(right):
    sample = dataclasses.replace(_dotted(), right=right)
    rng = np.random.default_rng(0)
    for share in (0.0, 1.0):
        shown = [augment(sample, BACKGROUNDS, rng, 32, True, share).right for _ in range(8)]
        assert shown == 8 * [share == 1.0]
