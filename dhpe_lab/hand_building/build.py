"""Build the open hand: a MANO-format right hand from Anny, free of a licence form.

``python -m dhpe_lab.hand_building.build --output weights/open_hand.npz``

Steps: sample a population of hands in one flat rest pose (:mod:`anny_hands`); simplify the mean
hand to MANO's 778 vertices and 1,538 triangles (:mod:`mesh_simplification`); principal components
of shape; a local joint regressor; skinning weights along the five rays of the hand; correctives of
poses (:mod:`pose_correctives`); statistics of random poses (:mod:`hand_poses`). Fixed seeds.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from dhpe_lab.hand_building.anny_hands import CHAINS, HandPopulation, sample_population
from dhpe_lab.hand_building.mesh_simplification import (
    boundary_loop,
    collapse_to,
    edge_counts,
    relax,
    split_quads,
    triangle_quality,
)
from dhpe_lab.hand_building.pose_correctives import fit_posedirs
from dhpe_lab.rendering.lighting import unit
from dhpe_lab.synthesis import hand_poses
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.pose_prior import TIP_ORDER, pose_axes, pose_limits
from dhpe_ros.system.programs import run_program

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
LICENCE = "Apache-2.0; geometry from Anny 0.6.2 (code Apache-2.0, MakeHuman assets CC0-1.0)"

N_VERTICES, N_RIM, N_SHAPES = 778, 16, 10
N_HANDS, POPULATION_SEED = 1000, 20190604
N_POSES, POSE_SEED = 20000, 20190605


def build() -> dict[str, np.ndarray]:
    """The open hand as a dictionary of arrays, the keys of the npz file."""
    population = sample_population(N_HANDS, POPULATION_SEED)
    onto_source, faces = _simplify(population)
    vertices = np.einsum("vs,nsi->nvi", onto_source, population.vertices, optimize=True)
    template, joints = vertices.mean(axis=0), population.joints.mean(axis=0)
    # The folds around the nails change unevenly with shape, which makes needles of triangles.
    vertices = template + _smooth(vertices - template, faces, rounds=2)
    shapedirs, explained = _shape_components(vertices)
    length = population.joints[:, 0, 0] - population.vertices[:, :, 0].min(axis=1)
    log.info("length %.1f mm, standard deviation %.1f", 1e3 * length.mean(), 1e3 * length.std())
    log.info("variance explained by %d shapes: %s", N_SHAPES, np.round(np.cumsum(explained), 4))
    tips = finger_tips(template, joints)
    weights = ray_weights(template, faces, joints, template[tips])
    axes = pose_axes(joints, template[tips], population.thumb_axis)
    pose = _pose_statistics(axes)
    regressor = _fit_regressor(vertices, population.joints)
    hand = {
        "v_template": template,
        "f": faces.astype(np.int32),
        "shapedirs": shapedirs,
        "posedirs": fit_posedirs(template, faces, regressor @ template, weights, axes),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([(2**32 - 1, *PARENTS[1:]), range(16)]),
        **pose,
        "tips": tips,
        "wrist_loop": boundary_loop(faces),
        "pose_limits": pose_limits(),
        "pose_axes": axes,
        "shape_variance_explained": explained,
        "format_version": np.int64(FORMAT_VERSION),
        "licence": np.array(LICENCE),
    }
    double = {key for key, value in hand.items() if np.asarray(value).dtype == np.float64}
    return {k: np.asarray(v, np.float32 if k in double else None) for k, v in hand.items()}


def _simplify(population: HandPopulation) -> tuple[np.ndarray, np.ndarray]:
    """(778, S) barycentric matrix onto the source vertices, and (1538, 3) faces."""
    mean = population.vertices.mean(axis=0)
    triangles = split_quads(mean, population.quads)
    kept, faces = collapse_to(mean, triangles, N_VERTICES, N_RIM, _importance(mean, population))
    matrix, faces = relax(mean[kept], faces, mean, triangles)
    quality = triangle_quality(matrix @ mean, faces)
    worst, median = max(edge_counts(faces).values()), np.median(quality)
    log.info("%d vertices, %d triangles, worst edge count %d", len(kept), len(faces), worst)
    log.info("quality of triangles: min %.3f, median %.3f", quality.min(), median)
    return matrix, faces


def _importance(mean: np.ndarray, population: HandPopulation) -> np.ndarray:
    """(S,) cost factor: fingers keep more vertices than the palm, finger ends the most."""
    joints = population.joints.mean(axis=0)
    importance = np.ones(len(mean))
    for finger, first in CHAINS.items():
        for joint, factor in [(first + (finger == "thumb"), 2.0), (first + 2, 4.0)]:
            bone = unit(joints[first + 2] - joints[first + 1])
            beyond = (mean - joints[joint]) @ bone > 0.0
            sideways = np.linalg.norm(np.cross(mean - joints[joint], bone), axis=1) < 0.016
            importance[beyond & sideways] = factor
    return importance


def _shape_components(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(778, 3, 10) principal components, each scaled to unit standard deviation; shares (10,)."""
    flat = (vertices - vertices.mean(axis=0)).reshape(len(vertices), -1)
    _, singular, components = np.linalg.svd(flat, full_matrices=False)
    deviation = singular[:N_SHAPES] / np.sqrt(len(flat) - 1)
    components = components[:N_SHAPES] * deviation[:, None]
    # An SVD leaves signs open: positive betas make the hand larger.
    outward = components @ vertices.mean(axis=0).ravel()
    components *= np.where(outward < 0, -1.0, 1.0)[:, None]
    explained = singular[:N_SHAPES] ** 2 / (singular**2).sum()
    return components.T.reshape(N_VERTICES, 3, N_SHAPES), explained


def _fit_regressor(
    vertices: np.ndarray, joints: np.ndarray, reach: int = 48, hands: int = 200
) -> np.ndarray:
    """(16, 778) non-negative rows that sum to one: each joint from the vertices around it."""
    mean, mean_joints = vertices.mean(axis=0), joints.mean(axis=0)
    vertices, joints = vertices[:hands], joints[:hands]
    regressor = np.zeros((16, N_VERTICES))
    for joint in range(16):
        near = np.argsort(np.linalg.norm(mean - mean_joints[joint], axis=1))[:reach]
        local = vertices[:, near].transpose(0, 2, 1).reshape(-1, reach)
        target = joints[:, joint].reshape(-1)
        sum_to_one = 1e3 * np.ones((1, reach))
        spread = 2e-2 * np.eye(reach)
        system = np.concatenate([local, sum_to_one, spread])
        wanted = np.concatenate([target, [1e3], np.full(reach, 2e-2 / reach)])
        solution = nnls(system, wanted)[0]
        regressor[joint, near] = solution / solution.sum()
    error = np.linalg.norm(np.einsum("jv,nvi->nji", regressor, vertices) - joints, axis=2)
    mean_mm, worst_mm = 1e3 * error.mean(), 1e3 * error.max()
    log.info("joint regressor: mean error %.2f mm, worst %.2f mm", mean_mm, worst_mm)
    return regressor


def finger_tips(template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(5,) vertex at the end of each finger."""
    tips = []
    for finger in TIP_ORDER:
        last = CHAINS[finger] + 2
        along = unit(joints[last] - joints[last - 1])
        for _ in range(2):  # then along the last phalanx itself, which may lean a little
            offset = template - joints[last]
            reach = offset @ along
            sideways = np.linalg.norm(offset - reach[:, None] * along, axis=1)
            phalanx = (sideways < 0.015) & (reach > 0.0)
            along = unit(offset[phalanx].mean(axis=0))
        tips.append(int(np.argmax(np.where(phalanx, reach - 0.6 * sideways, -1.0))))
    return np.array(tips, dtype=np.int32)


# Half of the length, in metres, over which the skin passes from one bone to the next.
_BLEND_M = {"finger": (0.011, 0.008, 0.0055), "thumb": (0.015, 0.010, 0.008)}
_RAY_WIDTH_M = 0.0045
_CUFF_M = 0.018


def ray_weights(
    template: np.ndarray, faces: np.ndarray, joints: np.ndarray, tip_points: np.ndarray
) -> np.ndarray:
    """Skinning weights from the five rays of the hand.

    A vertex belongs to the rays (metacarpal and finger) by its distance to them, and along a ray it
    passes from bone to bone over a short stretch around each joint. Anny's own weights bend the
    fingers at the web instead of at the knuckle. (778, 16), at most four joints per vertex.
    """
    distances, chains = [], []
    for finger, first in CHAINS.items():
        tip = tip_points[TIP_ORDER.index(finger)]
        points = np.concatenate([joints[[0]], joints[first : first + 3], tip[None]])
        start = 1 if finger == "thumb" else 0
        segments = [
            _distance_to_segment(template, points[k], points[k + 1]) for k in range(start, 4)
        ]
        distances.append(np.min(segments, axis=0))
        blend = _BLEND_M["thumb" if finger == "thumb" else "finger"]
        chains.append(_chain_weights(template, points, blend))
    distances = np.stack(distances, axis=1)
    closeness = -((distances - distances.min(axis=1, keepdims=True)) / _RAY_WIDTH_M)
    membership = np.exp(closeness)
    membership /= membership.sum(axis=1, keepdims=True)
    weights = np.zeros((len(template), 16))
    for ray, first in enumerate(CHAINS.values()):
        weights[:, 0] += membership[:, ray] * chains[ray][:, 0]
        weights[:, first : first + 3] += membership[:, ray, None] * chains[ray][:, 1:]
    # The cuff stays with the forearm, whatever the ball of the thumb does beside it.
    free = np.clip((joints[0, 0] - template[:, 0]) / _CUFF_M, 0.0, 1.0)
    weights[:, 1:] *= free[:, None]
    weights[:, 0] = 1.0 - weights[:, 1:].sum(axis=1)
    return _four_strongest(_smooth(weights, faces, rounds=3))


def _distance_to_segment(points: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    along = stop - start
    t = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    return np.linalg.norm(points - start - t[:, None] * along, axis=1)


def _chain_weights(
    template: np.ndarray, points: np.ndarray, blend: tuple[float, float, float]
) -> np.ndarray:
    """(778, 4) shares of wrist and three joints; ``points`` (5, 3): wrist, the joints, tip."""
    passed = [np.ones(len(template))]
    for k in range(3):
        before, after = points[k + 1] - points[k], points[k + 2] - points[k + 1]
        along = (template - points[k + 1]) @ unit(unit(before) + unit(after))
        t = np.clip(0.5 + 0.5 * along / blend[k], 0.0, 1.0)
        passed.append(np.minimum(t * t * (3.0 - 2.0 * t), passed[-1]))
    passed.append(np.zeros(len(template)))
    return np.stack([passed[k] - passed[k + 1] for k in range(4)], axis=1)


def _smooth(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Laplacian smoothing over the surface of (..., 778, k) values."""
    near = np.zeros((N_VERTICES, N_VERTICES))
    for a, b in [(0, 1), (1, 2), (2, 0)]:
        near[faces[:, a], faces[:, b]] = near[faces[:, b], faces[:, a]] = 1.0
    near /= near.sum(axis=1, keepdims=True)
    for _ in range(rounds):
        values = 0.6 * values + 0.4 * near @ values
    return values


def _four_strongest(weights: np.ndarray) -> np.ndarray:
    fourth = np.sort(weights, axis=1)[:, -4][:, None]
    kept = np.where((weights >= fourth) & (weights > 1e-3), weights, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


def _pose_statistics(axes: np.ndarray) -> dict[str, np.ndarray]:
    """Mean pose, principal components (rows, all 45) and their standard deviations."""
    poses = hand_poses.sample_poses(np.random.default_rng(POSE_SEED), N_POSES, axes)
    mean = hand_poses.pose_from_angles(hand_poses.relaxed_angles(), axes).reshape(45)
    flat = poses.reshape(N_POSES, 45)
    flat = flat - flat.mean(axis=0)
    _, singular, components = np.linalg.svd(flat, full_matrices=False)
    largest = components[np.arange(45), np.abs(components).argmax(axis=1)]
    components *= np.sign(largest)[:, None]
    deviation = singular / np.sqrt(N_POSES - 1)
    return {"hands_components": components, "hands_mean": mean, "theta_std": deviation}


def main() -> None:
    """Command line: build and write the npz file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("weights/open_hand.npz"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    hand = build()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, **hand)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    run_program(main)
