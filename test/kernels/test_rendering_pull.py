"""A hand that is out of place comes back by its silhouette alone."""

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d

from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import silhouette

SIZE = 224
STEPS = 150


@pytest.fixture(scope="module")
def hand():
    """The open hand, back to the viewer, about 150 px long: (1, 778, 2) and (1538, 3)."""
    model = HandModel(hand_model_path())
    points = torch.stack([model.v_template[:, 0], -model.v_template[:, 2]], dim=-1)
    low, high = points.amin(0), points.amax(0)
    return ((points - (low + high) / 2) * (1.34 / (high - low).max()))[None], model.triangles


def placed(points, motion):
    """Points after a similarity about the origin: (log scale, angle, x px, y px)."""
    scale, angle = motion[0].exp(), motion[1]
    c, s = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack([torch.stack([c, s]), torch.stack([-s, c])])
    return points @ turn + motion[2:] / (SIZE / 2)


def recovered(points, triangles, start):
    """The motion after gradient steps on the difference of the masks, coarse to fine.

    The windows over which masks are averaged shrink from 64 pixels to one: at full resolution a
    spread hand turned by 16 degrees is a local minimum, each finger over its neighbour's place.
    """
    target = silhouette(points, triangles, SIZE)
    units = torch.tensor([0.02, 0.02, 1.5, 1.5])  # about equally many pixels each
    motion = (torch.tensor(start) / units).requires_grad_()
    optimizer = torch.optim.Adam([motion], lr=1.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=STEPS)
    for step in range(STEPS):
        window = max(1, round(64 * (1 - step / (0.8 * STEPS))))
        optimizer.zero_grad()
        difference = silhouette(placed(points, motion * units), triangles, SIZE) - target
        averages = avg_pool2d(difference, window, max(1, window // 4), padding=window // 2)
        averages.square().sum().backward()
        optimizer.step()
        schedule.step()
    return (motion * units).detach()


@pytest.mark.parametrize(
    "start",
    [
        pytest.param((0.0, 0.0, 40.0, 0.0), id="40 px aside"),
        pytest.param((0.0, 0.0, -28.0, 28.0), id="40 px along the diagonal"),
        pytest.param((math.log(1.5), 0.0, 0.0, 0.0), id="1.5 times as large"),
        pytest.param((-math.log(1.5), 0.0, 0.0, 0.0), id="1.5 times as small"),
        pytest.param((0.0, math.radians(30), 0.0, 0.0), id="turned by 30 degrees"),
        pytest.param((0.0, math.radians(-30), 0.0, 0.0), id="turned by -30 degrees"),
        pytest.param((math.log(1.2), math.radians(15), 15.0, -15.0), id="all of it"),
        pytest.param((0.0, 0.0, 100.0, 0.0), id="half out of the picture"),
    ],
)
def test_the_hand_comes_back(hand, start):
    scale, angle, x, y = recovered(*hand, start).tolist()
    assert abs(scale) < 0.005 and abs(math.degrees(angle)) < 0.3
    assert abs(x) < 0.3 and abs(y) < 0.3
