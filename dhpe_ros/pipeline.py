"""From an image to hands: the only file that knows the order of the stages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dhpe_ros.config import Config, ModelConfig, RefinementConfig
from dhpe_ros.detection.localiser import HandLocaliser, load_fused
from dhpe_ros.detection.search import HandSearch, told_side
from dhpe_ros.engines.networks import BackedNetworks, EagerNetworks
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import Crop, crop_image
from dhpe_ros.geometry.lift import SeenHands, place_hand
from dhpe_ros.hand.manopth_hand import ManopthHandModel
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.media.pictures import as_image
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.fusion import fuse_batch_norms
from dhpe_ros.networks.weights import hand_model_path, load_networks, localiser_path, weights_path
from dhpe_ros.refinement.gradient import OPTIMIZERS, StepGraphs
from dhpe_ros.refinement.outline_term import signed_distances
from dhpe_ros.refinement.refine import RefinedParameters, refine
from dhpe_ros.refinement.start import carry
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.rendering import overlay as drawing
from dhpe_ros.system.devices import one_thread, torch_device
from dhpe_ros.types import CROP_SIZE, Box, Hand, Side, SideSource, Target

_RIM = 17  # pixels of a crop that a second look leaves out
_VOUCHED_FOR = 0.5  # of the score that a search asks for
_SURE_OF_SIDE = 0.7  # below this probability a crop is also looked at in the mirror
_OTHER_SIDE = 0.4  # probability of its side below which a crop is turned,
_CLEARLY_OTHER_SIDE = 0.15  # and below which that of a followed hand is: it may show another hand
_ONE_VIEW = 0.75  # of what a crop says of its side holds, where its mirror image was not looked at


def each_once(hands: Sequence[Hand]) -> list[Hand]:
    """Without those that coincide with one before them: two crops, moved, may see one hand."""
    kept: list[Hand] = []
    for hand in hands:
        if not any(hand.coincides(other) for other in kept):
            kept.append(hand)
    return kept


class HandPipeline:
    """The method (docs/explanation/method.md): a whole image to hands in the camera's frame."""

    def __init__(self, config: Config | None = None) -> None:
        """Load the hand model and the networks.

        Raises ``FileNotFoundError`` or ``ValueError`` that name the file, or the setting, and the
        remedy. Which backend runs the networks, and what was wrong with others, is in `networks`.
        """
        self.config = config or Config()
        model = self.config.model
        if model.threads:
            torch.set_num_threads(model.threads)
        self.device = torch_device(model.device, "model.device")
        with one_thread():
            hand_model = _hand_model(model)
            networks = load_networks(model.weights or weights_path(model.profile), model.profile)
            self.projection = Projection(hand_model).to(self.device).eval()
            fuse_batch_norms(networks.evidence)
            self.evidence = networks.evidence.to(self.device, memory_format=torch.channels_last)
            self.mesh_estimator = networks.mesh_estimator.to(self.device)
            localiser = load_fused(model.localiser or localiser_path(), self.device)
        # The eager networks stay: the refinement needs their gradient.
        self.eager = EagerNetworks(self.evidence, self.mesh_estimator, self.projection, localiser)
        with torch.no_grad():
            self.networks = BackedNetworks(self.eager, model, self.device)
        self.step_graphs = StepGraphs()
        finder = HandLocaliser(self.networks.locate, self.device)
        self.search = HandSearch(self.see, finder.find, finder.glance)

    def configure(self, config: Config) -> None:
        """Take over settings that may change while running.

        Raises ``ValueError`` naming the first one that needs a new pipeline; then nothing changes.
        """
        now = self.config.as_mapping()
        for name, field, value in config.items():
            if value != now[name] and not field.metadata["live"]:
                raise ValueError(f"{name} cannot change while running; restart with the new value")
        self.config = config

    def warm_up(self) -> None:
        """Run everything once, drawing too, so that the first real frame is not the slow one.

        CUDA graphs of gradient steps are captured here and none later, when other threads draw.
        """
        drawing.warm_up()
        grey = np.full((CROP_SIZE, CROP_SIZE, 3), 127, np.uint8)
        target = Target(Box(0, 0, CROP_SIZE, CROP_SIZE), Side.RIGHT)
        crops, evidence = self.look_at_right_hands(grey, [target])
        short = replace(self.config.refinement, steps=min(2, self.config.refinement.steps))
        refined = self.fit(crops, evidence, short)
        for hands in self._graphed_hands():
            self.fit(crops * hands, evidence.rows(torch.zeros(hands, dtype=torch.long)), short)
        self.step_graphs.close()
        camera = Camera.from_field_of_view(CROP_SIZE, CROP_SIZE, 60.0)
        self._place(camera, [target], crops, evidence, refined)
        self.find(grey)

    def _graphed_hands(self) -> range:
        """The numbers of hands that gradient steps need a CUDA graph for, beside one hand."""
        graphed = self.device.type in StepGraphs.DEVICES
        if not graphed or self.config.refinement.optimizer not in OPTIMIZERS:
            return range(0)
        return range(2, min(self.config.tracking.max_hands, StepGraphs.MOST) + 1)

    def estimate(
        self,
        image: np.ndarray | Tensor | Image.Image | str | os.PathLike[str],
        camera: Camera | None = None,
        targets: Sequence[Target] | None = None,
    ) -> list[Hand]:
        """The hands in ``image``, at most one per target.

        ``image`` is ``(H, W, 3)`` uint8 RGB, a PIL image, or the path of a picture file, which is
        read upright. OpenCV's BGR must be turned round first (``image[..., ::-1]``).

        Without ``targets`` hands are searched for in the configured box. Without ``camera`` one is
        assumed and ``metric`` is false. No hand, an empty list. Raises ``ValueError`` for what is
        not an image, a file that cannot be read, or a camera of another size.
        """
        image = as_image(image, self.config.media.max_megapixels)
        if camera and (camera.width, camera.height) != image.shape[1::-1]:
            raise ValueError(
                f"the camera is for {camera.width}x{camera.height} pixels, the image has "
                f"{image.shape[1]}x{image.shape[0]}; scale the intrinsics with the image"
            )
        found = self.find(image) if targets is None else targets
        crops, evidence = self.look_at_right_hands(image, found)
        crops, evidence, found = self._drop_unseen(crops, evidence, found)
        if not crops:
            return []
        past = [target.previous for target in found]
        refined = self.fit(crops, evidence, self.config.refinement, past)
        camera = camera or Camera.from_field_of_view(
            image.shape[1], image.shape[0], self.config.camera.field_of_view_deg
        )
        hands = self._place(camera, found, crops, evidence, refined)
        return each_once(hands) if targets is None else hands

    def find(self, image: np.ndarray, boxes: Sequence[Target] | None = None) -> list[Target]:
        """Search for one hand in each of ``boxes``, or for hands in the configured box.

        The most prominent hand comes first.
        """
        tracking = self.config.tracking
        if boxes is None and tracking.box == "full":
            return self.search.everywhere(image, tracking)
        boxes = [Target(Box.parse(tracking.box))] if boxes is None else boxes
        return self.search.within(image, boxes, tracking)

    @torch.no_grad()
    def see(self, crops: Sequence[Crop]) -> Evidence:
        """The evidence networks on crops, as one batch."""
        return self.networks.see(self.batch(crops))

    @torch.no_grad()
    def look(self, crops: Sequence[Crop]) -> Evidence:
        """As ``see``, the joints the mean of two looks, the second at the crops' middle.

        Both looks are one batch: on two cores that takes a third less than one after the other.
        """
        if not self.config.tracking.second_look or not crops:
            return self.see(crops)
        both = self.see([*crops, *(crop.within(_RIM) for crop in crops)])
        own, closer = both.rows(slice(len(crops))), both.rows(slice(len(crops), None))
        return own.averaged(closer, 1 - 2 * _RIM / CROP_SIZE)

    def look_at_right_hands(
        self, image: np.ndarray, targets: Sequence[Target]
    ) -> tuple[list[Crop], Evidence]:
        """Crops and evidence; a side that nobody told is checked in the mirror if unsure.

        It is turned then; that of a followed hand only where it is clearly wrong. ``right`` of the
        evidence is what the crop says of its side, with the mirror image where that was looked at;
        NaN where it was told.
        """
        tracking = self.config.tracking
        sides = [told_side(target, tracking) for target in targets]
        crops = [
            crop_image(image, target.box, mirrored=(target.side if s is None else s) is Side.LEFT)
            for target, s in zip(targets, sides, strict=True)
        ]
        evidence = self.look(crops)
        told = self._marks(side is not None for side in sides)
        unsure = ~told & (evidence.right < _SURE_OF_SIDE)
        right = 0.5 + _ONE_VIEW * (evidence.right - 0.5)
        if unsure.any():
            mirrored = [crop_image(image, crop.box, mirrored=not crop.mirrored) for crop in crops]
            other = self.look(mirrored)
            right = torch.where(unsure, (evidence.right + 1 - other.right) / 2, right)
            followed = self._marks(t.side_source is SideSource.FOLLOWED for t in targets)
            turn = unsure & (right < torch.where(followed, _CLEARLY_OTHER_SIDE, _OTHER_SIDE))
            pairs = zip(crops, mirrored, turn.tolist(), strict=True)
            crops = [m if turned else c for c, m, turned in pairs]
            evidence = evidence.replaced(turn, other)
            right = torch.where(turn, 1 - right, right)
        return crops, replace(evidence, right=right.masked_fill(told, torch.nan))

    def _marks(self, marks: Iterable[bool]) -> Tensor:
        return torch.tensor(list(marks), dtype=torch.bool, device=self.device)

    def _drop_unseen(
        self, crops: list[Crop], evidence: Evidence, targets: Sequence[Target]
    ) -> tuple[list[Crop], Evidence, list[Target]]:
        """Keep what scores as a hand: a search, the last frame or a detector vouch for each."""
        least = _VOUCHED_FOR * self.config.tracking.min_score
        kept = (evidence.score >= least).nonzero()[:, 0]
        rows = kept.tolist()
        return [crops[i] for i in rows], evidence.rows(kept), [targets[i] for i in rows]

    def fit(
        self,
        crops: Sequence[Crop],
        evidence: Evidence,
        config: RefinementConfig,
        past: Sequence[Hand | None] = (),
    ) -> RefinedParameters:
        """The mesh network and the refinement on crops and their evidence, as one batch.

        ``past`` are the same hands a frame ago, none for pictures without a frame before.
        """
        with torch.no_grad():
            parameters, joints_2d = self.networks.regress(evidence)
            looks = config.looks_at_features
            image = self.evidence.feature_input(self.batch(crops)) if looks else None
        previous = carry(past, crops).to(self.device) if any(past) else None
        masked = evidence.mask is not None and config.looks_at_masks
        observation = Observation(
            image,
            evidence.features,
            joints_2d,
            evidence.confidences,
            previous,
            distances=signed_distances(evidence.mask) if masked else None,
        )
        return refine(
            parameters, observation, self.projection, self.evidence, config, self.step_graphs
        )

    @torch.no_grad()
    def _place(
        self,
        camera: Camera,
        targets: Sequence[Target],
        crops: Sequence[Crop],
        evidence: Evidence,
        refined: RefinedParameters,
    ) -> list[Hand]:
        projected = self.projection(refined.parameters)
        seen = SeenHands(projected, evidence, refined)
        triangles = self.projection.hand_model.triangles
        return [
            place_hand(seen, row, crop, target, camera, triangles)
            for row, (crop, target) in enumerate(zip(crops, targets, strict=True))
        ]

    def batch(self, crops: Sequence[Crop]) -> Tensor:
        """``(B, 3, 224, 224)`` in 0..1 on the device."""
        images = np.stack([c.image for c in crops]) if crops else _NO_CROPS
        batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        return batch.float().div_(255)


_NO_CROPS = np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)


def _hand_model(model: ModelConfig) -> HandModel:
    layer = ManopthHandModel if model.hand_layer == "manopth" else HandModel
    try:
        return layer(model.hand_model or hand_model_path())
    except ImportError as error:
        raise ValueError(f"model.hand_layer: {error}") from error
