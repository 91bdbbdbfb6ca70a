"""Rendered depth images of a hand that holds an object between thumb and index, with the truth."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
import trimesh
from fake_tracker import make_hand
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from dhpe_lab.synthesis.demo_clip import upright
from dhpe_lab.synthesis.forearm import straight_forearm
from dhpe_lab.synthesis.hand_poses import FINGERS, pose_from_angles, relaxed_angles
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import TIP_ORDER, PoseSpace
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering.kernels import nearest
from dhpe_ros.rendering.normals import area_normals
from dhpe_ros.types import Hand, Scale, Side

CAMERA = Camera(600, 600, 319.5, 239.5, 640, 480)
WALL_M = 1.2  # behind everything
_HALF_M = 0.03  # of a box's width and height, and of a cylinder's length


@dataclass
class Held:
    """An object that lies between thumb and index, its x from one to the other."""

    shape: str  # sphere, cylinder (along z) or box
    size_m: float  # radius, or half the thickness along x
    center_m: np.ndarray  # (3,)
    axes: np.ndarray  # (3, 3) columns

    def distances_m(self, points_m):
        """``(N,)`` from ``(N, 3)`` points to the surface, negative inside."""
        x, y, z = local = np.abs((points_m - self.center_m) @ self.axes).T
        beyond = {
            "sphere": [np.linalg.norm(local, axis=0) - self.size_m],
            "cylinder": [np.hypot(x, y) - self.size_m, z - _HALF_M],
            "box": [x - self.size_m, y - _HALF_M, z - _HALF_M],
        }[self.shape]
        return np.linalg.norm(np.maximum(beyond, 0), axis=0) + np.minimum(np.max(beyond, 0), 0)

    def mesh(self):
        size_m = self.size_m
        mesh = {
            "sphere": lambda: trimesh.creation.icosphere(subdivisions=4, radius=size_m),
            "cylinder": lambda: trimesh.creation.cylinder(size_m, 2 * _HALF_M, sections=90),
            "box": lambda: trimesh.creation.box((2 * size_m, 2 * _HALF_M, 2 * _HALF_M)),
        }[self.shape]()
        return mesh.vertices @ self.axes.T + self.center_m, mesh.faces


@dataclass
class Scene:
    """A hand before ``CAMERA``, and its depth image."""

    hand: Hand
    depth_m: np.ndarray  # (480, 640), exact
    held: Any  # Held, in the camera's frame, or None
    distances_m: np.ndarray  # (5,) true ones, from each finger's last bone
    held_mask: np.ndarray  # (480, 640) bool

    def noisy_m(self):
        """The depth image of a camera: mixed pixels at edges, noise, steps, holes."""
        rng, depth_m = np.random.default_rng(0), self.depth_m.copy()
        for axis in (0, 1):
            other_m, share = np.roll(depth_m, 1, axis), rng.random(depth_m.shape)
            mixed = np.abs(other_m - depth_m) > 0.01
            depth_m = np.where(mixed, share * depth_m + (1 - share) * other_m, depth_m)
        depth_m += rng.normal(0, 0.008, depth_m.shape) * depth_m**2  # 2 mm at half a metre
        depth_m = np.round(depth_m, 3)
        depth_m[rng.random(depth_m.shape) < 0.05] = np.nan
        return depth_m.astype(np.float32)


def scene(shape=None, side=Side.RIGHT, turn_deg=(0, 0, 0), center_m=(0, 0, 0.5), wall_m=WALL_M):
    """A hand with its forearm that closes index and thumb on an object of that shape, if any.

    Its palm faces the camera before it is turned about the camera's y, x and z.
    """
    model, space, triangles = _model()
    pose = torch.tensor(pose_from_angles(_grip()[None], space.axes.numpy())).float()
    with torch.no_grad():
        posed = model.pose_hand(pose, torch.zeros(1, 10), torch.eye(4)[None, :3])
        frames = space.frames(pose)[0].double().numpy()
    vertices, joints = (points[0].double().numpy() for points in posed)
    pads = [_last_bone(model, vertices, triangles, finger) for finger in TIP_ORDER]
    mirror = np.diag((1, 1, 1) if side is Side.RIGHT else (-1, 1, 1))
    turn = mirror @ Rotation.from_euler("yxz", turn_deg, degrees=True).as_matrix() @ upright()

    def placed(points):
        return (points - vertices.mean(0)) @ turn.T + center_m

    forearm = straight_forearm(vertices, model.extras["wrist_loop"])
    with_arm = np.concatenate((vertices, forearm.vertices_m))
    depth_m = np.full((CAMERA.height, CAMERA.width), wall_m)
    for points, faces in ((vertices, triangles), (with_arm, forearm.triangles)):
        depth_m = np.minimum(depth_m, _depth_m(placed(points), faces))
    hand = _hand(placed(vertices), placed(joints), turn @ frames, triangles, side)
    if shape is None:
        return Scene(hand, depth_m, None, np.full(5, np.inf), np.zeros(depth_m.shape, bool))
    held = _held(shape, *map(placed, pads[:2]), placed(joints))
    held_m = _depth_m(*held.mesh())
    distances_m = np.array([held.distances_m(placed(pad)).min() for pad in pads])
    return Scene(hand, np.minimum(depth_m, held_m), held, distances_m, held_m < depth_m)


@cache
def _model():
    model = HandModel(hand_model_path())
    return model, PoseSpace(model), model.triangles.numpy().astype(np.int64)


def _grip():
    """Angles ``(15, 3)`` of a hand that is half way to a pinch, the other fingers relaxed."""
    angles = relaxed_angles()
    index, thumb = FINGERS["index"], FINGERS["thumb"]
    angles[index : index + 2, 0] = np.radians((32, 32))
    angles[thumb] = np.radians((5, 5, 7))
    angles[thumb + 1 : thumb + 3, 0] = np.radians((5, 10))
    return angles


def _last_bone(model, vertices, triangles, finger):
    """Points ``(N, 3)`` all over the skin of a finger's last bone."""
    mine = model.weights.numpy().argmax(1) == FINGERS[finger] + 3
    shares = np.array([(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]) / 4
    return (shares @ vertices[triangles[mine[triangles].all(1)]]).reshape(-1, 3)


def _held(shape, thumb, index, joints):
    """The object that touches the skin of both, ``(N, 3)`` each."""
    ends = thumb.mean(0), index.mean(0)
    x = ends[1] - ends[0]
    gap_m = np.linalg.norm(x)
    x /= gap_m
    z = np.cross(x, joints[5] - joints[17])
    z /= np.linalg.norm(z)
    axes = np.stack((x, np.cross(z, x), z), 1)

    def at(shift_m, size_m=0.0):
        return Held(shape, size_m, sum(ends) / 2 + shift_m * x, axes)

    def touching_m(shift_m, skin):
        return brentq(lambda size_m: at(shift_m, size_m).distances_m(skin).min(), 0, gap_m)

    limit_m = 0.3 * gap_m
    difference = lambda shift_m: touching_m(shift_m, thumb) - touching_m(shift_m, index)  # noqa: E731
    shift_m = brentq(difference, -limit_m, limit_m)
    return at(shift_m, touching_m(shift_m, thumb))


def _hand(vertices_m, joints_m, frames, triangles, side):
    if side is Side.LEFT:
        triangles, frames = triangles[:, [0, 2, 1]], frames * (1, -1, 1)
    fields = {
        "vertices_m": vertices_m,
        "vertices_px": np.column_stack((CAMERA.project(vertices_m), vertices_m[:, 2])),
        "joints_m": joints_m,
        "joints_px": CAMERA.project(joints_m),
        "joint_rotations": frames,
        "normals": area_normals(vertices_m, triangles)[0],
    }
    fields = {name: values.astype(np.float32) for name, values in fields.items()}
    triangles = triangles.astype(np.int32)
    return replace(make_hand(side=side), scale=Scale.DEPTH, triangles=triangles, **fields)


def _depth_m(points_m, triangles):
    """``(480, 640)``, infinite beside the mesh."""
    nearness = np.empty((CAMERA.height, CAMERA.width), np.float32)
    faces, pixels = np.empty(nearness.shape, np.int32), CAMERA.project(points_m)
    depths = -1 / points_m[:, 2]  # linear in the picture
    nearest(pixels, depths, np.asarray(triangles, np.int64), False, faces, nearness)
    return np.where(faces < 0, np.inf, -1 / nearness)
