"""The hand model fitted to labelled photographs: their poses, and where the hand is in them.

A photograph with joints alone cannot be laid over another background, nor lend its pose and skin to
rendered hands. Both follow from a mesh on the labels:
``python -m dhpe_lab.synthesis.photo_fits --real FOLDER --output FITS``

FITS then holds ``fits.npz`` (names of the photographs and 63 parameters of each) and for every
photograph without a mask what to keep of it, as ``NAME.png``; ``data.fits`` takes the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from tqdm import tqdm

from dhpe_lab.datasets.labelled_hand import read_grey
from dhpe_lab.datasets.real_hands import load_real_hands, together
from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.cut_out import cut_out
from dhpe_lab.synthesis.photo_hands import PhotoHand
from dhpe_ros.files.npz import read_npz
from dhpe_ros.geometry.crop import crop_image, crop_to_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters, normalize_parameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import silhouette
from dhpe_ros.system.programs import module_command, run_program
from dhpe_ros.types import Box

MARGIN = 1.5  # side of the square that crop coordinates span, in joint boxes
STEPS, RATE = 120, 0.04
GOOD_FIT = 0.05  # mean 2D error at most, of the joints' box: the mesh lies on the hand
_BATCH = 128
_DEPTH = 0.1  # weight of a squared depth, against a squared distance in the picture
_PRIOR = 0.002
_WORDS = ("--real", "FOLDER", "--output", "FITS")
_REMEDY = f"write them with {module_command('dhpe_lab.synthesis.photo_fits', *_WORDS)}"


def fit_labels(samples: Sequence[Sample], projection: Projection) -> tuple[Tensor, Tensor]:
    """The parameters ``(N, 63)`` that fit the labels, and their mean 2D errors ``(N,)``.

    In crop coordinates of a square of ``MARGIN`` joint boxes, as right hands. Depth counts where
    the labels hint at it. Errors are parts of the longer side of the joints' box.
    """
    targets = np.stack([_target(sample) for sample in samples])
    target = torch.from_numpy(targets).float()
    trust = torch.tensor([_DEPTH * (s.relative_depth_px is not None) for s in samples])
    weights = torch.stack((torch.ones_like(trust), torch.ones_like(trust), trust), 1)[:, None]
    pose_space = projection.pose_space
    parameters = _start(target, projection).requires_grad_(True)
    optimizer = torch.optim.Adam([parameters], RATE)
    for _ in range(STEPS):
        p = HandParameters.split(parameters)
        distance = (projection(parameters).joints - target) ** 2 * weights
        prior = pose_space(p.pose) + (p.shape**2).mean(1)
        optimizer.zero_grad()
        (distance.sum((1, 2)) + _PRIOR * prior).sum().backward()
        optimizer.step()
        with torch.no_grad():
            parameters.copy_(normalize_parameters(parameters))
    with torch.no_grad():
        away = (projection(parameters).joints - target)[..., :2].norm(dim=2).mean(1)
    return parameters.detach(), away * (MARGIN / 2)


def square(sample: Sample) -> Box:
    """The square that crop coordinates of a fit span."""
    return Box.around(sample.joints_px).squared(MARGIN)


def _target(sample: Sample) -> np.ndarray:
    """``(21, 3)``: the labels as a right hand in crop coordinates, depth from the middle MCP."""
    box = square(sample)
    flat = (sample.joints_px + 0.5 - np.array(box.center)) * (2 / box.width)
    depth = sample.relative_depth_px
    deep = np.zeros(len(flat)) if depth is None else depth * (2 / box.width)
    return np.column_stack((flat * (1 if sample.right else -1, 1), deep))


@torch.no_grad()
def _start(target: Tensor, projection: Projection) -> Tensor:
    """The mean hand where it fits best: scale, rotation, translation in closed form (Umeyama)."""
    start = HandParameters.start(len(target))
    p = HandParameters.split(start)
    p.scale[:] = 1.0
    joints = projection(start).joints
    a, b = (points - points.mean(1, keepdim=True) for points in (joints, target))
    u, stretch, vt = torch.linalg.svd(b.mT @ a)
    handed = torch.det(u @ vt).sign()  # no mirror images
    stretch[:, 2] *= handed
    u[:, :, 2] *= handed[:, None]
    p.scale[:] = (stretch.sum(1) / (a**2).sum((1, 2)))[:, None].clamp(min=0.5)
    rotation = Rotation.from_matrix((u @ vt).numpy())
    p.rotation[:] = torch.from_numpy(rotation.as_quat(scalar_first=True))
    p.translation[:] -= (projection(start).joints - target).mean(1)
    return start


def write_fits(real: Path, output: Path, hand_model: str = "") -> None:
    """Fit all training photographs of ``real``, cut out those that have no mask.

    Raises as ``load_real_hands``, and ``ValueError`` where no photograph can be fitted.
    """
    projection = Projection(HandModel(hand_model or hand_model_path())).eval()
    samples = load_real_hands(real, "train")
    names, rows = [], []
    output.mkdir(parents=True, exist_ok=True)
    cut = 0
    with tqdm(total=len(samples), unit="hand") as bar, ThreadPoolExecutor() as pool:
        for first in range(0, len(samples), _BATCH):
            chunk = samples[first : first + _BATCH]
            parameters, errors = fit_labels(chunk, projection)
            good = [i for i, error in enumerate(errors.tolist()) if error <= GOOD_FIT]
            names += [chunk[i].name for i in good]
            rows.append(parameters[good].numpy())
            with torch.no_grad():
                vertices = projection(parameters[good]).vertices.numpy()
            pairs = zip(good, vertices, strict=True)
            jobs = [(chunk[i], mesh) for i, mesh in pairs if chunk[i].opacity is None]
            write = partial(_write_cut, output, projection.hand_model.triangles)
            cut += sum(pool.map(write, jobs))
            bar.update(len(chunk))
    if not names:
        raise ValueError(
            f"none of {len(samples)} photographs in {real} can be fitted; are their joints in the "
            "order of docs/reference/conventions.md?"
        )
    np.savez(output / "fits.npz", names=np.array(names), parameters=np.concatenate(rows))
    print(f"{len(names)} of {len(samples)} photographs fitted, {cut} cut out")


def _write_cut(output: Path, triangles: Tensor, job: tuple[Sample, np.ndarray]) -> bool:
    sample, vertices = job
    height, width = sample.image.shape[:2]
    side = max(height, width)
    points_px = crop_to_image(vertices[:, :2], square(sample), mirrored=not sample.right)
    flat = (points_px + 0.5) * (2 / side) - 1
    points = torch.from_numpy(np.column_stack((flat, vertices[:, 2]))).float()
    faces = triangles if sample.right else triangles.flip(1)
    mesh = silhouette(points[None], faces, side)[0, :height, :width].numpy() > 0.5
    opacity = cut_out(sample.image, mesh, sample.joints_px)
    file = cut_file(output, sample.name)
    if opacity is None:
        file.unlink(missing_ok=True)  # of an earlier fit
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    return cv2.imwrite(str(file), opacity)


def cut_file(folder: Path, name: str) -> Path:
    """File of a photograph's opacity."""
    return (folder / name).with_suffix(".png")


def with_cuts(samples: Sequence[Sample], folder: Path) -> list[Sample]:
    """The samples, those that ``folder`` has cut out with mask and opacity.

    Raises ``FileNotFoundError`` for a folder that was not written by ``write_fits`` and
    ``ValueError`` for a picture in it that cannot be read.
    """
    _require(folder)
    return list(together(lambda sample: _with_cut(sample, folder), samples))


def _with_cut(sample: Sample, folder: Path) -> Sample:
    file = cut_file(folder, sample.name)
    if sample.opacity is not None or not file.is_file():
        return sample
    try:
        opacity = read_grey(file)
    except ValueError as error:
        raise ValueError(f"{error}; remove it or write the fits anew") from error
    return replace(sample, mask=opacity, opacity=opacity)


def load_photo_hands(real: Path, fits: Path, model: HandModel) -> list[PhotoHand]:
    """The fitted photographs as right hands, each with its mesh and its pose.

    Raises as ``with_cuts``, and ``ValueError`` for fits of other photographs.
    """
    _require(fits)
    samples = {sample.name: sample for sample in load_real_hands(real, "train")}
    stored = read_npz(fits / "fits.npz", ("names", "parameters"))
    names, parameters = stored["names"].tolist(), torch.from_numpy(stored["parameters"])
    if missing := [name for name in names if name not in samples]:
        raise ValueError(f"{fits} has fits of {missing[0]}, which is not in {real}; {_REMEDY}")
    projection = Projection(model).eval()
    with torch.no_grad():
        vertices = projection(parameters).vertices.numpy()
        poses = model.pose_from_theta(HandParameters.split(parameters).pose).numpy()
    hands = []
    for name, mesh, pose in zip(names, vertices, poses, strict=True):
        sample = samples[name]
        crop = crop_image(sample.image, square(sample), mirrored=not sample.right)
        hands.append(PhotoHand(crop.image, mesh, pose, sample.source))
    return hands


def _require(folder: Path) -> None:
    if not (folder / "fits.npz").is_file():
        raise FileNotFoundError(f"no fits in {folder}; {_REMEDY}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the hand model to labelled photographs.")
    parser.add_argument("--real", type=Path, required=True, help="folder of labelled photographs")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--hand-model", default="", help="MANO-format hand; the open hand if not given"
    )
    options = parser.parse_args()
    write_fits(options.real, options.output, options.hand_model)


if __name__ == "__main__":
    run_program(main)
