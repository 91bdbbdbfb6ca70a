"""Anatomical hand poses: limits per joint, correlated random poses, and their axis-angle form.

A pose has 15 joints in MANO's order (index, middle, little, ring, thumb; three each, base to tip).
Anatomy speaks in three angles per joint, always relative to the flat open rest hand:

* flexion: positive closes the hand;
* abduction: positive turns towards the thumb's side (radial), whichever finger it is; for the
  thumb, positive lifts it out of the palm's plane, towards where the palm faces;
* twist: about the bone, right-handed, the axis pointing to the finger tip.

The axes come with the hand model (``pose_axes``, (15, 3, 3): joint, which angle, unit vector in the
model frame). A joint turns by ``R = R_flexion @ R_abduction @ R_twist``.

Ranges follow goniometry as clinics teach it (AAOS joint motion: finger MCP 90, PIP 100, DIP 80,
thumb MCP 50, IP 80 degrees), a little narrowed where full range in every joint at once would push
a finger through the palm. Numpy only.
"""

import numpy as np

JOINTS = 15
FINGERS = {"index": 0, "middle": 3, "little": 6, "ring": 9, "thumb": 12}
"""First joint of each finger among the 15."""

_KNUCKLE = {  # flexion and abduction of the four MCP joints, degrees
    "index": ((-20, 88), (-8, 20)),
    "middle": ((-20, 90), (-10, 10)),
    "ring": ((-20, 90), (-14, 6)),
    "little": ((-22, 90), (-24, 10)),
}

SUM_OF_FLEXION_MAX = np.radians(248.0)
"""Flexion a finger reaches over its three joints together: the tip then rests on the palm."""

DIP_PER_PIP = 2.0 / 3.0
"""The two end joints share a tendon: DIP flexion follows PIP flexion."""


def pose_limits():
    """Lowest and highest angle of each joint, relative to the rest hand.

    Returns:
        (15, 3, 2) radians: joint, (flexion, abduction, twist), (lower, upper).
    """
    limits = np.zeros((JOINTS, 3, 2))
    for finger, (flexion, abduction) in _KNUCKLE.items():
        first = FINGERS[finger]
        limits[first] = [flexion, abduction, (-8, 8)]
        limits[first + 1] = [(0, 105), (-3, 3), (-3, 3)]
        limits[first + 2] = [(-5, 80), (-3, 3), (-3, 3)]
    thumb = FINGERS["thumb"]
    limits[thumb] = [(-20, 35), (-22, 38), (-15, 35)]
    limits[thumb + 1] = [(-10, 55), (-8, 8), (-6, 10)]
    limits[thumb + 2] = [(-15, 80), (-3, 3), (-3, 3)]
    return np.radians(limits)


def rotation_from_axis_angle(axis_angle):
    """(..., 3) axis-angle in radians -> (..., 3, 3) rotation matrices (Rodrigues)."""
    axis_angle = np.asarray(axis_angle, dtype=np.float64)
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle, -1, 0)
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    skew = skew.reshape((*axis_angle.shape[:-1], 3, 3))
    half = np.sinc(angle / (2 * np.pi))  # sin(a/2) / (a/2), finite at zero
    return np.eye(3) + np.sinc(angle / np.pi) * skew + 0.5 * half**2 * (skew @ skew)


def axis_angle_from_rotation(rotation):
    """(..., 3, 3) rotation matrices with angles below pi -> (..., 3) axis-angle in radians."""
    rotation = np.asarray(rotation, dtype=np.float64)
    vector = 0.5 * np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        axis=-1,
    )
    sine = np.linalg.norm(vector, axis=-1)
    cosine = 0.5 * (np.trace(rotation, axis1=-2, axis2=-1) - 1.0)
    angle = np.arctan2(sine, cosine)
    scale = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 1.0)
    return vector * scale[..., None]


def pose_from_angles(angles, axes):
    """Anatomical angles -> axis-angle pose.

    Args:
        angles: (..., 15, 3) radians, flexion, abduction, twist.
        axes: (15, 3, 3) the model's ``pose_axes``.

    Returns:
        (..., 15, 3) axis-angle in radians, MANO's joint order.
    """
    turns = rotation_from_axis_angle(np.asarray(angles)[..., None] * axes)
    return axis_angle_from_rotation(turns[..., 0, :, :] @ turns[..., 1, :, :] @ turns[..., 2, :, :])


def angles_from_pose(pose, axes):
    """Inverse of :func:`pose_from_angles` for abduction within +-90 degrees."""
    local = axes @ rotation_from_axis_angle(pose) @ np.swapaxes(axes, -1, -2)
    flexion = np.arctan2(-local[..., 1, 2], local[..., 2, 2])
    abduction = np.arcsin(np.clip(local[..., 0, 2], -1.0, 1.0))
    twist = np.arctan2(-local[..., 0, 1], local[..., 0, 0])
    return np.stack([flexion, abduction, twist], axis=-1)


def make_plausible(angles, rng=None):
    """Clip angles to the limits and to what couples the joints of one finger.

    DIP stays near 2/3 of PIP, the fingers cannot be spread while the knuckles are bent, and the
    three joints together stop where the tip meets the palm.

    Args:
        angles: (n, 15, 3) radians.
        rng: generator for the small independent part of DIP; without it DIP follows exactly.

    Returns:
        (n, 15, 3) radians, a new array.
    """
    limits = pose_limits()
    angles = np.clip(angles, limits[..., 0], limits[..., 1])
    for finger in _KNUCKLE:
        mcp, pip, dip = range(FINGERS[finger], FINGERS[finger] + 3)
        own = 0.0 if rng is None else rng.normal(0.0, np.radians(6.0), len(angles))
        angles[:, dip, 0] = DIP_PER_PIP * angles[:, pip, 0] + own
        bent = np.clip(angles[:, mcp, 0] / np.radians(90.0), 0.0, 1.0)
        angles[:, mcp, 1] *= 1.0 - 0.85 * bent
        flexion = np.maximum(angles[:, mcp : dip + 1, 0], 0.0)
        excess = flexion.sum(axis=1) / SUM_OF_FLEXION_MAX
        shrink = 1.0 / np.maximum(excess, 1.0)
        angles[:, mcp : dip + 1, 0] = np.where(
            angles[:, mcp : dip + 1, 0] > 0.0,
            angles[:, mcp : dip + 1, 0] * shrink[:, None],
            angles[:, mcp : dip + 1, 0],
        )
    return np.clip(angles, limits[..., 0], limits[..., 1])


def relaxed_angles():
    """(15, 3) radians: the hand as it hangs, fingers gently curled, more towards the little one."""
    angles = np.zeros((1, JOINTS, 3))
    for finger, mcp, pip in [
        ("index", 14, 24),
        ("middle", 20, 30),
        ("ring", 24, 33),
        ("little", 26, 30),
    ]:
        angles[0, FINGERS[finger], 0] = mcp
        angles[0, FINGERS[finger] + 1, 0] = pip
    angles[0, FINGERS["thumb"]] = [4, 6, 4]
    angles[0, FINGERS["thumb"] + 1, 0] = 10
    angles[0, FINGERS["thumb"] + 2, 0] = 14
    return make_plausible(np.radians(angles))[0]


def _curl(angles, finger, mcp_deg, pip_deg):
    """Set MCP and PIP flexion of one finger; arguments broadcast over n."""
    angles[:, FINGERS[finger], 0] = np.radians(mcp_deg)
    angles[:, FINGERS[finger] + 1, 0] = np.radians(pip_deg)


def _thumb(angles, cmc_deg, mcp_deg, ip_deg):
    """Set the thumb: ``cmc_deg`` = (flexion, abduction, twist), the other two are flexion."""
    first = FINGERS["thumb"]
    for which, value in enumerate(cmc_deg):
        angles[:, first, which] = np.radians(value)
    angles[:, first + 1, 0] = np.radians(mcp_deg)
    angles[:, first + 2, 0] = np.radians(ip_deg)


def _relaxed(rng, n):
    angles = np.repeat(relaxed_angles()[None], n, axis=0)
    together = rng.normal(0.0, 14.0, n)
    for finger in _KNUCKLE:
        angles[:, FINGERS[finger], 0] += np.radians(0.7 * together + rng.normal(0, 7, n))
        angles[:, FINGERS[finger] + 1, 0] += np.radians(together + rng.normal(0, 8, n))
    angles[:, FINGERS["thumb"] :, 0] += np.radians(rng.normal(0, 8, (n, 3)))
    return angles


def _fist(rng, n):
    angles = np.zeros((n, JOINTS, 3))
    closed = rng.uniform(0.55, 1.0, n)
    for finger in _KNUCKLE:
        own = np.clip(closed + rng.normal(0, 0.05, n), 0.0, 1.05)
        _curl(angles, finger, 82 * own, 98 * own)
    over = rng.uniform(0.0, 1.0, n)  # 0: thumb beside the fist, 1: thumb across the fingers
    _thumb(angles, (25 * over - 5, 26 * over - 8, 18 * over), 30 * over + 5, 45 * over + 5)
    return angles


def _spread(rng, n):
    angles = np.zeros((n, JOINTS, 3))
    wide = rng.uniform(-0.5, 1.0, n)
    for finger, abduction in [("index", 18), ("middle", 2), ("ring", -12), ("little", -22)]:
        angles[:, FINGERS[finger], 1] = np.radians(wide * abduction)
        _curl(angles, finger, rng.normal(-2, 7, n), rng.normal(3, 6, n))
    _thumb(angles, (-12 * wide, rng.normal(5, 8, n), 0 * wide), rng.normal(0, 6, n), 0 * wide)
    return angles


def _counting(rng, n):
    """Each finger is up or down on its own: counting, pointing, victory, signs."""
    angles = np.zeros((n, JOINTS, 3))
    for finger in _KNUCKLE:
        down = np.where(rng.random(n) < 0.5, rng.uniform(0.75, 1.0, n), rng.uniform(0, 0.15, n))
        _curl(angles, finger, 78 * down + rng.normal(0, 5, n), 98 * down + rng.normal(0, 5, n))
        angles[:, FINGERS[finger], 1] = np.radians(rng.normal(0, 7, n))
    over = np.where(rng.random(n) < 0.6, rng.uniform(0.6, 1.0, n), rng.uniform(-0.5, 0.1, n))
    _thumb(angles, (25 * over, 24 * over, 16 * over), 30 * over, 40 * over)
    return angles


def _pointing(rng, n):
    angles = _fist(rng, n)
    _curl(angles, "index", rng.normal(8, 10, n), np.abs(rng.normal(5, 10, n)))
    return angles


_TOUCH = {
    "index": (52, 52, (12, 11, 15), 12, 22),
    "middle": (59, 55, (26, 17, 14), 19, 20),
    "ring": (70, 55, (35, 19, 21), 29, 37),
    "little": (73, 47, (35, 22, 8), 45, 35),
}
"""Finger MCP, PIP; thumb CMC, MCP, IP in degrees at which the two pads meet on the mean open hand
(found by minimising the distance of the pads)."""


def _pinch(rng, n):
    """Thumb to a finger's pad, from open to touching; the other fingers stay or come along."""
    angles = np.repeat(relaxed_angles()[None], n, axis=0)
    partner = rng.choice(list(_TOUCH), size=n, p=[0.6, 0.2, 0.1, 0.1])
    along = np.where(rng.random(n) < 0.4, rng.uniform(0.7, 1.0, n), rng.uniform(0.0, 0.3, n))
    closed = np.minimum(rng.uniform(0.3, 1.3, n), 1.0)
    for finger, (mcp, pip, cmc, thumb_mcp, thumb_ip) in _TOUCH.items():
        rows = partner == finger
        part = np.zeros((rows.sum(), JOINTS, 3))
        for other in _KNUCKLE:
            follows = 1.0 if other == finger else along[rows]
            _curl(part, other, mcp * follows, pip * follows)
        _thumb(part, cmc, thumb_mcp, thumb_ip)
        start = angles[rows] * np.where(np.arange(JOINTS) < FINGERS["thumb"], 0.3, 1.0)[:, None]
        angles[rows] = start + closed[rows, None, None] * (part - start)
    return angles


def _anywhere(rng, n):
    limits = pose_limits()
    return rng.uniform(limits[..., 0], limits[..., 1], (n, JOINTS, 3))


FAMILIES = {
    "relaxed": (_relaxed, 0.25),
    "fist": (_fist, 0.12),
    "spread": (_spread, 0.15),
    "pointing": (_pointing, 0.08),
    "pinch": (_pinch, 0.15),
    "counting": (_counting, 0.15),
    "anywhere": (_anywhere, 0.10),
}
"""Name -> (generator, share of the mixture)."""


def sample_angles(rng, n):
    """Random anatomical angles from the mixture of :data:`FAMILIES`.

    Args:
        rng: ``numpy.random.Generator``.
        n: number of poses.

    Returns:
        (n, 15, 3) radians, within :func:`pose_limits`, in random order of families.
    """
    shares = np.array([share for _, share in FAMILIES.values()])
    counts = rng.multinomial(n, shares / shares.sum())
    parts = [make(rng, count) for (make, _), count in zip(FAMILIES.values(), counts, strict=True)]
    angles = np.concatenate(parts)
    twist_sigma = np.where(np.arange(JOINTS) % 3 == 0, 2.5, 0.8)
    angles[..., 1:] += np.radians(rng.normal(0, 1, angles[..., 1:].shape) * twist_sigma[:, None])
    angles[..., 0] += np.radians(rng.normal(0, 3, angles[..., 0].shape))
    return make_plausible(angles, rng)[rng.permutation(n)]


def sample_poses(rng, n, axes):
    """Random axis-angle poses; see :func:`sample_angles`.

    Args:
        rng: ``numpy.random.Generator``.
        n: number of poses.
        axes: (15, 3, 3) the model's ``pose_axes``.

    Returns:
        (n, 15, 3) axis-angle in radians, MANO's joint order.
    """
    return pose_from_angles(sample_angles(rng, n), axes)
