"""ROS camera_info as a ``Camera``, and back. Read by attribute only: no ROS import."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from dhpe_ros.geometry.camera import Camera, Rotation
from dhpe_ros.geometry.lens import FISHEYE, BrownConrady, Lens, lens_of

_ORTHOGONAL = 1e-3  # tolerance of R @ R.T
_RECTIFIED_WORDS = {"rect", "rectified", "undist", "undistorted"}


def camera_from_info(info: Any, width: int, height: int, *, rectified: bool) -> Camera:
    """The camera of ``width`` x ``height`` images with that camera_info, after roi and binning.

    ``info`` is a ``sensor_msgs/CameraInfo``, the same for raw and rectified images. Raw images use
    K and D; rectified ones use P, or K where P is not filled in. Both give hands in the frame of
    the rectified images, as ``image_geometry`` does: R is applied. A rectified roi is a window of
    the whole rectified image, as image_proc cuts it, with or without ``do_rectify``.

    Raises ``ValueError`` with the remedy for a zero K, for another image size, and for intrinsics
    of the whole sensor that ``Camera.check_plausible`` refuses.
    """
    projected = rectified and info.p[0] > 0 and info.p[5] > 0
    matrix = np.reshape(info.p if projected else info.k, (3, -1))
    fx, fy, cx, cy = matrix[(0, 1, 0, 1), (0, 1, 2, 2)].astype(float).tolist()
    if fx <= 0 or fy <= 0:
        raise ValueError(
            "camera_info has a zero K: the camera is not calibrated. Calibrate it (ros2 run "
            "camera_calibration cameracalibrator) or give the driver its calibration file"
        )
    lens: Lens = BrownConrady()
    rotation = None
    if not rectified:
        try:
            lens = lens_of(info.distortion_model, tuple(map(float, info.d)))
        except ValueError as error:
            raise ValueError(
                f"D of camera_info cannot be used: {error}. Calibrate the camera with one of them, "
                "or take the rectified images of image_proc"
            ) from error
        rotation = _rotation(info.r)
    roi, step_x, step_y = info.roi, max(info.binning_x, 1), max(info.binning_y, 1)
    across, down = roi.width or info.width, roi.height or info.height  # in sensor pixels
    if roi.x_offset + across > info.width or roi.y_offset + down > info.height:
        raise ValueError(
            f"the roi of camera_info, {across}x{down} pixels at {roi.x_offset},{roi.y_offset}, "
            f"lies outside its sensor of {info.width}x{info.height}: width, height and K must be "
            "those of the whole sensor; or leave the roi zero where they are of the part already"
        )
    if (across // step_x, down // step_y) != (width, height):
        raise ValueError(
            f"camera_info is for {across // step_x}x{down // step_y} pixels, the image has "
            f"{width}x{height}: give the camera_info that belongs to this image topic"
        )
    sensor = Camera(fx, fy, cx, cy, info.width, info.height, lens=lens, rotation=rotation)
    try:
        sensor.check_plausible()
    except ValueError as error:
        reduced = (info.width, info.height) != (width, height)
        cause = "; K and P are of the whole sensor, before binning and roi" if reduced else ""
        raise ValueError(f"camera_info has {error}{cause}") from error
    return sensor.cut(roi.x_offset, roi.y_offset, across, down).binned(step_x, step_y)


def is_rectified(info: Any, topic: str, images: str = "auto") -> bool:
    """True where the images on ``topic`` are rectified, not raw; a camera_info does not say.

    ``images`` is ``raw``, ``rectified`` or ``auto``. With ``auto`` the last part of the topic's
    name decides that contains rect, rectified, undist, undistorted or raw. Without such a word
    images are raw where there is distortion.
    """
    if images != "auto":
        return images == "rectified"
    for part in reversed(PurePosixPath(topic).parts):
        words = set(re.split(r"[^a-z]+", part.lower()))
        if words & _RECTIFIED_WORDS:
            return True
        if "raw" in words:
            return False
    return not has_distortion(info)


def has_distortion(info: Any) -> bool:
    """True where raw images of that camera_info differ from rectified ones."""
    return any(info.d) or (info.distortion_model in FISHEYE and len(info.d) > 0)


def describe_reading(info: Any, topic: str, rectified: bool) -> str:
    """Log line: the images are read as raw or rectified, and the remedy if that is wrong."""
    read, other = ("rectified", "raw") if rectified else ("raw", "rectified")
    return (
        f"the images of {topic} are read as {read}, {'without' if rectified else 'with'} the "
        f"{info.distortion_model} distortion of their camera_info; if they are {other}, set "
        f"camera.images to {other}"
    )


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


def _rotation(matrix: Any) -> Rotation | None:
    """R ``(9,)`` of a camera_info; None where it is empty or the identity."""
    rotation = np.array(matrix, np.float64).reshape(3, 3)
    if not rotation.any() or np.array_equal(rotation, np.eye(3)):
        return None
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_ORTHOGONAL):
        raise ValueError(f"R of camera_info is no rotation: {list(map(float, matrix))}")
    return tuple(tuple(row) for row in rotation.tolist())
