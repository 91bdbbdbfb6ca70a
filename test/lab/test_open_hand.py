"""The open hand keeps MANO's format, is a sound right hand, and bends as a hand bends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from self_penetration import (
    hand_parts,
    intersecting_pairs,
    penetration_depths,
)

from dhpe_lab.hand_building.mesh_simplification import (
    boundary_loop,
    collapse_to,
    edge_counts,
    relax,
    split_quads,
    triangle_quality,
)
from dhpe_lab.hand_building.pose_correctives import fit_posedirs, volume
from dhpe_lab.synthesis import hand_poses
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.model import HandModel

PATH = Path(__file__).resolve().parents[2] / "weights" / "open_hand.npz"
FIRST = {"index": 1, "middle": 4, "little": 7, "ring": 10, "thumb": 13}
TIP = {"thumb": 0, "index": 1, "middle": 2, "ring": 3, "little": 4}


@pytest.fixture(scope="module")
def hand():
    with np.load(PATH) as file:
        return dict(file)


@pytest.fixture(scope="module")
def model():
    return HandModel(PATH)


@pytest.fixture(scope="module")
def joints(hand):
    return hand["J_regressor"] @ hand["v_template"]


def posed(model, hand, angles, shape=None):
    """Vertices (B, 778, 3) at anatomical angles (B, 15, 3) radians."""
    pose = hand_poses.pose_from_angles(angles, hand["pose_axes"].astype(np.float64))
    shape = np.zeros((len(pose), 10)) if shape is None else shape
    with torch.no_grad():
        return model(torch.tensor(pose).float(), torch.tensor(shape).float()).numpy()


def flexed(finger, degrees):
    angles = np.zeros((1, 15, 3))
    first = FIRST[finger] - 1
    angles[0, first : first + 3, 0] = np.radians(degrees)
    return angles


def test_keys_have_the_shapes_and_types_of_mano(hand):
    shapes = {
        "v_template": (778, 3),
        "f": (1538, 3),
        "shapedirs": (778, 3, 10),
        "posedirs": (778, 3, 135),
        "J_regressor": (16, 778),
        "weights": (778, 16),
        "kintree_table": (2, 16),
        "hands_components": (45, 45),
        "hands_mean": (45,),
        "tips": (5,),
        "wrist_loop": (16,),
        "theta_std": (45,),
        "pose_limits": (15, 3, 2),
        "pose_axes": (15, 3, 3),
        "landmarks": (21, 21),
        "shape_variance_explained": (10,),
    }
    integers = {"f": "int32", "tips": "int32", "wrist_loop": "int32", "kintree_table": "int64"}
    for key, shape in shapes.items():
        assert hand[key].shape == shape, key
        assert hand[key].dtype == integers.get(key, "float32"), key
        assert np.isfinite(hand[key]).all(), key


def test_surface_is_one_disc_with_a_boundary_of_sixteen_edges(hand):
    faces, counts = hand["f"], edge_counts(hand["f"])
    assert np.array_equal(np.unique(faces), np.arange(778))
    assert len(faces) + 778 - len(counts) == 1  # Euler characteristic of a disc
    assert sorted(set(counts.values())) == [1, 2]
    loop = hand["wrist_loop"].tolist()
    around = {tuple(sorted(e)) for e in zip(loop, loop[1:] + loop[:1], strict=True)}
    assert around == {edge for edge, n in counts.items() if n == 1}
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # one orientation throughout
    reached, front = {0}, {0}
    neighbours = {}
    for a, b in counts:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    while front:
        front = set.union(*(neighbours[u] for u in front)) - reached
        reached |= front
    assert len(reached) == 778


def test_triangles_face_outwards_and_none_is_a_needle(hand):
    vertices, faces = hand["v_template"].astype(np.float64), hand["f"]
    centre = vertices[hand["wrist_loop"]].mean(axis=0)
    assert 2e-4 < volume(vertices - centre, faces) < 6e-4
    quality = triangle_quality(vertices, faces)
    assert quality.min() > 0.4
    assert np.median(quality) > 0.85


def test_it_is_a_right_hand_in_the_frame_of_mano(hand, joints):
    tips = hand["v_template"][hand["tips"]]
    fingers = tips[2] - joints[0]
    thumb = tips[0] - joints[FIRST["thumb"]]
    palm = joints[FIRST["thumb"] + 2] - joints[FIRST["index"]]
    assert -0.205 < fingers[0] < -0.17
    assert abs(fingers[1]) < 0.03
    assert abs(fingers[2]) < 0.03
    assert thumb[2] > 0.03
    # The thumb hangs on the palm's side; on a left hand the cross product points there too.
    assert palm[1] < -0.01
    assert palm @ np.cross(fingers, thumb) < 0
    assert 0.08 < joints[0, 0] < 0.11
    assert np.abs(joints[FIRST["middle"]]).max() < 0.005


def test_joints_run_down_each_finger_and_lie_inside_it(hand, joints):
    assert hand["kintree_table"][0, 1:].tolist() == list(PARENTS[1:])
    assert hand["kintree_table"][1].tolist() == list(range(16))
    for finger, first in FIRST.items():
        tip = hand["v_template"][hand["tips"][TIP[finger]]]
        chain = np.vstack([joints[first : first + 3], tip])
        lengths = np.linalg.norm(np.diff(chain, axis=0), axis=1)
        assert (lengths > 0.012).all()
        assert (lengths < 0.06).all()
        for joint in range(first, first + 3):
            offset = hand["v_template"] - joints[joint]
            near = offset[np.linalg.norm(offset, axis=1) < 0.030]
            assert np.linalg.norm(offset, axis=1).min() > 0.003
            assert (near > 0).any(axis=0).all()
            assert (near < 0).any(axis=0).all()


def test_the_middle_finger_is_the_longest_and_the_little_one_the_shortest(hand, joints):
    length = {
        finger: np.linalg.norm(hand["v_template"][hand["tips"][TIP[finger]]] - joints[first])
        for finger, first in FIRST.items()
        if finger != "thumb"
    }
    assert max(length, key=length.get) == "middle"
    assert min(length, key=length.get) == "little"


def test_weights_and_regressor_are_local_convex_combinations(hand, joints):
    for key in ("weights", "J_regressor"):
        assert hand[key].min() >= 0
        np.testing.assert_allclose(hand[key].sum(axis=1), 1.0, atol=1e-5)
    assert (hand["weights"] > 0).sum(axis=1).max() <= 4
    distance = np.linalg.norm(hand["v_template"][None] - joints[:, None], axis=2)
    assert distance[hand["J_regressor"] > 0].max() < 0.05


def test_every_finger_moves_with_its_own_bones_only(hand):
    for finger, tip in TIP.items():
        own = hand["weights"][hand["tips"][tip]]
        assert own[FIRST[finger] + 2] > 0.95
    assert hand["weights"][hand["wrist_loop"], 0].min() > 0.95


def test_weights_are_smooth_over_the_surface(hand):
    edges = np.array(list(edge_counts(hand["f"])))
    jump = np.abs(hand["weights"][edges[:, 0]] - hand["weights"][edges[:, 1]]).max()
    assert jump < 0.75


def test_flexion_brings_the_tip_to_the_palm(hand, model, joints):
    palm = joints[[0, FIRST["middle"]]].mean(axis=0) + np.array([0.0, -0.02, 0.0])
    for finger in FIRST:
        tip = hand["tips"][TIP[finger]]
        gaps = [
            np.linalg.norm(posed(model, hand, flexed(finger, d))[0, tip] - palm)
            for d in (-10, 0, 25, 45)
        ]
        assert gaps == sorted(gaps, reverse=True), finger


def test_abduction_turns_fingers_to_the_thumb_and_the_thumb_out_of_the_palm(hand, model):
    rest = posed(model, hand, np.zeros((1, 15, 3)))[0]
    for finger, first in FIRST.items():
        angles = np.zeros((1, 15, 3))
        angles[0, first - 1, 1] = np.radians(15)
        moved = posed(model, hand, angles)[0][hand["tips"][TIP[finger]]]
        step = moved - rest[hand["tips"][TIP[finger]]]
        if finger == "thumb":
            assert step[1] < -0.002
        else:
            assert step[2] > 0.008


def test_a_pinch_of_the_sampler_makes_thumb_and_index_meet(hand, model):
    mcp, pip, cmc, thumb_mcp, thumb_ip = hand_poses._TOUCH["index"]
    angles = np.zeros((1, 15, 3))
    hand_poses._curl(angles, "index", mcp, pip)
    hand_poses._thumb(angles, cmc, thumb_mcp, thumb_ip)
    vertices = posed(model, hand, hand_poses.make_plausible(angles))[0]
    thumb = vertices[hand["weights"][:, FIRST["thumb"] + 2] > 0.95]
    index = vertices[hand["weights"][:, FIRST["index"] + 2] > 0.95]
    assert np.linalg.norm(thumb[:, None] - index[None], axis=2).min() < 0.006


def test_bending_keeps_the_volume(hand, model):
    closed = np.array(hand["wrist_loop"])
    rest = posed(model, hand, np.zeros((1, 15, 3)))[0]
    origin = rest[closed].mean(axis=0)
    for finger in FIRST:
        bent = posed(model, hand, flexed(finger, 60))[0]
        ratio = volume(bent - origin, hand["f"]) / volume(rest - origin, hand["f"])
        assert 0.99 < ratio < 1.005, finger


def test_pose_correctives_restore_most_of_the_volume_that_blending_loses(hand, model):
    plain = HandModel(PATH)
    plain.blend_shapes[:, 10:].zero_()
    rest = hand["v_template"] - hand["v_template"][hand["wrist_loop"]].mean(axis=0)
    for finger, degrees in [
        *((finger, [80, 95, 60]) for finger in FIRST if finger != "thumb"),
        ("thumb", [30, 45, 60]),
    ]:
        angles = flexed(finger, degrees)
        corrected, blended = (posed(m, hand, angles)[0] for m in (model, plain))
        origin = corrected[hand["wrist_loop"]].mean(axis=0)
        lost, missing = (
            volume(rest, hand["f"]) - volume(skin - origin, hand["f"])
            for skin in (blended, corrected)
        )
        assert lost > 4e-6, finger  # cubic metres
        assert abs(missing) < 0.25 * lost, finger


def test_pose_correctives_do_not_fold_the_skin_at_a_bent_joint(hand, model):
    faces = hand["f"].astype(np.int64)
    for finger in ("index", "middle", "ring", "little"):
        for degrees in ([80, 0, 0], [0, 105, 0], [0, 0, 80]):
            skin = posed(model, hand, flexed(finger, degrees))[0].astype(np.float64)
            assert intersecting_pairs(skin, faces) == 0, (finger, degrees)


def test_pose_correctives_follow_from_the_rest_of_the_file(hand):
    template, weights, axes = (
        hand[key].astype(np.float64) for key in ("v_template", "weights", "pose_axes")
    )
    fitted = fit_posedirs(template, hand["f"], hand["J_regressor"] @ template, weights, axes)
    np.testing.assert_allclose(fitted, hand["posedirs"], atol=2e-6)


def test_the_rest_hand_and_the_mean_hand_are_clear_of_themselves(hand, model):
    faces = hand["f"].astype(np.int64)
    with torch.no_grad():
        mean = model(model.hands_mean.reshape(1, 15, 3), torch.zeros(1, 10)).double().numpy()
    for skin in (hand["v_template"][None].astype(np.float64), mean):
        assert intersecting_pairs(skin[0], faces) == 0
        assert penetration_depths(skin, hand_parts(faces, hand["weights"])).max() == 0


def test_pose_axes_are_right_handed_orthonormal_triples(hand):
    axes = hand["pose_axes"].astype(np.float64)
    gram = axes @ axes.transpose(0, 2, 1)
    np.testing.assert_allclose(gram, np.tile(np.eye(3), (15, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0, atol=1e-6)


def test_angles_and_pose_are_inverse_of_each_other(hand):
    axes = hand["pose_axes"].astype(np.float64)
    angles = hand_poses.sample_angles(np.random.default_rng(0), 200)
    back = hand_poses.angles_from_pose(hand_poses.pose_from_angles(angles, axes), axes)
    np.testing.assert_allclose(back, angles, atol=1e-5)


def test_sampled_poses_stay_within_the_limits_and_differ(hand):
    axes = hand["pose_axes"].astype(np.float64)
    poses = hand_poses.sample_poses(np.random.default_rng(1), 2000, axes)
    assert poses.shape == (2000, 15, 3)
    angles = hand_poses.angles_from_pose(poses, axes)
    limits = hand["pose_limits"]
    assert (angles >= limits[..., 0] - 1e-4).all()
    assert (angles <= limits[..., 1] + 1e-4).all()
    again = hand_poses.sample_poses(np.random.default_rng(1), 2000, axes)
    np.testing.assert_array_equal(poses, again)
    assert np.degrees(angles[..., 0].std(axis=0)).min() > 8


def test_no_sampled_finger_goes_deep_into_the_palm(hand, model):
    angles = hand_poses.sample_angles(np.random.default_rng(2), 60)
    vertices = posed(model, hand, angles)
    palm = np.flatnonzero((hand["weights"][:, 0] > 0.8) & (hand["v_template"][:, 1] < -0.005))
    for finger in ("index", "middle", "ring", "little"):
        ends = np.flatnonzero(hand["weights"][:, FIRST[finger] + 2] > 0.9)
        gap = vertices[:, ends, None] - vertices[:, None, palm]
        nearest = np.linalg.norm(gap, axis=-1).argmin(axis=2)
        height = np.take_along_axis(gap[..., 1], nearest[..., None], axis=2)[..., 0]
        beside = np.hypot(gap[..., 0], gap[..., 2])
        beside = np.take_along_axis(beside, nearest[..., None], axis=2)[..., 0]
        inside = height[beside < 0.005]
        assert inside.size == 0 or inside.max() < 0.010, finger


def test_pose_components_are_orthonormal_with_falling_deviation(hand):
    components = hand["hands_components"].astype(np.float64)
    np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-5)
    assert (np.diff(hand["theta_std"]) <= 0).all()
    assert hand["theta_std"][-1] > 0


def test_shape_components_are_orthogonal_with_falling_variance(hand):
    flat = hand["shapedirs"].reshape(-1, 10).astype(np.float64)
    gram = flat.T @ flat
    variance = np.diag(gram)
    assert (np.diff(variance) < 0).all()
    assert variance[-1] > 0
    correlation = gram / np.sqrt(np.outer(variance, variance)) - np.eye(10)
    assert np.abs(correlation).max() < 1e-3


@pytest.mark.parametrize("component", range(10))
@pytest.mark.parametrize("sign", [-3.0, 3.0])
def test_shapes_of_three_sigma_are_still_hands(hand, component, sign):
    vertices = hand["v_template"] + sign * hand["shapedirs"][..., component]
    joints = hand["J_regressor"] @ vertices
    length = joints[0, 0] - vertices[:, 0].min()
    assert 0.11 < length < 0.26
    assert 4e-5 < volume(vertices - joints[0], hand["f"]) < 1.2e-3
    assert triangle_quality(vertices, hand["f"]).min() > 0.4


def test_the_first_shape_makes_the_hand_larger(hand):
    larger = hand["v_template"] + hand["shapedirs"][..., 0]
    assert np.ptp(larger[:, 0]) > np.ptp(hand["v_template"][:, 0]) + 0.004


def grid_disc(n=12):
    """A bumpy n x n grid of quads: vertices (n^2, 3), quads."""
    x, y = np.meshgrid(np.arange(n) / n, np.arange(n) / n, indexing="ij")
    vertices = np.stack([x, y, 0.1 * np.sin(4 * x) * np.cos(3 * y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return vertices, np.stack([corner, corner + n, corner + n + 1, corner + 1], axis=1)


def test_simplification_hits_the_counts_and_stays_on_the_surface():
    vertices, quads = grid_disc()
    faces = split_quads(vertices, quads)
    kept, simple = collapse_to(vertices, faces, 80, 36, np.ones(len(vertices)))
    assert (len(kept), len(simple), len(boundary_loop(simple))) == (80, 2 * 80 - 2 - 36, 36)
    matrix, relaxed = relax(vertices[kept], simple, vertices, faces)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-9)
    assert len(boundary_loop(relaxed)) == 36
    assert set(edge_counts(relaxed).values()) == {1, 2}
    a, b, c = ((matrix @ vertices)[relaxed[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_boundary_loop_refuses_a_closed_surface():
    with pytest.raises(ValueError, match="closed"):
        boundary_loop(np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]))
