"""The network that finds hands: its pictures, what it should answer, and how the answer is read."""

import dataclasses

import numpy as np
import pytest
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.evaluation.localisation import Localisation, localise
from dhpe_lab.training import train_localiser
from dhpe_lab.training.config import BudgetConfig
from dhpe_lab.training.train_localiser import begin_with_trunk, localiser_loss, train
from dhpe_lab.training.whole_pictures import Frame, WholePictures, targets_of
from dhpe_ros.detection.localiser import SIZE, FoundHand, HandLocaliser, shrunk
from dhpe_ros.networks.localiser import build_localiser, decode
from dhpe_ros.networks.trunks import LITE_TRUNKS
from dhpe_ros.networks.weights import (
    build_networks,
    load_localiser,
    localiser_path,
    save_localiser,
    save_networks,
)
from dhpe_ros.types import Box

CPU = torch.device("cpu")
HEIGHT, WIDTH = SIZE


class Told:
    """Answers to a whole picture, which has a bright side, as targets of boxes say; else nothing.

    Boxes are in the network's pixels.
    """

    def __init__(self, *boxes, logits=None):
        self.answer = self.told(boxes, logits)
        self.nothing = self.told((), None)

    @staticmethod
    def told(boxes, logits):
        targets = targets_of(boxes)
        logit = np.where(targets.centres == 1, 4.0, -6.0)
        for box, value in zip(boxes, logits or (), strict=False):
            x, y = (int(v // 8) for v in box.center)
            logit[y, x] = value
        answer = np.concatenate((logit[None], targets.boxes)).astype(np.float32)
        return torch.from_numpy(answer)

    def __call__(self, pictures):
        lit = pictures[..., : WIDTH // 8].float().mean((1, 2, 3)) > 200
        narrow = pictures[..., WIDTH // 7 : WIDTH // 5].float().mean((1, 2, 3)) < 50
        whole = (lit & narrow).tolist()
        return torch.stack([self.answer if is_whole else self.nothing for is_whole in whole])


def lit_from_the_left(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 8] = 255
    return image


def square(x, y, side):
    return np.array([(x + side * (k % 5) / 4, y + side * (k // 5) / 4) for k in range(21)])


def pictures(seed=0, frames=(), hands=None, size=SIZE):
    rng = np.random.default_rng(3)
    hand = Sample(
        rng.integers(0, 255, (60, 60, 3), np.uint8), square(15, 15, 30).astype(np.float32), True,
        "some", np.full((60, 60), 255, np.uint8), np.full((60, 60), 255, np.uint8),
    )  # fmt: skip
    return WholePictures(frames, [[hand]] if hands is None else hands, [], seed, size)


def test_what_the_targets_say_is_read_back():
    boxes = [Box(20, 30, 25, 40), Box(100, 60, 70, 35), Box(3, 100, 12, 12)]
    targets = targets_of(boxes)
    rows, columns = np.nonzero(targets.centres == 1)
    read = decode(
        torch.from_numpy(targets.boxes[:, rows, columns]), *map(torch.tensor, (rows, columns))
    )
    expected = sorted(box.as_array().tolist() for box in boxes)
    np.testing.assert_allclose(sorted(read.tolist()), expected, atol=1e-3)


def test_every_cell_that_tells_a_box_tells_the_same():
    targets = targets_of([Box(40, 30, 80, 100)])
    rows, columns = np.nonzero(targets.tells)
    assert len(rows) > 1
    read = decode(
        torch.from_numpy(targets.boxes[:, rows, columns]), *map(torch.tensor, (rows, columns))
    )
    np.testing.assert_allclose(read, np.tile((40, 30, 80, 100), (len(rows), 1)), atol=1e-3)


def test_nothing_is_asked_where_a_hand_is_cut_off_but_for_hands_that_are_whole():
    targets = targets_of([Box(40, 40, 20, 20)], unsure=[Box(30, 30, 60, 60)])
    assert not targets.counts[8, 9]
    assert targets.counts[6, 6]
    assert targets.counts[0, 0]


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (144, 176), (576, 704), (500, 704)])
def test_boxes_come_back_in_the_pixels_of_the_picture(size):
    box = Box(40, 30, 60, 80)
    localiser = HandLocaliser(Told(box), CPU)
    (found,) = localiser.find(lit_from_the_left(*size), 0.5)
    scale = size[1] / WIDTH
    np.testing.assert_allclose(found.box.as_array(), scale * box.as_array(), rtol=1e-3)
    assert found.score == pytest.approx(0.982, abs=1e-3)


def test_of_two_boxes_on_one_hand_the_surer_stays_and_hands_apart_both():
    one, beside, far = Box(40, 30, 60, 80), Box(48, 32, 60, 80), Box(130, 60, 30, 30)
    localiser = HandLocaliser(Told(one, beside, far, logits=(1.0, 2.0, 0.5)), CPU)
    image = lit_from_the_left(HEIGHT, WIDTH)
    found = localiser.find(image, 0.5)
    np.testing.assert_allclose(found[0].box.as_array(), beside.as_array(), rtol=1e-3)
    np.testing.assert_allclose(found[1].box.as_array(), far.as_array(), rtol=1e-3)
    assert len(found) == 2
    assert localiser.find(image, 0.9) == []


class Bright:
    """Finds what is bright, where it is at least 5 cells high."""

    def __init__(self):
        self.looks = 0

    def __call__(self, pictures):
        self.looks += len(pictures)
        return torch.stack([self.look(picture.permute(1, 2, 0).numpy()) for picture in pictures])

    @staticmethod
    def look(picture):
        rows, columns = np.nonzero(picture.min(2) > 200)
        if not len(rows) or np.ptp(rows) < 40:
            return Told.told((), None)
        return Told.told([Box(columns.min(), rows.min(), np.ptp(columns), np.ptp(rows))], None)


def bright(y, x, side):
    image = np.zeros((480, 640, 3), np.uint8)
    image[y : y + side, x : x + side] = 255
    return image


@pytest.mark.parametrize(("x", "y"), [(40, 300), (500, 20), (295, 218)])
def test_a_small_hand_is_found_by_the_closer_look_wherever_it_is(x, y):
    finder = HandLocaliser(Bright(), CPU)
    image = bright(y, x, 45)
    assert finder.find(image, 0.5, closer=False) == []
    (found,) = finder.find(image, 0.5)
    np.testing.assert_allclose(found.box.as_array(), (x, y, 45, 45), atol=3)


def test_the_closer_look_is_left_out_where_all_is_sure():
    see = Bright()
    assert len(HandLocaliser(see, CPU).find(bright(100, 100, 200), 0.5)) == 1
    assert see.looks == 1
    assert HandLocaliser(see, CPU).find(bright(0, 0, 0), 0.5) == []
    assert see.looks == 1 + 5


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (2000, 3000)])
def test_a_picture_of_any_size_is_looked_at(size):
    small, scale = shrunk(np.zeros((*size, 3), np.uint8))
    assert small.shape == (*SIZE, 3)
    assert scale == pytest.approx(min(SIZE[0] / size[0], SIZE[1] / size[1]))
    assert (small[:1, :1] == 0).all() and (small == 0).any((1, 2)).sum() <= scale * size[0] + 1
    HandLocaliser.load(localiser_path(), CPU).find(np.zeros((*size, 3), np.uint8), 0.5)


def test_a_picture_is_the_same_for_the_same_number_only():
    first, again, other = pictures()[5], pictures()[5], pictures()[6]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (3, HEIGHT, WIDTH)


def test_hands_in_smaller_pictures_are_no_smaller():
    frames = [[Frame(np.zeros((120, 160, 3), np.uint8), [square(60, 40, 30)])]]
    sides = []
    for size in (SIZE, (96, 128)):
        made = pictures(frames=frames, size=size)
        assert made[0][0].shape == (3, *size)
        seen = (made._frame(np.random.default_rng(k))[1] for k in range(40))
        sides.append(np.mean([box.width for whole in seen for box in whole]))
    assert sides[1] == pytest.approx(sides[0], rel=0.25)


def test_a_frame_is_moved_with_its_hands():
    image = np.zeros((120, 160, 3), np.uint8)
    joints = square(60, 40, 30)
    image[40:71, 60:91] = 255
    found = 0
    made = pictures(frames=[[Frame(image, [joints])]])
    for number in range(30):
        rng = np.random.default_rng(number)
        picture, whole, _ = made._frame(rng)
        for box in whole:
            x, y = (int(v) for v in box.center)
            if 0 <= x < WIDTH and 0 <= y < HEIGHT:
                assert picture[y, x].min() > 200
                found += 1
    assert found > 10


def test_what_may_be_a_hand_is_moved_along_and_not_asked_about():
    unsure = Box(60.5, 40.5, 30, 30)
    made = pictures(
        frames=[[Frame(np.zeros((120, 160, 3), np.uint8), [square(60, 40, 30)], [unsure])]]
    )
    for number in range(10):
        _, whole, others = made._frame(np.random.default_rng(number))
        for hand in whole:  # turned, the box about a box is larger
            np.testing.assert_allclose(others[-1].center, hand.center, atol=0.5 * others[-1].width)
            assert others[-1].width >= 0.99 * hand.width


def test_the_loss_of_a_perfect_answer_is_nothing_and_grows_with_each_error():
    targets = targets_of([Box(40, 30, 60, 80)])
    parts = [torch.from_numpy(part)[None] for part in vars(targets).values()]
    logit = torch.where(parts[0] > 0.99, 12.0, -12.0)
    perfect = torch.cat((logit[:, None], parts[1]), 1)
    assert localiser_loss(perfect, *parts) < 1e-3
    missed, moved = perfect.clone(), perfect.clone()
    missed[:, 0] = -12.0
    moved[:, 1] += 1.0
    assert localiser_loss(missed, *parts) > 5
    lacking = 1 - (7.5 - 1) / (7.5 + 1)  # of the overlap: a cell of 7.5
    assert localiser_loss(moved, *parts) == pytest.approx(1 - 0.05 + 2 * lacking, abs=1e-2)


def test_a_short_training_lowers_the_loss(monkeypatch):
    monkeypatch.setattr(train_localiser, "BATCH", 8)
    torch.manual_seed(0)
    network = build_localiser()
    made = pictures()
    images, *targets = (
        torch.stack(part) for part in zip(*(made[k] for k in range(8)), strict=True)
    )
    with torch.no_grad():
        before = localiser_loss(network.eval()(network.normalised(images)), *targets)
    _, steps = train(network, made, BudgetConfig(minutes=0.0, steps=4), workers=0)
    assert steps == 4
    with torch.no_grad():
        after = localiser_loss(network.train()(network.normalised(images)), *targets)
    assert after < before


def test_a_training_is_kept_now_and_then(monkeypatch):
    monkeypatch.setattr(train_localiser, "BATCH", 2)
    monkeypatch.setattr(train_localiser, "KEPT_STEPS", 2)
    kept = []
    budget = BudgetConfig(minutes=0.0, steps=5)
    train(build_localiser(), pictures(), budget, 0, keep=lambda network, steps: kept.append(steps))
    assert kept == [2, 4]


def test_frozen_statistics_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(train_localiser, "BATCH", 2)
    made, budget = pictures(), BudgetConfig(minutes=0.0, steps=2)
    for frozen in (True, False):
        network = build_localiser()
        buffers = {n: b for n, b in network.named_buffers() if n in network.state_dict()}
        before = {name: buffer.clone() for name, buffer in buffers.items()}
        train(network, made, budget, workers=0, frozen_statistics=frozen)
        same = [torch.equal(before[name], buffer) for name, buffer in buffers.items()]
        assert all(same) if frozen else not any(same)


@pytest.mark.parametrize("trunk", LITE_TRUNKS)
def test_a_localiser_begins_with_what_its_trunk_knows(tmp_path, trunk):
    torch.manual_seed(0)
    lite = build_networks("lite", trunk)
    save_networks(lite, tmp_path / "lite.safetensors", {})
    network = begin_with_trunk(tmp_path / "lite.safetensors").eval()
    assert network(torch.rand(2, 3, 64, 96)).shape == (2, 5, 8, 12)
    known, mine = lite.evidence.trunk.state_dict(), network.state_dict()
    shared = [name for name in mine if name in known and known[name].shape == mine[name].shape]
    assert len(shared) > len(mine) / 2
    assert all(torch.allclose(mine[n].float(), known[n].float(), atol=1e-3) for n in shared)


@pytest.mark.parametrize("trunk", LITE_TRUNKS)
def test_weights_are_saved_and_loaded_and_others_refused(tmp_path, trunk):
    network = build_localiser(trunk)
    save_localiser(network, tmp_path / "l.safetensors", {})
    loaded = load_localiser(tmp_path / "l.safetensors")
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(loaded(x), network.eval()(x), atol=2e-2, rtol=2e-2)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_localiser(tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="not a readable weights file"):
        load_localiser(tmp_path / "bad.safetensors")


def test_precision_and_recall_count_each_hand_once():
    class Finder:
        def find(self, image, min_score):
            return [FoundHand(Box(10.5, 10.5, 20, 20), 0.9), FoundHand(Box(11, 11, 20, 20), 0.8)]

    frame = Frame(np.zeros((60, 60, 3), np.uint8), [square(10, 10, 20), square(40, 40, 15)])
    result = localise(Finder(), [[frame]], 0.5)
    assert dataclasses.astuple(result) == (1, 2, 1, 1)
    assert (result.precision, result.recall) == (0.5, 0.5)
    assert Localisation(1, 0, 0, 0).recall == 0
