"""Pose correctives (``posedirs``) against the collapse of linear blend skinning at bent joints.

Linear blending averages matrices, so skin half-way between two bones moves towards the joint when
it bends (by cos of half the angle). Blending the rotation itself, as dual quaternion skinning does
(Kavan et al. 2007), keeps the distance, yet bulges. The target is a share of the way between.
"""

import numpy as np

from dhpe_ros.training import hand_poses
from dhpe_ros.training.anny_hands import PARENTS

TOWARDS_ROTATION = 0.7
"""0: linear blending as it is, 1: the blended rotation."""

_SAMPLES_PER_JOINT, _SEED, _RIDGE = 120, 20190606, 1e-2


def fit_posedirs(template, joints, weights, axes):
    """Fit (778, 3, 135) correctives, linear in ``vec(R - I)`` of the 15 joints.

    Args:
        template: (778, 3) metres. joints: (16, 3) metres. weights: (778, 16).
        axes: (15, 3, 3) of :func:`dhpe_ros.training.open_hand.pose_axes`.
    """
    rng = np.random.default_rng(_SEED)
    limits = hand_poses.pose_limits()
    posedirs = np.zeros((len(template), 3, 15, 9))
    for joint in range(1, 16):
        low, high = limits[joint - 1, :, 0], limits[joint - 1, :, 1]
        angles = np.zeros((_SAMPLES_PER_JOINT, 15, 3))
        angles[:, joint - 1] = rng.uniform(low, high, (_SAMPLES_PER_JOINT, 3))
        bends = hand_poses.pose_from_angles(angles, axes)[:, joint - 1]
        share = weights[:, _descendants(joint)].sum(axis=1)
        wanted = [_missing_offset(template - joints[joint], share, bend) for bend in bends]
        features = (hand_poses.rotation_from_axis_angle(bends) - np.eye(3)).reshape(-1, 9)
        normal = features.T @ features + _RIDGE * np.eye(9)
        solution = np.linalg.solve(normal, features.T @ np.reshape(wanted, (len(bends), -1)))
        posedirs[:, :, joint - 1] = solution.T.reshape(len(template), 3, 9)
    return TOWARDS_ROTATION * posedirs.reshape(len(template), 3, 135)


def _descendants(joint):
    """Joints that turn with ``joint``, itself included."""
    found = [joint]
    for child in range(joint + 1, 16):
        if PARENTS[child] in found:
            found.append(child)
    return found


def _missing_offset(offset, share, bend):
    """(778, 3) in rest space: what linear blending lacks to the blended rotation.

    Args:
        offset: (778, 3) from the joint. share: (778,) of the skin's weight beyond the joint.
        bend: (3,) axis-angle.
    """
    turn = hand_poses.rotation_from_axis_angle(bend)
    blended = hand_poses.rotation_from_axis_angle(share[:, None] * bend)
    linear = np.eye(3) + share[:, None, None] * (turn - np.eye(3))
    target = np.einsum("vij,vj->vi", blended, offset)
    return np.linalg.solve(linear, target[..., None])[..., 0] - offset
