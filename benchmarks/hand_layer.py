"""The hand layer: pose and shape to vertices, and the gradient back, one hand."""

from __future__ import annotations

import torch
from timing import Metric, once_ms

from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

METRICS = (
    Metric("hand_layer.forward_ms", "ms", "lower"),
    Metric("hand_layer.forward_backward_ms", "ms", "lower"),
)


def measure(device: str) -> dict[str, float]:
    """Metric name -> value."""
    model = HandModel(hand_model_path()).to(device)
    generator = torch.Generator().manual_seed(0)
    pose = (0.3 * torch.randn(1, 15, 3, generator=generator)).to(device).requires_grad_()
    shape = torch.randn(1, 10, generator=generator).to(device).requires_grad_()
    upstream = torch.randn(1, 778, 3, generator=generator).to(device)

    def forward() -> None:
        with torch.no_grad():
            model(pose, shape)

    def forward_backward() -> None:
        torch.autograd.grad(model(pose, shape), (pose, shape), upstream)

    return {
        "hand_layer.forward_ms": once_ms(forward, device, repeats=200),
        "hand_layer.forward_backward_ms": once_ms(forward_backward, device, repeats=200),
    }
