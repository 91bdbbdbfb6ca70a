"""The hand model fitted to labelled photographs: their poses, and where the hand is in them.

A photograph with joints alone cannot be laid over another background, nor lend its pose and skin to
rendered hands. Both follow from a mesh on the labels:
``python -m dhpe_ros.training.photo_fits --real FOLDER --output FITS``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dhpe_ros.hand_model import HandModel
from dhpe_ros.hand_parameters import HandParameters, normalize_parameters
from dhpe_ros.pose_space import pose_space_of
from dhpe_ros.projection import Projection
from dhpe_ros.training.cut_out import cut_out
from dhpe_ros.training.real_hands import load_real_hands
from dhpe_ros.training.samples import Sample
from dhpe_ros.types import Box
from dhpe_ros.weights import hand_model_path

MARGIN = 1.5  # side of the square that crop coordinates span, in joint boxes
STEPS, RATE = 200, 0.03
GOOD_FIT = 0.05  # mean 2D error at most, of the joints' box: the mesh lies on the hand
_BATCH = 128
_DEPTH = 0.1  # weight of a squared depth, against a squared distance in the picture
_PRIOR = 0.002


@dataclass(frozen=True)
class PhotoFit:
    """A mesh in a photograph, and the photograph cut out by it."""

    sample: Sample  # with the mask of the hand and the opacity of hand and forearm
    vertices: np.ndarray  # (778, 3) crop coordinates of ``box``, mirrored if it looks left
    pose: np.ndarray  # (15, 3) axis-angle
    box: Box


def fit_labels(samples: Sequence[Sample], projection: Projection) -> tuple[Tensor, Tensor]:
    """The parameters ``(N, 63)`` that fit the labels, and their mean 2D errors ``(N,)``.

    In crop coordinates of a square of ``MARGIN`` joint boxes, as right hands. Depth counts where
    the labels hint at it. Errors are parts of the longer side of the joints' box.
    """
    targets = np.stack([_target(sample) for sample in samples])
    target = torch.from_numpy(targets).float()
    trust = torch.tensor([_DEPTH * (s.relative_depth_px is not None) for s in samples])
    weights = torch.stack((torch.ones_like(trust), torch.ones_like(trust), trust), 1)[:, None]
    pose_space = pose_space_of(projection.hand_model, target.device)
    parameters = _start(target, projection).requires_grad_(True)
    optimizer = torch.optim.Adam([parameters], RATE)
    for _ in range(STEPS):
        p = HandParameters.split(parameters)
        distance = (projection(parameters).joints - target) ** 2 * weights
        prior = pose_space(p.pose) + (p.shape**2).mean(1)
        optimizer.zero_grad()
        (distance.sum((1, 2)) + _PRIOR * prior).sum().backward()
        optimizer.step()
        with torch.no_grad():
            parameters.copy_(normalize_parameters(parameters))
    with torch.no_grad():
        away = (projection(parameters).joints - target)[..., :2].norm(dim=2).mean(1)
    return parameters.detach(), away * (MARGIN / 2)


def _square(sample: Sample) -> Box:
    return Box.around(sample.joints_px).squared(MARGIN)


def _target(sample: Sample) -> np.ndarray:
    """``(21, 3)``: the labels as a right hand in crop coordinates, depth from the middle MCP."""
    box = _square(sample)
    flat = (sample.joints_px + 0.5 - np.array(box.center)) * (2 / box.width)
    depth = sample.relative_depth_px
    deep = np.zeros(len(flat)) if depth is None else depth * (2 / box.width)
    return np.column_stack((flat * (1 if sample.right else -1, 1), deep))


@torch.no_grad()
def _start(target: Tensor, projection: Projection) -> Tensor:
    """The mean hand where it fits best: scale, rotation and translation in closed form (Umeyama)."""
    start = HandParameters.start(len(target))
    p = HandParameters.split(start)
    p.scale[:] = 1.0
    joints = projection(start).joints
    a, b = (points - points.mean(1, keepdim=True) for points in (joints, target))
    u, s, vt = torch.linalg.svd(b.transpose(1, 2) @ a)
    s[:, 2] *= torch.det(u @ vt).sign()
    u[:, :, 2] *= torch.det(u @ vt).sign()[:, None]
    rotation = u @ vt
    p.scale[:] = (s.sum(1) / (a**2).sum((1, 2)))[:, None].clamp(min=0.5)
    p.rotation[:] = _quaternion(rotation)
    turned = (projection(start).joints - target).mean(1)
    p.translation[:] -= turned
    return start


def _quaternion(rotation: Tensor) -> Tensor:
    """``(N, 3, 3)`` to unit quaternions ``(N, 4)``, w x y z: the leading eigenvector of Bar-Itzhack."""
    r = rotation
    rows = (
        (r[:, 0, 0] - r[:, 1, 1] - r[:, 2, 2], r[:, 1, 0] + r[:, 0, 1], r[:, 2, 0] + r[:, 0, 2], r[:, 2, 1] - r[:, 1, 2]),
        (r[:, 1, 0] + r[:, 0, 1], r[:, 1, 1] - r[:, 0, 0] - r[:, 2, 2], r[:, 2, 1] + r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0]),
        (r[:, 2, 0] + r[:, 0, 2], r[:, 2, 1] + r[:, 1, 2], r[:, 2, 2] - r[:, 0, 0] - r[:, 1, 1], r[:, 1, 0] - r[:, 0, 1]),
        (r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1], r[:, 0, 0] + r[:, 1, 1] + r[:, 2, 2]),
    )  # fmt: skip
    matrix = torch.stack([torch.stack(row, 1) for row in rows], 1)
    vector = torch.linalg.eigh(matrix)[1][..., -1]
    return torch.cat((vector[:, 3:], vector[:, :3]), 1)
