"""How long each stage takes for one hand: python benchmarks/stages.py

The lite profile with the weights that ship, batch 1, on the device that "auto" picks; medians.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from timing import Figure, median_ms, show

from dhpe_ros.crop import crop_image
from dhpe_ros.drawing import draw_overlay, hand_mask
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement import Observation, objective, refine

CLIP = Path(__file__).parents[1] / "dhpe_ros/assets/demo_clip.mp4"
FRAME = 40


def measure() -> list[Figure]:
    """Every figure of one frame of the clip that ships."""
    pipeline = HandPipeline()
    pipeline.warm_up()
    config = pipeline.config.refinement
    image = next(islice(open_media(CLIP).frames(), FRAME, None)).image
    height, width = image.shape[:2]
    targets = pipeline.find(image)
    crop = crop_image(image, targets[0].box)
    evidence = pipeline.see([crop])
    estimate = pipeline.mesh_estimator(evidence, pipeline.projection)[-1]
    pixels = torch.from_numpy(crop.image).permute(2, 0, 1)[None].float().to(pipeline.device) / 255
    observation = Observation(
        pipeline.evidence.feature_input(pixels),
        evidence.features,
        estimate.joints_2d,
        evidence.confidences,
    )
    moving = estimate.parameters.detach().requires_grad_()

    def one_step() -> None:
        value = objective(moving, observation, pipeline.projection, pipeline.evidence, config)
        torch.autograd.grad(value.sum(), moving)

    def layer() -> None:
        torch.autograd.grad(pipeline.projection(moving).vertices.sum(), moving)

    def fit() -> None:
        start = estimate.parameters.detach()
        refine(start, observation, pipeline.projection, pipeline.evidence, config)

    def regress() -> None:
        with torch.no_grad():
            pipeline.mesh_estimator(evidence, pipeline.projection)

    hands = pipeline.estimate(image, targets=targets)
    times = {
        "crop_ms": median_ms(lambda: crop_image(image, targets[0].box)),
        "evidence_ms": median_ms(lambda: pipeline.see([crop])),
        "mesh_estimator_ms": median_ms(regress),
        "hand_layer_forward_backward_ms": median_ms(layer),
        "refinement_step_ms": median_ms(one_step),
        "refinement_ms": median_ms(fit, repeats=5),
        "search_ms": median_ms(lambda: pipeline.find(image), repeats=5),
        "estimate_ms": median_ms(lambda: pipeline.estimate(image, targets=targets), repeats=5),
        "mask_ms": median_ms(lambda: hand_mask(hands, height, width)),
        "overlay_ms": median_ms(lambda: draw_overlay(image, hands)),
    }
    device = "cuda" if pipeline.device.type == "cuda" else "cpu"
    return [(f"stages.{name}.{device}", value, "ms") for name, value in times.items()]


if __name__ == "__main__":
    show(measure())
