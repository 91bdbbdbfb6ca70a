"""A person's joints to the joint angles of a robot hand, by dex-retargeting."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from dex_retargeting.retargeting_config import RetargetingConfig
from dex_retargeting.seq_retarget import SeqRetargeting
from scipy.spatial.transform import Rotation

from dhpe_ros.files.yaml_text import read_yaml
from dhpe_ros.geometry.scale import hand_length_m
from dhpe_ros.types import JOINT_NAMES, Side

logging.getLogger("dex_retargeting").setLevel(logging.ERROR)  # meshes that it cannot find or need

_TYPES = ("vector", "dexpilot")  # position is for hands that fly
HAND_LENGTH_M = 0.18  # of every operator, after scaling: one scaling_factor fits all
_INDEX, _MIDDLE, _LITTLE = (JOINT_NAMES.index(f"{name}1") for name in ("index", "middle", "little"))


def wrist_axes(joints_m: np.ndarray, side: Side) -> np.ndarray:
    """The wrist frame's unit axes as rows ``(3, 3)``, in the frame of ``(21, 3)`` joints.

    x points out of the palm, z to the middle finger's knuckle. So y points to the thumb's side of a
    right hand, and to the little finger's side of a left one. Raises ``ValueError`` where the
    joints span no hand.
    """
    forward = joints_m[_MIDDLE] - joints_m[0]
    across = joints_m[_INDEX] - joints_m[_LITTLE]
    palm = np.cross(across if side == Side.RIGHT else -across, forward)
    axes = np.stack((palm, np.cross(forward, palm), forward)).astype(float)
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if not (np.isfinite(joints_m).all() and lengths.all()):
        raise ValueError("the joints of a hand are not finite, or lie on one line")
    return axes / lengths


def joints_in_wrist_frame(joints_m: np.ndarray, side: Side) -> np.ndarray:
    """``(21, 3)`` joints in any frame, to a hand of ``HAND_LENGTH_M`` in the wrist frame.

    Its origin is the wrist; for its axes, and errors, see ``wrist_axes``.
    """
    joints = (joints_m - joints_m[0]) @ wrist_axes(joints_m, side).T
    return joints * (HAND_LENGTH_M / hand_length_m(joints))


def mirrored(joints: np.ndarray) -> np.ndarray:
    """Joints of the wrist frame as the other hand of the same person would hold them."""
    return joints * (1, -1, 1)


class Retargeter:
    """Joint angles of one robot hand, each near those before it.

    ``joint_names`` lists the joints of ``retarget``, ``limits`` ``(J, 2)`` their range in radians.
    """

    def __init__(self, config: Path, urdf: Path | None = None) -> None:
        """Read a configuration (docs/how-to/retarget.md) and the robot's URDF.

        Without ``urdf`` it is ``urdf_path`` of the configuration, relative to that file. Raises
        ``ValueError`` or ``OSError`` that names the file.
        """
        written = read_yaml(config)
        try:
            settings = dict(written["retargeting"])
            self.side = Side[str(written["side"]).upper()]
            turn = Rotation.from_euler("xyz", written.get("operator_rpy", (0, 0, 0)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{config}: expected side: left or right, a section retargeting, and operator_rpy, "
                f"if any, of three numbers; wrong is {error}"
            ) from error
        self._solver, wrist = _build(config, settings, urdf)
        self._to_robot = wrist @ turn.as_matrix()
        robot, fixed = self._solver.optimizer.robot, self._solver.optimizer.idx_pin2fixed
        self._moving = np.setdiff1d(np.arange(robot.dof), fixed)
        self.joint_names = [robot.dof_joint_names[index] for index in self._moving]
        self.limits = robot.joint_limits[self._moving]

    def retarget(self, joints_m: np.ndarray, side: Side) -> np.ndarray:
        """``(J,)`` radians within ``limits``, for ``(21, 3)`` joints in any frame.

        A hand of the other side moves the robot as its mirror image.
        """
        joints = joints_in_wrist_frame(joints_m, side)
        joints = (joints if side == self.side else mirrored(joints)) @ self._to_robot.T
        origins, tasks = self._solver.optimizer.target_link_human_indices
        fixed = np.zeros(len(self._solver.optimizer.idx_pin2fixed))  # an arm's joints, say
        angles = self._solver.retarget(joints[tasks] - joints[origins], fixed_qpos=fixed)
        # The solver may pass a limit by a thousandth.
        return np.clip(angles[self._moving], *self.limits.T)


def _build(
    config: Path, settings: dict[str, Any], urdf: Path | None
) -> tuple[SeqRetargeting, np.ndarray]:
    """The solver for the section ``retargeting`` of a file, and the wrist link's axes ``(3, 3)``.

    The axes are in the URDF's root, in which the solver works.
    """
    if urdf is None:
        if "urdf_path" not in settings:
            raise ValueError(f"{config} brings no URDF: give the robot hand's by urdf:=FILE")
        urdf = config.parent / settings["urdf_path"]
    if not urdf.is_file():
        raise FileNotFoundError(f"no URDF {urdf}")
    if urdf.suffix == ".xacro":
        raise ValueError(f"{urdf} is no URDF yet: xacro {urdf} > hand.urdf makes one")
    if str(settings.get("type")).lower() not in _TYPES or "wrist_link_name" not in settings:
        raise ValueError(
            f"{config}: retargeting needs a wrist_link_name and type: {' or '.join(_TYPES)}"
        )
    try:
        named = {**settings, "urdf_path": str(urdf.absolute())}
        with _temporary_files_removed():
            solver = RetargetingConfig.from_dict(named).build()
        robot = solver.optimizer.robot
        wrist = robot.get_link_index(settings["wrist_link_name"])
        robot.compute_forward_kinematics(robot.q0)
        return solver, robot.get_link_pose(wrist)[:3, :3]
    except Exception as error:  # of four libraries that read the two files
        reason = " ".join(str(error).split())
        raise ValueError(f"{config} does not fit {urdf}: {reason}") from error


@contextmanager
def _temporary_files_removed() -> Iterator[None]:
    """Remove what the library would leave: a copy of the URDF in a folder of its own."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        try:
            yield
        finally:
            tempfile.tempdir = usual
