"""Pose correctives (``posedirs``): what linear blend skinning gets wrong at bent joints.

Linear blending averages matrices, so skin half-way between two bones moves towards the joint when
it bends (by cos of half the angle). Two steps put it right, joint by joint, over the joint's range:

1. Towards the blended rotation, which keeps the distance, as dual quaternion skinning does (Kavan
   et al. 2007), yet bulges; hence a share of the way only.
2. Flesh does not compress: what volume is still missing is given back, and a surplus taken away,
   along the normals of the skin around the joint (after Rohmer, Hahmann, Cani, "Exact volume
   preserving skinning with shape control", 2009), least in the crease, where it would fold over.

``python -m dhpe_lab.hand_building.pose_correctives weights/open_hand.npz`` fits them anew to a hand
model, in place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dhpe_lab.synthesis import hand_poses
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.pose_prior import pose_limits
from dhpe_ros.system.programs import run_program

TOWARDS_ROTATION = 0.85  # 0: linear blending as it is, 1: the blended rotation
VOLUME_KEPT = 0.7  # share of the change in volume that is undone
_SAMPLES_PER_JOINT, _SEED, _RIDGE = 120, 20190606, 1e-2


def fit_posedirs(
    template: np.ndarray,
    faces: np.ndarray,
    joints: np.ndarray,
    weights: np.ndarray,
    axes: np.ndarray,
) -> np.ndarray:
    """Fit (778, 3, 135) correctives, linear in ``vec(R - I)`` of the 15 joints.

    Of a template (778, 3) and joints (16, 3) in metres, weights (778, 16) and ``pose_axes``.
    """
    rng = np.random.default_rng(_SEED)
    limits = pose_limits()
    posedirs = np.zeros((len(template), 3, 15, 9))
    for joint in range(1, 16):
        low, high = limits[joint - 1, :, 0], limits[joint - 1, :, 1]
        angles = np.zeros((_SAMPLES_PER_JOINT, 15, 3))
        angles[:, joint - 1] = rng.uniform(low, high, (_SAMPLES_PER_JOINT, 3))
        bends = hand_poses.pose_from_angles(angles, axes)[:, joint - 1]
        share = weights[:, _descendants(joint)].sum(axis=1)
        wanted = [_correction(template - joints[joint], faces, share, bend) for bend in bends]
        features = (hand_poses.rotation_from_axis_angle(bends) - np.eye(3)).reshape(-1, 9)
        normal = features.T @ features + _RIDGE * np.eye(9)
        solution = np.linalg.solve(normal, features.T @ np.reshape(wanted, (len(bends), -1)))
        posedirs[:, :, joint - 1] = solution.T.reshape(len(template), 3, 9)
    return posedirs.reshape(len(template), 3, 135)


def _descendants(joint: int) -> list[int]:
    """Joints that turn with ``joint``, itself included."""
    found = [joint]
    for child in range(joint + 1, 16):
        if PARENTS[child] in found:
            found.append(child)
    return found


def _correction(
    offset: np.ndarray, faces: np.ndarray, share: np.ndarray, bend: np.ndarray
) -> np.ndarray:
    """(778, 3) in rest space: what linear blending lacks at one axis-angle ``bend`` of one joint.

    ``offset`` (778, 3) is from the joint, ``share`` (778,) of the skin's weight beyond the joint.
    """
    turn = hand_poses.rotation_from_axis_angle(bend)
    blended = hand_poses.rotation_from_axis_angle(share[:, None] * bend)
    linear = np.eye(3) + share[:, None, None] * (turn - np.eye(3))
    posed = np.einsum("vij,vj->vi", linear, offset)
    rotated = np.einsum("vij,vj->vi", blended, offset)
    target = posed + TOWARDS_ROTATION * (rotated - posed)
    target = _refilled(offset, target, faces, 4 * share * (1 - share))
    return np.linalg.solve(linear, target[..., None])[..., 0] - offset


def _refilled(
    rest: np.ndarray, posed: np.ndarray, faces: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """``posed`` with the skin moved along its normals, as far as it is ``free``, to keep volume."""
    rest_areas = np.linalg.norm(area_vectors(rest, faces), axis=1)
    change = VOLUME_KEPT * (volume(rest, faces) - volume(posed, faces))
    for _ in range(2):  # the first step's second-order error is the second step's work
        outward = area_vectors(posed, faces)
        areas = np.linalg.norm(outward, axis=1)
        open_skin = free * np.minimum(areas / rest_areas, 1.0) ** 2  # least in the crease
        normals = outward / areas[:, None]
        step = change / max((open_skin * areas).sum(), 1e-9)
        moved = posed + step * open_skin[:, None] * normals
        change -= volume(moved, faces) - volume(posed, faces)
        posed = moved
    return posed


def area_vectors(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) gradient of the volume: normals as long as the area that belongs to each vertex."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    thirds = np.cross(b - a, c - a) / 6.0
    vectors = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(vectors, faces[:, corner], thirds)
    return vectors


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume under a surface, seen from the origin; compare only where the boundary stays put."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c))) / 6.0


def refit(path: Path) -> None:
    """Replace ``posedirs`` of an ``.npz`` with ``pose_axes``, and nothing else."""
    with np.load(path) as file:
        hand = dict(file)
    template, weights, axes = (
        hand[key].astype(np.float64) for key in ("v_template", "weights", "pose_axes")
    )
    joints = hand["J_regressor"].astype(np.float64) @ template
    posedirs = fit_posedirs(template, hand["f"], joints, weights, axes)
    np.savez_compressed(path, **{**hand, "posedirs": posedirs.astype(np.float32)})


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit a hand model's pose correctives anew.")
    parser.add_argument("hand_model", type=Path, help=".npz with pose_axes, changed in place")
    refit(parser.parse_args().hand_model)


if __name__ == "__main__":
    run_program(main)
