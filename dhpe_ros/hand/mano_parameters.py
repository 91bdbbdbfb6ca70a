"""A hand in the parameters of other MANO layers, as smplx's."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch

from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.types import Hand, Side

_MIRROR = np.array((-1.0, 1.0, 1.0))  # of points, across x = 0
_MIRROR_TURN = np.array((1.0, -1.0, -1.0))  # of axis-angle rotations


class ManoParameters(NamedTuple):
    """Arguments of ``smplx.MANO``, in the camera's optical frame; float64.

    With ``use_pca=False`` and ``flat_hand_mean=True``, its vertices times ``scale`` are those of
    the hand. The parameters of a left hand are for the model mirrored across x = 0, as MANO's left
    hand is.
    """

    global_orient: np.ndarray  # (3,) axis-angle, of the wrist
    hand_pose: np.ndarray  # (45,) axis-angle of 15 bones in MANO's order, the mean pose included
    betas: np.ndarray  # (10,)
    transl: np.ndarray  # (3,) metres
    scale: float  # 1 where nothing but the picture told the hand's size


def model_rotation(hand: Hand) -> np.ndarray:
    """``(3, 3)`` float64: axes of the model in the camera's optical frame, by the wrist's."""
    forward, across, back = hand.joint_rotations[0].T.astype(np.float64)
    if hand.side is Side.LEFT:
        return np.stack((forward, back, -across), 1)
    return np.stack((-forward, back, across), 1)


@torch.no_grad()
def mano_parameters(hand: Hand, model: HandModel) -> ManoParameters:
    """The parameters with which ``model`` gives the hand's ``vertices_m``."""
    p = HandParameters.split(torch.from_numpy(hand.parameters)[None].to(model.template))
    rotations = model.pose_from_theta(p.pose)
    wrist = model.joint_template[0] + model.jointdirs[0] @ p.shape[0]
    tensors = rotations[0], model(rotations, p.shape)[0], wrist, p.shape[0]
    pose, vertices, wrist_m, betas = (tensor.cpu().double().numpy() for tensor in tensors)
    if hand.side is Side.LEFT:
        pose, vertices, wrist_m = pose * _MIRROR_TURN, vertices * _MIRROR, wrist_m * _MIRROR
    turn, seen = model_rotation(hand), hand.vertices_m.astype(np.float64)
    scale = float(seen.std(0).sum() / (vertices @ turn.T).std(0).sum())
    # smplx turns the hand about its wrist.
    transl = seen.mean(0) / scale - turn @ (vertices.mean(0) - wrist_m) - wrist_m
    return ManoParameters(cv2.Rodrigues(turn)[0][:, 0], pose.ravel(), betas, transl, scale)
