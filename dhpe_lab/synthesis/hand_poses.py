"""Correlated random hand poses, family by family, and anatomical angles in numpy.

A pose has 15 joints in MANO's order (index, middle, little, ring, thumb; three each, base to tip),
each with three angles in radians: flexion, abduction and twist, as `dhpe_ros.hand.pose_prior`
says. The axes come with the hand model (``pose_axes``, (15, 3, 3): joint, which angle, unit vector
in the model frame).

The families know angles only, no flesh: ``settling.settled`` pushes apart the fingers that meet.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dhpe_ros.hand.pose_prior import FINGERS, pose_limits

JOINTS = 15
KNUCKLED = ("index", "middle", "ring", "little")

SUM_OF_FLEXION_MAX = np.radians(248.0)  # of a finger's three joints: the tip is on the palm
DIP_PER_PIP = 2.0 / 3.0  # the two end joints share a tendon


def rotation_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:
    """(..., 3) axis-angle in radians -> (..., 3, 3) rotation matrices."""
    flat = np.reshape(axis_angle, (-1, 3))
    return Rotation.from_rotvec(flat).as_matrix().reshape(*np.shape(axis_angle), 3)


def pose_from_angles(angles: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Anatomical angles (..., 15, 3) -> axis-angle pose (..., 15, 3), by ``pose_axes``."""
    angles = np.asarray(angles)
    turns = rotation_from_axis_angle(angles[..., None] * axes)
    turned = turns[..., 0, :, :] @ turns[..., 1, :, :] @ turns[..., 2, :, :]
    return Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_rotvec().reshape(angles.shape)


def angles_from_pose(pose: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Inverse of :func:`pose_from_angles` for abduction within +-90 degrees."""
    local = axes @ rotation_from_axis_angle(pose) @ np.swapaxes(axes, -1, -2)
    flexion = np.arctan2(-local[..., 1, 2], local[..., 2, 2])
    abduction = np.arcsin(np.clip(local[..., 0, 2], -1.0, 1.0))
    twist = np.arctan2(-local[..., 0, 1], local[..., 0, 0])
    return np.stack([flexion, abduction, twist], axis=-1)


def make_plausible(angles: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Clip angles to the limits and to what couples the joints of one finger.

    DIP stays near 2/3 of PIP, the fingers cannot be spread while the knuckles are bent, and the
    three joints together stop where the tip meets the palm.
    Takes and returns (n, 15, 3) radians; without ``rng`` DIP follows exactly.
    """
    limits = pose_limits()
    angles = np.clip(angles, limits[..., 0], limits[..., 1])
    for finger in KNUCKLED:
        mcp, pip, dip = range(FINGERS[finger], FINGERS[finger] + 3)
        own = 0.0 if rng is None else rng.normal(0.0, np.radians(6.0), len(angles))
        angles[:, dip, 0] = DIP_PER_PIP * angles[:, pip, 0] + own
        bent = np.clip(angles[:, mcp, 0] / np.radians(90.0), 0.0, 1.0)
        angles[:, mcp, 1] *= 1.0 - 0.85 * bent
        flexion = angles[:, mcp : dip + 1, 0]  # a view
        excess = np.maximum(flexion, 0.0).sum(axis=1) / SUM_OF_FLEXION_MAX
        shrink = 1.0 / np.maximum(excess, 1.0)[:, None]
        flexion *= np.where(flexion > 0.0, shrink, 1.0)
    return np.clip(angles, limits[..., 0], limits[..., 1])


def relaxed_angles() -> np.ndarray:
    """(15, 3) radians: the hand as it hangs, fingers gently curled, more towards the little one."""
    angles = np.zeros((1, JOINTS, 3))
    for finger, mcp, pip in zip(KNUCKLED, (14, 20, 24, 26), (24, 30, 33, 30), strict=True):
        _curl(angles, finger, mcp, pip)
    _thumb(angles, (4, 6, 4), 10, 14)
    return make_plausible(angles)[0]


_Degrees = float | np.ndarray  # of one, or of each hand


def _curl(angles: np.ndarray, finger: str, mcp_deg: _Degrees, pip_deg: _Degrees) -> None:
    """Set MCP and PIP flexion of one finger; arguments broadcast over n."""
    angles[:, FINGERS[finger], 0] = np.radians(mcp_deg)
    angles[:, FINGERS[finger] + 1, 0] = np.radians(pip_deg)


def _thumb(
    angles: np.ndarray, cmc_deg: tuple[_Degrees, ...], mcp_deg: _Degrees, ip_deg: _Degrees
) -> None:
    """Set the thumb: ``cmc_deg`` = (flexion, abduction, twist), the other two are flexion."""
    first = FINGERS["thumb"]
    for which, value in enumerate(cmc_deg):
        angles[:, first, which] = np.radians(value)
    angles[:, first + 1, 0] = np.radians(mcp_deg)
    angles[:, first + 2, 0] = np.radians(ip_deg)


def _relaxed(rng: np.random.Generator, n: int) -> np.ndarray:
    angles = np.repeat(relaxed_angles()[None], n, axis=0)
    together = rng.normal(0.0, 14.0, n)
    for finger in KNUCKLED:
        angles[:, FINGERS[finger], 0] += np.radians(0.7 * together + rng.normal(0, 7, n))
        angles[:, FINGERS[finger] + 1, 0] += np.radians(together + rng.normal(0, 8, n))
    angles[:, FINGERS["thumb"] :, 0] += np.radians(rng.normal(0, 8, (n, 3)))
    return angles


def _fist(rng: np.random.Generator, n: int) -> np.ndarray:
    angles = np.zeros((n, JOINTS, 3))
    closed = rng.uniform(0.55, 1.0, n)
    for finger in KNUCKLED:
        own = np.clip(closed + rng.normal(0, 0.05, n), 0.0, 1.05)
        _curl(angles, finger, 82 * own, 98 * own)
    over = rng.uniform(0.0, 1.0, n)  # 0: thumb beside the fist, 1: thumb across the fingers
    _thumb(angles, (25 * over - 5, 26 * over - 8, 18 * over), 30 * over + 5, 45 * over + 5)
    return angles


def _spread(rng: np.random.Generator, n: int) -> np.ndarray:
    angles = np.zeros((n, JOINTS, 3))
    wide = rng.uniform(-0.5, 1.0, n)
    for finger, abduction in [("index", 18), ("middle", 2), ("ring", -12), ("little", -22)]:
        angles[:, FINGERS[finger], 1] = np.radians(wide * abduction)
        _curl(angles, finger, rng.normal(-2, 7, n), rng.normal(3, 6, n))
    _thumb(angles, (-12 * wide, rng.normal(5, 8, n), 0 * wide), rng.normal(0, 6, n), 0 * wide)
    return angles


def _counting(rng: np.random.Generator, n: int) -> np.ndarray:
    """Each finger is up or down on its own: counting, pointing, victory, signs."""
    angles = np.zeros((n, JOINTS, 3))
    for finger in KNUCKLED:
        down = np.where(rng.random(n) < 0.5, rng.uniform(0.75, 1.0, n), rng.uniform(0, 0.15, n))
        _curl(angles, finger, 78 * down + rng.normal(0, 5, n), 98 * down + rng.normal(0, 5, n))
        angles[:, FINGERS[finger], 1] = np.radians(rng.normal(0, 7, n))
    over = np.where(rng.random(n) < 0.6, rng.uniform(0.6, 1.0, n), rng.uniform(-0.5, 0.1, n))
    _thumb(angles, (25 * over, 24 * over, 16 * over), 30 * over, 40 * over)
    return angles


def _pointing(rng: np.random.Generator, n: int) -> np.ndarray:
    angles = _fist(rng, n)
    _curl(angles, "index", rng.normal(8, 10, n), np.abs(rng.normal(5, 10, n)))
    return angles


# Finger MCP, PIP; thumb CMC, MCP, IP in degrees at which the two pads meet on the mean open hand,
# found by minimising the distance of the pads.
_TOUCH = {
    "index": (52, 52, (12, 11, 15), 12, 22),
    "middle": (59, 55, (26, 17, 14), 19, 20),
    "ring": (70, 55, (35, 19, 21), 29, 37),
    "little": (73, 47, (35, 22, 8), 45, 35),
}


def _pinch(rng: np.random.Generator, n: int) -> np.ndarray:
    """Thumb to a finger's pad, from open to touching; the other fingers stay or come along."""
    angles = np.repeat(relaxed_angles()[None], n, axis=0)
    partner = rng.choice(list(_TOUCH), size=n, p=[0.6, 0.2, 0.1, 0.1])
    along = np.where(rng.random(n) < 0.4, rng.uniform(0.7, 1.0, n), rng.uniform(0.0, 0.3, n))
    closed = np.minimum(rng.uniform(0.3, 1.3, n), 1.0)
    for finger, (mcp, pip, cmc, thumb_mcp, thumb_ip) in _TOUCH.items():
        rows = partner == finger
        part = np.zeros((rows.sum(), JOINTS, 3))
        for other in KNUCKLED:
            follows = 1.0 if other == finger else along[rows]
            _curl(part, other, mcp * follows, pip * follows)
        _thumb(part, cmc, thumb_mcp, thumb_ip)
        start = angles[rows] * np.where(np.arange(JOINTS) < FINGERS["thumb"], 0.3, 1.0)[:, None]
        angles[rows] = start + closed[rows, None, None] * (part - start)
    return angles


def _anywhere(rng: np.random.Generator, n: int) -> np.ndarray:
    limits = pose_limits()
    return rng.uniform(limits[..., 0], limits[..., 1], (n, JOINTS, 3))


FAMILIES = {  # name -> generator, share of the mixture
    "relaxed": (_relaxed, 0.25),
    "fist": (_fist, 0.12),
    "spread": (_spread, 0.15),
    "pointing": (_pointing, 0.08),
    "pinch": (_pinch, 0.15),
    "counting": (_counting, 0.15),
    "anywhere": (_anywhere, 0.10),
}


def sample_angles(rng: np.random.Generator, n: int) -> np.ndarray:
    """Angles (n, 15, 3) from the mixture of ``FAMILIES``, in random order, within the limits."""
    shares = np.array([share for _, share in FAMILIES.values()])
    counts = rng.multinomial(n, shares / shares.sum())
    parts = [make(rng, count) for (make, _), count in zip(FAMILIES.values(), counts, strict=True)]
    angles = np.concatenate(parts)
    twist_sigma = np.where(np.arange(JOINTS) % 3 == 0, 2.5, 0.8)
    angles[..., 1:] += np.radians(rng.normal(0, 1, angles[..., 1:].shape) * twist_sigma[:, None])
    angles[..., 0] += np.radians(rng.normal(0, 3, angles[..., 0].shape))
    return make_plausible(angles, rng)[rng.permutation(n)]


def sample_poses(rng: np.random.Generator, n: int, axes: np.ndarray) -> np.ndarray:
    """Axis-angle poses (n, 15, 3) of ``sample_angles``, by the model's ``pose_axes``."""
    return pose_from_angles(sample_angles(rng, n), axes)
