"""The hands of a picture as meshes: ``python examples/01_image_to_mesh.py photo.jpg``.

Writes photo_hand1.glb, photo_hand2.glb ... for any mesh viewer, and photo_overlay.jpg.
"""

import sys
from pathlib import Path

import cv2

from dhpe_ros.media.mesh_io import write_mesh
from dhpe_ros.media.pictures import as_image
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import draw_overlay


def main() -> None:
    picture = Path(sys.argv[1])
    image = as_image(picture)  # (H, W, 3) uint8 RGB, upright
    hands = HandPipeline().estimate(image)
    for number, hand in enumerate(hands, start=1):
        path = Path(f"{picture.stem}_hand{number}.glb")
        write_mesh(path, hand.vertices_m, hand.triangles, hand.normals, f"hand of {picture.name}")
        # The size of a hand in a single picture is a guess, and its distance with it.
        print(f"{path}: {hand.side.name.lower()}, score {hand.score:.2f}, {hand.joints_m[0]} m")
    overlay = draw_overlay(image, hands)
    cv2.imwrite(f"{picture.stem}_overlay.jpg", overlay[..., ::-1])  # OpenCV writes BGR


if __name__ == "__main__":
    main()
