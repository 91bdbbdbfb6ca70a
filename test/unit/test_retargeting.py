"""Robot hands that follow hands posed with the project's own model; needs no ROS."""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("dex_retargeting", reason="needs requirements/retarget.txt")

from dex_retargeting.retargeting_config import RetargetingConfig
from scipy.spatial.transform import Rotation

from dhpe_lab.synthesis import hand_poses
from dhpe_lab.synthesis.settling import pose_from_angles
from dhpe_ros.files.resources import DEMO_CLIP, shared_file
from dhpe_ros.files.yaml_text import read_yaml
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.media import open_media
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.ros.retarget.retargeting import HAND_LENGTH_M, Retargeter, joints_in_wrist_frame
from dhpe_ros.types import JOINT_COUNT, Side

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = shared_file("config/retarget/example_right.yaml")
SHIPPED = sorted(EXAMPLE.parent.glob("*.yaml"))
FINGERS = ("index", "middle", "ring", "little")
BENDS = [f"{finger}_{bone}_flexion" for finger in FINGERS for bone in ("proximal", "middle")]

THUMB_BENDS = [f"thumb_{bone}_flexion" for bone in ("base", "proximal", "distal")]


@pytest.fixture(scope="module")
def posed():
    """Joints ``(21, 3)`` of the right hand at MCP and PIP flexion in degrees, finger by finger."""
    model = HandModel(hand_model_path())
    space = PoseSpace(model)

    def joints(bends, thumb=((0, 0, 0), 0, 0)):
        angles = np.zeros((1, 15, 3))
        for finger, (mcp, pip) in bends.items():
            hand_poses._curl(angles, finger, mcp, pip)
        hand_poses._thumb(angles, *thumb)
        angles = torch.from_numpy(hand_poses.make_plausible(angles)).float()
        frame = model.identity[:3].expand(1, 3, 4)
        with torch.no_grad():
            pose = pose_from_angles(angles, space.axes)
            return model.pose_hand(pose, torch.zeros(1, 10), frame)[1]

    return lambda *pose: joints(*pose)[0].double().numpy()


@pytest.fixture(scope="module")
def open_hand(posed):
    return posed({})


@pytest.fixture(scope="module")
def fist(posed):
    return posed(dict.fromkeys(FINGERS, (82, 98)), ((20, 18, 18), 35, 50))


@pytest.fixture(scope="module")
def pinch(posed):
    return posed({"index": (52, 52)}, ((12, 11, 15), 12, 22))


def seen(joints, side=Side.RIGHT, turn=(0.4, -2.0, 1.1)):
    """The joints somewhere before a camera; a left hand is the right one's mirror image."""
    joints = joints * (-1, 1, 1) if side == Side.LEFT else joints
    return Rotation.from_rotvec(turn).apply(joints) + np.array((0.1, -0.05, 0.6))


def settled(retargeter, joints, side):
    """Joint angles by name, once the smoothing has come to rest."""
    for _ in range(12):
        angles = retargeter.retarget(joints, side)
        assert (angles >= retargeter.limits[:, 0]).all()
        assert (angles <= retargeter.limits[:, 1]).all()
    return dict(zip(retargeter.joint_names, angles, strict=True))


@pytest.fixture(params=["right", "left"])
def robot(request, tmp_path):
    """The robot hand that ships, and its mirror image."""
    return Retargeter(EXAMPLE if request.param == "right" else mirrored_robot(tmp_path))


def mirrored_robot(folder):
    """The configuration of a left hand: y of every origin changes sign, and what turns with it."""
    tree = ElementTree.parse(EXAMPLE.with_suffix(".urdf"))
    for tag, name, signs in (
        ("origin", "xyz", (1, -1, 1)),
        ("origin", "rpy", (-1, 1, -1)),
        ("axis", "xyz", (-1, 1, -1)),
    ):
        for element in tree.iter(tag):
            values = np.array(element.get(name, "0 0 0").split(), float) * signs
            element.set(name, " ".join(map(str, values)))
    tree.write(folder / "example_right.urdf")
    config = folder / "left.yaml"
    config.write_text(EXAMPLE.read_text().replace("side: right", "side: left"))
    return config


@pytest.mark.parametrize("operator", Side)
def test_an_open_hand_opens_the_robot_and_a_fist_closes_it(robot, operator, open_hand, fist):
    opened = settled(robot, seen(open_hand, operator), operator)
    assert max(abs(opened[name]) for name in BENDS) < 0.2
    closed = settled(robot, seen(fist, operator), operator)
    assert min(closed[name] for name in BENDS) > 1.1
    assert sum(closed[n] for n in THUMB_BENDS) > sum(opened[n] for n in THUMB_BENDS) + 0.8
    reopened = settled(robot, seen(open_hand, operator), operator)
    assert max(abs(reopened[name]) for name in BENDS) < 0.2


def test_a_finger_that_points_stays_straight(posed, open_hand):
    robot = Retargeter(EXAMPLE)
    pointing = posed(dict.fromkeys(FINGERS[1:], (82, 98)), ((20, 18, 18), 35, 50))
    angles = settled(robot, seen(pointing), Side.RIGHT)
    bent = {finger: angles[f"{finger}_proximal_flexion"] for finger in FINGERS}
    assert bent.pop("index") < 0.2
    assert min(bent.values()) > 1.1


def test_a_pinch_brings_the_robots_tips_together(open_hand, pinch):
    def gap_m(joints):
        robot = Retargeter(EXAMPLE)
        settled(robot, seen(joints), Side.RIGHT)
        chain = robot._solver.optimizer.robot
        thumb, index = (chain.get_link_index(f"{name}_tip") for name in ("thumb", "index"))
        return np.linalg.norm((chain.get_link_pose(thumb) - chain.get_link_pose(index))[:3, 3])

    assert gap_m(pinch) < 0.025 < 0.1 < gap_m(open_hand)


def test_a_joint_that_mimics_another_follows_it(fist):
    closed = settled(Retargeter(EXAMPLE), seen(fist), Side.RIGHT)
    for finger in FINGERS:
        follows = 0.7 * closed[f"{finger}_middle_flexion"]
        assert closed[f"{finger}_distal_flexion"] == pytest.approx(follows, abs=0.01)


def test_the_wrist_frame_is_that_of_the_docs(open_hand):
    """The model's fingers lie along -x, its palm looks to -y, its thumb to +z."""
    length = np.linalg.norm(np.diff(open_hand[[0, 9, 10, 11, 12]], axis=0), axis=1).sum()
    expected = (open_hand - open_hand[0])[:, [1, 2, 0]] * (-1, 1, -1) * HAND_LENGTH_M / length
    right = joints_in_wrist_frame(open_hand, Side.RIGHT)
    np.testing.assert_allclose(right, expected, atol=0.01)  # the middle knuckle is a bit aside
    assert right[9] == pytest.approx((0, 0, np.linalg.norm(expected[9])))
    left = joints_in_wrist_frame(open_hand * (-1, 1, 1), Side.LEFT)
    np.testing.assert_allclose(left, right * (1, -1, 1), atol=1e-12)


@pytest.mark.parametrize("side", Side)
def test_neither_place_nor_attitude_nor_size_of_the_hand_matters(fist, side):
    hand = joints_in_wrist_frame(seen(fist, side), side)
    for turn in ((0, 0, 3.0), (1.5, 0.5, -0.3)):
        other = joints_in_wrist_frame(1.3 * seen(fist, side, turn) + (1, 2, 3), side)
        np.testing.assert_allclose(other, hand, atol=1e-9)


def test_a_hand_on_an_arm_and_a_palm_with_other_axes_get_the_same_angles(tmp_path, fist):
    robot, config = EXAMPLE.with_suffix(".urdf").read_text(), EXAMPLE.read_text()
    palm = (  # the new palm's axes are those of the old one, turned about z
        '<link name="arm"/><link name="turned"/>'
        '<joint name="elbow" type="revolute"><parent link="arm"/><child link="turned"/>'
        '<origin xyz="0 0 1" rpy="0.3 1.1 -2"/><axis xyz="0 1 0"/>'
        '<limit lower="-1" upper="1" effort="1" velocity="1"/></joint>'
        '<joint name="wrist" type="fixed"><parent link="turned"/><child link="palm"/>'
        '<origin xyz="0 0 0" rpy="0 0 0.7"/></joint></robot>'
    )
    (tmp_path / "example_right.urdf").write_text(robot.replace("</robot>", palm))
    config = config.replace("wrist_link_name: palm", "wrist_link_name: turned")
    (tmp_path / "arm.yaml").write_text(config + "operator_rpy: [0.0, 0.0, 0.7]\n")
    plain, armed = Retargeter(EXAMPLE), Retargeter(tmp_path / "arm.yaml")
    assert armed.joint_names == plain.joint_names
    assert settled(armed, seen(fist), Side.RIGHT) == pytest.approx(
        settled(plain, seen(fist), Side.RIGHT), abs=0.05
    )


@pytest.mark.parametrize("joints", [np.zeros((21, 3)), np.full((21, 3), np.nan)])
def test_joints_that_are_no_hand_are_refused(joints):
    with pytest.raises(ValueError, match="not finite, or lie on one line"):
        Retargeter(EXAMPLE).retarget(joints, Side.RIGHT)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_configuration_that_ships_is_one_of_dex_retargeting(path):
    written = read_yaml(path)
    assert path.stem.endswith(f"_{written['side']}")
    urdf = {"urdf_path": str(EXAMPLE.with_suffix(".urdf"))}
    settings = RetargetingConfig.from_dict({**written["retargeting"], **urdf})
    assert settings.wrist_link_name
    assert settings.target_link_human_indices.max() < JOINT_COUNT
    fingers = 5 if path.stem.startswith(("shadow", "example")) else 4
    assert settings.target_link_human_indices.shape == (2, 3 * fingers - 1)


def test_shadow_allegro_and_leap_ship_for_both_sides():
    names = {path.stem for path in SHIPPED}
    assert {f"{n}_{s}" for n in ("shadow", "allegro", "leap") for s in ("left", "right")} <= names


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("side: right", "side: up", "config.yaml: expected side: left or right.* wrong is 'UP'"),
        ("retargeting:", "retarget:", "config.yaml: expected .* wrong is 'retargeting'"),
        ("wrist_link_name: palm", "", "config.yaml: retargeting needs a wrist_link_name"),
        ("type: vector", "type: position", "config.yaml: .* type: vector or dexpilot"),
        ("urdf_path: example_right.urdf", "", "config.yaml brings no URDF: .* urdf:=FILE"),
        ("example_right.urdf", "none.urdf", "no URDF .*none.urdf"),
        (
            "wrist_link_name: palm",
            "wrist_link_name: hand",
            "does not fit .*hand is not a link name",
        ),
        ("thumb_opposition,", "thumb,", "does not fit .*thumb given does not appear"),
        ("scaling_factor", "scale", "does not fit .*unexpected keyword argument 'scale'"),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(tmp_path, old, new, message):
    (tmp_path / "example_right.urdf").write_bytes(EXAMPLE.with_suffix(".urdf").read_bytes())
    text = EXAMPLE.read_text()
    assert old in text
    (tmp_path / "config.yaml").write_text(text.replace(old, new))
    with pytest.raises((ValueError, OSError)) as refused:
        Retargeter(tmp_path / "config.yaml")
    assert re.search(message, str(refused.value))
    assert "\n" not in str(refused.value)


def test_a_urdf_that_is_a_xacro_file_or_broken_is_told(tmp_path):
    for name, message in (("hand.urdf.xacro", "xacro .* > hand.urdf"), ("hand.urdf", "not fit")):
        (tmp_path / name).write_text("<robot")
        with pytest.raises(ValueError, match=message):
            Retargeter(EXAMPLE, tmp_path / name)


def test_nothing_is_left_in_the_folder_of_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Retargeter(EXAMPLE)
    with pytest.raises(ValueError, match="does not fit"):
        Retargeter(EXAMPLE.with_name("leap_right.yaml"), EXAMPLE.with_suffix(".urdf"))
    assert list(tmp_path.iterdir()) == []
    assert tempfile.tempdir == str(tmp_path)


@pytest.mark.slow
def test_the_example_moves_the_robot_by_a_clip(tmp_path):
    frames = open_media(DEMO_CLIP)
    with ClipWriter(tmp_path / "short.mp4", 15.0) as clip:
        for _, frame in zip(range(3), frames.frames(), strict=False):
            clip.write(frame.image)
    command = [sys.executable, ROOT / "examples/10_retarget_clip.py", "short.mp4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    rows = np.loadtxt(tmp_path / "retarget.csv", delimiter=",", skiprows=1)
    assert rows.shape == (3, 20)
    assert (tmp_path / "retarget.webp").stat().st_size > 1000
