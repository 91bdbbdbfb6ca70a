"""The demo: plays an input to the hand node over ROS 2, then reports the results.

``python -m dhpe_ros.ros.demo [INPUT]``. The node runs in its own process, as it does on a robot.
Exit code: 0 hands came back; 1 nothing came back, or no hand; 2 a wrong request; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from dhpe_ros.config import NOT_SETTINGS, Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.intrinsics import FORM, Intrinsics
from dhpe_ros.media import Frame, Media, MediaError, open_media
from dhpe_ros.ros.demo.node_process import NodeProcess
from dhpe_ros.ros.demo.report import Findings, Truth, table
from dhpe_ros.ros.environment import own_domain, use_shipped_dds_profile
from dhpe_ros.settings import did_you_mean
from dhpe_ros.system.programs import module_command

if TYPE_CHECKING:
    from dhpe_ros.ros.demo.player import Answer, DemoPlayer

PHOTO_FRAMES = 10  # times that a photograph is sent, to measure latencies
FRAME_LIMIT = 300  # frames of a long input, unless --frames says otherwise
READY_WITHIN_S = 300.0  # a slow machine may compile kernels first
ANSWER_WITHIN_S = 20.0
PROBE_TIMEOUTS_S = (1.0, 2.0, 4.0, 8.0, 16.0)  # longer each time: the machine may be slow
GIVE_UP_AFTER = 3  # frames without any answer
NODE_LOG = "node.log"

_EPILOG = """\
Without --rate the next frame is sent when the previous one is answered, at most at the input's own
rate: every frame is answered, on any machine. With --rate frames are sent at that rate, as a camera
does, and the node drops those that it cannot keep up with. Latency is the time from publishing an
image to receiving its hands."""


class DemoError(Exception):
    """The demo ends early; the text is the reason."""


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
    add("--intrinsics", metavar=FORM, help=lens)
    add("--topic", default="", help="image topic of a recording (default: the busiest one)")
    domain = "ROS_DOMAIN_ID, to watch along from other ROS programs (default: one of its own)"
    add("--domain", metavar="ID", type=int, help=domain)
    parameter = "parameter of the node, as in -p refinement.steps:=10"
    add("-p", metavar="NAME:=VALUE", dest="parameters", action="append", default=[], help=parameter)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(arguments)
    except (DemoError, MediaError, OSError, ImportError, ValueError) as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


@dataclass(frozen=True)
class Pace:
    """Pace at which frames are sent."""

    rate_hz: float | None  # None: as fast as answers arrive
    waits: bool  # True: only after the previous frame is answered

    @property
    def description(self) -> str:
        if not self.waits:
            return f"{self.rate_hz:g} Hz, whether answered or not"
        limit = f", at most {self.rate_hz:g} Hz" if self.rate_hz else ""
        return f"the next frame when the last is answered{limit}"


def run(arguments: argparse.Namespace) -> int:
    """Play the input, write the results, print the report; returns the exit code."""
    _prepare_environment(arguments)
    # Imported here: rclpy reads the environment.
    from dhpe_ros.ros.demo.files import DemoFiles
    from dhpe_ros.ros.demo.player import DemoPlayer

    media = open_media(arguments.input, arguments.topic)
    truth = Truth.beside(arguments.input)
    total = _frame_total(media, arguments.frames)
    pace = Pace(arguments.rate or media.rate_hz, waits=arguments.rate is None)
    frames = _frames(media, total, _given_intrinsics(arguments, truth))
    first = next(frames, None)  # before the node is started, as it may be unreadable
    if first is None:
        raise DemoError(f"{media.name} has no frames")
    files = DemoFiles(arguments.output, media.rate_hz, total)
    findings = Findings()

    def take(answer: Answer) -> None:
        findings.add_frame(answer.latency_ms, answer.hands)
        if truth is not None:
            findings.compare(truth, answer.index, answer.hands)
        files.add(answer)

    problem: BaseException | None = None
    with files, _node(arguments) as node, DemoPlayer(take) as player:
        try:
            _wait_until_ready(player, node, first)
            frames = chain([first], frames)
            _play(player, node, tqdm(frames, "demo", total, unit="frame"), pace)
        except (DemoError, MediaError, KeyboardInterrupt) as error:
            problem = error
        findings.sent = player.sent
    summary = {"input": media.name, "played": pace.description, **findings.summary()}
    files.finish(summary)
    print(f"\n{table(summary)}\n\nwritten to {arguments.output}/")
    return _verdict(problem, findings, node)


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.frames is not None and arguments.frames < 1:
        parser.error(f"--frames must be >= 1, got {arguments.frames}")
    if arguments.rate is not None and not 0 < arguments.rate <= 1000:
        parser.error(f"--rate must be above 0 and at most 1000 Hz, got {arguments.rate}")
    if arguments.domain is None:
        arguments.domain = own_domain()
    if not 0 <= arguments.domain <= 232:
        parser.error(f"--domain must be 0 to 232, got {arguments.domain}")
    for parameter in arguments.parameters:
        name, assigned, value = parameter.partition(":=")
        if not (name and assigned and value):
            parser.error(f"-p wants NAME:=VALUE, got {parameter!r}")
        known = Config().as_mapping()
        if name not in known and not name.startswith(NOT_SETTINGS):
            near = did_you_mean(name, known)
            parser.error(f"-p {parameter}: the node has no such parameter{near}")
    if arguments.intrinsics:
        try:
            arguments.intrinsics = Intrinsics.parse(arguments.intrinsics)
        except ValueError as error:
            parser.error(f"--intrinsics: {error}")


def _prepare_environment(arguments: argparse.Namespace) -> None:
    """Give this process and the node a ROS domain of their own, on this machine only."""
    os.environ["ROS_DOMAIN_ID"] = str(arguments.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":  # has only the older variable
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    if "HOME" not in os.environ:  # ROS needs a folder for logs
        os.environ.setdefault("ROS_LOG_DIR", str(arguments.output.resolve()))
    use_shipped_dds_profile()


def _node(arguments: argparse.Namespace) -> NodeProcess:
    # No maximum age: every frame is to be answered, on slow machines too.
    parameters = ["max_age:=0.0", *arguments.parameters]
    remappings = ("image:=/camera/image_raw", "camera_info:=/camera/camera_info")
    return NodeProcess(arguments.output / NODE_LOG, remappings, parameters)


def _wait_until_ready(player: DemoPlayer, node: NodeProcess, first: Frame) -> None:
    """Wait until the node subscribes, when its weights are loaded, and answers."""
    print(f"starting the node (it logs to {node.log}) ...", flush=True)
    begin_s = time.perf_counter()
    player.spin(READY_WITHIN_S, lambda: player.connected() or node.exit_code is not None)
    if node.exit_code is not None:
        raise DemoError("the node ended before it was ready")
    if not player.connected():
        raise DemoError(f"the node is not ready after {READY_WITHIN_S:.0f} s")
    _probe(player, node, first)
    print(f"the node is ready after {time.perf_counter() - begin_s:.1f} s", flush=True)


def _probe(player: DemoPlayer, node: NodeProcess, first: Frame) -> None:
    """Send the first frame, without counting it, until it is answered.

    Discovery is one-sided for a moment, in which messages get lost.
    """
    probes = []
    for timeout_s in PROBE_TIMEOUTS_S:
        probes.append(player.send(first, counts=False))
        if player.spin(
            timeout_s, lambda: any(one.complete for one in probes) or node.exit_code is not None
        ):
            return
    raise DemoError(f"the node runs, but answered none of {len(probes)} frames")


def _play(player: DemoPlayer, node: NodeProcess, frames: Iterable[Frame], pace: Pace) -> None:
    period_s = 1 / pace.rate_hz if pace.rate_hz else 0.0
    next_s = time.perf_counter()
    for frame in frames:
        player.spin(next_s - time.perf_counter())
        next_s = max(next_s + period_s, time.perf_counter())
        answer = player.send(frame)
        if pace.waits:
            _wait_for(answer, player, node)
        if node.exit_code is not None:
            raise DemoError("the node ended while frames were sent")
        if player.answered == 0 and pace.waits and player.sent >= GIVE_UP_AFTER:
            raise DemoError(f"the node runs, but answered none of {player.sent} frames")
    if not pace.waits and player.sent:
        _wait_for(answer, player, node)


def _wait_for(answer: Answer, player: DemoPlayer, node: NodeProcess) -> None:
    player.spin(ANSWER_WITHIN_S, lambda: answer.complete or node.exit_code is not None)


def _verdict(problem: BaseException | None, findings: Findings, node: NodeProcess) -> int:
    """The exit code; prints what went wrong, with the node's last lines."""
    if isinstance(problem, KeyboardInterrupt):
        print("demo: interrupted", file=sys.stderr)
        return 130
    if problem is None and findings.answered == 0:
        problem = DemoError("nothing came back from the node")
    if problem is not None:
        ending = "" if node.ended_itself is None else f" (exit code {node.ended_itself})"
        print(f"demo: error: {problem}{ending}; the node's last lines:", file=sys.stderr)
        print(node.last_lines(), file=sys.stderr)
        return 1
    if findings.hands == 0:
        words = ("photo.jpg", "-p", "tracking.box:=x,y,width,height")
        print(
            f"demo: error: the node answered {findings.answered} frames and found no hand in them; "
            "see the overlays. If there is a hand, give its box in pixels, as in\n"
            f"    {module_command('dhpe_ros.ros.demo', *words)}",
            file=sys.stderr,
        )
        return 1
    return 0


def _frame_total(media: Media, limit: int | None) -> int:
    """Number of frames to send, if the input has as many as it says."""
    if not media.is_sequence:
        return limit or PHOTO_FRAMES
    limit = limit or FRAME_LIMIT
    return limit if media.count is None else min(media.count, limit)


def _given_intrinsics(arguments: argparse.Namespace, truth: Truth | None) -> Intrinsics | None:
    """From the command line, else the ground truth; None leaves the camera to the input."""
    if arguments.intrinsics or truth is None:
        return arguments.intrinsics
    camera = truth.camera
    return Intrinsics(camera.fx, camera.fy, camera.cx, camera.cy)


def _frames(media: Media, total: int, intrinsics: Intrinsics | None) -> Iterator[Frame]:
    """The frames to send, a photograph repeatedly, with their camera if it is known."""
    frames = media.frames()
    if not media.is_sequence:
        (photo,) = frames
        frames = (replace(photo, index=index) for index in range(total))
    for frame in islice(frames, total):
        if intrinsics is None:
            yield frame
        else:
            height, width = frame.image.shape[:2]
            yield replace(frame, camera=intrinsics.camera(width, height))
