"""The camera of a ROS camera_info. Read by attribute only, so nothing of ROS is imported."""

from __future__ import annotations

from typing import Any

from dhpe_ros.camera import Camera


def camera_from_info(info: Any, width: int, height: int) -> Camera:
    """The pinhole camera of a rectified image ``width`` x ``height``, after roi and binning.

    ``info`` is a ``sensor_msgs/CameraInfo``. Rectified images have the intrinsics of P; where that
    is not filled in, those of K. Raises ``ValueError`` with the remedy where both are zero and for
    another image size.
    """
    fx, fy, cx, cy = _intrinsics(info)
    if fx <= 0 or fy <= 0:
        raise ValueError(
            "camera_info has a zero K: the camera is not calibrated. Calibrate it (ros2 run "
            "camera_calibration cameracalibrator) or give the driver its calibration file"
        )
    step_x, step_y = max(info.binning_x, 1), max(info.binning_y, 1)
    full = (info.roi.width or info.width, info.roi.height or info.height)
    size = (full[0] // step_x, full[1] // step_y)
    if size != (width, height):
        raise ValueError(
            f"camera_info is for {size[0]}x{size[1]} pixels, the image has {width}x{height}: "
            "give the camera_info that belongs to this image topic"
        )
    return Camera(
        fx=fx / step_x,
        fy=fy / step_y,
        cx=(cx - info.roi.x_offset + 0.5) / step_x - 0.5,
        cy=(cy - info.roi.y_offset + 0.5) / step_y - 0.5,
        width=width,
        height=height,
    )


def may_be_distorted(info: Any) -> bool:
    """Whether the images of that camera_info are likely not rectified: distortion, and no P."""
    return not _has_projection(info) and any(value != 0 for value in info.d)


def _intrinsics(info: Any) -> tuple[float, float, float, float]:
    """``fx, fy, cx, cy`` in pixels of the whole sensor, before roi and binning."""
    matrix, row = (info.p, 4) if _has_projection(info) else (info.k, 3)
    fx, fy, cx, cy = (float(matrix[i]) for i in (0, row + 1, 2, row + 2))
    return fx, fy, cx, cy


def _has_projection(info: Any) -> bool:
    return bool(info.p[0] > 0 and info.p[5] > 0)
