"""From crop coordinates back to the image and into the camera's frame: the last stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import Crop
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import ProjectedHand
from dhpe_ros.hand.rotations import rotation_from_quaternion
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.refinement.refine import RefinedParameters
from dhpe_ros.rendering.normals import area_normals
from dhpe_ros.types import MIDDLE_MCP, Hand, Refinement, Side, Target

_MIRROR = np.diag((-1.0, 1.0, 1.0))


@dataclass(frozen=True)
class SeenHands:
    """What the stages found in a batch of crops."""

    projected: ProjectedHand
    evidence: Evidence
    refined: RefinedParameters


def place_hand(
    seen: SeenHands, row: int, crop: Crop, target: Target, camera: Camera, triangles: Tensor
) -> Hand:
    """One hand of the batch, undone from its crop: pixels, metres, and the right way round."""
    p = HandParameters.split(seen.refined.parameters[row : row + 1])
    scale = float(p.scale)
    vertices = _numpy(seen.projected.vertices[row])
    joints = _numpy(seen.projected.joints[row])
    joints_px = crop.to_image(joints[:, :2])
    # A crop shows the hand as seen along its own ray; without this turn a hand at the image's edge
    # would be published as if the camera had looked straight at it.
    view = camera.look_at(joints_px[MIDDLE_MCP])
    to_camera = view @ _MIRROR if crop.mirrored else view

    def turned_m(points: np.ndarray) -> np.ndarray:
        return (points - joints[MIDDLE_MCP]) / scale @ to_camera.T

    root_m = root_position_m(camera, turned_m(joints), joints_px)
    vertices_m = _float32(turned_m(vertices) + root_m)
    faces = triangles[:, [0, 2, 1]] if crop.mirrored else triangles
    faces = np.ascontiguousarray(faces.cpu().numpy(), np.int32)
    normals, _ = area_normals(vertices_m, faces)
    wrist = to_camera @ _numpy(rotation_from_quaternion(p.rotation)[0])
    right = float(seen.evidence.right[row])
    return Hand(
        side=Side.LEFT if crop.mirrored else Side.RIGHT,
        score=float(seen.evidence.score[row]),
        box=crop.box,
        joints_px=_float32(joints_px),
        joints_m=_float32(turned_m(joints) + root_m),
        joint_confidences=_float32(_numpy(seen.evidence.confidences[row])),
        vertices_px=_float32(_pixels(vertices, joints[MIDDLE_MCP, 2], crop)),
        vertices_m=vertices_m,
        normals=_float32(normals),
        triangles=faces,
        wrist_rotation=_float32(wrist @ _MIRROR if crop.mirrored else wrist),
        parameters=_float32(_numpy(seen.refined.parameters[row])),
        metric=not camera.assumed,
        refinement=_refinement(seen.refined, row, crop),
        track_id=target.track_id,
        right=1 - right if crop.mirrored else right,
    )


def root_position_m(camera: Camera, joints_m: np.ndarray, joints_px: np.ndarray) -> np.ndarray:
    """``(3,)``: where the root must be for the joints, ``(21, 3)`` about it, to look as they do.

    Least squares of the joints' distances to the rays through their pixels. For a flat hand it is
    the paper's weak perspective, one metre spans ``scale * side / 2`` pixels at the root; for a
    deep one that alone misplaces near and far joints.
    """
    rays = camera.rays(joints_px)
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]  # the part of a vector beside the ray
    return np.linalg.solve(across.sum(0), -(across @ joints_m[..., None]).sum(0))[:, 0]


def _pixels(vertices: np.ndarray, root_depth: float, crop: Crop) -> np.ndarray:
    depth = (vertices[:, 2:] - root_depth) * (crop.box.width / 2)
    return np.concatenate((crop.to_image(vertices[:, :2]), depth), axis=1)


def _refinement(refined: RefinedParameters, row: int, crop: Crop) -> Refinement:
    to_px = crop.box.width / 2
    return Refinement(
        steps=refined.steps,
        residual_before_px=float(refined.residual_before[row]) * to_px,
        residual_after_px=float(refined.residual_after[row]) * to_px,
        accepted=bool(refined.accepted[row]),
    )


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().double().numpy()


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)
