"""The data engine: its labels against the pictures, the hand model and the CPU's renderer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.rendering import render_hands
from dhpe_lab.synthesis.synthesis import SyntheticHand
from dhpe_lab.training.augmentation import augment
from dhpe_lab.training.batches import Batch, MixedBatches
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.data import TrainingData, load_backgrounds
from dhpe_lab.training.engine import objects as engine_objects
from dhpe_lab.training.engine.backgrounds import Backgrounds
from dhpe_lab.training.engine.data_engine import DataEngine
from dhpe_lab.training.engine.degradation import blurred, compressed
from dhpe_lab.training.engine.draws import Draws
from dhpe_lab.training.engine.scene import Pools
from dhpe_lab.training.stream import Stream, live_count
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import rasterize
from dhpe_ros.types import MIDDLE_MCP

SIZE = 48
POOLS = Pools(poses=5, skins=3, others=8)
COUNT = 12


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def engine(model):
    return DataEngine(model, seed=4, pools=POOLS)


@pytest.fixture(scope="module")
def drawn(engine):
    return engine.examples(0, COUNT, SIZE)


@pytest.fixture(scope="module")
def scene(engine):
    with torch.no_grad():
        return engine._stage.draw_scene(Draws(9, torch.arange(6)))


# ---------------------------------------------------------------- labels


def test_batches_are_like_those_of_photographs(drawn):
    picture = np.zeros((50, 40, 3), np.uint8)
    joints = np.random.default_rng(0).uniform(5, 35, (21, 2)).astype(np.float32)
    example = augment(Sample(picture, joints, True, "x"), [], np.random.default_rng(1), SIZE)
    expected = Batch.stack([example] * COUNT).tensors()
    for name, tensor in drawn.batch.tensors().items():
        assert tensor.shape == expected[name].shape, name
        assert tensor.dtype == expected[name].dtype, name
        assert tensor.isfinite().all(), name
    assert drawn.batch.images.min() >= 0 and drawn.batch.images.max() <= 1


def test_pose_shape_and_rotation_give_joints_and_mask_back(model, drawn):
    """By weak perspective, as the networks' projection has it: near to the picture, not on it."""
    batch = drawn.batch.rows(drawn.batch.synthetic)
    assert len(batch.hand) >= 5
    vertices = model(batch.pose, batch.shape)
    turned = model.skeleton(vertices) @ batch.rotation.mT
    turned = turned - turned[:, MIDDLE_MCP, None]
    depth = batch.depth - batch.depth[:, MIDDLE_MCP, None]
    scale = (turned[..., 2] * depth).sum(1) / (turned[..., 2] ** 2).sum(1)
    assert torch.allclose(turned[..., 2] * scale[:, None], depth, atol=1e-4)
    seen = batch.joints - batch.joints[:, MIDDLE_MCP, None]
    side = (batch.joints.amax(1) - batch.joints.amin(1)).amax(1)
    apart = (turned[..., :2] * scale[:, None, None] - seen).norm(dim=2).mean(1) / side
    assert apart.max() < 0.2  # a hand 30 cm from the camera
    assert apart.median() < 0.06


def test_labels_drawn_by_the_cpu_s_synthesis_give_joints_and_mask(engine, model, monkeypatch):
    monkeypatch.setattr("dhpe_lab.training.engine.scene.NEAREST_M", 0.5)
    monkeypatch.setattr("dhpe_lab.training.engine.scene.FARTHEST_M", 0.5)
    with torch.no_grad():
        scene = engine._stage.draw_scene(Draws(3, torch.arange(4)))
        masks = engine._stage.masks(scene, SIZE)
        vertices = model(scene.pose, scene.shape)
        joints = model.skeleton(vertices)
    for k, (points_m, joints_m) in enumerate(zip(vertices.numpy(), joints.numpy(), strict=True)):
        rotation = scene.rotation[k].numpy()
        hand = SyntheticHand(points_m, joints_m, rotation, 0.5, *(np.zeros(1),) * 2)
        seen, mesh = hand.project(joints_m), hand.project(points_m)
        truth = scene.joints[k].numpy()
        scale = np.ptp(truth[:, 0]) / np.ptp(seen[:, 0])
        shift = truth[0] - scale * seen[0]  # another crop of the same picture
        assert np.allclose(scale * seen + shift, truth, atol=1e-3)
        fine = rasterize((scale * mesh + shift)[None], model.triangles, 4 * SIZE).face_index[0]
        again = (fine >= 0).reshape(SIZE, 4, SIZE, 4).mean((1, 3))
        mask = masks[k].numpy()
        assert np.minimum(mask, again).sum() / np.maximum(mask, again).sum() > 0.93


def test_the_mask_leaves_out_forearm_and_object(engine, scene):
    lights, skins = engine._stage._lights, engine._stage._skins
    first = torch.zeros(len(scene.mesh), dtype=torch.long)
    whole = render_hands(
        scene.mesh,
        engine._stage._triangles,
        SIZE,
        type(skins)(skins.albedo[first], skins.gloss[first], skins.surface[first], skins.detail),
        type(lights)(*(field[first] for field in lights)),
    ).mask
    masks = engine._stage.masks(scene, SIZE)
    assert (masks <= whole + 0.3).all()  # edges are sampled apart
    assert ((whole - masks).sum((1, 2)) > 0.05 * whole.sum((1, 2))).sum() >= 3


def test_joints_lie_on_the_mask(drawn):
    batch = drawn.batch.rows(drawn.batch.hand)
    inside = (batch.joints.abs() < 0.95).all(2)
    cells = ((batch.joints + 1) * (SIZE / 2)).long().clamp(1, SIZE - 2)
    near = torch.nn.functional.max_pool2d(batch.mask[:, None], 3, 1, 1)[:, 0]
    rows = torch.arange(len(cells))[:, None]
    assert (near[rows, cells[..., 1], cells[..., 0]][inside] > 0).float().mean() > 0.97


def test_mirrored_hands_are_the_same_pictures_mirrored(engine, drawn, monkeypatch):
    monkeypatch.setattr("dhpe_lab.training.engine.data_engine._RIGHT_SHARE", 1.0)
    right = engine.examples(0, COUNT, SIZE).batch
    left = drawn.batch.hand & ~drawn.batch.right
    assert left.any() and right.right[left].all()
    mine, theirs = drawn.batch.rows(left), right.rows(left)
    assert torch.equal(mine.mask, theirs.mask.flip(2))
    assert torch.equal(mine.joints * torch.tensor((-1.0, 1.0)), theirs.joints)
    assert torch.equal(mine.depth, theirs.depth)
    assert not mine.synthetic.any() and not mine.near.any()


def test_views_without_a_hand_have_no_labels(drawn, engine, monkeypatch):
    monkeypatch.setattr("dhpe_lab.training.engine.data_engine.BACKGROUND_SHARE", 1.0)
    nothing = engine.examples(0, 2, SIZE)
    assert not nothing.visible.any()
    for name in ("hand", "right", "near", "mask_known", "synthetic", "mask", "joints", "depth"):
        assert not getattr(nothing.batch, name).any(), name
    assert not torch.equal(nothing.batch.images[0], nothing.batch.images[1])


# ---------------------------------------------------------------- what is in the way


def test_a_thing_before_the_hand_hides_it(engine, scene):
    stage, before = engine._stage, replace(scene, mesh=scene.mesh.clone())
    objects = before.mesh[:, -stage._objects.shape[1] :]
    box = torch.as_tensor(stage._objects[1]) * torch.tensor((1.0, 1.0, 0.01))
    objects[:] = box + torch.tensor((-1.0, 0.0, -9.0))  # over the left half, nearer than all

    def seen(what):
        with torch.no_grad():
            depth = stage.render(what, SIZE, Draws(0, torch.arange(len(what.mesh)))).depth
        return stage.in_sight(what, depth)

    x, free, hidden = scene.joints[..., 0], seen(scene), seen(before)
    assert free[x < -0.1].float().mean() > 0.4
    assert not hidden[x < -0.1].any()
    assert (hidden[x > 0.1] >= free[x > 0.1]).all()  # what was held there has gone with it


def test_held_objects_touch_palm_or_fingers(engine):
    with torch.no_grad():
        scene = engine._stage.draw_scene(Draws(9, torch.arange(64)))
    held = scene.held.vertices_m
    size = (held.amax(1) - held.amin(1)).amax(1)
    holding = size > 0
    assert 0.1 < holding.float().mean() < 0.55
    apart = torch.cdist(held[holding], scene.points_m[holding, :778]).amin((1, 2))
    assert apart.max() < 0.015
    assert (size[holding] > 0.01).all() and (size[holding] < 0.35).all()


def test_objects_are_closed_and_face_outward():
    shapes, triangles = engine_objects.unit_objects()
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert (np.unique(np.sort(edges, 1), axis=0, return_counts=True)[1] == 2).all()
    for shape in shapes:
        a, b, c = shape[triangles].transpose(1, 0, 2)
        volume = (np.cross(a, b) * c).sum() / 6
        assert volume > 3.5  # of 8; pi / 6 of it in the ball


# ---------------------------------------------------------------- the same again


def test_an_example_does_not_depend_on_its_batch(engine, drawn):
    again = engine.examples(5, 2, SIZE)
    for name, tensor in drawn.batch.tensors().items():
        assert torch.allclose(tensor[5:7], getattr(again.batch, name), atol=0.01), name
    assert torch.equal(drawn.visible[5:7], again.visible)
    assert not torch.equal(drawn.batch.images[5], drawn.batch.images[6])


def test_the_same_seed_makes_the_same_batches(model, engine):
    twin = DataEngine(model, seed=4, pools=POOLS)
    mine, theirs = (
        next(engine.batches(3, 2, SIZE, rank=1, processes=2)),
        twin.examples(14, 2, SIZE).batch,
    )
    for name, tensor in mine.tensors().items():
        assert torch.equal(tensor, getattr(theirs, name)), name


def test_draws_are_even_and_belong_to_example_and_call():
    draws = Draws(1, torch.arange(200))
    first, second = draws.uniform(300), draws.uniform(300)
    assert first.mean() == pytest.approx(0.5, abs=0.01)
    assert first.std() == pytest.approx(12**-0.5, abs=0.01)
    assert first.min() > 0 and first.max() < 1
    for a, b in ((first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])):
        assert abs(float(((a - 0.5) * (b - 0.5)).mean()) * 12) < 0.02
    normal = draws.normal(300)
    assert normal.mean() == pytest.approx(0, abs=0.02)
    assert normal.std() == pytest.approx(1, abs=0.02)
    assert torch.equal(Draws(1, torch.tensor([7])).uniform(300)[0], first[7])
    assert set(draws.pick(4, 50).unique().tolist()) == {0, 1, 2, 3}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_nothing_waits_and_the_pictures_are_the_cpu_s(model, drawn):
    engine = DataEngine(model, "cuda", seed=4, pools=POOLS)
    there = engine.examples(0, COUNT, SIZE).batch
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.examples(COUNT, COUNT, SIZE)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, tensor in there.tensors().items():
        apart = (tensor.cpu().float() - getattr(drawn.batch, name).float()).abs()
        assert apart.mean() < 0.01, name


# ---------------------------------------------------------------- surroundings, degradation, mixing


def test_backgrounds_come_from_the_pictures_given():
    picture = np.full((40, 60, 3), (255, 0, 128), np.uint8)
    backgrounds = Backgrounds([picture], torch.full((2, 3), 0.4), torch.device("cpu"))
    made = backgrounds.draw(32, Draws(0, torch.arange(60)))
    from_picture = ((made - torch.tensor((1.0, 0.0, 128 / 255))[:, None, None]).abs() < 0.02).all(
        dim=(1, 2, 3)
    )
    assert 0.55 < from_picture.float().mean() < 0.95
    assert made.min() >= 0 and made.max() <= 1


def test_blur_keeps_brightness_and_spreads_as_told():
    point = torch.zeros(2, 3, 33, 33)
    point[..., 16, 16] = 1.0
    soft = blurred(point, torch.tensor((1.0, 2.0)))
    assert torch.allclose(soft.sum((2, 3)), torch.ones(2, 3), atol=1e-4)
    x = torch.arange(33) - 16.0
    width = (soft.sum(2) * x**2).sum(2).sqrt()
    assert torch.allclose(width[0], torch.ones(3), atol=0.02)
    assert torch.allclose(width[1], torch.full((3,), 2.0), atol=0.1)


def test_compression_loses_more_at_lower_quality():
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 9, generator=generator), 40, mode="bicubic"
    ).clamp(0, 1)
    errors = [
        float((compressed(image, torch.tensor([quality])) - image).abs().mean())
        for quality in (99.0, 50.0, 10.0)
    ]
    assert errors[0] < errors[1] < errors[2] < 0.2
    flat = torch.full((1, 3, 40, 40), 0.5)
    assert torch.allclose(compressed(flat, torch.tensor([50.0])), flat, atol=1e-5)


def test_without_a_user_s_pictures_hands_stand_before_made_up_ones():
    joints = np.random.default_rng(0).uniform(5, 35, (21, 2)).astype(np.float32)
    hand = Sample(
        np.zeros((40, 40, 3), np.uint8), joints, True, "wild", opacity=np.zeros((40, 40), np.uint8)
    )
    data, again = TrainingData([hand], [], {}), TrainingData([hand], [], {})
    first, second = data.surroundings[0], data.surroundings[1]
    assert first.dtype == np.uint8
    assert np.array_equal(first, again.surroundings[0])
    assert not np.array_equal(first, second)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 1000
    batch = next(Stream(TrainConfig(), data, torch.device("cpu")).start(SIZE, 0))
    expected = MixedBatches([hand], data.surroundings, 32, 0, input_size=SIZE)[0]
    assert torch.equal(batch.images, expected.images)


@pytest.mark.parametrize(
    ("batch", "share", "live"),
    [(32, 0.99, 31), (2, 0.75, 1), (32, 0.75, 24), (4, 0.01, 1), (4, 1.0, 4), (1, 0.75, 1)],
)
def test_both_live_hands_and_photographs_are_in_every_batch(batch, share, live):
    data = {"synthetic": "live", "live_share": share, "batch": batch}
    assert live_count(TrainConfig.from_mapping({"data": data}), photographs=True) == live


def test_photographs_are_mixed_in_by_share(engine, monkeypatch):
    monkeypatch.setattr("dhpe_lab.training.stream.DataEngine", lambda *_, **__: engine)
    joints = np.random.default_rng(0).uniform(5, 35, (21, 2)).astype(np.float32)
    photographs = [Sample(np.zeros((40, 40, 3), np.uint8), joints, True, "wild")]
    config = TrainConfig.from_mapping(
        {"data": {"synthetic": "live", "live_share": 0.25, "batch": 4}}
    )
    data = TrainingData(photographs, [], {})
    device = torch.device("cpu")
    first, second = (
        batch
        for batch, _ in zip(Stream(config, data, device).start(SIZE, 0), range(2), strict=False)
    )
    resumed = next(Stream(config, data, device).start(SIZE, 1))
    assert len(first.hand) == 4
    known = first.mask_known.sum() + second.mask_known.sum()
    assert 1 <= known <= 2  # masks of live hands alone
    for name, tensor in second.tensors().items():
        assert torch.equal(tensor, getattr(resumed, name)), name


def test_backgrounds_are_read_from_a_folder(tmp_path):
    import cv2

    with pytest.raises(FileNotFoundError, match="no pictures"):
        load_backgrounds(tmp_path)
    (tmp_path / "more").mkdir()
    cv2.imwrite(str(tmp_path / "more" / "a.png"), np.full((600, 900, 3), (0, 0, 255), np.uint8))
    (found,) = load_backgrounds(tmp_path)
    assert found.shape == (512, 768, 3) and tuple(found[0, 0]) == (255, 0, 0)
    (tmp_path / "b.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"b\.jpg"):
        load_backgrounds(tmp_path)


def test_a_hand_without_axes_is_refused(model, monkeypatch):
    monkeypatch.setattr(model, "extras", {})
    with pytest.raises(ValueError, match="pose_axes and wrist_loop"):
        DataEngine(model, pools=POOLS)
