"""Synthetic hands: random pose, shape, view, skin and light, rendered with every label exact.

Pictures are rendered ahead and kept in a folder; backgrounds are laid under them by augmentation.
``python -m dhpe_lab.synthesis.synthesis --count 16000 --output FOLDER``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.rendering import Lights, Skin, random_skin, render_hand
from dhpe_lab.rendering.texels import Texels
from dhpe_lab.synthesis.forearm import Forearm, random_forearm
from dhpe_lab.synthesis.hand_poses import sample_poses
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_lab.synthesis.held_objects import HeldObject, random_object
from dhpe_lab.synthesis.photo_hands import PhotoBank
from dhpe_lab.synthesis.settling import pose_from_angles, settled
from dhpe_ros.files.npz import read_npz
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.rotations import rotation_from_quaternion
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import covered
from dhpe_ros.system.programs import module_command, run_program
from dhpe_ros.types import MIDDLE_MCP

RENDER_SIZE = 160  # pixels
HAND_PART = 0.52  # of the picture that the longer side of the joints' box takes
SHAPE_MAX = 2.5  # standard deviations
NEAREST_M, FARTHEST_M = 0.3, 2.0  # middle MCP from the camera
CLOSEST_M = 0.08  # that a forearm comes to the camera's plane: no point gets behind it
PHOTO_POSES, PHOTO_SKINS = 0.5, 0.5  # of the hands, where there are photographs
_POSE_CHUNK = 256
HELD_SHARE = 0.3  # of live hands
_JITTER_RAD = np.radians(2.5)  # by which the pose of a live hand differs from that made ahead
_FINE = 2  # samples along a pixel's side


@dataclass(frozen=True)
class SyntheticHand:
    """A posed right hand in front of a camera, before it is drawn."""

    vertices_m: np.ndarray  # (778, 3) model frame, posed
    joints_m: np.ndarray  # (21, 3)
    rotation: np.ndarray  # (3, 3) model frame to camera: x right, y down, z away
    distance_m: float  # of the middle MCP from the camera; perspective grows as it falls
    pose: np.ndarray  # (15, 3)
    shape: np.ndarray  # (10,)

    def project(self, points_m: np.ndarray, size: int = RENDER_SIZE) -> np.ndarray:
        """``(N, 3)`` model points to pixels, with depth relative to the middle MCP in pixels."""
        scale, center = self._framing(size)
        seen = self._perspective(points_m)
        return np.concatenate((seen[:, :2] * scale + center, seen[:, 2:] * scale), axis=1)

    def _framing(self, size: int) -> tuple[float, np.ndarray]:
        seen = self._perspective(self.joints_m)[:, :2]
        low, high = seen.min(0), seen.max(0)
        scale = HAND_PART * size / max((high - low).max(), 1e-3)
        return scale, (size - 1) / 2 - scale * (low + high) / 2

    def _perspective(self, points_m: np.ndarray) -> np.ndarray:
        turned = (points_m - self.joints_m[MIDDLE_MCP]) @ self.rotation.T
        nearness = self.distance_m / np.maximum(self.distance_m + turned[:, 2:], CLOSEST_M)
        return np.concatenate((turned[:, :2] * nearness, turned[:, 2:]), axis=1)


def random_hands(
    model: HandModel, count: int, rng: np.random.Generator, photos: PhotoBank | None = None
) -> Iterator[SyntheticHand]:
    """``count`` hands of ``random_poses``."""
    for poses in random_poses(model, count, rng, photos):
        yield from _shaped(model, poses, rng)


def random_poses(
    model: HandModel, count: int, rng: np.random.Generator, photos: PhotoBank | None = None
) -> Iterator[Tensor]:
    """``count`` poses from ``hand_poses``, fingers pushed apart where they meet: ``(B, 15, 3)``.

    Of ``photos``, where there are some, half of the poses are.
    """
    require_parts(model)
    axes = np.asarray(model.extras["pose_axes"], np.float64)
    pose_space = PoseSpace(model)
    for start in range(0, count, _POSE_CHUNK):
        chunk = min(_POSE_CHUNK, count - start)
        raw = sample_poses(rng, chunk, axes)
        if photos:
            taken = rng.random(chunk) < PHOTO_POSES
            raw[taken] = photos.poses(rng, int(taken.sum()))
        yield settled(pose_space, torch.from_numpy(raw).float())[0]


def _shaped(model: HandModel, poses: Tensor, rng: np.random.Generator) -> Iterator[SyntheticHand]:
    """Hands of poses (B, 15, 3): shapes are normal, views from the whole sphere."""
    shapes = rng.normal(0, 1, (len(poses), 10)).clip(-SHAPE_MAX, SHAPE_MAX).astype(np.float32)
    return placed_hands(model, poses, shapes, rng)


@torch.no_grad()
def placed_hands(
    model: HandModel, poses: Tensor, shapes: np.ndarray, rng: np.random.Generator
) -> Iterator[SyntheticHand]:
    """Hands of poses (B, 15, 3) and shapes (B, 10) float32 from random sides and distances."""
    vertices = model(poses, torch.from_numpy(shapes))
    joints = model.skeleton(vertices).double().numpy()
    rows = zip(vertices.double().numpy(), joints, poses.numpy(), shapes, strict=True)
    for vertices_m, joints_m, pose, shape in rows:
        rotation = rotation_from_quaternion(torch.from_numpy(rng.normal(size=(1, 4))))[0].numpy()
        distance_m = 1 / rng.uniform(1 / FARTHEST_M, 1 / NEAREST_M)
        yield SyntheticHand(vertices_m, joints_m, rotation, distance_m, pose, shape)


def require_parts(model: HandModel) -> None:
    """Raise ``ValueError`` for a hand that lacks what hands are made up from."""
    missing = {"pose_axes", "wrist_loop"} - set(model.extras)
    if missing:
        raise ValueError(
            f"synthetic hands need {' and '.join(sorted(missing))} in the hand model, which the "
            "open hand has: leave the hand model's path empty"
        )


def render_sample(
    hand: SyntheticHand,
    model: HandModel,
    rng: np.random.Generator,
    skin: Skin | None = None,
    held: HeldObject | None = None,
) -> Sample:
    """Draw one hand with its forearm and what it holds, which the mask leaves out.

    ``skin`` is of ``surface_of(model)``, random if not given.
    """
    forearm = random_forearm(hand.vertices_m, model.extras["wrist_loop"], rng)
    triangles = model.triangles.numpy()
    surface = surface_of(model)
    skin = skin or random_skin(rng, len(surface.palm), **surface.regions())
    skin = _dress(skin, surface.texels, forearm, rng)
    points_m = np.concatenate((hand.vertices_m, forearm.vertices_m))
    faces = np.concatenate((triangles, forearm.triangles))
    if held:
        faces = np.concatenate((faces, held.triangles + len(points_m)))
        skin = held.painted(skin, faces, len(points_m))
        points_m = np.concatenate((points_m, held.vertices_m))
    crop = hand.project(points_m) * (2 / RENDER_SIZE)
    crop[:, :2] += 1 / RENDER_SIZE - 1
    lights = Lights.random(rng)
    whole = render_hand(
        crop, faces, RENDER_SIZE, skin, lights, texture_points=points_m, supersampling=_FINE
    )
    joints = hand.project(hand.joints_m)
    return Sample(
        image=_bytes(whole.rgb),
        joints_px=joints[:, :2].astype(np.float32),
        right=True,
        source="synthetic",
        mask=_bytes(_hand_alone(crop[: len(hand.vertices_m)], triangles)),
        opacity=_bytes(whole.mask),
        relative_depth_px=joints[:, 2].astype(np.float32),
        rotation=hand.rotation.astype(np.float32),
        pose=hand.pose,
        shape=hand.shape,
    )


def _dress(skin: Skin, texels: Texels, forearm: Forearm, rng: np.random.Generator) -> Skin:
    """Cloth instead of skin where the sleeve is."""
    if not forearm.sleeve.any():
        return skin
    others = texels.vertices.max() + 1 - len(forearm.sleeve)
    sleeve = np.append(np.zeros(others, bool), forearm.sleeve)
    # All of the ring of triangles by which the cloth stands off the skin is cloth.
    cloth = (sleeve[texels.vertices] & (texels.weights > 0)).any(1)
    albedo = np.where(cloth[:, None], rng.uniform(0.02, 0.8, 3), skin.albedo)
    gloss = np.where(cloth, 0.0, skin.gloss)
    return replace(skin, albedo=albedo.astype(np.float32), gloss=gloss.astype(np.float32))


def _hand_alone(crop: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """``(H, W)``: the part of each pixel that the hand covers, as if no arm were before it."""
    fine = covered(crop[None], triangles, _FINE * RENDER_SIZE)[0]
    return fine.reshape(RENDER_SIZE, _FINE, RENDER_SIZE, _FINE).mean((1, 3))


def _bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


_LABELS = ("joints_px", "relative_depth_px", "rotation", "pose", "shape")


def random_samples(
    model: HandModel, count: int, seed: int, photos: PhotoBank | None = None
) -> Iterator[Sample]:
    """``count`` hands rendered on all cores of the CPU; the same for the same seed and photos."""
    hands = random_hands(model, count, np.random.default_rng(seed), photos)

    def draw(job: tuple[int, SyntheticHand]) -> Sample:
        index, hand = job
        rng = np.random.default_rng((seed, index))
        skin = photos.skin(rng) if photos and rng.random() < PHOTO_SKINS else None
        return render_sample(hand, model, rng, skin)

    with ThreadPoolExecutor() as pool:
        for chunk in batched(enumerate(hands), 64):
            yield from pool.map(draw, chunk)


class LiveHands(Sequence[Sample]):
    """Hands rendered when they are asked for: number k follows from the seed and k alone.

    A pose is one of ``poses`` that are made ahead, each joint turned a little; three of ten hands
    hold something.
    """

    def __init__(self, model: HandModel, seed: int, poses: int = 4096) -> None:
        """Raises ``ValueError`` as ``require_parts``."""
        require_parts(model)
        self._model, self._seed, self._pose_space = model, seed, PoseSpace(model)
        axes = np.asarray(model.extras["pose_axes"], np.float64)
        raw = torch.from_numpy(sample_poses(np.random.default_rng(seed), poses, axes)).float()
        self._angles = self._pose_space.angles(settled(self._pose_space, raw)[0])

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, number: int) -> Sample:
        rng, space = np.random.default_rng((self._seed, number)), self._pose_space
        angles = self._angles[rng.integers(len(self._angles))][None]
        turned = torch.from_numpy(rng.normal(0, _JITTER_RAD, (1, 15, 3))).float()
        angles = angles + turned * (space.upper - space.lower > 0.2)
        pose = pose_from_angles(angles.clamp(space.lower, space.upper), space.axes)
        (hand,) = _shaped(self._model, pose, rng)
        held = random_object(hand.joints_m, rng) if rng.random() < HELD_SHARE else None
        return render_sample(hand, self._model, rng, held=held)


def write_synthetic(
    folder: Path, count: int, seed: int, hand_model: str = "", photos: PhotoBank | None = None
) -> None:
    """Render into ``folder``: ``pictures.npy`` (``count``, 160, 160, 5) and ``labels.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = HandModel(hand_model or hand_model_path())
    shape = (count, RENDER_SIZE, RENDER_SIZE, 5)
    pictures = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, shape)
    labels: dict[str, list[np.ndarray]] = {name: [] for name in _LABELS}
    samples = tqdm(random_samples(model, count, seed, photos), total=count, unit="hand")
    for picture, sample in zip(pictures, samples, strict=True):
        layers = (sample.image, sample.mask[..., None], sample.opacity[..., None])
        picture[...] = np.concatenate(layers, axis=2)
        for name in _LABELS:
            labels[name].append(getattr(sample, name))
    pictures.flush()
    np.savez(folder / "labels.npz", **{name: np.stack(rows) for name, rows in labels.items()})


def load_synthetic(folder: Path) -> list[Sample]:
    """The samples that ``write_synthetic`` left in ``folder``; pictures stay on disk until used.

    Raises ``FileNotFoundError`` with the remedy where there are none.
    """
    if not (folder / "labels.npz").is_file():
        raise FileNotFoundError(
            f"no synthetic hands in {folder}; render them with "
            f"{module_command('dhpe_lab.synthesis.synthesis', '--output', 'FOLDER')}"
        )
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    labels = read_npz(folder / "labels.npz", _LABELS)
    return [
        Sample(
            image=picture[..., :3],
            mask=picture[..., 3],
            opacity=picture[..., 4],
            right=True,
            source="synthetic",
            **{name: rows[index] for name, rows in labels.items()},
        )
        for index, picture in enumerate(pictures)
    ]


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Lists of up to ``size`` consecutive items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def main() -> None:
    parser = argparse.ArgumentParser(description="Render synthetic hands for training.")
    parser.add_argument("--count", type=int, default=16000, help="pictures")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other hands")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--hand-model", default="", help="MANO-format hand; the open hand if not given"
    )
    parser.add_argument(
        "--photos", nargs=2, type=Path, metavar=("REAL", "FITS"),
        help="folders of labelled photographs and of synthetic.photo_fits, for poses and skins",
    )  # fmt: skip
    options = parser.parse_args()
    photos = None
    if options.photos:
        from dhpe_lab.synthesis.photo_fits import load_photo_hands

        model = HandModel(options.hand_model or hand_model_path())
        require_parts(model)
        photos = PhotoBank(load_photo_hands(*options.photos, model), model, options.seed)
    write_synthetic(options.output, options.count, options.seed, options.hand_model, photos)


if __name__ == "__main__":
    run_program(main)
