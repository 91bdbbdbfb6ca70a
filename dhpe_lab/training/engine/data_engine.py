"""The data engine: batches of synthetic hands made on the training device while it trains.

An example is drawn from the seed and its number alone, as in ``batches``: which batch or process
it is in changes it by no more than the rounding of the device. Nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dhpe_lab.synthesis.synthesis import require_parts
from dhpe_lab.training.augmentation import INPUT_SIZE
from dhpe_lab.training.batches import BACKGROUND_SHARE, Batch
from dhpe_lab.training.engine.backgrounds import Backgrounds, occluders
from dhpe_lab.training.engine.degradation import blurred, degrade, tinted
from dhpe_lab.training.engine.draws import Draws
from dhpe_lab.training.engine.scene import Pools, Stage
from dhpe_ros.hand.model import HandModel

_RIGHT_SHARE = 0.75


class Drawn(NamedTuple):
    """Examples, and what a ``Batch`` has no place for."""

    batch: Batch
    visible: Tensor  # (B, 21) bool: in the picture, with nothing before it


class DataEngine:
    """Synthetic hands on a device, over pieces of pictures or made-up backgrounds.

    The mask is that of the hand alone, without forearm, and whole where something is before it:
    what the mesh's silhouette is to be.
    """

    def __init__(
        self,
        model: HandModel,
        device: torch.device | str = "cpu",
        *,
        seed: int = 0,
        pictures: Sequence[np.ndarray] = (),
        pools: Pools | None = None,
    ) -> None:
        """Prepare what all examples choose from.

        Args:
            model: on the CPU, with `pose_axes` and `wrist_loop`, as the open hand has them.
            seed: another seed, other examples.
            pictures: (H, W, 3) uint8 without hands, for backgrounds.
            pools: how much to prepare; by the device if not given.

        Raises:
            ValueError: as ``require_parts``.
        """
        require_parts(model)
        self._device, self._seed = torch.device(device), seed
        self._stage = Stage(model, self._device, seed, pools or Pools.for_device(self._device))
        self._backgrounds = Backgrounds(pictures, self._stage.skin_colors, self._device)

    def batches(
        self, first: int, batch_size: int, size: int, rank: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """Batch number ``first`` and all after it, of those of process ``rank``."""
        for index in count(first):
            start = (index * processes + rank) * batch_size
            yield self.examples(start, batch_size, size).batch

    @torch.no_grad()
    def examples(self, first: int, count: int, size: int) -> Drawn:
        """Examples with the numbers from ``first`` on, pictures of ``size`` pixels a side."""
        draws = Draws(self._seed, torch.arange(first, first + count, device=self._device))
        stage = self._stage
        hand = ~draws.chance(BACKGROUND_SHARE)
        scene = stage.draw_scene(draws)
        picture = stage.render(scene, size, draws)
        mask = stage.masks(scene, size) * hand[:, None, None]
        in_sight = stage.in_sight(scene, picture.depth)
        mirrored = ~draws.chance(_RIGHT_SHARE)
        opacity = picture.mask[:, None] * hand[:, None, None, None]
        layers = torch.cat((picture.rgb.movedim(3, 1), opacity, mask[:, None]), 1)
        layers = torch.where(mirrored[:, None, None, None], layers.flip(3), layers)
        rgb, opacity, mask = layers[:, :3], layers[:, 3:4], layers[:, 4]
        image, covered = self._composed(rgb, opacity, draws)
        sign = torch.stack((torch.where(mirrored, -1.0, 1.0), torch.ones_like(scene.margin)), 1)
        joints = scene.joints[..., :2] * sign[:, None]
        right = hand & ~mirrored
        known = hand[:, None, None]
        still = torch.eye(3, device=self._device)
        batch = Batch(
            images=(degrade(image, draws) * 255).round() / 255,
            hand=hand,
            right=right,
            near=right,
            joints=joints * known,
            depth=scene.joints[..., 2] * hand[:, None],
            depth_trust=hand.float(),
            mask=mask,
            mask_known=hand,
            mask_exact=right,
            synthetic=right,
            rotation=torch.where(known, scene.rotation, still),
            pose=scene.pose * known,
            shape=scene.shape * hand[:, None],
        )
        return Drawn(batch, in_sight & hand[:, None] & ~_at(covered, joints))

    def _composed(self, rgb: Tensor, opacity: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The hands over backgrounds and behind occluders, and where those are, (B, S, S)."""
        size = rgb.shape[-1]
        behind = self._backgrounds.draw(size, draws)
        own_light = draws.chance(0.5, 1, 1, 1)
        rgb = torch.where(own_light, tinted(rgb, draws), rgb)
        # Colours are multiplied by opacity before they are blurred: no rim around the hand.
        layers = torch.cat((rgb * opacity, opacity), 1)
        sigma = draws.uniform(low=0.4, high=0.9) * (size / INPUT_SIZE)
        soft = draws.chance(0.7, 1, 1, 1)
        layers = torch.where(soft, blurred(layers, sigma), layers)
        image = layers[:, :3] + (1 - layers[:, 3:]) * behind
        front, covered = occluders(behind, draws)
        return torch.lerp(image, front, covered), covered[:, 0]


def _at(covered: Tensor, joints: Tensor) -> Tensor:
    """(B, 21) bool: ``covered`` (B, S, S) by more than half at ``joints`` (B, 21, 2)."""
    size = covered.shape[-1]
    column, row = ((joints + 1) * (size / 2)).floor().long().clamp(0, size - 1).unbind(2)
    return covered.flatten(1).gather(1, row * size + column) > 0.5
