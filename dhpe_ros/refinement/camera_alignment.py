"""The closed-form start of the refinement: scale, shift and in-plane turn by least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from dhpe_ros.hand.parameters import HandParameters, normalize_parameters


def align_camera(parameters: Tensor, joints: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    """``(B, 63)`` with the camera moved so that its joints lie nearest to the observed ones.

    The weighted 2D Procrustes problem with complex numbers: ``observed = a * joints + b``. Pose,
    shape and out-of-plane rotation stay. A hand without two joints to hold on to is left alone.

    Args:
        parameters: ``(B, 63)``.
        joints: ``(B, 21, 2)``, the joints of ``parameters`` in crop coordinates.
        observed: ``(B, 21, 2)``.
        weights: ``(B, 21)``, not negative.
    """
    x, y = (torch.complex(*points.unbind(2)) for points in (joints, observed))
    share = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
    middle_x, middle_y = ((share * points).sum(1, keepdim=True) for points in (x, y))
    from_x, from_y = x - middle_x, y - middle_y
    spread = (share * from_x.abs() ** 2).sum(1)
    a = (share * from_x.conj() * from_y).sum(1) / spread.clamp(min=1e-9)

    p = HandParameters.split(parameters)
    shift = torch.complex(p.translation[:, 0], p.translation[:, 1])
    shift = a * (shift - middle_x[:, 0]) + middle_y[:, 0]
    aligned = HandParameters(
        scale=p.scale * a.abs()[:, None],
        translation=torch.stack((shift.real, shift.imag, p.translation[:, 2] * a.abs()), 1),
        rotation=_turn_about_z(p.rotation, a.angle()),
        pose=p.pose,
        shape=p.shape,
    )
    moved = normalize_parameters(aligned.join())
    sound = moved.isfinite().all(1) & (spread > 1e-6) & (a.abs() > 1e-3)
    return torch.where(sound[:, None], moved, parameters)


def _turn_about_z(quaternion: Tensor, angle: Tensor) -> Tensor:
    """``(B, 4)`` w x y z, turned by ``(B,)`` radians in the image plane, x towards y."""
    w, x, y, z = quaternion.unbind(1)
    c, s = (angle / 2).cos(), (angle / 2).sin()
    return torch.stack((c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w), 1)
