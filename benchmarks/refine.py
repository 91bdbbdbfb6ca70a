"""The refinement of one hand: the paper's way, the fast way, and where each of them ends.

The lite profile on a CPU, full on a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from timing import Metric, median_ms

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.synthesis import random_samples
from dhpe_ros.config import Config, RefinementConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.outline_term import signed_distances
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.types import CROP_SIZE

METRICS = (
    Metric("refine.reference_ms", "ms", "lower"),
    Metric("refine.fast_ms", "ms", "lower"),
    Metric("refine.warm_ms", "ms", "lower"),
    Metric("refine.fast_objective_ratio", "x", "lower"),
)
HANDS = 32
PROFILE = {"cpu": "lite", "cuda": "full"}
PAPER = RefinementConfig.paper()
FAST = replace(PAPER, optimizer="levenberg_marquardt", steps=3, align_camera=True)
SHIPPED = RefinementConfig()


def measure(device: str) -> dict[str, float]:
    """Metric name -> value. Both ways go down Eq. 13 where they are compared, from equal starts."""
    settings = {"model.device": device, "model.profile": PROFILE[device]}
    pipeline = HandPipeline(Config().replace(settings))
    start, observation = _rendered_hands(pipeline)
    one = Observation(*(None if p is None else p[:1] for p in vars(observation).values()))
    networks = pipeline.projection, pipeline.eager.evidence
    last_frame = refine(start[:1], one, *networks, SHIPPED).parameters

    def run(config: RefinementConfig, seen: Observation = one) -> float:
        return median_ms(lambda: refine(start[:1], seen, *networks, config), device, repeats=10)

    def reached(config: RefinementConfig) -> torch.Tensor:
        args = observation, *networks, config
        end = refine(start, *args).parameters
        with torch.no_grad():
            return objective(end, *args)

    values = (
        run(PAPER),
        run(FAST),
        run(SHIPPED, replace(one, previous=last_frame)),  # ends when steps hardly help any more
        float((reached(FAST) / reached(PAPER)).median()),
    )
    return {metric.name: value for metric, value in zip(METRICS, values, strict=True)}


@torch.no_grad()
def _rendered_hands(pipeline: HandPipeline) -> tuple[torch.Tensor, Observation]:
    """The mesh network's estimates, and what is seen of hands on plain grounds."""
    samples = random_samples(HandModel(hand_model_path()), HANDS, seed=5)
    crops = torch.from_numpy(np.stack([_crop(s, k) for k, s in enumerate(samples)]))
    crops = crops.permute(0, 3, 1, 2).to(pipeline.device)
    evidence = pipeline.eager.evidence(crops)
    estimate = pipeline.eager.mesh_estimator(evidence, pipeline.projection)[-1]
    image = pipeline.eager.evidence.feature_input(crops)
    return estimate.parameters, Observation(
        image,
        evidence.features,
        estimate.joints_2d,
        evidence.confidences,
        distances=signed_distances(evidence.mask),
    )


def _crop(sample: Sample, seed: int) -> np.ndarray:
    """``(224, 224, 3)`` in 0..1: the hand in front of one colour."""
    colour = np.random.default_rng(seed).random(3, np.float32)
    uncovered = 1 - sample.opacity[..., None].astype(np.float32) / 255
    image = sample.image.astype(np.float32) / 255 + uncovered * colour
    return cv2.resize(image, (CROP_SIZE, CROP_SIZE)).clip(0, 1)
