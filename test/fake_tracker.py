"""A tracker without networks, for tests of the ROS layer: run as a program it is the node with it.

It finds a flat grey hand in every image that is not black, and does what boxes and settings say.
"""

import sys
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from scipy.spatial.transform import Rotation

from dhpe_ros.engines.store import EngineError
from dhpe_ros.types import Box, Hand, Refinement, Scale, Side

VERTICES, TRIANGLES = 778, 1538


def make_hand(box=None, side=Side.RIGHT, track_id=1, intrinsics_known=True):
    """A hand with the right shapes whose numbers are all different."""
    rng = np.random.default_rng(3)
    box = box or Box(10, 20, 100, 100)
    corner = np.array((box.x, box.y), np.float32)
    joints_px = corner + rng.random((21, 2), np.float32) * np.float32(box.width)
    vertices_m = rng.random((VERTICES, 3), np.float32) * 0.1 + np.float32((0, 0, 0.6))
    normals = rng.normal(size=(VERTICES, 3)).astype(np.float32)
    return Hand(
        side=side,
        score=0.875,
        box=box,
        joints_px=joints_px,
        joints_m=vertices_m[:21].copy(),
        joint_confidences=rng.random(21, np.float32),
        vertices_px=vertices_m * 1000,
        vertices_m=vertices_m,
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        triangles=rng.integers(0, VERTICES, (TRIANGLES, 3), np.int32),
        joint_rotations=Rotation.random(21, random_state=4).as_matrix().astype(np.float32),
        joint_angles=rng.random(20, np.float32),
        fit_stds_m=rng.random(21, np.float32) * np.float32(0.01),
        occluded=rng.random(21) < 0.5,
        parameters=rng.random(63, np.float32),
        intrinsics_known=intrinsics_known,
        refinement=Refinement(50, 4.0, 1.5),
        track_id=track_id,
        contact_distances=rng.random(5, np.float32),
    )


class FakeTracker:
    """``process``, ``reset`` and ``pipeline``, as the node uses them of ``HandTracker``.

    An image whose first pixel is 13 fails, under ``strict_backend`` as an engine does; one whose
    first pixel is 14 takes half a second, 15 a minute.
    """

    def __init__(self, config):
        self.pipeline = SimpleNamespace(
            networks=SimpleNamespace(name="fake", fault=""), configure=self._configure
        )
        self._configure(config)
        self._track = 1
        print("tracker made", flush=True)
        weakref.finalize(self, print, "tracker freed", flush=True)

    def _configure(self, config):
        self.config = config

    def reset(self):
        self._track += 1

    def process(self, image, camera=None, boxes=None, depth_m=None, time_s=None):
        first = int(image[0, 0, 0])
        if first == 13:
            kind = EngineError if self.config.model.strict_backend else RuntimeError
            raise kind("unlucky image")
        if first in (14, 15):
            time.sleep(0.5 if first == 14 else 60)
        if not image.any() or self.config.tracking.min_score > 0.875:
            return []
        boxes = [None] if boxes is None else [target.box for target in boxes]
        hands = [
            make_hand(box, track_id=self._track + i, intrinsics_known=camera is not None)
            for i, box in enumerate(boxes)
        ]
        return [h if depth_m is None else replace(h, scale=Scale.DEPTH) for h in hands]


if __name__ == "__main__":
    from dhpe_ros.ros.node import main

    sys.exit(main(make_tracker=FakeTracker))
