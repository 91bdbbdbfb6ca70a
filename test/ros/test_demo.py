"""The demo: its parts alone, and the whole with the real node in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.networks.weights import build_networks, save_networks
from dhpe_ros.ros.demo.__main__ import build_parser, main
from dhpe_ros.ros.demo.report import Findings, Truth

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights/lite.safetensors"


def hand(joints_px: np.ndarray, joints_m: np.ndarray) -> SimpleNamespace:
    """The fields of ``dhpe_ros/Hand`` that the report reads."""
    return SimpleNamespace(
        joints_px=np.ravel(joints_px),
        joints_m=np.ravel(joints_m),
        residual_before_px=4.0,
        residual_after_px=2.0,
    )


def test_the_shipped_clip_and_its_truth_belong_together():
    clip, truth = open_media(DEMO_CLIP), Truth.beside(DEMO_CLIP)
    frames = list(clip.frames())
    assert DEMO_CLIP.stat().st_size < 1_500_000
    assert len(frames) == len(truth.joints_px) == len(truth.joints_m)
    assert 6 <= len(frames) / clip.rate_hz <= 8
    assert frames[0].image.shape == (truth.camera.height, truth.camera.width, 3)
    for joints_px, joints_m in zip(truth.joints_px, truth.joints_m, strict=True):
        np.testing.assert_allclose(truth.camera.project(joints_m), joints_px, atol=0.1)
        assert (joints_px > 0).all()
        assert (joints_px < (truth.camera.width, truth.camera.height)).all()


def test_the_hand_is_where_the_truth_says():
    """Skin at the palm in every frame: warmer than the wall behind it."""
    truth = Truth.beside(DEMO_CLIP)
    for frame, joints in zip(open_media(DEMO_CLIP).frames(), truth.joints_px, strict=True):
        x, y = joints[[0, 5, 17]].mean(0).round().astype(int)
        red, _, blue = frame.image[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).mean(0)
        assert red > 1.2 * blue


def test_a_perfect_hand_has_no_error_and_the_nearest_one_counts():
    truth = Truth.beside(DEMO_CLIP)
    px, m = truth.joints_px[0], truth.joints_m[0]
    findings = Findings()
    findings.compare(truth, 0, [hand(px + 50, m), hand(px, m + 0.3)])
    errors = findings.summary()["errors"]
    assert errors["mean_2d_px"] == errors["mean_2d_percent_of_joints_box"] == 0
    assert errors["mean_3d_mm"] == 0  # root-relative: moved as a whole is no error


def test_errors_have_the_units_they_are_named_after():
    truth = Truth.beside(DEMO_CLIP)
    px, m = truth.joints_px[0], truth.joints_m[0]
    moved = m + np.where(np.arange(21) == 9, 0.0, 0.01)[:, None] * (0, 0, 1)
    findings = Findings()
    findings.compare(truth, 0, [hand(px + np.array((3, 4)), moved)])
    errors = findings.summary()["errors"]
    assert errors["mean_2d_px"] == pytest.approx(5)
    side = max(np.ptp(px[:, 0]), np.ptp(px[:, 1]))
    assert errors["mean_2d_percent_of_joints_box"] == pytest.approx(500 / side, abs=0.01)
    assert errors["mean_3d_mm"] == pytest.approx(10 * 20 / 21, abs=0.01)


def test_summary_without_any_answer():
    summary = Findings(sent=3).summary()
    assert summary["errors"] is None
    assert summary["latency_ms"] == {"p50": None, "p95": None}
    json.dumps(summary, allow_nan=False)


def test_percentiles_and_counts():
    findings = Findings()
    for latency_ms in range(101):
        joints = np.zeros((21, 2)), np.zeros((21, 3))
        findings.add_frame(float(latency_ms), [hand(*joints)] * (latency_ms % 2))
    summary = findings.summary()
    assert summary["latency_ms"] == {"p50": 50.0, "p95": 95.0}
    assert (summary["frames_answered"], summary["frames_with_hand"]) == (101, 50)
    assert summary["residual_px"] == {"before": 4.0, "after": 2.0}


def test_no_truth_beside_other_inputs(tmp_path):
    assert Truth.beside(tmp_path / "hand.jpg") is None
    (tmp_path / "hand.json").write_text('{"image": "hand.jpg", "hands": []}')
    assert Truth.beside(tmp_path / "hand.jpg") is None
    (tmp_path / "hand.json").write_text('{"intrinsics": {}, "frames": [{"joints_px": []}]}')
    with pytest.raises(ValueError, match=r"hand.json: is no ground truth"):
        Truth.beside(tmp_path / "hand.jpg")


def test_the_latency_is_explained():
    assert "latency" in build_parser().format_help().lower()


# The whole, over ROS.


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> list[str]:
    """Node parameters for networks that see a hand in everything, quickly."""
    pytest.importorskip("rclpy", reason="ROS 2 is missing")
    path = tmp_path_factory.mktemp("untrained") / "lite.safetensors"
    save_networks(build_networks("lite"), path, {})
    parameters = (f"model.weights:={path}", "tracking.min_score:=0.0", "refinement.steps:=0")
    parameters += ("tracking.box:='100,100,200,200'", "model.backend:=eager")
    return [word for parameter in parameters for word in ("-p", parameter)]


def demo(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dhpe_ros.ros.demo", "--output", str(folder)]
    words = [str(argument) for argument in arguments]
    return subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)


def start_demo(folder: Path, *arguments: object) -> subprocess.Popen:
    """A demo that has begun to play."""
    command = [sys.executable, "-m", "dhpe_ros.ros.demo", "--output", str(folder)]
    words = [str(argument) for argument in arguments]
    process = subprocess.Popen(
        [*command, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if b"the node is ready" in line:
            return process
    raise AssertionError(f"the demo ended with {process.wait()} before it played")


def nodes_of(process_id: int) -> list[int]:
    """The node processes that a demo started."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [int(child) for child in children]


def gone(process_id: int, within_s: float = 15.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_the_demo_plays_a_clip_and_writes_what_came_back(untrained, tmp_path):
    done = demo(tmp_path / "out", "--frames", 7, *untrained)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames_sent"] == summary["frames_answered"] == summary["hands_received"] == 7
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert summary["errors"]["frames"] == 7
    pictures = sorted((tmp_path / "out").glob("overlay_*.png"))
    assert len(pictures) == 6
    assert cv2.imread(str(pictures[0])).shape == (480, 640, 3)
    assert open_media(tmp_path / "out/overlay.mp4").count == 7
    assert cv2.imread(str(tmp_path / "out/mask.png"), cv2.IMREAD_UNCHANGED).shape == (480, 640)
    mesh = (tmp_path / "out/hand.obj").read_text()
    assert (mesh.count("\nv "), mesh.count("\nf ")) == (778, 1538)
    for said in (
        "frames_sent: 7",
        "hands_received: 7",
        "p50:",
        "p95:",
        "mean_2d_px:",
        "mean_3d_mm:",
    ):
        assert said in done.stdout


def test_the_demo_takes_a_photograph_at_a_fixed_rate(untrained, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (90, 121, 3), np.uint8))
    options = ("--frames", 5, "--rate", 4, "-p", "tracking.box:=0,0,90,90")
    done = demo(tmp_path / "out", photo, *untrained, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames_sent"] == 5
    assert 1 <= summary["frames_answered"] <= 5
    assert summary["errors"] is None
    assert (summary["played"], summary["rate_hz"]) == ("whether answered or not", 4.0)


LATE_NODE = """
import time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from dhpe_ros.ros.demo.players import IMAGE_TOPIC, TOPICS

rclpy.init()
node = rclpy.create_node("late")
answers = [(kind, node.create_publisher(kind, f"/hand/{name}", 9)) for name, kind in TOPICS.items()]

def answer(image):
    time.sleep(0.4)
    for kind, publisher in answers:
        publisher.publish(kind(header=image.header))

node.create_subscription(Image, IMAGE_TOPIC, answer, qos_profile_sensor_data)
rclpy.spin(node)
"""


def test_answers_to_the_first_frame_sent_again_count_nowhere():
    """A node that is slow at first answers each sending of the first frame, one after another."""
    pytest.importorskip("rclpy", reason="ROS 2 is missing")
    from dhpe_ros.ros.demo.players import DemoPlayer

    frame = next(iter(open_media(DEMO_CLIP).frames()))
    late = subprocess.Popen([sys.executable, "-c", LATE_NODE])
    try:
        with DemoPlayer() as player:
            player.ask(frame, 60.0, again_s=0.1)
            sent = player.send(frame)
            assert player.spin(60.0, lambda: sent.complete)
            assert list(player.answers()) == [sent]
    finally:
        late.kill()
        late.wait()


def test_a_node_that_cannot_start_is_reported_with_its_reason(untrained, tmp_path):
    done = demo(tmp_path / "out", *untrained, "-p", "model.weights:=/nowhere/x.safetensors")
    assert done.returncode == 1
    assert "the node ended before it was ready (exit code 1)" in done.stderr
    assert "no weights at /nowhere/x.safetensors" in done.stderr
    assert json.loads((tmp_path / "out/summary.json").read_text())["frames_sent"] == 0


def test_finding_no_hand_is_a_failure_with_pictures(untrained, tmp_path):
    done = demo(tmp_path / "out", "--frames", 2, *untrained, "-p", "tracking.min_score:=1.0")
    assert done.returncode == 1
    assert "answered 2 frames and found no hand" in done.stderr
    assert "-m dhpe_ros.ros.demo photo.jpg -p tracking.box:=x,y,width,height" in done.stderr
    assert list((tmp_path / "out").glob("overlay_*.png"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("refinment.steps:=3", "no such parameter; did you mean refinement.steps?"),
        ("refinement.steps=3", "-p wants NAME:=VALUE"),
    ],
)
def test_a_misspelt_parameter_ends_the_demo_before_a_node_is_started(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["-p", words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_unreadable_input_is_one_line(tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is missing")
    (tmp_path / "text.jpg").write_text("no picture")
    done = demo(tmp_path / "out", tmp_path / "missing.mp4")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"demo: error: {tmp_path}/missing.mp4: ")
    assert "Traceback" not in done.stderr
    done = demo(tmp_path / "out", tmp_path / "text.jpg")  # told before a node is started
    assert done.stderr.splitlines()[-1].startswith(
        f"demo: error: {tmp_path}/text.jpg: is not a picture"
    )
    assert "Traceback" not in done.stderr
    assert "starting the node" not in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_the_node_and_keeps_what_came_back(untrained, tmp_path):
    process = start_demo(tmp_path / "out", "--rate", 5, *untrained)
    (node,) = nodes_of(process.pid)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert gone(node)
    assert json.loads((tmp_path / "out/summary.json").read_text())["frames_sent"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_node_does_not_outlive_a_killed_demo(untrained, tmp_path, no_shared_memory_left):
    process = start_demo(tmp_path / "out", "--rate", 5, *untrained)
    (node,) = nodes_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert gone(node)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_node_that_dies_on_the_way_is_reported(untrained, tmp_path, no_shared_memory_left):
    process = start_demo(tmp_path / "out", *untrained)
    (node,) = nodes_of(process.pid)
    os.kill(node, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"the node ended while frames were sent (exit code -9)" in output
    assert b"[hand]: ready" in output


@pytest.mark.skipif(not WEIGHTS.exists(), reason="weights/lite.safetensors is missing")
def test_the_shipped_weights_follow_the_shipped_clip(tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is missing")
    done = demo(tmp_path / "out", "--frames", 30)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames_answered"] == 30
    assert summary["frames_with_hand"] >= 28
    assert summary["errors"]["mean_2d_percent_of_joints_box"] < 15
