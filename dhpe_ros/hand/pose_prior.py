"""Prior on poses: a penalty on those that no hand takes.

Three terms, each batched, differentiable, finite everywhere and free of synchronisation:

* ``gaussian``: the pose components in standard deviations;
* ``beyond_limits``: anatomical angles beyond the joints' limits;
* ``penetration``: fingers through the palm or through each other, with the hand as spheres.

Anatomy speaks in three angles per joint, relative to the flat open rest hand: flexion (closes the
hand), abduction (fingers: towards the thumb; thumb: out of the palm's plane) and twist about the
bone. A joint turns by ``R = R_flexion @ R_abduction @ R_twist`` about the axes of ``pose_axes``.

The open hand brings axes, limits and standard deviations. A MANO file has none: its axes follow
from its skeleton, the limits are the open hand's, and ``HandModel`` guesses the deviations.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.model import OPENPOSE_FROM_MANO, HandModel
from dhpe_ros.hand.rotations import rotation_from_axis_angle

FINGERS = {"index": 0, "middle": 3, "little": 6, "ring": 9, "thumb": 12}
"""First joint of each finger among the 15 of a pose."""

TIP_ORDER = ("thumb", "index", "middle", "ring", "little")
"""Of the hand model's ``tips``."""

_NAMED_ANGLES = np.array(
    [
        (FINGERS[finger] + joint, angle)
        for finger in TIP_ORDER
        for joint, angle in ((0, 0), (0, 1), (1, 0), (2, 0))
    ]
).T
"""Joint of a pose, and its flexion (0) or abduction (1), in the order of ``types.ANGLE_NAMES``."""

_WRIST_AXES = ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
"""Columns: to the fingers, to the thumb, out of the back of the hand; model frame."""

_KNUCKLE_DEG = {  # flexion and abduction of the four MCP joints
    "index": ((-20, 88), (-8, 20)),
    "middle": ((-20, 90), (-10, 10)),
    "ring": ((-20, 90), (-14, 6)),
    "little": ((-22, 90), (-24, 10)),
}
_THUMB_HINGE = (0.50, -0.855, -0.13)
"""Turning about it flexes the thumb; model frame, from the bent rest thumb of Anny's mean hand."""

LIMITS_WEIGHT = 30.0  # ten degrees too far cost about as much as one standard deviation everywhere
CM_PER_M = 100.0
_GIVE_M = 1.4e-3
"""Soft skin: spheres may overlap by this much."""


def pose_limits() -> np.ndarray:
    """Lowest and highest angle of each joint, relative to the rest hand.

    Ranges follow goniometry as clinics teach it (AAOS joint motion: finger MCP 90, PIP 100, DIP 80,
    thumb MCP 50, IP 80 degrees), a little narrowed where full range in every joint at once would
    push a finger through the palm.

    Returns:
        (15, 3, 2) radians: joint, (flexion, abduction, twist), (lower, upper).
    """
    limits = np.zeros((15, 3, 2))
    for finger, (flexion, abduction) in _KNUCKLE_DEG.items():
        first = FINGERS[finger]
        limits[first] = [flexion, abduction, (-8, 8)]
        limits[first + 1] = [(0, 105), (-3, 3), (-3, 3)]
        limits[first + 2] = [(-5, 80), (-3, 3), (-3, 3)]
    thumb = FINGERS["thumb"]
    limits[thumb] = [(-20, 35), (-22, 38), (-15, 35)]
    limits[thumb + 1] = [(-10, 55), (-8, 8), (-6, 10)]
    limits[thumb + 2] = [(-15, 80), (-3, 3), (-3, 3)]
    return np.radians(limits)


def pose_axes(
    joints: np.ndarray, tips: np.ndarray, thumb_hinge: np.ndarray | None = None
) -> np.ndarray:
    """(15, 3, 3): for each joint the unit axes of flexion, abduction and twist in the model frame.

    Twist points along the bone to the tip, positive flexion closes the fist, positive abduction
    turns a finger towards the thumb and lifts the thumb out of the palm; right-handed triples.

    Args:
        joints: (16, 3) of the flat rest hand in MANO's frame. tips: (5, 3), thumb to little finger.
        thumb_hinge: (3,) roughly the thumb's axis of flexion; the open hand's if not given.
    """
    axes = np.empty((15, 3, 3))
    for finger, first in FINGERS.items():
        tip = tips[TIP_ORDER.index(finger)]
        points = np.concatenate([joints[first + 1 : first + 4], tip[None]])
        hinge = np.array([0.0, 0.0, 1.0])
        if finger == "thumb":
            hinge = np.asarray(_THUMB_HINGE if thumb_hinge is None else thumb_hinge)
        for k in range(3):
            twist = _unit(points[k + 1] - points[k])
            flexion = _unit(hinge - (hinge @ twist) * twist)
            axes[first + k] = [flexion, np.cross(twist, flexion), twist]
    return axes


class PoseSpace(nn.Module):
    """Prior on the poses of one hand model, of its mean shape; the hand as N spheres."""

    components: Tensor  # (45, 45)
    mean: Tensor  # (45,)
    theta_std: Tensor  # (45,)
    axes: Tensor  # (15, 3, 3), of ``pose_axes``
    lower: Tensor  # (15, 3) radians
    upper: Tensor  # (15, 3)
    offsets: Tensor  # (5, 3, 3) metres from the joint before, of each finger
    wrist: Tensor  # (3,)
    centers: Tensor  # (N, 3) metres from the sphere's bone, at rest
    contact_m: Tensor  # (N, N) distances that spheres keep; 0: any
    identity: Tensor  # (3, 3)
    bones: Tensor  # (N,)

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        nothing = model.hands_mean.new_zeros(1, 45)
        with torch.no_grad():
            vertices = model(nothing.reshape(1, 15, 3), nothing[:, :10])
            points = vertices, model.pivots(vertices)
        skin, pivots = (part[0].cpu().double().numpy() for part in points)
        joints, tips = np.split(pivots[np.argsort(OPENPOSE_FROM_MANO)], [16])
        limits = model.extras.get("pose_limits", pose_limits())
        centers, radii, bones = _spheres(skin, joints, tips)
        buffers = {
            "components": model.hands_components,
            "mean": model.hands_mean,
            "theta_std": model.theta_std,
            "axes": model.extras.get("pose_axes", pose_axes(joints, tips)),
            "lower": np.asarray(limits)[..., 0],
            "upper": np.asarray(limits)[..., 1],
            "offsets": (joints[1:] - joints[list(PARENTS[1:])]).reshape(5, 3, 3),
            "wrist": joints[0],
            "centers": centers - joints[bones],
            "contact_m": _contact_distances(centers, radii, bones),
            "identity": torch.eye(3),
        }
        for name, value in buffers.items():
            self.register_buffer(name, torch.as_tensor(value).detach().float(), persistent=False)
        self.register_buffer("bones", torch.from_numpy(bones), persistent=False)
        self.to(model.hands_mean.device)

    def forward(self, theta: Tensor) -> Tensor:
        """``(B, 45)`` pose components to ``(B,)``: about 1 for an ordinary hand, more for others.

        Ten degrees too far in one angle add 1, and so does 1 cm of overlap of one pair of spheres.
        """
        pose = self.pose_from_theta(theta)
        beyond = LIMITS_WEIGHT * self.beyond_limits(pose)
        return self.gaussian(theta) + beyond + self.penetration(pose)

    def pose_from_theta(self, theta: Tensor) -> Tensor:
        """``(B, 45)`` to ``(B, 15, 3)`` axis-angle, as the hand model's."""
        return (theta @ self.components + self.mean).reshape(-1, 15, 3)

    def gaussian(self, theta: Tensor) -> Tensor:
        """``(B, 45)`` to ``(B,)``: mean squared deviation in standard deviations (Mahalanobis)."""
        return ((theta / self.theta_std) ** 2).mean(1)

    def beyond_limits(self, pose: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle to ``(B,)``: squared radians beyond the limits, summed."""
        angles = self.angles(pose)
        return ((angles - angles.clamp(self.lower, self.upper)) ** 2).sum((1, 2))

    def penetration(self, pose: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle to ``(B,)``: squared overlap of spheres in cm^2, summed."""
        return ((CM_PER_M * self.overlaps(pose)) ** 2).sum((1, 2)) / 2  # each pair comes twice

    def angles(self, pose: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle to ``(B, 15, 3)`` flexion, abduction and twist in radians."""
        local = self.axes @ rotation_from_axis_angle(pose) @ self.axes.mT
        across = local[..., 0, 2]
        along = (1 - across**2).clamp(min=1e-9).sqrt()
        flexion = _atan2(-local[..., 1, 2], local[..., 2, 2])
        twist = _atan2(-local[..., 0, 1], local[..., 0, 0])
        return torch.stack((flexion, torch.atan2(across, along), twist), -1)

    def joint_angles(self, pose: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle to ``(B, 20)`` radians, in the order of ``ANGLE_NAMES``."""
        joints, kinds = _NAMED_ANGLES
        return self.angles(pose)[:, joints, kinds]

    def frames(self, pose: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle to the joints' frames ``(B, 21, 3, 3)``, OpenPose's order.

        Columns are x, y, z of ``Hand.msg``, in the model's frame: at a joint the axes of twist,
        flexion and abduction, turned as the bones are; at a tip those of the joint before it.
        """
        turns = rotation_from_axis_angle(pose).unflatten(1, (5, 3))
        first = turns[:, :, 0]
        second = first @ turns[:, :, 1]
        chain = torch.stack((first, second, second @ turns[:, :, 2]), 2).flatten(1, 2)
        bones = chain @ self.axes[:, [2, 0, 1]].mT
        wrist = bones.new_tensor(_WRIST_AXES).expand(len(bones), 1, 3, 3)
        last = [FINGERS[finger] + 2 for finger in TIP_ORDER]
        return torch.cat((wrist, bones, bones[:, last]), 1)[:, list(OPENPOSE_FROM_MANO)]

    def overlaps(self, pose: Tensor) -> Tensor:
        """``(B, N, N)`` metres by which each two spheres are too close, 0 where they are not."""
        centers = self.sphere_centers(pose)
        squares = (centers**2).sum(-1)
        squared = squares[:, :, None] + squares[:, None] - 2 * centers @ centers.mT
        return (self.contact_m - squared.clamp(min=1e-9).sqrt()).clamp(min=0)

    def sphere_centers(self, pose: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle to ``(B, N, 3)``."""
        rotations = [self.identity.expand(len(pose), 1, 3, 3)]
        positions = [self.wrist.expand(len(pose), 1, 3)]
        turns = rotation_from_axis_angle(pose).unflatten(1, (5, 3))
        rotation, position = rotations[0].expand(-1, 5, 3, 3), positions[0]
        for k in range(3):  # along each finger
            position = position + (rotation @ self.offsets[:, k, :, None])[..., 0]
            rotation = rotation @ turns[:, :, k]
            rotations.append(rotation)
            positions.append(position)
        rotation, position = (
            torch.cat((wrist, torch.stack(fingers, 2).flatten(1, 2)), 1)[:, self.bones]
            for wrist, *fingers in (rotations, positions)
        )
        return position + (rotation @ self.centers[..., None])[..., 0]

    @cached_property
    def arrays(self) -> tuple[tuple, tuple]:
        """Limits and spheres for ``prior_kernels``."""
        pairs = self.contact_m.triu(1).nonzero()
        near = self.contact_m[pairs[:, 0], pairs[:, 1]]
        parts = self.theta_std, self.axes, self.lower, self.upper, self.wrist, self.offsets, near
        *limits, wrist, offsets, kept_m = (part.double().contiguous().numpy() for part in parts)
        joints = np.concatenate((wrist[None], (wrist + offsets.cumsum(1)).reshape(15, 3)))
        bones = self.bones.numpy()
        centers = joints[bones] + self.centers.double().numpy()
        spheres = joints, centers, bones, pairs.numpy(), kept_m, CM_PER_M**2
        return (*limits, LIMITS_WEIGHT), spheres


def _spheres(
    skin: np.ndarray, joints: np.ndarray, tips: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rest hand as spheres that fill it: centres (N, 3), radii (N,) in metres, bones (N,)."""
    found = []
    rays = {
        f: [*joints[first + 1 : first + 4], tips[TIP_ORDER.index(f)]]
        for f, first in FINGERS.items()
    }
    to_ray = {f: _distance_to_chain(skin, ends) for f, ends in rays.items()}
    nearest = np.min(list(to_ray.values()), axis=0)
    for finger, ends in rays.items():
        own = skin[to_ray[finger] == nearest]
        for k in range(3):
            for place in (0.2, 0.5, 0.8) if k < 2 else (0.15, 0.45, 0.7):
                found.append((*_ring(own, ends[k], ends[k + 1], place), FINGERS[finger] + 1 + k))
        if finger != "thumb":
            for place in (0.3, 0.5, 0.7, 0.9):
                point = joints[0] + place * (ends[0] - joints[0])
                found.append((*_between_the_skins(skin, point), 0))
    centers, radii, bones = (np.array(column) for column in zip(*found, strict=True))
    return centers, radii, bones


def _distance_to_chain(points: np.ndarray, ends: list[np.ndarray]) -> np.ndarray:
    """(V,) to the nearest of the segments between successive ``ends``."""
    distances = []
    for start, stop in pairwise(ends):
        along = stop - start
        t = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        distances.append(np.linalg.norm(points - start - t[:, None] * along, axis=1))
    return np.min(distances, axis=0)


def _ring(
    skin: np.ndarray, start: np.ndarray, stop: np.ndarray, place: float
) -> tuple[np.ndarray, float]:
    """Centre and radius of a finger at ``place`` along a bone."""
    along = _unit(stop - start)
    height = (skin - start) @ along - place * np.linalg.norm(stop - start)
    ring = skin[np.argsort(np.abs(height))[:10]]
    flat = ring - ((ring - start) @ along)[:, None] * along
    center = (flat.max(0) + flat.min(0)) / 2
    radius = np.median(np.linalg.norm(flat - center, axis=1))
    return center + place * np.linalg.norm(stop - start) * along, radius


def _between_the_skins(template: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the palm below the back of the hand at a point's x and z."""
    near = template[np.hypot(*(template - point)[:, [0, 2]].T) < 0.011, 1]
    top, bottom = near[near > point[1]].mean(), near[near <= point[1]].mean()
    return np.array([point[0], (top + bottom) / 2, point[2]]), (top - bottom) / 2


def _contact_distances(centers: np.ndarray, radii: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """(N, N) metres: the distance that two spheres keep; 0 for those that belong together.

    Those that overlap in the rest hand, at the roots of two fingers, belong together too.
    """
    finger = np.where(bones == 0, -1, (bones - 1) // 3)
    link = np.where(bones == 0, -1, (bones - 1) % 3)  # 0 next to the palm
    palm, thumb_root = bones == 0, bones == 13
    touching = finger[:, None] == finger[None]
    far_links = touching & (np.abs(link[:, None] - link[None]) == 2)  # a finger's end on its root
    next_to_palm = palm | thumb_root
    stays = (link == 0) | next_to_palm | (bones == 14)
    tested = ~touching | far_links
    tested &= ~(next_to_palm[:, None] & stays[None]) & ~(stays[:, None] & next_to_palm[None])
    rest = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    contact = radii[:, None] + radii[None] - _GIVE_M
    return np.where(tested & (rest > contact), contact, 0.0)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    """``torch.atan2`` with a gradient of zero, not NaN, where both are zero."""
    nowhere = (x * x + y * y) < 1e-12
    return torch.atan2(y, torch.where(nowhere, torch.ones_like(x), x))
