"""Trains the mesh networks to lift 2D joints, without a picture: a pair costs no rendering.

``python -m dhpe_lab.training.train_lifting --initial WEIGHTS --output FILE``

The networks begin anew, without F. Its weights are zero at the end: what it tells is learnt with
pictures afterwards.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dhpe_lab.evaluation.metrics import PROCRUSTES, errors_3d_mm
from dhpe_lab.synthesis.photo_fits import load_photo_hands
from dhpe_lab.synthesis.photo_hands import PhotoBank
from dhpe_lab.synthesis.synthesis import CLOSEST_M, FARTHEST_M, NEAREST_M, SHAPE_MAX, random_poses
from dhpe_lab.training import losses
from dhpe_lab.training.augmentation import CLOSEST_CROP, WIDEST_MESH
from dhpe_lab.training.batches import Batch
from dhpe_lab.training.checks import commit
from dhpe_lab.training.config import BudgetConfig
from dhpe_lab.training.state import compute_s, move_average
from dhpe_lab.training.total_loss import mesh_terms
from dhpe_lab.training.train import schedule
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import JointProjection, Projection
from dhpe_ros.hand.rotations import rotation_from_quaternion
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.mesh_estimator import MeshEstimate, MeshEstimator
from dhpe_ros.networks.weights import (
    build_networks,
    hand_model_path,
    load_networks,
    save_networks,
)
from dhpe_ros.system.programs import run_program
from dhpe_ros.types import JOINT_COUNT, MIDDLE_MCP

BATCH = 128
RATE, WARMUP_STEPS, WEIGHT_DECAY, AVERAGE, CLIP_NORM = 2e-3, 200, 1e-4, 0.999, 20.0
POSES, CHECKED = 40_000, 1000
# Errors of the 2D joints, in parts of the longer side of their box.
LEAST_NOISE, MOST_NOISE = 0.0025, 0.05
ASTRAY, ASTRAY_NOISE = 0.04, 0.12  # share of joints far off, and how far
SWAPPED = 0.02  # share of fingers that are seen where the next one is


class Pairs:
    """Right hands of random pose, shape, view and distance, as labels, and their 2D joints."""

    def __init__(self, projection: Projection, poses: Tensor, seed: int) -> None:
        """``poses`` ``(N, 15, 3)``, axis-angle, are drawn from."""
        self._model = projection.hand_model
        self._place = JointProjection(projection)
        self._poses = poses
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def draw(self, count: int) -> Batch:
        """Labels of ``count`` hands, in crop coordinates, without pictures."""
        generator = self._generator
        pose = self._poses[torch.randint(len(self._poses), (count,), generator=generator)]
        shape = torch.randn(count, 10, generator=generator).clamp(-SHAPE_MAX, SHAPE_MAX)
        turn = torch.randn(count, 4, generator=generator)
        turn = turn / turn.norm(dim=1, keepdim=True)
        one, origin = torch.ones(count, 1), torch.zeros(count, 3)
        theta = self._model.theta_from_pose(pose)
        at_mcp = self._place(HandParameters(one, origin, turn, theta, shape).join()).joints
        joints_m = at_mcp - at_mcp[:, MIDDLE_MCP, None]
        distance_m = 1 / self._uniform(count, 1 / FARTHEST_M, 1 / NEAREST_M)
        depth_m = joints_m[..., 2]
        nearness = distance_m / (distance_m + depth_m).clamp(min=CLOSEST_M)
        joints = joints_m[..., :2] * nearness[..., None]
        low, high = joints.amin(1), joints.amax(1)
        margin = self._uniform(count, CLOSEST_CROP, WIDEST_MESH)
        scale = 2 / ((high - low).amax(1, keepdim=True) * margin)
        # As in augmentation: the joints stay inside, most of the time.
        slack = (1 - 1 / margin).clamp(min=0.15)
        shift = self._uniform(count, -1, 1, 2) * slack
        joints = (joints - (low + high)[:, None] / 2) * scale[..., None] + shift[:, None]
        unseen, yes = torch.empty(0), torch.ones(count, dtype=torch.bool)
        return Batch(
            images=unseen,
            hand=yes,
            right=yes,
            near=yes,
            joints=joints,
            depth=depth_m * scale,
            depth_trust=one[:, 0],
            mask=unseen,
            mask_known=~yes,
            mask_exact=~yes,
            synthetic=yes,
            rotation=rotation_from_quaternion(turn),
            pose=pose,
            shape=shape,
        )

    def disturbed(self, joints: Tensor) -> Tensor:
        """2D joints ``(B, 21, 2)`` as heat maps might read them."""
        count, generator = len(joints), self._generator
        fingers = joints[:, 1:].unflatten(1, (5, 4))
        swapped = torch.rand(count, 5, 1, 1, generator=generator) < SWAPPED
        seen = torch.where(swapped, fingers.roll(1, 1), fingers).flatten(1, 2)
        seen = torch.cat((joints[:, :1], seen), 1)
        low, high = np.log(LEAST_NOISE), np.log(MOST_NOISE)
        noise = self._uniform(count, low, high)[..., None].exp()
        astray = torch.rand(count, JOINT_COUNT, 1, generator=generator)
        astray = astray < 2 * ASTRAY * torch.rand(count, 1, 1, generator=generator)
        noise = noise + ASTRAY_NOISE * astray
        length = (joints.amax(1) - joints.amin(1)).amax(1)[:, None, None]
        return seen + length * noise * torch.randn(seen.shape, generator=generator)

    def _uniform(self, count: int, low: float, high: float, width: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(count, width, generator=self._generator)


def lift(estimator: MeshEstimator, place: JointProjection, joints: Tensor) -> list[MeshEstimate]:
    """Estimates from 2D joints ``(B, 21, 2)`` alone."""
    nothing = joints.new_zeros(len(joints), 0)
    return estimator(Evidence(nothing, joints, nothing, nothing), place)


def train(
    estimator: MeshEstimator, projection: Projection, pairs: Pairs, budget: BudgetConfig
) -> tuple[MeshEstimator, int]:
    """Until the budget is used up: the averaged networks, and the steps taken."""
    place = JointProjection(projection)
    estimator.requires_grad_(True).train()
    averaged = copy.deepcopy(estimator).eval()
    optimizer = torch.optim.AdamW(
        estimator.parameters(), RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    begun, step = compute_s(torch.device("cpu")), 0
    with tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
        while (used := budget.used(step, compute_s(torch.device("cpu")) - begun)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = RATE * schedule(step, used, WARMUP_STEPS)
            batch = pairs.draw(BATCH)
            loss = torch.zeros(())
            estimates = lift(estimator, place, pairs.disturbed(batch.joints))
            for estimate in estimates:
                terms = mesh_terms(estimate, batch, projection)
                if estimator.refiner is not None:
                    terms["refined"] = 5 * losses.refined_joints(estimate, batch)
                loss = loss + sum(term.mean() for term in terms.values()) / len(estimates)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(estimator.parameters(), CLIP_NORM)
            optimizer.step()
            move_average(averaged, estimator, min(AVERAGE, (step + 1) / (step + 10)))
            step += 1
            bar.update(min(100 * used, 100) - bar.n)
            bar.set_postfix_str(f"step {step}, loss {loss.item():.3f}")
    return averaged.requires_grad_(False), step


@torch.no_grad()
def measure(
    estimator: MeshEstimator, projection: Projection, batch: Batch, seen: Tensor
) -> tuple[float, float]:
    """Mean errors of lifting ``seen`` ``(B, 21, 2)``: mm after Procrustes, % of the box in 2D."""
    found, model = (
        lift(estimator, JointProjection(projection), seen)[-1].hand,
        projection.hand_model,
    )
    true_m = model.skeleton(model(batch.pose, batch.shape))
    hands = zip(found.joints.double().numpy(), true_m.double().numpy(), strict=True)
    off_mm = [errors_3d_mm(joints, truth, PROCRUSTES) for joints, truth in hands]
    away = (found.joints[..., :2] - batch.joints).norm(dim=2).mean(1)
    length = (batch.joints.amax(1) - batch.joints.amin(1)).amax(1)
    return float(np.mean(off_mm)), 100 * float((away / length).mean())


def load_poses(real: Path | None, fits: Path | None, model: HandModel, seed: int) -> Tensor:
    """``(POSES, 15, 3)``, half of them of ``fits``, where there are some; errors as theirs."""
    photos = None
    if real and fits:
        photos = PhotoBank(load_photo_hands(real, fits, model), model, seed)
    poses = []
    with tqdm(total=POSES, unit="pose") as bar:
        for chunk in random_poses(model, POSES, np.random.default_rng(seed), photos):
            poses.append(chunk)
            bar.update(len(chunk))
    return torch.cat(poses)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the mesh networks on 2D joints alone.")
    parser.add_argument("--initial", type=Path, required=True, help="weights to take all else from")
    parser.add_argument("--profile", default="lite", choices=("lite", "full"))
    parser.add_argument("--real", type=Path, help="folder of labelled photographs")
    parser.add_argument("--fits", type=Path, help="of synthetic.photo_fits: photographs' poses")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="safetensors file")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    networks = load_networks(options.initial, options.profile)
    like = build_networks(options.profile).mesh_estimator
    lifting = MeshEstimator(like.hidden, canonical=like.canonical, features=False)
    projection = Projection(HandModel(hand_model_path())).eval()
    poses = load_poses(options.real, options.fits, projection.hand_model, options.seed)
    kept, rest = poses[:CHECKED], poses[CHECKED:]
    checked = Pairs(projection, kept, options.seed)
    batch = checked.draw(CHECKED)
    seen = {"true 2D joints": batch.joints, "disturbed ones": checked.disturbed(batch.joints)}
    lifting, steps = train(
        lifting,
        projection,
        Pairs(projection, rest, options.seed + 1),
        BudgetConfig(minutes=options.minutes),
    )
    about = {"lifting_pairs": steps * BATCH, "commit": commit(), "before": networks.training}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lifted = replace(networks, mesh_estimator=lifting)
    save_networks(lifted, options.output, about)
    for name, joints in seen.items():
        off_mm, off = measure(lifting, projection, batch, joints)
        print(f"{name}: {off_mm:.1f} mm after Procrustes, 2D {off:.1f} %")


if __name__ == "__main__":
    run_program(main)
