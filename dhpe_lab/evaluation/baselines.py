"""Two other ways to fit the hand, which the paper compares its refinement with. One hand at a time.

``swarm`` searches about an estimate without gradients; ``fit_keypoints`` has no estimate at all,
only 2D joints and a prior.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import Bounds, HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import EvidenceNetwork
from dhpe_ros.refinement.objective import geometric_objective
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation

PARTICLES, GENERATIONS = 64, 50
_OWN, _COMMON = 2.8, 1.3  # pull of a particle's own best place and of the best one of all
_CONSTRICTION = 0.7298  # for a sum of 4.1: velocities neither die at once nor grow

KEYPOINTS_ONLY = RefinementConfig(
    optimizer="levenberg_marquardt",
    steps=20,
    features_weight=0.0,
    mask_weight=0.0,
    laplacian_weight=0.0,
    pose_weight=0.03,
    shape_weight=0.015,
    estimate_weight=0.0,
    outlier_distance=0.0,
    align_camera=True,
    confidence_weighting=True,
    time_budget=0.0,
)


@torch.no_grad()
def swarm(
    start: Tensor,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
    seed: int,
) -> Tensor:
    """Particle swarm about ``start`` ``(1, 63)``, which is one of the particles: ``(1, 63)``.

    Goes down the objective of ``config`` without its feature term: that would take a pass through
    the network for each particle of each generation. Constants and update are those of Oikonomidis,
    Kyriazis and Argyros (BMVC 2011), after Clerc and Kennedy (2002).
    """
    draws = torch.Generator().manual_seed(seed)
    seen = _repeated(observation, PARTICLES)
    bounds = Bounds.of(projection.hand_model.theta_std)

    def value(parameters: Tensor) -> Tensor:
        reached = geometric_objective(parameters, seen, projection, config)
        return reached.nan_to_num(float("inf"))

    scattered = torch.randn(PARTICLES, start.shape[1], generator=draws).to(start)
    scattered[0] = 0.0
    place = bounds.bring(start + scattered * _spread(projection.hand_model))
    velocity = torch.zeros_like(place)
    best, lowest = place, value(place)
    for _ in range(GENERATIONS):
        own, common = torch.rand(2, *place.shape, generator=draws).to(start)
        to_own, to_common = best - place, best[lowest.argmin()] - place
        velocity = _CONSTRICTION * (velocity + _OWN * own * to_own + _COMMON * common * to_common)
        place = bounds.bring(place + velocity)
        reached = value(place)
        better = reached < lowest
        best = torch.where(better[:, None], place, best)
        lowest = torch.where(better, reached, lowest)
    return best[lowest.argmin()][None]


def fit_keypoints(
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig = KEYPOINTS_ONLY,
) -> Tensor:
    """``(1, 63)``: the mean hand, from many sides, fitted to 2D joints under a prior; the best one.

    After Panteleris, Oikonomidis and Argyros (WACV 2018): joints weighed by their confidence, no
    learnt start. For each side the camera is found in closed form before the steps begin.
    """
    sides = _sides(observation.joints)
    start = HandParameters.start(len(sides), sides.device)
    start[:, 4:8] = sides
    seen = _repeated(observation, len(sides))
    fitted = refine(start, seen, projection, evidence, config).parameters
    values = geometric_objective(fitted, seen, projection, config)
    return fitted[values.nan_to_num(float("inf")).argmin()][None]


def _repeated(observation: Observation, count: int) -> Observation:
    """The observation of one hand, for ``count`` sets of parameters."""
    parts = {
        name: part.expand(count, *part.shape[1:])
        for name, part in vars(observation).items()
        if part is not None
    }
    return replace(observation, **parts)


def _sides(like: Tensor) -> Tensor:
    """``(14, 4)`` quaternions: a cube's faces and corners turned to the camera.

    Turns in the image plane are the alignment's.
    """
    grid = [d for d in product((-1.0, 0.0, 1.0), repeat=3) if sum(map(abs, d)) in (1, 3)]
    x, y, z = torch.nn.functional.normalize(like.new_tensor(grid)).unbind(1)
    halfway = torch.stack((1 + z, -y, x, torch.zeros_like(z)), 1)  # from z to the direction
    opposite = like.new_tensor((0.0, 1.0, 0.0, 0.0))
    halfway = torch.where(z[:, None] < -0.999, opposite, halfway)
    return torch.nn.functional.normalize(halfway)


def _spread(model: HandModel) -> Tensor:
    """``(63,)``: how far about the estimate the swarm begins; where z lies changes nothing."""
    camera = model.theta_std.new_tensor((0.5, 0.05, 0.05, 0.0, 0.1, 0.1, 0.1, 0.1))
    return torch.cat((camera, 0.5 * model.theta_std, camera.new_full((10,), 0.5)))
