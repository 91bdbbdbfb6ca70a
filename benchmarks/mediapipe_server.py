"""MediaPipe Hands in a process of its own: it wants another NumPy (requirements/rivals.txt).

``python mediapipe_server.py FRAMES.npy`` answers each line ``WAY INDEX`` with wall and processor
milliseconds of that frame. Ways: ``tracked`` and ``single``; with ``tasks_`` before them they are
those of the current API, on the same two models.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what the library prints is no answer

import mediapipe  # noqa: E402
import numpy as np  # noqa: E402
from mediapipe.tasks.python import BaseOptions, vision  # noqa: E402

PARTS = {
    "hand_detector.tflite": "palm_detection/palm_detection_full.tflite",
    "hand_landmarks_detector.tflite": "hand_landmark/hand_landmark_full.tflite",
}


def main() -> None:
    frames = np.load(sys.argv[1])
    hands = mediapipe.solutions.hands.Hands
    ways = {
        "tracked": hands(static_image_mode=False, max_num_hands=1).process,
        "single": hands(static_image_mode=True, max_num_hands=1).process,
    }
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "hands.task"
        with zipfile.ZipFile(model, "w", zipfile.ZIP_STORED) as bundle:
            for name, part in PARTS.items():
                bundle.write(Path(mediapipe.__file__).parent / "modules" / part, name)
        video, picture = (
            vision.HandLandmarker.create_from_options(
                vision.HandLandmarkerOptions(
                    base_options=BaseOptions(model_asset_path=str(model)),
                    running_mode=mode,
                    num_hands=1,
                )
            )
            for mode in (vision.RunningMode.VIDEO, vision.RunningMode.IMAGE)
        )
    times_ms = iter(range(0, 10**9, 33))
    ways["tasks_tracked"] = lambda image: video.detect_for_video(_wrapped(image), next(times_ms))
    ways["tasks_single"] = lambda image: picture.detect(_wrapped(image))
    print("ready", file=ANSWERS)
    for line in sys.stdin:
        way, index = line.split()
        wall_s, processor_s = time.perf_counter(), time.process_time()
        ways[way](frames[int(index)])
        passed = time.perf_counter() - wall_s, time.process_time() - processor_s
        print(*(1000 * seconds for seconds in passed), file=ANSWERS)


def _wrapped(image: np.ndarray) -> mediapipe.Image:
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)


if __name__ == "__main__":
    main()
