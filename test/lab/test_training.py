"""The training loop, for seconds, on a folder of pictures in the documented format."""

import json
import shutil
from itertools import cycle, islice

import cv2
import numpy as np
import pytest
import torch

from dhpe_lab.datasets.label_files import read_frames
from dhpe_lab.datasets.real_hands import load_frames, load_negatives, load_real_hands
from dhpe_lab.synthesis.synthesis import load_synthetic, write_synthetic
from dhpe_lab.training.augmentation import augment
from dhpe_lab.training.batches import Batch
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.data import load_data
from dhpe_lab.training.losses import heatmap_targets
from dhpe_lab.training.total_loss import total_loss
from dhpe_lab.training.train import schedule
from dhpe_lab.training.validation import CROP_SCALE, validate
from dhpe_ros.cli import main as cli
from dhpe_ros.geometry.crop import image_to_crop
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import EvidenceMaps
from dhpe_ros.networks.weights import build_networks, hand_model_path, load_networks
from dhpe_ros.types import Box


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Random pictures with labels in the folder format of docs/reference/data.md."""
    folder = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)

    def picture(path, height, width):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3), np.uint8))

    def joints(size):
        return (rng.uniform(0.3, 0.7, (21, 2)) * size).tolist()

    def hand(size):
        return {"joints_px": joints(size), "joints_m": rng.normal(0, 0.05, (21, 3)).tolist()}

    signs, wild, frames = [], [], []
    for k, split in enumerate(("train", "train", "val")):
        picture(folder / f"signs/images/{k}.jpg", 100, 100)
        picture(folder / f"signs/masks/{k}.png", 200, 200)
        signs.append({"name": str(k), "split": split, **hand(100)})
        picture(folder / f"wild/room/{k}.jpg", 96, 96)
        side = ("left", "right")[k % 2]
        file = f"room/{k}.jpg"
        wild.append({"set": "room", "file": file, "split": split, "side": side, **hand(96)})
        picture(folder / f"frames/room/{k}.jpg", 120, 200)
        hands = [{"side": "right", "joints_px": joints(60)}]
        frames.append({"file": f"room/{k}.jpg", "split": split, "hands": hands})
    for name, content in (("signs", {"hands": signs}), ("wild", {"hands": wild})):
        (folder / name / "labels.json").write_text(json.dumps(content))
    (folder / "frames/labels.json").write_text(json.dumps({"frames": frames}))
    return folder


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, 8, seed=0)
    return folder


def test_real_hands_are_read_by_split(real):
    train, val = load_real_hands(real, "train"), load_real_hands(real, "val")
    assert [sample.source for sample in train] == ["signs", "signs", "room", "room"]
    assert [sample.right for sample in train] == [True, True, False, True]
    assert len(val) == 2
    assert train[0].mask.shape == train[0].image.shape[:2] == (200, 200)
    assert train[2].mask is None
    assert train[0].relative_depth_px[9] == 0
    with pytest.raises(FileNotFoundError, match=r"no labels at .*labels\.json"):
        load_real_hands(real / "nowhere", "train")


@pytest.fixture(scope="module")
def more(real, tmp_path_factory):
    """The same with the folders that may be there besides."""
    folder = tmp_path_factory.mktemp("more") / "real"
    shutil.copytree(real, folder)
    shutil.copytree(real / "wild", folder / "wild2")
    shutil.copytree(real / "frames", folder / "frames2")
    shutil.copytree(real / "frames", folder / "negatives")
    for name, key in (("wild2", "hands"), ("frames2", "frames"), ("negatives", "frames")):
        file = folder / name / "labels.json"
        rows = json.loads(file.read_text())[key]
        for row in rows:
            row["set"] = "street"
        if name == "negatives":
            rows = [{**row, "hands": []} for row in rows]
        else:
            rows[0]["ignore"] = [[10.0, 20.0, 30.0, 40.0]]
        file.write_text(json.dumps({key: rows}))
    return folder


def test_further_folders_are_read_where_they_are(real, more):
    assert [s.source for s in load_real_hands(more, "train")][-2:] == ["street", "street"]
    samples, backgrounds = load_frames(more, "train")
    assert [(s.source, s.whole) for s in samples] == 2 * [("frames", True)] + 2 * [("street", True)]
    assert len(backgrounds) == len(load_frames(real, "train")[1])  # not of frames2
    assert [image.shape for image in load_negatives(more, "train")] == 2 * [(120, 200, 3)]
    assert len(load_negatives(more, "val")) == 1
    assert load_negatives(real, "train") == []
    first = next(read_frames(more / "frames2", train=True))
    assert first.unsure == [Box(10.0, 20.0, 30.0, 40.0)]


def test_a_box_that_is_wrong_is_named(more, tmp_path):
    shutil.copytree(more / "frames2", tmp_path / "frames2")
    file = tmp_path / "frames2/labels.json"
    rows = json.loads(file.read_text())["frames"]
    rows[0]["ignore"] = [[1, 2, 0, 4]]
    file.write_text(json.dumps({"frames": rows}))
    with pytest.raises(ValueError, match=r"frames2/labels\.json: a box in ignore must be"):
        list(read_frames(tmp_path / "frames2", train=True))


def test_sets_that_are_held_out_are_measured_and_not_learnt_from(more):
    config = TrainConfig().replace({"data.real": str(more), "data.held_out": "street"})
    data = load_data(config)
    assert {sample.source for sample in data.samples} == {"signs", "room", "frames"}
    assert len(data.held_back["street"]) == 3  # of wild2, both splits
    assert len(data.negatives) == 2
    with pytest.raises(ValueError, match=r"held_out: .* has no set nowhere"):
        load_data(config.replace({"data.held_out": "nowhere"}))


def test_a_label_that_is_wrong_is_named(real, tmp_path):
    shutil.copytree(real, tmp_path / "real")
    file = tmp_path / "real/wild/labels.json"
    labels = json.loads(file.read_text())
    for change, said in (
        ({"side": "middle"}, "side must be left or right"),
        ({"joints_px": [[1, 2]]}, "joints_px must be 21 x 2"),
        ({"joints_m": None}, "joints_m must be 21 x 3"),
    ):
        file.write_text(json.dumps({"hands": [labels["hands"][0] | change]}))
        with pytest.raises(ValueError, match=rf"wild/labels\.json: {said}"):
            load_real_hands(tmp_path / "real", "train")


def test_a_picture_of_another_size_than_its_mask_is_brought_to_that(real, tmp_path):
    shutil.copytree(real, tmp_path / "real")
    before = load_real_hands(real, "train")[0]
    picture = tmp_path / "real/signs/images/0.jpg"
    cv2.imwrite(str(picture), cv2.resize(cv2.imread(str(picture)), (500, 500)))
    file = tmp_path / "real/signs/labels.json"
    labels = json.loads(file.read_text())
    labels["hands"][0]["joints_px"] = (5 * np.array(labels["hands"][0]["joints_px"])).tolist()
    file.write_text(json.dumps(labels))
    after = load_real_hands(tmp_path / "real", "train")[0]
    assert after.image.shape == (*after.mask.shape, 3) == (200, 200, 3)
    assert np.allclose(after.joints_px, before.joints_px, atol=1e-3)
    assert np.allclose(after.relative_depth_px, before.relative_depth_px, atol=1e-2)


def test_hand_free_pieces_keep_clear_of_hands(real):
    samples, pieces = load_frames(real, "train")
    assert len(samples) == 2
    for piece in pieces:
        assert piece.shape[0] == piece.shape[1]
    whole = cv2.cvtColor(cv2.imread(str(real / "frames/room/0.jpg")), cv2.COLOR_BGR2RGB)
    clear = whole[:, 60:]  # the joints lie within 42 pixels of the left edge
    assert any(_is_part_of(piece, clear) for piece in pieces)


def _is_part_of(piece, image):
    if piece.shape[0] > image.shape[0] or piece.shape[1] > image.shape[1]:
        return False
    return cv2.matchTemplate(image, piece, cv2.TM_SQDIFF).min() < 1e-3 * piece.size


def _one_batch(synthetic):
    """Four hands that the mesh terms concern."""
    rng = np.random.default_rng(3)
    backgrounds = [np.full((64, 64, 3), 90, np.uint8)]
    views = (augment(sample, backgrounds, rng) for sample in cycle(load_synthetic(synthetic)))
    return Batch.stack(list(islice((view for view in views if view.near), 4)))


def test_every_term_of_the_loss_reaches_the_networks(synthetic):
    torch.manual_seed(0)
    networks, batch = build_networks("lite"), _one_batch(synthetic)
    projection = Projection(HandModel(hand_model_path()))
    terms = total_loss(networks, projection, batch)
    assert all(term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    for module in networks.modules():
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    first = total_loss(networks, projection, batch, evidence_only=True)
    assert set(first) == {"heatmaps", "side", "hand", "masks"}


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart(synthetic):
    torch.manual_seed(0)
    networks, batch = build_networks("lite"), _one_batch(synthetic)
    networks.mesh_estimator.eval()  # no dropout
    projection = Projection(HandModel(hand_model_path()))
    parameters = [p for module in networks.modules() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    history, steps = [], 120
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * schedule(step, step / steps, warmup_steps=10)
        terms = total_loss(networks, projection, batch)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 20.0)
        optimizer.step()
        history.append({name: float(term.detach()) for name, term in terms.items()})
    highest = {name: max(terms[name] for terms in history) for name in terms}
    left = {name: value / highest[name] for name, value in history[-1].items()}
    for name in ("heatmaps", "side", "skeleton", "refined", "parameters"):
        assert left[name] < 0.04, name
    assert left["masks"] < 0.25
    assert left["silhouette"] < 0.3  # of when its gate let it count first


def test_validation_measures_in_percent_of_the_box(real):
    samples = load_real_hands(real, "val")
    networks = build_networks("lite")
    networks.evidence.maps = _maps_that_know(samples)
    for module in networks.modules():
        module.eval()
    projection = Projection(HandModel(hand_model_path()))
    measured = validate(networks, projection, samples)
    assert measured["evidence"] < 0.5
    assert measured["side"] == 0
    assert 1 < measured["mesh"] < 300


def _maps_that_know(samples):
    """Heat maps at the labels, as a network without error would give them."""
    truth = []
    for sample in samples:
        square = Box.around(sample.joints_px).squared(CROP_SCALE)
        truth.append(image_to_crop(sample.joints_px, square, mirrored=not sample.right))
    joints = torch.from_numpy(np.stack(truth)).float()

    def maps(crops):
        sure = torch.full((len(crops),), 9.0)
        features, masks = torch.zeros(len(crops), 2048), torch.zeros(len(crops), 64, 64)
        return EvidenceMaps(features, (heatmap_targets(joints),), sure, masks, sure)

    return maps


def test_training_on_both_kinds_of_data_measures_each_set(real, synthetic, tmp_path):
    settings = {
        "data.real": real,
        "data.synthetic": synthetic,
        "data.batch": 4,
        "budget.steps": 2,
        "budget.evidence_share": 0.0,
        "run.output": tmp_path,
        "run.best_by": "room.mesh",
    }
    command = ["train", *(f"{name}={value}" for name, value in settings.items())]
    assert cli.main(command) == 0
    about = load_networks(tmp_path / "best.safetensors", "lite").training
    assert about["data"]["samples"] == {"signs": 2, "room": 2, "frames": 2, "synthetic": 7}
    measured = {name.split(".")[0] for name in about["validation"]}
    assert measured == {"signs", "room", "synthetic", "mean"}
