"""New hands from predictions: exact labels, the seed's pose and colour, a set that comes back."""

import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.rendering.raster import rasterize
from dhpe_lab.synthesis.photo_hands import PhotoHand
from dhpe_lab.synthesis.synthesis import RENDER_SIZE, random_hands, render_sample, write_synthetic
from dhpe_lab.training import distributed, self_supervision
from dhpe_lab.training.batches import Batch, MixedBatches
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.replay_buffer import ReplayBuffer
from dhpe_lab.training.self_supervision import AGREEMENT, SelfSupervision, find_seeds, new_hands
from dhpe_ros.cli import main as cli
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.mesh_estimator import MeshEstimate
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import MIDDLE_MCP

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "lite.safetensors"
BLUE = np.array((20, 40, 200))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def projection(model):
    return Projection(model).eval()


@pytest.fixture(scope="module")
def synthetic(model):
    """A rendered hand and its sample."""
    rng = np.random.default_rng(5)
    hand = next(random_hands(model, 1, rng))
    return hand, render_sample(hand, model, rng)


@pytest.fixture(scope="module")
def seed(synthetic):
    """A mesh exactly over its picture: skin before blue."""
    hand, sample = synthetic
    share = sample.opacity[..., None] / 255
    image = (share * sample.image + (1 - share) * BLUE).astype(np.uint8)
    vertices = hand.project(hand.vertices_m) * (2 / RENDER_SIZE)
    vertices[:, :2] += 1 / RENDER_SIZE - 1
    return PhotoHand(image, vertices.astype(np.float32), hand.pose)


@pytest.fixture(scope="module")
def made(seed, model):
    return [sample for k in range(3) for sample in new_hands(seed, model, (7, k))]


@pytest.fixture(scope="module")
def batch(synthetic):
    return MixedBatches([synthetic[1]], [], 12, seed=1)[0]


def numbered(value):
    """A sample that tells which it is."""
    flat = np.full((4, 4), value % 256, np.uint8)
    labels = {"rotation": np.eye(3), "pose": np.zeros((15, 3)), "shape": np.full(10, value)}
    labels |= {"joints_px": np.zeros((21, 2)), "relative_depth_px": np.zeros(21)}
    return Sample(image=flat[..., None].repeat(3, 2), right=True, source="self", mask=flat,
                  opacity=flat, **labels)  # fmt: skip


def numbers_of(hands):
    return [int(hands[k].shape[0]) for k in range(len(hands))]


def own_of(projection, tmp_path, step=0, **changes):
    chosen = {f"self_supervision.{name}": value for name, value in changes.items()}
    config = TrainConfig.from_mapping({"run.output": str(tmp_path), **chosen})
    state = SimpleNamespace(step=step, averaged=SimpleNamespace(modules=tuple))
    return SelfSupervision(config, state, projection, [])


# ---------------------------------------------------------------- the new hands


def camera_of(sample, model):
    """The hand before the camera, metres, and the camera that its joints' labels fit best."""
    with torch.no_grad():
        mesh = model(torch.from_numpy(sample.pose)[None], torch.from_numpy(sample.shape)[None])
        joints = model.skeleton(mesh)[0].double().numpy()
    mesh_m = (mesh[0].double().numpy() - joints[MIDDLE_MCP]) @ sample.rotation.T
    x, y, z = ((joints - joints[MIDDLE_MCP]) @ sample.rotation.T).T
    # px (1 + z k) = s x + c (1 + z k), linear in s, k, c and c k.
    u, v = sample.joints_px.T.astype(float)
    one, none = np.ones(21), np.zeros(21)
    rows = np.concatenate(
        (
            np.stack((x, -u * z, one, none, z, none), 1),
            np.stack((y, -v * z, none, one, none, z), 1),
        )
    )
    (s, k, cx, cy, _, _), *_ = np.linalg.lstsq(rows, np.concatenate((u, v)), rcond=None)
    return mesh_m, (x, y, z), (s, k, np.array((cx, cy)))


def test_labels_project_back(made, model):
    assert len(made) == 9
    for sample in made:
        _, (x, y, z), (scale, k, center) = camera_of(sample, model)
        seen = np.stack((x, y), 1) * scale / (1 + z[:, None] * k) + center
        assert np.abs(seen - sample.joints_px).max() < 0.05
        assert np.abs(scale * z - sample.relative_depth_px).max() < 0.2
        assert 1 / 2.1 < k < 1 / 0.29  # the distance is one of a camera


def test_masks_are_the_silhouettes(made, model):
    agreement = []
    for sample in made:
        mesh, _, (scale, k, center) = camera_of(sample, model)
        nearness = 1 / (1 + mesh[:, 2:] * k)
        pixels = np.concatenate((mesh[:, :2] * scale * nearness + center, mesh[:, 2:] * scale), 1)
        crop = pixels * (2 / RENDER_SIZE)
        crop[:, :2] += 1 / RENDER_SIZE - 1
        triangles = model.triangles.numpy()
        silhouette = rasterize(crop[None], triangles, RENDER_SIZE).face_index[0] >= 0
        mask = sample.mask > 127
        assert (mask & ~silhouette).mean() < 0.004  # half covered pixels of the rim
        hidden = silhouette & ~mask  # by the forearm, which is in the picture
        assert (hidden & (sample.opacity < 127)).mean() < 0.003
        agreement.append((mask & silhouette).sum() / (mask | silhouette).sum())
    assert np.median(agreement) > 0.9


def test_they_look_like_the_seed_not_like_its_background(made, seed, synthetic):
    skin = synthetic[1].image[synthetic[1].mask > 250].mean(0)
    for sample in made:
        color = sample.image[sample.mask > 250].mean(0)
        assert color[2] < color[0]  # skin is not blue
        assert np.abs(color / color.sum() - skin / skin.sum()).max() < 0.12


def test_poses_stay_shapes_and_rotations_are_free(seed, model, monkeypatch):
    blank = numbered(0)
    monkeypatch.setattr(self_supervision, "skin_of", lambda *_: None)
    monkeypatch.setattr(
        self_supervision,
        "render_sample",
        lambda hand, *_: replace(blank, rotation=hand.rotation, pose=hand.pose, shape=hand.shape),
    )
    hands = [sample for k in range(200) for sample in new_hands(seed, model, (k,))]
    assert len(hands) == 600
    assert all(np.array_equal(hand.pose, seed.pose) for hand in hands)
    shapes = np.stack([hand.shape for hand in hands])
    assert np.abs(shapes).max() <= 3
    quarters = np.quantile(shapes, (0.25, 0.5, 0.75), axis=0)
    assert np.allclose(quarters, [[-1.5], [0], [1.5]], atol=0.5)  # of every number
    rotations = np.stack([hand.rotation for hand in hands])
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    # Of rotations uniform over all there are, each entry is uniform over -1..1.
    assert np.abs(rotations.mean(0)).max() < 0.12
    assert np.allclose((rotations**2).mean(0), 1 / 3, atol=0.08)


def test_the_same_numbers_make_the_same_hands(seed, model, made):
    again, other = (new_hands(seed, model, (7, k)) for k in (0, 9))
    for one, same in zip(made[:3], again, strict=True):
        assert np.array_equal(one.image, same.image)
        assert np.array_equal(one.joints_px, same.joints_px)
    assert not np.array_equal(again[0].image, other[0].image)
    assert not np.array_equal(again[0].image, again[1].image)


def test_a_hand_that_is_not_in_the_picture_makes_none(seed, model):
    beside = PhotoHand(seed.image, seed.vertices + np.float32(9), seed.pose)
    assert new_hands(beside, model, (0,)) == []


# ---------------------------------------------------------------- the seeds


def test_seeds_are_the_meshes_that_lie_on_their_labels(batch, projection):
    parameters = HandParameters.start(len(batch.images))
    hand = projection(parameters)
    networks = SimpleNamespace(
        evidence=lambda images: images,
        mesh_estimator=lambda images, _: [
            MeshEstimate(parameters[: len(images)], projection(parameters[: len(images)]), None)
        ],
    )
    joints = hand.joints[..., :2].clone()
    side = (joints[0].amax(0) - joints[0].amin(0)).max()
    for row, part in enumerate((0.0, 0.9, 1.1, torch.nan)):
        joints[row, :, 0] += part * AGREEMENT * side
    wrong = replace(batch, joints=joints)
    found = find_seeds(networks, projection, wrong, torch.arange(4))
    assert len(found) == 2
    for row, one in enumerate(found):
        assert np.allclose(one.vertices, hand.vertices[row])
        pixels = one.image.transpose(2, 0, 1) / 255
        assert np.allclose(pixels, batch.images[row].numpy(), atol=0.003)
    assert find_seeds(networks, projection, wrong, torch.arange(0)) == []


def test_photographs_of_right_hands_are_tried_first(batch, projection, tmp_path, monkeypatch):
    near = torch.tensor([True] * 8 + [False] * 4)
    synthetic = torch.tensor([True, False] * 6)
    tried = []
    monkeypatch.setattr(
        self_supervision, "find_seeds", lambda *given: tried.append(given[3].tolist()) or []
    )
    for step in range(8):
        own = own_of(projection, tmp_path, step, share=0.5, seeds_per_step=2.0)
        own.grow(replace(batch, near=near, synthetic=synthetic))
    assert all(sorted(rows[:4]) == [1, 3, 5, 7] for rows in tried)
    assert all(sorted(rows[4:]) == [0, 2, 4, 6] for rows in tried)
    assert len({tuple(rows) for rows in tried}) > 1


def test_less_than_a_seed_a_step_is_one_now_and_then(batch, projection, tmp_path, monkeypatch):
    found = [object()] * 9
    monkeypatch.setattr(self_supervision, "find_seeds", lambda *_: found)
    monkeypatch.setattr(self_supervision, "new_hands", lambda *_: [numbered(k) for k in range(3)])
    sizes = []
    own = own_of(projection, tmp_path, share=0.5, seeds_per_step=0.4)
    for _ in range(10):
        own.grow(batch)
        own._state.step += 1
        sizes.append(len(own.hands) // 3)
    assert sizes == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4]


# ---------------------------------------------------------------- the set


def test_the_set_is_bounded_and_keeps_the_newest(tmp_path):
    hands = ReplayBuffer(tmp_path, 5, "self")
    for k in range(12):
        hands.add([numbered(k)])
    assert numbers_of(hands) == [7, 8, 9, 10, 11]


def test_the_set_comes_back_as_it_was_at_a_step(tmp_path):
    hands = ReplayBuffer(tmp_path, 5, "self")
    for step in range(1, 8):
        hands.add(numbered(10 * step + k) for k in range(2))
        hands.store(step)
        # Whatever was written for the present step, the checkpoint may still be the one before.
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert len(files) <= 4
        for wanted in (step, step - 1):
            back = ReplayBuffer(tmp_path, 5, "self", wanted)
            expected = [10 * s + k for s in range(1, wanted + 1) for k in range(2)][-5:]
            assert numbers_of(back) == expected
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    assert numbers_of(ReplayBuffer(tmp_path, 5, "self", 0)) == []
    assert not list(tmp_path.iterdir())  # steps that are taken once more


def test_what_comes_back_is_what_was_written(tmp_path, made):
    hands = ReplayBuffer(tmp_path, 9, "self")
    hands.add(made)
    hands.store(3)
    back = ReplayBuffer(tmp_path, 9, "self", 3)
    for k, sample in enumerate(made):
        for name, value in vars(sample).items():
            assert np.array_equal(getattr(back[k], name), value), name


# ---------------------------------------------------------------- batches


def test_a_share_of_the_examples_is_replaced(batch, projection, tmp_path, made, monkeypatch):
    def mixed(step):
        own = own_of(projection, tmp_path, step, share=0.25)
        own.hands.add(made)
        before = {name: tensor.clone() for name, tensor in batch.tensors().items()}
        after = own.mixed(Batch(**before))
        shapes = np.stack([sample.shape for sample in made])
        new = [bool((shapes == row.numpy()).all(1).any()) for row in after.shape]
        for name, tensor in batch.tensors().items():
            assert torch.equal(after.tensors()[name][~torch.tensor(new)],
                               tensor[~torch.tensor(new)]), name  # fmt: skip
        return after, new

    replaced = [mixed(step)[1] for step in range(12)]
    assert 0.12 < np.mean(replaced) < 0.4
    first, again = mixed(3)[0], mixed(3)[0]
    assert all(torch.equal(t, again.tensors()[name]) for name, t in first.tensors().items())
    monkeypatch.setattr(distributed, "rank", lambda: 1)  # which draws for itself
    assert not torch.equal(mixed(3)[0].images, first.images)


def test_without_a_share_nothing_is_done(batch, projection, tmp_path):
    own = own_of(projection, tmp_path)
    before = torch.get_rng_state()
    assert own.mixed(batch) is batch
    own.grow(batch)  # the networks, which are not there, are not asked
    own.store()
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_has_its_own_hands_again(tmp_path, monkeypatch):
    write_synthetic(tmp_path / "data", 6, seed=0)
    monkeypatch.setattr(
        self_supervision, "AGREEMENT", 0.5
    )  # it is to find seeds, whatever they are

    def arguments(output):
        return [
            "train", f"data.synthetic={tmp_path / 'data'}", "data.batch=4", "budget.steps=6",
            "budget.evidence_share=0.0", "run.check_minutes=0.0",
            f"run.output={tmp_path / output}", f"model.initial={WEIGHTS}",
            "self_supervision.share=0.5", "self_supervision.begin=0.0",
            "self_supervision.seeds_per_step=1.0", "self_supervision.capacity=4",
        ]  # fmt: skip

    assert cli.main(arguments("whole")) == 0
    draw = MixedBatches.packed

    def interrupted_draw(stream, index):
        if index == 4:
            signal.raise_signal(signal.SIGINT)
        return draw(stream, index)

    with monkeypatch.context() as once:
        once.setattr(MixedBatches, "packed", interrupted_draw)
        assert cli.main([*arguments("broken"), "run.check_steps=3"]) == 130
    assert cli.main(["train", "--resume", str(tmp_path / "broken")]) == 0
    whole, resumed = (
        torch.load(tmp_path / name / "last.state", weights_only=True)
        for name in ("whole", "broken")
    )
    assert whole["position"]["step"] == resumed["position"]["step"] == 6
    for part in ("networks", "averaged"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), (part, name)
    sets = [
        ReplayBuffer(tmp_path / name / "self_supervision" / "0", 4, "self", 6)
        for name in ("whole", "broken")
    ]
    assert len(sets[0]) == 4
    assert all(np.array_equal(a.image, b.image) for a, b in zip(*sets, strict=True))
