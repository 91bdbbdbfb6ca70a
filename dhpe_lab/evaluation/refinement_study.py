"""What refinement is worth (the paper's Fig. 5(e) and its fitting baselines), hand by hand.

The networks see each hand once; every method begins from that and is measured against the label.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dhpe_lab.evaluation.baselines import fit_keypoints, swarm
from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.evaluation.predict import Prediction, camera_of, given_target
from dhpe_lab.evaluation.score import Score, score, summary
from dhpe_ros.config import RefinementConfig
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import Crop, crop_image
from dhpe_ros.geometry.lift import SeenHands, place_hand
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.outline_term import signed_distances
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.types import Side, Target

PAPER = RefinementConfig.paper()  # also measures every method's result: ``objective``


@dataclass(frozen=True)
class SeenHand:
    """A labelled hand and what the networks say of it."""

    label: LabelledHand
    picture_size: tuple[int, int]  # height, width
    crop: Crop
    target: Target
    camera: Camera
    evidence: Evidence  # of one hand
    observation: Observation
    estimate: Tensor  # (1, 63) of the mesh network
    networks_ms: float


@dataclass(frozen=True)
class Method:
    """A way from what is seen of a hand to its parameters, and how many steps of it were taken."""

    name: str
    steps: int | None  # at most so many; None: it has no such number
    fit: Callable[[SeenHand], tuple[Tensor, int]]


@dataclass
class _Tally:
    """What one method came to, over the hands."""

    scores: list[Score] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float | None]:
        every = summary(self.scores)
        return {
            **{name: every[name] for name in ("err2d_pct", "mask_iou", "auc_20_50")},
            "objective": round(mean(self.objectives), 5),
            "steps_taken": round(mean(self.taken), 1),
            "ms": round(median(self.ms), 2),
        }


def methods(pipeline: HandPipeline, steps: Sequence[int], seed: int) -> list[Method]:
    """The estimate as it is, both ways of refining it with each number of steps, the baselines."""
    projection, evidence = pipeline.projection, pipeline.evidence
    ours = replace(pipeline.config.refinement, optimizer="levenberg_marquardt", time_budget=0.0)

    def refined(config: RefinementConfig, count: int) -> Callable[[SeenHand], tuple[Tensor, int]]:
        def fit(hand: SeenHand) -> tuple[Tensor, int]:
            stopped = replace(config, steps=count)
            result = refine(hand.estimate, hand.observation, projection, evidence, stopped)
            return result.parameters, result.steps

        return fit

    def swarmed(hand: SeenHand) -> tuple[Tensor, int]:
        return swarm(hand.estimate, hand.observation, projection, PAPER, seed), 0

    def from_keypoints(hand: SeenHand) -> tuple[Tensor, int]:
        return fit_keypoints(from_heatmaps(hand), projection, evidence), 0

    return [
        Method("networks alone", 0, refined(PAPER, 0)),
        *(Method("Eq. 13, Adam", n, refined(PAPER, n)) for n in steps),
        *(Method("Levenberg-Marquardt", n, refined(ours, n)) for n in steps),
        Method("particle swarm", None, swarmed),
        Method("keypoints only", None, from_keypoints),
    ]


def study(
    pipeline: HandPipeline, labelled: LabelledSet, steps: Sequence[int], seed: int
) -> list[dict]:
    """A row for each method: ``set``, ``n``, ``method``, ``steps`` and the figures.

    ``ms`` is the median time of a hand, alone: of the networks in the row without refinement, of
    what a method adds to them in the others.
    """
    compared = methods(pipeline, steps, seed)
    tallies = [_Tally() for _ in compared]
    bar = tqdm(labelled.pictures(), labelled.name, len(labelled.hands), unit="hand", smoothing=0)
    for label, image in bar:
        hand = see(pipeline, label, image)
        for method, tally in zip(compared, tallies, strict=True):
            begun = _now(pipeline)
            parameters, taken = method.fit(hand)
            spent = 1000 * (_now(pipeline) - begun)
            tally.ms.append(hand.networks_ms if method.steps == 0 else spent)
            tally.taken.append(taken)
            tally.objectives.append(_objective(pipeline, hand, parameters))
            tally.scores.append(score(placed(pipeline, hand, parameters)))
    return [
        {
            "set": labelled.name,
            "n": len(labelled.hands),
            "method": method.name,
            "steps": method.steps,
            **tally.figures(),
        }
        for method, tally in zip(compared, tallies, strict=True)
    ]


@torch.no_grad()
def see(pipeline: HandPipeline, label: LabelledHand, image: np.ndarray) -> SeenHand:
    """The networks on one hand, given by its label's box and side."""
    target = given_target(pipeline, label)
    crop = crop_image(image, target.box, mirrored=target.side is Side.LEFT)
    begun = _now(pipeline)
    evidence = pipeline.look([crop])
    estimate = pipeline.mesh_estimator(evidence, pipeline.projection)[-1]
    networks_ms = 1000 * (_now(pipeline) - begun)
    pixels = torch.from_numpy(crop.image).to(pipeline.device).permute(2, 0, 1)[None].float() / 255
    observation = Observation(
        pipeline.evidence.feature_input(pixels),
        evidence.features,
        estimate.joints_2d,
        evidence.confidences,
        distances=signed_distances(evidence.mask),
    )
    return SeenHand(
        label=label,
        picture_size=image.shape[:2],
        crop=crop,
        target=target,
        camera=camera_of(pipeline, label, image),
        evidence=evidence,
        observation=observation,
        estimate=estimate.parameters,
        networks_ms=networks_ms,
    )


@torch.no_grad()
def _objective(pipeline: HandPipeline, hand: SeenHand, parameters: Tensor) -> float:
    seen, networks = hand.observation, pipeline.evidence
    return float(objective(parameters, seen, pipeline.projection, networks, PAPER))


def from_heatmaps(hand: SeenHand) -> Observation:
    """What is seen without the mesh network: 2D joints as the heat maps have them."""
    return replace(hand.observation, joints=hand.evidence.joints)


@torch.no_grad()
def placed(pipeline: HandPipeline, hand: SeenHand, parameters: Tensor) -> Prediction:
    """The hand of these parameters, placed as the pipeline places one."""
    projection, as_it_is = pipeline.projection, replace(PAPER, steps=0)
    kept = refine(parameters, hand.observation, projection, pipeline.evidence, as_it_is)
    seen = SeenHands(projection(parameters), hand.evidence, kept)
    triangles = projection.hand_model.triangles
    result = place_hand(seen, 0, hand.crop, hand.target, hand.camera, triangles)
    return Prediction(hand.label, hand.picture_size, result, True, hand.target.side)


def _now(pipeline: HandPipeline) -> float:
    """Seconds, once the device has done what it was asked."""
    if pipeline.device.type == "cuda":
        torch.cuda.synchronize(pipeline.device)
    return time.perf_counter()
