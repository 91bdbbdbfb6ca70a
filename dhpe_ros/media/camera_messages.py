"""The camera of a ROS camera_info, and back. Read by attribute only: nothing of ROS is imported."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from dhpe_ros.camera import Camera, Rotation
from dhpe_ros.lens import BrownConrady, lens_of

_ORTHOGONAL = 1e-3  # that a rotation's rows may be off
RAW, RECTIFIED = "raw", "rectified"
_TOLD_BY = {"rect": RECTIFIED, "rectified": RECTIFIED, "undistorted": RECTIFIED, "raw": RAW}


def camera_from_info(
    info: Any, width: int, height: int, *, topic: str = "", images: str = "auto"
) -> Camera:
    """The camera of the images ``width`` x ``height`` on ``topic``, after roi and binning.

    ``info`` is a ``sensor_msgs/CameraInfo``, the same beside raw and rectified images. Raw ones
    have K and D, rectified ones P, or K where P is not filled in; ``images`` says which they are,
    or ``auto`` for what ``image_state`` finds. Both see the hands in the frame of the rectified
    ones, as ``image_geometry`` does: R is counted in.

    Raises ``ValueError`` with the remedy for a zero K, for another image size, and for what is
    implausible: ``Camera.check_plausible``, of the whole sensor.
    """
    state = image_state(info, topic) if images == "auto" else images
    projected = state == RECTIFIED and info.p[0] > 0 and info.p[5] > 0
    matrix, row = (info.p, 4) if projected else (info.k, 3)
    fx, fy, cx, cy = (float(matrix[i]) for i in (0, row + 1, 2, row + 2))
    if fx <= 0 or fy <= 0:
        raise ValueError(
            "camera_info has a zero K: the camera is not calibrated. Calibrate it (ros2 run "
            "camera_calibration cameracalibrator) or give the driver its calibration file"
        )
    lens, rotation = BrownConrady(), None
    if state == RAW:
        try:
            lens = lens_of(info.distortion_model, tuple(map(float, info.d)))
        except ValueError as error:
            raise ValueError(
                f"D of camera_info cannot be used: {error}. Calibrate the camera with one of them, "
                "or take the rectified images of image_proc"
            ) from error
        rotation = _rotation(info.r)
    x, y, across, down = _region(info)
    step_x, step_y = max(info.binning_x, 1), max(info.binning_y, 1)
    if (across // step_x, down // step_y) != (width, height):
        raise ValueError(
            f"camera_info is for {across // step_x}x{down // step_y} pixels, the image has "
            f"{width}x{height}: give the camera_info that belongs to this image topic"
        )
    sensor = Camera(fx, fy, cx, cy, info.width, info.height, lens=lens, rotation=rotation)
    try:
        sensor.check_plausible()
    except ValueError as error:
        raise ValueError(f"camera_info has {error}{_counted_twice(info)}") from error
    return sensor.cut(x, y, across, down).binned(step_x, step_y)


def image_state(info: Any, topic: str) -> str:
    """``raw`` or ``rectified``: which of the two the images of ``topic`` with that camera_info are.

    The camera_info does not say. Where it has distortion it is told by the topic's name, the last
    part of it with rect, rectified, undistorted or raw; without such a word the images are raw.
    """
    for part in reversed(PurePosixPath(topic).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _TOLD_BY:
                return _TOLD_BY[word]
    fisheye = info.distortion_model in ("equidistant", "fisheye")
    return RAW if any(info.d) or (fisheye and len(info.d)) else RECTIFIED


def info_fields(camera: Camera) -> dict[str, Any]:
    """Size, distortion_model, D, K, R and P of a camera's camera_info; arrays flat.

    P is that of images rectified with the same K.
    """
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return {
        "width": camera.width,
        "height": camera.height,
        "distortion_model": camera.lens.model,
        "d": np.array(camera.lens.coefficients or (0.0,) * 5, np.float64),
        "k": np.array((fx, 0, cx, 0, fy, cy, 0, 0, 1), np.float64),
        "r": np.array(camera.rotation or np.eye(3), np.float64).ravel(),
        "p": np.array((fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0), np.float64),
    }


def _region(info: Any) -> tuple[int, int, int, int]:
    """The part of the sensor that is sent, in its pixels: x, y, width, height."""
    roi = info.roi
    x, y = roi.x_offset, roi.y_offset
    across, down = roi.width or info.width, roi.height or info.height
    if x + across > info.width or y + down > info.height:
        raise ValueError(
            f"the roi of camera_info, {across}x{down} pixels at {x},{y}, lies outside its sensor of "
            f"{info.width}x{info.height}: width and height must be those of the whole sensor, K "
            "too; or leave the roi zero where they are of the part already"
        )
    return x, y, across, down


def _counted_twice(info: Any) -> str:
    """What may be behind implausible intrinsics; nothing where the whole sensor is sent."""
    reduced = max(info.binning_x, info.binning_y) > 1 or (info.roi.width and info.roi.height)
    return "; K and P are of the whole sensor, before binning and roi" if reduced else ""


def _rotation(matrix: Any) -> Rotation | None:
    """R of a camera_info ``(9,)``; None where it is not filled in, or the identity."""
    rotation = np.array(matrix, np.float64).reshape(3, 3)
    if not rotation.any() or np.array_equal(rotation, np.eye(3)):
        return None
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_ORTHOGONAL):
        raise ValueError(f"R of camera_info is no rotation: {list(map(float, matrix))}")
    return tuple(tuple(row) for row in rotation.tolist())
