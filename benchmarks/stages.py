"""The stages of the pipeline for one hand: the lite profile with the weights that ship."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from timing import Metric, median_ms

from dhpe_ros.config import Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask

STAGES = (
    "crop",
    "evidence",
    "mesh_estimator",
    "projection",
    "refinement_step",
    "refinement",
    "search",
    "estimate",
    "mask",
    "overlay",
)
METRICS = tuple(Metric(f"stages.{stage}_ms", "ms", "lower") for stage in STAGES)
FRAME = 40


def measure(device: str) -> dict[str, float]:
    """Metric name -> value, of one frame of the clip that ships."""
    pipeline = HandPipeline(Config().replace({"model.device": device}))
    pipeline.warm_up()
    config = pipeline.config.refinement
    image = next(islice(open_media(DEMO_CLIP).frames(), FRAME, None)).image
    height, width = image.shape[:2]
    targets = pipeline.find(image)
    crop = crop_image(image, targets[0].box)
    evidence = pipeline.infer([crop])
    estimate = pipeline.eager.mesh_estimator(evidence, pipeline.projection)[-1]
    pixels = torch.from_numpy(crop.image).permute(2, 0, 1)[None].float().to(pipeline.device) / 255
    observation = Observation(
        pipeline.eager.evidence.feature_input(pixels),
        evidence.features,
        estimate.joints_2d,
        evidence.confidences,
    )
    moving = estimate.parameters.detach().requires_grad_()

    def one_step() -> None:
        value = objective(moving, observation, pipeline.projection, pipeline.eager.evidence, config)
        torch.autograd.grad(value.sum(), moving)

    def project() -> None:
        torch.autograd.grad(pipeline.projection(moving).vertices.sum(), moving)

    def fit() -> None:
        start = estimate.parameters.detach()
        refine(start, observation, pipeline.projection, pipeline.eager.evidence, config)

    def regress() -> None:
        with torch.no_grad():
            pipeline.eager.mesh_estimator(evidence, pipeline.projection)

    hands = pipeline.estimate(image, targets=targets)

    def ms(call: Callable[[], object], repeats: int = 50) -> float:
        return median_ms(call, device, repeats)

    times = (
        ms(lambda: crop_image(image, targets[0].box)),
        ms(lambda: pipeline.infer([crop])),
        ms(regress),
        ms(project),
        ms(one_step),
        ms(fit, repeats=5),
        ms(lambda: pipeline.find(image), repeats=5),
        ms(lambda: pipeline.estimate(image, targets=targets), repeats=5),
        ms(lambda: hand_mask(hands, height, width)),
        ms(lambda: draw_overlay(image, hands)),
    )
    return {metric.name: time for metric, time in zip(METRICS, times, strict=True)}
