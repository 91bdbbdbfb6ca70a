"""New training hands from the networks' own predictions (docs/explanation/method.md, section 4)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.photo_hands import PhotoHand, skin_of
from dhpe_lab.synthesis.synthesis import placed_hands, render_sample
from dhpe_lab.training import distributed
from dhpe_lab.training.augmentation import augment
from dhpe_lab.training.batches import Batch
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.replay_buffer import ReplayBuffer
from dhpe_lab.training.state import TrainingState
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import Networks
from dhpe_ros.system.threads import for_each

_LOG = logging.getLogger(__name__)
SOURCE = "self"
PER_SEED = 3
SHAPE_RANGE = 3.0  # standard deviations, of each number of the shape
AGREEMENT = 0.1  # mean 2D error of a seed's joints at most, of the longer side of their box
_TRIED = 4  # predictions that are looked at for each seed that is due
_MIX, _GROW = 0, 1  # random numbers of their own


class SelfSupervision:
    """Samples that one process makes of its own predictions, for its own batches.

    It all is a function of seed, step, process and the networks, so a run that is resumed with the
    same number of processes goes on as if it had not been interrupted. Without
    ``self_supervision.share`` nothing happens.
    """

    def __init__(
        self,
        config: TrainConfig,
        state: TrainingState,
        projection: Projection,
        backgrounds: Sequence[np.ndarray],
    ) -> None:
        """Restore what was there when ``state`` was saved."""
        self._settings, self._seed = config.self_supervision, config.learning.seed
        self._varied = config.data.augmentation
        self._state, self._projection, self._backgrounds = state, projection, backgrounds
        self._model = copy.deepcopy(projection.hand_model).cpu()  # hands are drawn there
        folder = Path(config.run.output) / "self_supervision" / str(distributed.rank())
        self.hands = ReplayBuffer(folder, self._settings.capacity, SOURCE, state.step)

    def mixed(self, batch: Batch) -> Batch:
        """``batch`` with some of its examples replaced by new hands, once there are any."""
        if not len(self.hands):
            return batch
        rng = np.random.default_rng(self._numbers(_MIX))
        rows = np.flatnonzero(rng.random(len(batch.images)) < self._settings.share)
        if len(rows):
            size = batch.images.shape[-1]
            drawn = [self.hands[rng.integers(len(self.hands))] for _ in rows]
            views = (augment(one, self._backgrounds, rng, size, self._varied) for one in drawn)
            new = Batch.stack(list(views))
            for name, tensor in batch.tensors().items():
                tensor[rows] = getattr(new, name).to(tensor.device)
        return batch

    def grow(self, batch: Batch) -> None:
        """Make three hands of each seed in ``batch``, as many seeds as are due at this step."""
        rate = self._settings.seeds_per_step if self._settings.share else 0.0
        due = int((self._state.step + 1) * rate) - int(self._state.step * rate)
        if not due:
            return
        numbers = self._numbers(_GROW)
        rows = _promising(batch, np.random.default_rng(numbers))[: _TRIED * due]
        seeds = find_seeds(self._state.averaged, self._projection, batch, rows)[:due]
        for k, seed in enumerate(seeds):
            self.hands.add(new_hands(seed, self._model, (*numbers, k)))

    def store(self) -> None:
        """Write what is new; all processes call it before one of them saves the state."""
        if self._settings.share:
            self.hands.store(self._state.step)
            _LOG.info("%d hands of the networks' own", len(self.hands))
            distributed.wait()

    def _numbers(self, use: int) -> tuple[int, ...]:
        return (self._seed, self._state.step, distributed.rank(), use)


def _promising(batch: Batch, rng: np.random.Generator) -> Tensor:
    """Rows of right hands large enough for a mesh, in random order, photographs first."""
    rows = batch.near.cpu().numpy().nonzero()[0]
    rows = rng.permutation(rows)
    rendered = batch.synthetic.cpu().numpy()[rows]
    return torch.from_numpy(rows[np.argsort(rendered, kind="stable")])


@torch.no_grad()
def find_seeds(
    networks: Networks, projection: Projection, batch: Batch, rows: Tensor
) -> list[PhotoHand]:
    """Those of the ``rows`` ``(N,)`` of a batch whose mesh lies on the labelled joints."""
    # Of batch statistics, which each process has of its own, the first one's are what is saved.
    distributed.follow_first_statistics(networks)
    if not len(rows):
        return []
    rows = rows.to(batch.images.device)
    images, joints = batch.images[rows], batch.joints[rows]
    estimate = networks.mesh_estimator(networks.evidence(images), projection)[-1]
    poses = projection.hand_model.pose_from_theta(HandParameters.split(estimate.parameters).pose)
    error = (estimate.hand.joints[..., :2] - joints).norm(dim=-1).mean(1)
    agrees = error <= AGREEMENT * (joints.amax(1) - joints.amin(1)).amax(1)
    pictures = (images.permute(0, 2, 3, 1) * 255).round().byte().contiguous()
    parts = (part[agrees].cpu().numpy() for part in (pictures, estimate.hand.vertices, poses))
    return [PhotoHand(*of_one) for of_one in zip(*parts, strict=True)]


def new_hands(seed: PhotoHand, model: HandModel, numbers: tuple[int, ...]) -> list[Sample]:
    """Three hands of the seed's pose and skin, of any shape and from any side; labels are exact.

    Each number of a shape is uniform over +-3 standard deviations, rotations are uniform over all
    there are, lights random. Drawn from ``numbers`` alone; none where the picture hides the hand.
    """
    rng = np.random.default_rng(numbers)
    try:
        skin = skin_of(seed, model, rng)
    except ValueError:  # the picture shows nothing of the mesh
        return []
    shapes = rng.uniform(-SHAPE_RANGE, SHAPE_RANGE, (PER_SEED, 10)).astype(np.float32)
    poses = torch.from_numpy(seed.pose).expand(PER_SEED, -1, -1)
    hands = list(placed_hands(model, poses, shapes, rng))
    made: list[Sample] = [None] * PER_SEED

    def draw(k: int) -> None:
        sample = render_sample(hands[k], model, np.random.default_rng((*numbers, k)), skin)
        made[k] = replace(sample, source=SOURCE)

    for_each(PER_SEED, draw)
    return made
