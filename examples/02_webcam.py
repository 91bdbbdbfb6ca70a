"""Hands of a camera, live: ``python examples/02_webcam.py [/dev/video0 | clip.mp4] [--no-window]``.

Escape closes the window. With ``--no-window`` the hands are only printed.
"""

import sys

import cv2

from dhpe_ros.config import Config
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.tracking.tracker import HandTracker


def main() -> None:
    inputs = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    window = "--no-window" not in sys.argv
    # The tracker looks where the hand was, which is faster than a search and steadier.
    config = Config().replace({"tracking.max_hands": 2})
    tracker = HandTracker(HandPipeline(config))
    for frame in open_media(inputs[0] if inputs else "/dev/video0").frames():
        hands = tracker.process(frame.image, time_s=frame.stamp_s)
        for hand in hands:
            tip = hand.joints_m[8]  # of the index finger: x right, y down, z forward
            print(f"{frame.stamp_s:.2f} s: {hand.side.name} {hand.track_id}, index tip {tip} m")
        if window:
            cv2.imshow("hands", draw_overlay(frame.image, hands)[..., ::-1])
            if cv2.waitKey(1) == 27:
                break


if __name__ == "__main__":
    main()
