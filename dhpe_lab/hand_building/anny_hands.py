"""A population of right hands from Anny, all in one flat rest pose, in MANO's frame.

Anny (code Apache-2.0, MakeHuman assets CC0) is needed to build the open hand only. Frame: metres,
fingers along -x, palm facing -y, thumb towards +z.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from dhpe_lab.rendering.lighting import unit
from dhpe_ros.hand.kernels.layout import PARENTS

log = logging.getLogger(__name__)

# First of the three joints of each finger, MANO's order of 16.
CHAINS = {"index": 1, "middle": 4, "little": 7, "ring": 10, "thumb": 13}
_ANNY_FINGER = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "little": 5}
# Spread of the flat rest hand, positive towards the thumb; slope of its straight fingers palmwards.
REST_AZIMUTH_DEG = {"index": 6.0, "middle": 0.0, "ring": -7.5, "little": -16.0}
REST_SLOPE_DEG = 3.0
# Standard deviation of each local change over the population; zero mean, cut at 2.5 sigma.
LOCAL_CHANGES = {
    "r-hand-fingers-length-incr": 0.40,
    "r-hand-fingers-diameter-incr": 0.50,
    "r-hand-fingers-distance-incr": 0.40,
    "r-hand-scale-incr": 0.10,
    "measure-wrist-circ-incr": 0.45,
}
# Wrist joint to middle finger tip: 186.5 mm from the wrist's crease, where people mark the wrist.
# Adults have 187.2 mm, the mean of both sexes (ANSUR II, 2012).
MEAN_LENGTH_M = 0.1984
# Width of fingers over Anny's, against the hand's length (docs/explanation/open-hand.md).
FINGER_WIDTH = {"thumb": 1.12, "index": 1.02, "middle": 1.07, "ring": 1.03, "little": 1.15}
CHILD_SHARE = 0.10
_ADULT_AGE, _CHILD_AGE = (0.60, 1.0), (0.45, 0.60)  # Anny's: 1/3 child, 2/3 young adult, 1 old


@dataclass(frozen=True)
class HandPopulation:
    """Registered hands: ``vertices`` (S, V, 3) and ``joints`` (S, 16, 3) in metres, flat rest pose.

    ``quads`` (Q, 4); ``thumb_axis`` (3,) unit vector, turning about it flexes the thumb.
    """

    vertices: np.ndarray
    joints: np.ndarray
    quads: np.ndarray
    thumb_axis: np.ndarray


def sample_population(n: int, seed: int) -> HandPopulation:
    """Sample ``n`` hands from Anny's phenotypes and hand-specific changes, flat and registered."""
    import anny

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = anny.create_hand_model(local_changes=list(LOCAL_CHANGES), all_phenotypes=True)
    vertices, heads = _sample_raw(model, n, seed)
    joint_bones, folding = _fold_bones(model)
    weights = _dense_weights(model) @ folding
    joints = heads[:, joint_bones]
    vertices, joints = _to_mano_frame(vertices, joints, weights)
    thumb_axis = _thumb_axis(joints, vertices, weights)
    vertices, joints = _flatten(vertices, joints, weights)
    joints = _anatomical_joints(vertices, joints, weights)
    vertices = _thicken(vertices, joints, weights)
    vertices, joints = _to_mean_length(vertices, joints)
    return HandPopulation(vertices, joints, model.faces.numpy(), thumb_axis)


def _thicken(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Move the skin of the fingers away from their bones; their lengths stay."""
    thicker = vertices.copy()
    directions = _directions(vertices, joints, weights)
    for finger, first in CHAINS.items():
        # The root of the thumb is palm; the other fingers' first bone begins at the web, in Anny.
        for bone in range(first + (finger == "thumb"), first + 3):
            skin = np.flatnonzero(weights[:, bone])
            along = directions[:, bone - 1, None]
            away = vertices[:, skin] - joints[:, bone, None]
            away -= (away * along).sum(axis=2, keepdims=True) * along
            thicker[:, skin] += (FINGER_WIDTH[finger] - 1.0) * weights[skin, bone, None] * away
    return thicker


def _to_mean_length(vertices: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale the whole population to the mean length of an adult hand; origin: mean middle MCP."""
    length = joints[:, 0, 0] - vertices[:, :, 0].min(axis=1)
    scale = MEAN_LENGTH_M / length.mean()
    origin = joints.mean(axis=0)[CHAINS["middle"]]
    return scale * (vertices - origin), scale * (joints - origin)


def _sample_raw(model: Any, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, V, 3) vertices and (n, 21, 3) bone heads in Anny's frame."""
    import torch

    rng = np.random.default_rng(seed)
    child = rng.random(n) < CHILD_SHARE
    phenotype = {
        "gender": rng.uniform(0.1, 0.9, n),
        "age": np.where(child, rng.uniform(*_CHILD_AGE, n), rng.uniform(*_ADULT_AGE, n)),
        "african": rng.random(n),
        "asian": rng.random(n),
        "caucasian": rng.random(n),
    }
    for name in ("muscle", "weight", "height", "proportions"):
        phenotype[name] = rng.beta(10.0, 10.0, n)
    local = {
        name: sigma * np.clip(rng.normal(0.0, 1.0, n), -2.5, 2.5)
        for name, sigma in LOCAL_CHANGES.items()
    }
    vertices, heads = [], []
    for rows in np.array_split(np.arange(n), max(n // 100, 1)):
        out = model(
            phenotype_kwargs={k: torch.as_tensor(v[rows]).float() for k, v in phenotype.items()},
            local_changes_kwargs={k: torch.as_tensor(v[rows]).float() for k, v in local.items()},
        )
        vertices.append(out["rest_vertices"].numpy().astype(np.float64))
        heads.append(out["rest_bone_heads"].numpy().astype(np.float64))
        log.info("sampled %d of %d hands", rows[-1] + 1, n)
    return np.concatenate(vertices), np.concatenate(heads)


def _fold_bones(model: Any) -> tuple[list[int], np.ndarray]:
    """Anny's 21 bones -> MANO's 16 joints: their bones (16,), weights (21, 16) of 0 / 1."""
    labels = list(model.bone_labels)
    joint_bones = [labels.index("wrist.R")] + [0] * 15
    for finger, first in CHAINS.items():
        for k in range(3):
            name = f"finger{_ANNY_FINGER[finger]}-{k + 1}.R"
            joint_bones[first + k] = labels.index(name)
    weights = np.zeros((len(labels), 16))
    for bone in range(len(labels)):
        weights[bone, joint_bones.index(bone) if bone in joint_bones else 0] = 1.0
    return joint_bones, weights


def _dense_weights(model: Any) -> np.ndarray:
    dense = np.zeros((len(model.vertex_bone_weights), len(model.bone_labels)))
    rows = np.arange(len(dense))[:, None]
    np.add.at(dense, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    return dense / dense.sum(axis=1, keepdims=True)


def _to_mano_frame(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate the mean hand into MANO's frame, then register each palm on the mean one, rigidly."""
    mean = joints.mean(axis=0)
    x = unit(mean[0] - mean[CHAINS["middle"]])
    across = mean[CHAINS["index"]] - mean[CHAINS["little"]]
    z = unit(across - (across @ x) * x)
    to_mano = np.stack([x, np.cross(z, x), z])
    vertices, joints = (a - mean[CHAINS["middle"]] for a in (vertices, joints))
    vertices, joints = vertices @ to_mano.T, joints @ to_mano.T
    palm = weights[:, 0] > 0.5
    reference = vertices.mean(axis=0)[palm]
    reference = reference - reference.mean(axis=0)
    for s in range(len(vertices)):
        centre = vertices[s, palm].mean(axis=0)
        u, _, vt = np.linalg.svd((vertices[s, palm] - centre).T @ reference)
        keep_handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        turn = u @ keep_handed @ vt
        vertices[s] = (vertices[s] - centre) @ turn
        joints[s] = (joints[s] - centre) @ turn
    return vertices, joints


def _end_points(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(S, 5, 3) centre of each finger's last phalanx, in the order of CHAINS."""
    ends = []
    for first in CHAINS.values():
        share = weights[:, first + 2] ** 2
        ends.append(np.einsum("v,svi->si", share / share.sum(), vertices))
    return np.stack(ends, axis=1)


def _directions(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(S, 15, 3) unit direction of the bone that starts at each of the joints 1..15."""
    ends = _end_points(vertices, weights)
    bones = np.empty_like(joints[:, 1:])
    for number, first in enumerate(CHAINS.values()):
        stops = [joints[:, first + 1], joints[:, first + 2], ends[:, number]]
        for k, stop in enumerate(stops):
            bones[:, first - 1 + k] = stop - joints[:, first + k]
    return unit(bones)


def _thumb_axis(joints: np.ndarray, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Anny rests with a bent thumb: the normal of the bend is the axis of flexion."""
    bones = _directions(vertices, joints, weights).mean(axis=0)
    first = CHAINS["thumb"]
    return unit(np.cross(bones[first], bones[first + 1]))


def _rest_directions(bones: np.ndarray) -> np.ndarray:
    """(15, 3) directions of the flat rest hand; ``bones`` (15, 3) are those of the mean hand."""
    rest = bones.copy()
    slope = np.radians(REST_SLOPE_DEG)
    for finger, azimuth in REST_AZIMUTH_DEG.items():
        side = np.radians(azimuth)
        flat = [-np.cos(slope) * np.cos(side), -np.sin(slope), np.cos(slope) * np.sin(side)]
        first = CHAINS[finger] - 1
        rest[first : first + 3] = flat
    thumb = CHAINS["thumb"] - 1
    rest[thumb + 2] = unit(0.6 * bones[thumb + 1] + 0.4 * bones[thumb + 2])
    return rest


def _rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(S, 3) unit vectors onto (3,) by the smallest rotation -> (S, 3, 3)."""
    axis = np.cross(start, end)
    cosine = start @ end
    x, y, z = axis.T
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    return np.eye(3) + skew + skew @ skew / (1.0 + cosine)[:, None, None]


def _flatten(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn every bone of every hand to the same flat rest direction, through Anny's skinning."""
    bones = _directions(vertices, joints, weights)
    rest = _rest_directions(unit(bones.mean(axis=0)))
    turns = np.repeat(np.eye(3)[None], 16, axis=0)[None].repeat(len(joints), axis=0)
    placed = joints.copy()
    for joint in range(1, 16):
        turns[:, joint] = _rotation_between(bones[:, joint - 1], rest[joint - 1])
        parent = PARENTS[joint]
        offset = joints[:, joint] - joints[:, parent]
        placed[:, joint] = placed[:, parent] + np.einsum("sij,sj->si", turns[:, parent], offset)
    shift = placed - np.einsum("skij,skj->ski", turns, joints)
    turned = np.einsum("vk,skij,svj->svi", weights, turns, vertices, optimize=True)
    return turned + np.einsum("vk,ski->svi", weights, shift), placed


# Anny bends the fingers at the web; the knuckle lies this share of the bone nearer to the wrist, so
# that proximal to middle phalanx is about 1.65 (Buryanov and Kotiuk 2010). The thumb's
# lengthens the metacarpal to its real base.
KNUCKLE_SHIFT = {"index": 0.50, "middle": 0.36, "ring": 0.32, "little": 0.34, "thumb": 0.55}
# Height of the base joint's axis between palm (0) and back of the hand (1).
_KNUCKLE_DEPTH = {"index": 0.58, "middle": 0.58, "ring": 0.58, "little": 0.58, "thumb": 0.45}


def _anatomical_joints(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Move each joint to where the anatomy has it; the same vertex sets serve every hand."""
    joints = joints.copy()
    mean = vertices.mean(axis=0)
    cuff = mean[:, 0] > joints[:, 0, 0].mean() - 0.012
    joints[:, 0] = vertices[:, cuff].mean(axis=1)
    for finger, first in CHAINS.items():
        for joint in (first + 1, first + 2):
            joints[:, joint] = _centre_in_finger(vertices, joints, weights, joint)
        start, stop = joints[:, [first, first + 1]].mean(axis=0)
        base = start - KNUCKLE_SHIFT[finger] * (stop - start)
        base[1] = _knuckle_height(mean, base, _KNUCKLE_DEPTH[finger])
        joints[:, first] = _carried_along(vertices, mean, base)
    return joints


def _centre_in_finger(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, joint: int
) -> np.ndarray:
    """Keep the joint's place along its bone, centre it across the finger."""
    mean, mean_joints = vertices.mean(axis=0), joints.mean(axis=0)
    axis = unit(mean_joints[joint] - mean_joints[PARENTS[joint]])
    along = np.abs((mean - mean_joints[joint]) @ axis)
    ring = (along < 0.005) & (weights[:, [PARENTS[joint], joint]].sum(axis=1) > 0.7)
    across = vertices[:, ring].mean(axis=1) - joints[:, joint]
    return joints[:, joint] + across - (across @ axis)[:, None] * axis


def _knuckle_height(mean: np.ndarray, knuckle: np.ndarray, depth: float) -> float:
    """y of a base joint's axis, between the skin above and below it."""
    near = mean[np.hypot(mean[:, 0] - knuckle[0], mean[:, 2] - knuckle[2]) < 0.012, 1]
    top, bottom = near[near > knuckle[1]].mean(), near[near <= knuckle[1]].mean()
    return bottom + depth * (top - bottom)


def _carried_along(
    vertices: np.ndarray, mean: np.ndarray, point: np.ndarray, reach: float = 0.028
) -> np.ndarray:
    """(S, 3) where ``point`` of the mean hand goes in each hand: affine fit of the skin around."""
    offset = mean - point
    distance = np.linalg.norm(offset, axis=1)
    near = distance < reach
    basis = np.concatenate([np.ones((near.sum(), 1)), offset[near]], axis=1)
    trust = np.exp(-((distance[near] / (0.6 * reach)) ** 2))
    share = np.linalg.solve(basis.T @ (trust[:, None] * basis), (trust[:, None] * basis).T)[0]
    return np.einsum("v,svi->si", share, vertices[:, near])
