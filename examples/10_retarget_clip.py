"""A robot hand follows the hand of a clip: ``python examples/10_retarget_clip.py [CLIP]``.

Writes retarget.csv (radians, a line a hand) and retarget.webp (six frames, the robot below them).
"""

import sys

import cv2
import numpy as np
import pinocchio

from dhpe_ros.files.resources import DEMO_CLIP, shared_file
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.ros.retarget.retargeting import Retargeter, wrist_axes
from dhpe_ros.tracking.tracker import HandTracker

CONFIG = shared_file("config/retarget/example_right.yaml")
TILE = 300  # pixels


def main() -> None:
    retargeter, tracker, rows, tiles = Retargeter(CONFIG), HandTracker(HandPipeline()), [], []
    for frame in open_media(sys.argv[1] if len(sys.argv) > 1 else DEMO_CLIP).frames():
        for hand in tracker.process(frame.image, time_s=frame.stamp_s)[:1]:
            rows.append(retargeter.retarget(hand.joints_m, hand.side))
            overlay = draw_overlay(frame.image, [hand])
            seen = cv2.getRectSubPix(overlay, (TILE, TILE), hand.box.center)
            tiles.append(np.vstack((seen, draw(rows[-1], wrist_axes(hand.joints_m, hand.side)))))
    names = ",".join(retargeter.joint_names)
    np.savetxt("retarget.csv", rows, "%.4f", ",", header=names, comments="")
    strip = np.hstack([tiles[k] for k in np.linspace(0, len(tiles) - 1, 6).astype(int)])
    cv2.imwrite("retarget.webp", strip[..., ::-1])


def draw(angles: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The links of the robot hand, seen as the operator's hand is, the farthest first."""
    model, _, visual = pinocchio.buildModelsFromUrdf(str(CONFIG.with_suffix(".urdf")))
    placed = visual.createData()
    pinocchio.updateGeometryPlacements(model, model.createData(), visual, placed, angles)
    links = [(o.geometry, p) for o, p in zip(visual.geometryObjects, placed.oMg, strict=True)]
    image = np.full((TILE, TILE, 3), 255, np.uint8)
    for shape, pose in sorted(links, key=lambda link: -(axes.T @ link[1].translation)[2]):
        half = getattr(shape, "halfSide", (0, 0, getattr(shape, "halfLength", 0)))
        corners = np.stack(np.meshgrid(*((-h, h) for h in half))).reshape(3, -1).T
        corners = (corners @ pose.rotation.T + pose.translation - (0, 0, 0.09)) @ axes
        outline = cv2.convexHull(np.rint(corners[:, :2] * 1100 + TILE / 2).astype(np.int32))
        shade = int(np.clip(140 - 1200 * corners[:, 2].mean(), 60, 200))
        width = round(2200 * getattr(shape, "radius", 0.004))
        cv2.polylines(image, [outline], True, (shade, shade, 255 - shade // 3), width, cv2.LINE_AA)
        cv2.fillConvexPoly(image, outline, (shade, shade, 255 - shade // 3), cv2.LINE_AA)
    return image


if __name__ == "__main__":
    main()
