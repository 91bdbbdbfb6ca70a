"""The demo: plays an input to the hand node over ROS 2, then reports the results.

``python -m dhpe_ros.ros.demo [INPUT]``. The node runs in its own process, as it does on a robot.
Exit code: 0 hands came back; 1 nothing came back, or no hand; 2 a wrong request; 130 interrupted.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import yaml
from tqdm import tqdm

from dhpe_ros.config import NOT_SETTINGS, Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import INTRINSICS, Camera
from dhpe_ros.media import open_media
from dhpe_ros.ros.demo.node_process import node_process
from dhpe_ros.ros.demo.report import Answer, DemoFiles, Findings, Truth
from dhpe_ros.ros.environment import own_domain, use_shipped_dds_profile
from dhpe_ros.settings import did_you_mean
from dhpe_ros.system.programs import module_command

PHOTO_FRAMES = 10  # times that a photograph is sent, to measure latencies
FRAME_LIMIT = 300  # frames of a long input, unless --frames says otherwise
READY_WITHIN_S = 300.0  # a slow machine may compile kernels first
ANSWER_WITHIN_S = 20.0
LAST_LINES = 15  # of the node's log, shown when it ends
REMAPPINGS = ("image:=/camera/image_raw", "camera_info:=/camera/camera_info")

_EPILOG = """\
Without --rate the next frame is sent when the previous one is answered, at most at the input's own
rate: every frame is answered, on any machine. With --rate frames are sent at that rate, as a camera
does, and the node drops those that it cannot keep up with. Latency is the time from publishing an
image to receiving its hands."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dhpe_ros.ros.demo",
        description="Play an input to the hand node over ROS 2 and write the results.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    inputs = "image, video, folder of images, /dev/video0 or recording (default: a rendered clip)"
    add("input", metavar="INPUT", nargs="?", type=Path, default=DEMO_CLIP, help=inputs)
    add("--output", metavar="DIR", type=Path, default=Path("demo_output"), help="where to write")
    add("--frames", metavar="N", type=int, help=f"send at most N frames (default: {FRAME_LIMIT})")
    add("--rate", metavar="HZ", type=float, help="send at this rate, answered or not")
    lens = "of the camera, in pixels of the input; distortion as in predict"
    add("--intrinsics", metavar=INTRINSICS, help=lens)
    add("--topic", default="", help="image topic of a recording (default: the busiest one)")
    domain = "ROS_DOMAIN_ID, to watch along from other ROS programs (default: one of its own)"
    add("--domain", metavar="ID", type=int, default=own_domain(), help=domain)
    parameter = "parameter of the node, as in -p refinement.steps:=10"
    add("-p", metavar="NAME:=VALUE", dest="parameters", action="append", default=[], help=parameter)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        _check(arguments)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(arguments)
    except (OSError, ImportError, ValueError) as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (("frames", 1, math.inf), ("rate", 1e-3, 1e3), ("domain", 0, 232)):
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name} must be {low:g} to {high:g}, got {value:g}")
    if arguments.intrinsics is not None:
        arguments.intrinsics = Camera.parse(arguments.intrinsics)
    known = Config().as_mapping()
    for parameter in arguments.parameters:
        name, assigned, value = parameter.partition(":=")
        if not (name and assigned and value):
            raise ValueError(f"-p wants NAME:=VALUE, got {parameter!r}")
        if name not in known and not name.startswith(NOT_SETTINGS):
            near = did_you_mean(name, known)
            raise ValueError(f"-p {parameter}: the node has no such parameter{near}")


def _prepare_environment(arguments: argparse.Namespace) -> None:
    """Give this process and the node a ROS domain of their own, on this machine only."""
    os.environ["ROS_DOMAIN_ID"] = str(arguments.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":  # has only the older variable
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    if "HOME" not in os.environ:  # ROS needs a folder for logs
        os.environ.setdefault("ROS_LOG_DIR", str(arguments.output.resolve()))
    use_shipped_dds_profile()


def run(arguments: argparse.Namespace) -> None:
    """Play the input, write the results, print the summary.

    Raises ``ValueError`` where nothing or no hand comes back.
    """
    _prepare_environment(arguments)
    # Imported here: rclpy reads the environment.
    from dhpe_ros.ros.demo.players import DemoPlayer, NodeError, camera_frames

    media, truth = open_media(arguments.input, arguments.topic), Truth.beside(arguments.input)
    frames = camera_frames(media, arguments.intrinsics)
    total = arguments.frames or (FRAME_LIMIT if media.is_sequence else PHOTO_FRAMES)
    if not media.is_sequence:
        frames = (replace(photo, index=index) for photo in frames for index in range(total))
    elif media.count is not None:
        total = min(media.count, total)
    first = next(frames, None)  # before the node is started, as it may be unreadable
    if first is None:
        raise ValueError(f"{media.name} has no frames")
    frames = tqdm(islice(chain([first], frames), total), "demo", total, unit="frame")
    rate_hz, waits = arguments.rate or media.rate_hz, arguments.rate is None
    findings, files = Findings(), DemoFiles(arguments.output, media.rate_hz, total)
    log = arguments.output / "node.log"
    # No maximum age: every frame is to be answered, on slow machines too.
    parameters = ["max_age:=0.0", *arguments.parameters]

    def check() -> None:
        if node.poll() is not None:
            phase = "while frames were sent" if findings.sent else "before it was ready"
            raise NodeError(f"the node ended {phase} (exit code {node.returncode})")

    def take(answers: Iterable[Answer]) -> None:
        for answer in answers:
            findings.add_frame(answer.latency_ms, answer.hands)
            if truth is not None:
                findings.compare(truth, answer.index, answer.hands)
            files.add(answer)

    try:
        with files, node_process(log, REMAPPINGS, parameters) as node, DemoPlayer(check) as player:
            print(f"starting the node (it logs to {log}) ...", flush=True)
            begin_s = time.perf_counter()
            player.ask(first, READY_WITHIN_S, again_s=1.0)
            next_s = time.perf_counter()
            print(f"the node is ready after {next_s - begin_s:.1f} s", flush=True)
            for frame in frames:
                player.spin(next_s - time.perf_counter())
                next_s = max(next_s + (1 / rate_hz if rate_hz else 0.0), time.perf_counter())
                findings.sent += 1
                if waits:
                    take([player.ask(frame, ANSWER_WITHIN_S)])
                else:
                    newest = player.send(frame)
                    take(player.answers())
            if not waits:
                player.spin(ANSWER_WITHIN_S, lambda: newest.complete)
                take(player.answers())
    except NodeError as error:
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise ValueError("\n    ".join([f"{error}; the node's last lines:", *lines])) from None
    finally:
        played = "the next frame when the last is answered" if waits else "whether answered or not"
        rate = {"at_most_hz" if waits else "rate_hz": rate_hz}
        summary = {"input": media.name, "played": played, **rate, **findings.summary()}
        files.write_summary(summary)
        text = yaml.safe_dump(summary, sort_keys=False)
        print(f"\n{text}\nwritten to {arguments.output}/", flush=True)
    if not any(findings.hand_counts):
        words = ("photo.jpg", "-p", "tracking.box:=x,y,width,height")
        raise ValueError(
            f"the node answered {len(findings.hand_counts)} frames and found no hand in them; see "
            "the overlays. If there is a hand, give its box in pixels, as in\n"
            f"    {module_command('dhpe_ros.ros.demo', *words)}"
        )


if __name__ == "__main__":
    sys.exit(main())
