"""The synthetic test set: hands from every side, over random backgrounds, every label exact.

Rendered when it is first needed and kept in the user's cache, in the format of
docs/reference/data.md. The folder's name holds a digest of everything that makes the pictures, so
that figures of different sets are not taken for figures of the same one.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.evaluation.labelled import LabelledSet, open_labelled
from dhpe_lab.evaluation.prediction_cache import LABORATORY, RUNTIME, files_digest
from dhpe_lab.synthesis.backgrounds import background
from dhpe_lab.synthesis.synthesis import SyntheticHand, random_hands, render_sample
from dhpe_ros.files.resources import user_cache
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import MIDDLE_MCP

COUNT = 2000
SEED = 20190616  # fixed; training counts its seeds from 0
_SHARD = 100  # pictures that are rendered, or not, together
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def open_synthetic(count: int | None = None, seed: int = SEED) -> LabelledSet:
    """The first ``count`` hands (all 2,000 if not given), rendered where the cache lacks them."""
    count = min(COUNT, count or COUNT)
    folder = user_cache() / f"synthetic-{seed}-{_recipe()}"
    shards = range(-(-count // _SHARD))
    missing = [shard for shard in shards if not (folder / f"{shard:02d}").is_dir()]
    if missing:
        model = HandModel(hand_model_path())
        for shard in tqdm(missing, unit=f"x{_SHARD}", desc="rendering the test set"):
            _render_shard(folder / f"{shard:02d}", model, (seed, shard))
    hands = [hand for shard in shards for hand in open_labelled(folder / f"{shard:02d}").hands]
    return LabelledSet("synthetic", hands[:count])


def _recipe() -> str:
    """Digest of the hand and of all code that poses, draws and backs it."""
    folders = LABORATORY / "synthesis", LABORATORY / "rendering", RUNTIME / "rendering"
    code = [file for folder in folders for file in folder.glob("*.py")]
    return files_digest([hand_model_path(), Path(__file__), *code])


def _render_shard(folder: Path, model: HandModel, seed: tuple[int, int]) -> None:
    """Appears whole or not at all, whenever it is interrupted."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")

    def draw(job: tuple[int, SyntheticHand]) -> dict:
        index, hand = job
        rng = np.random.default_rng((*seed, index))
        return _write(partial, f"{index:03d}", hand, render_sample(hand, model, rng), rng)

    try:
        for kind in ("masks", "meshes"):
            (partial / kind).mkdir(parents=True, exist_ok=True)
        hands = enumerate(random_hands(model, _SHARD, np.random.default_rng(seed)))
        with ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(draw, hands))
        (partial / "labels.json").write_text(json.dumps({"exact": True, "hands": rows}))
        with suppress(OSError):  # another process was faster
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(
    folder: Path, name: str, hand: SyntheticHand, sample: Sample, rng: np.random.Generator
) -> dict:
    """One picture, its mask and mesh; every other hand is a left one. Returns its label."""
    left = int(name) % 2 == 1
    opacity = sample.opacity[..., None] / 255.0
    image = sample.image * opacity + (1 - opacity) * background(len(sample.image), rng)
    layers = cv2.cvtColor(image.round().astype(np.uint8), cv2.COLOR_RGB2BGR), sample.mask
    image, mask = (cv2.flip(layer, 1) if left else layer for layer in layers)
    cv2.imwrite(str(folder / f"{name}.jpg"), image, _JPEG)
    cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    joints_m, mesh_m = (
        (points - hand.joints_m[MIDDLE_MCP]) @ hand.rotation.T + (0, 0, hand.distance_m)
        for points in (hand.joints_m, hand.vertices_m)
    )
    focal, center = _camera(joints_m, sample.joints_px)
    joints_px = sample.joints_px.astype(float)
    if left:
        joints_m, mesh_m = joints_m * (-1, 1, 1), mesh_m * (-1, 1, 1)
        joints_px, center = (p * (-1, 1) + (len(image) - 1, 0) for p in (joints_px, center))
    np.save(folder / "meshes" / f"{name}.npy", mesh_m.astype(np.float32))
    return {
        "file": f"{name}.jpg",
        "split": "val",
        "side": "left" if left else "right",
        "joints_px": joints_px.round(3).tolist(),
        "joints_m": joints_m.round(6).tolist(),
        "camera_px": [focal, focal, *center.tolist()],
    }


def _camera(joints_m: np.ndarray, joints_px: np.ndarray) -> tuple[float, np.ndarray]:
    """Focal length and principal point that show the joints, which they do exactly, where they are.

    The root lies on the optical axis.
    """
    center = joints_px[MIDDLE_MCP].astype(float)
    seen = (joints_m[:, :2] / joints_m[:, 2:]).ravel()
    return float(seen @ (joints_px - center).ravel() / (seen @ seen)), center
