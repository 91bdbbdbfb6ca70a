"""The clip that ships through the node: by OpenVINO the hands are those of eager torch."""

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from ros_processes import REAL, Ears, NodeProcess
from std_srvs.srv import Trigger

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines.identity import file_name
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.ros.demo.players import CAMERA_INFO_TOPIC, IMAGE_TOPIC, DemoPlayer


def play(folder, backend):
    """Joints and vertices of hands all along the clip, as the node publishes them.

    Equal numbers of steps: whether one more is worth its while can hang on the last digit. Each
    frame by itself: of a hand that is followed, what the rounding of pixels does grows with each.
    """
    parameters = {
        "model.backend": backend, "model.strict_backend": "true", "model.precision": "fp32",
        "max_age": "0.0", "refinement.steps": "10", "refinement.tolerance": "0.0",
    }  # fmt: skip
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    words += ["-r", f"image:={IMAGE_TOPIC}", "-r", f"camera_info:={CAMERA_INFO_TOPIC}"]
    answers = []
    node = NodeProcess(folder, REAL, *words)
    try:
        node.wait_for("ready")
        with DemoPlayer() as player:
            ears = Ears()
            for frame in islice(open_media(DEMO_CLIP).frames(), 0, None, 18):
                assert ears.call(Trigger, "reset", Trigger.Request()).success
                answers.append(player.ask(frame, patience_s=120))
            ears.node.destroy_node()
    finally:
        node.close()
    return [
        (np.reshape(hand.joints_px, (21, 2)), np.reshape(mesh.vertices, (-1, 3)))
        for answer in answers
        for hand, mesh in zip(answer.hands, answer.messages["meshes"][0].meshes, strict=True)
    ], node.log()


@pytest.mark.slow
def test_eager_and_compiled_nodes_publish_the_same_hands(tmp_path_factory):
    results = {}
    for backend, said in (("eager", "(lite, eager)"), ("openvino", "(lite, openvino (fp32))")):
        results[backend], log = play(tmp_path_factory.mktemp(backend), backend)
        assert f"ready {said}" in log
        assert len(results[backend]) > 5
    for (joints, vertices), (others, other_vertices) in zip(*results.values(), strict=True):
        # OpenVINO takes pictures as bytes: a fraction of a pixel, in the mean.
        assert np.abs(joints - others).mean() < 1.0
        assert np.abs(vertices - other_vertices).mean() < 2e-3  # along the ray, mostly


def test_a_node_that_falls_back_says_so_once_in_its_log_and_in_diagnostics(tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    damaged = file_name("localiser", "openvino", "fp32", ModelConfig())
    (folder / damaged).write_bytes(b"no model")
    words = ("-p", "model.precision:=fp32", "-p", f"model.engines:={folder}")
    node = NodeProcess(tmp_path, REAL, *words)
    rclpy.init()
    try:
        node.wait_for("ready (lite, eager)")
        ears = Ears()
        assert ears.until(lambda: ears.heard["diagnostics"])
        status = ears.heard["diagnostics"][-1].status[0]
        ears.node.destroy_node()
    finally:
        rclpy.shutdown()
        node.close()
    assert status.level == status.WARN
    assert "others may write it" in status.message and "running eager instead" in status.message
    assert {value.key: value.value for value in status.values}["backend"] == "eager"
    assert node.log().count("others may write it") == 1
