"""From an image to hands: the only file that knows the order of the stages."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dhpe_ros.config import Config, ModelConfig, RefinementConfig
from dhpe_ros.detection.localiser import HandLocaliser, load_fused
from dhpe_ros.detection.search import HandSearch, given_side
from dhpe_ros.engines.networks import BackedNetworks, EagerNetworks, as_floats
from dhpe_ros.geometry.association import same_hand, suppress_duplicates
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import Crop, crop_image
from dhpe_ros.geometry.lift import lift_to_camera
from dhpe_ros.geometry.occlusion import occluded_joints
from dhpe_ros.hand.manopth_hand import ManopthHandModel
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.hand.rotations import rotation_from_quaternion
from dhpe_ros.media.pictures import as_image
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.layers import for_inference
from dhpe_ros.networks.weights import hand_model_path, load_networks, localiser_path, weights_path
from dhpe_ros.refinement.gradient import OPTIMIZERS, StepGraphs
from dhpe_ros.refinement.outline_term import signed_distances
from dhpe_ros.refinement.refine import RefinedParameters, refine
from dhpe_ros.refinement.start import carry
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.refinement.uncertainty import joint_stds
from dhpe_ros.rendering import overlay as drawing
from dhpe_ros.rendering.normals import area_normals
from dhpe_ros.system.devices import one_thread, torch_device
from dhpe_ros.types import CROP_SIZE, Box, Hand, Refinement, Side, SideSource, Target

_GIVEN_SHARE = 0.5  # of the score that a search asks for, where somebody vouches for a hand
_SURE_OF_SIDE = 0.7  # probability of a side, below which a crop's mirror image is inferred too
_OTHER_SIDE = 0.4  # probability of its side below which a crop is turned,
_CLEARLY_OTHER_SIDE = 0.15  # and below which a followed hand's is: it may show another hand
_ONE_VIEW = 0.75  # of what a crop says of its side holds, where its mirror image was not inferred


@dataclass(frozen=True)
class View:
    """One hand to estimate: the image, its camera, and where in the image the hand is."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    camera: Camera
    target: Target


@dataclass(frozen=True)
class StageResults:
    """Results of every stage, one row for each hand of the batch."""

    views: list[View]
    crops: list[Crop]  # left hands mirrored
    evidence: Evidence
    estimates: Tensor  # (B, 63), the mesh network's
    observation: Observation
    refined: RefinedParameters
    hands: list[Hand]
    seconds: dict[str, float]  # stage -> time of the whole batch; empty unless asked for


class StageClock:
    """Times stages one after the other, each until the device has done its work."""

    def __init__(self, device: torch.device, enabled: bool = True) -> None:
        self._device, self._enabled = device, enabled
        self.seconds: dict[str, float] = {}
        self._since = self._now()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap as that of ``stage``."""
        if self._enabled:
            now = self._now()
            self.seconds[stage], self._since = now - self._since, now

    def _now(self) -> float:
        if self._enabled and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


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
            self.projection = Projection(hand_model).to(self.device).eval()
            self.length_ratio = hand_model.length_ratio
        with torch.no_grad():
            self.networks = BackedNetworks(lambda: self.eager, model, self.device)
        self.step_graphs = StepGraphs()
        finder = HandLocaliser(self.networks.locate, self.device)
        self.search = HandSearch(self.infer, finder.find)

    @cached_property
    def eager(self) -> EagerNetworks:
        """The networks as torch runs them, loaded when first asked for: compiled ones do without.

        Gradient steps need them, for the feature term. Raises as the constructor does.
        """
        model = self.config.model
        with one_thread():
            networks = load_networks(model.weights or weights_path(model.profile), model.profile)
            return EagerNetworks(
                for_inference(networks.evidence, self.device),
                networks.mesh_estimator.to(self.device),
                self.projection,
                load_fused(model.localiser or localiser_path(), self.device),
            )

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
        view = View(grey, self.assumed_camera(grey), target)
        short = replace(self.config.refinement, steps=min(2, self.config.refinement.steps))
        most = 1
        if self.device.type in StepGraphs.DEVICES and short.optimizer in OPTIMIZERS:
            most = min(self.config.tracking.max_hands, StepGraphs.MOST)  # a graph for each number
        for hands in range(1, most + 1):
            self.run([view] * hands, short)
        self.step_graphs.close()
        self.find(grey)

    def estimate(
        self,
        image: np.ndarray | Tensor | Image.Image | str | os.PathLike[str],
        camera: Camera | None = None,
        targets: Sequence[Target] | None = None,
    ) -> list[Hand]:
        """Estimate the hands in ``image``, at most one per target.

        ``image`` is ``(H, W, 3)`` uint8 RGB, a PIL image, or the path of a picture file, which is
        read upright. OpenCV's BGR must be turned round first (``image[..., ::-1]``).

        Without ``targets`` hands are searched for in the configured box. Without ``camera`` one is
        assumed and ``intrinsics_known`` is false. Without a hand the list is empty. Raises
        ``ValueError`` for what is not an image, a file that cannot be read, or a camera of another
        size.
        """
        image = as_image(image, self.config.media.max_megapixels)
        camera = camera or self.assumed_camera(image)
        height, width = image.shape[:2]
        if (camera.width, camera.height) != (width, height):
            raise ValueError(
                f"the camera is for {camera.width}x{camera.height} pixels, the image has "
                f"{width}x{height}; scale the intrinsics with the image"
            )
        found = self.find(image) if targets is None else targets
        views = [View(image, camera, target) for target in found]
        hands = self.run(views, min_score=_GIVEN_SHARE * self.config.tracking.min_score).hands
        return suppress_duplicates(hands, same_hand) if targets is None else hands

    def run(
        self,
        views: Sequence[View],
        refinement: RefinementConfig | None = None,
        min_score: float = 0.0,
        timed: bool = False,
    ) -> StageResults:
        """Run all stages on ``views``, as one batch, and keep what each of them found.

        Views whose evidence scores below ``min_score`` are left out. ``refinement`` takes the place
        of the configured one. ``timed`` waits for the device after each stage.
        """
        config = refinement or self.config.refinement
        clock = StageClock(self.device, enabled=timed)
        crops, evidence = self.crop_and_infer(views)
        kept = (evidence.score >= min_score).nonzero()[:, 0]
        rows, evidence = kept.tolist(), evidence.rows(kept)
        views, crops = [views[i] for i in rows], [crops[i] for i in rows]
        clock.lap("evidence")
        with torch.no_grad():
            estimates, joints_2d = self.networks.regress(evidence)
        clock.lap("mesh")
        wanted = config.looks_at_features, config.looks_at_masks
        observation = self.observation(views, crops, evidence, joints_2d, *wanted)
        networks = self.projection, self.eager.evidence if config.looks_at_features else None
        refined = refine(estimates, observation, *networks, config, self.step_graphs)
        clock.lap("refinement")
        stds = joint_stds(refined.parameters, observation, self.projection)
        hands = self.lift(views, crops, evidence, refined, stds)
        clock.lap("lift")
        return StageResults(
            views, crops, evidence, estimates, observation, refined, hands, clock.seconds
        )

    def assumed_camera(self, image: np.ndarray) -> Camera:
        """The camera taken for that of ``image`` ``(H, W, 3)`` where none is known."""
        height, width = image.shape[:2]
        return Camera.from_field_of_view(width, height, self.config.camera.field_of_view_deg)

    def find(
        self, image: np.ndarray, boxes: Sequence[Target] | None = None, closer: bool = True
    ) -> list[Target]:
        """Search for one hand in each of ``boxes``, or for hands in the configured box.

        The most prominent hand comes first. A search of the whole image misses small hands without
        a ``closer`` look.
        """
        tracking = self.config.tracking
        if boxes is None and tracking.box == "full":
            return self.search.everywhere(image, tracking, closer)
        boxes = [Target(Box.parse(tracking.box))] if boxes is None else boxes
        return self.search.within(image, boxes, tracking)

    @torch.no_grad()
    def infer(self, crops: Sequence[Crop]) -> Evidence:
        """The evidence of crops, as one batch."""
        return self.networks.infer(self.batch(crops))

    def crop_and_infer(self, views: Sequence[View]) -> tuple[list[Crop], Evidence]:
        """Crop every target as a right hand, and infer the crops' evidence.

        A side that was not given is checked in the mirror image if unsure, and turned where that
        looks more like a right hand; a followed hand's only where it clearly does. ``right`` of
        the evidence is the probability that the crop, as it was turned, shows a right hand; NaN
        where the side was given.
        """
        targets = [view.target for view in views]
        sides = [given_side(target, self.config.tracking) for target in targets]
        crops = [
            crop_image(
                v.image, v.target.box, (v.target.side if side is None else side) is Side.LEFT
            )
            for v, side in zip(views, sides, strict=True)
        ]
        evidence = self.infer(crops)
        given = self._marks(side is not None for side in sides)
        unsure = ~given & (evidence.right < _SURE_OF_SIDE)
        right = 0.5 + _ONE_VIEW * (evidence.right - 0.5)
        if unsure.any():
            pairs = zip(views, crops, strict=True)
            mirrored = [crop_image(v.image, c.box, not c.mirrored) for v, c in pairs]
            other = self.infer(mirrored)
            right = torch.where(unsure, (evidence.right + 1 - other.right) / 2, right)
            followed = self._marks(t.side_source is SideSource.FOLLOWED for t in targets)
            turn = unsure & (right < torch.where(followed, _CLEARLY_OTHER_SIDE, _OTHER_SIDE))
            both = zip(crops, mirrored, turn.tolist(), strict=True)
            crops = [m if turned else c for c, m, turned in both]
            evidence = evidence.replaced(turn, other)
            right = torch.where(turn, 1 - right, right)
        return crops, replace(evidence, right=right.masked_fill(given, torch.nan))

    def _marks(self, marks: Iterable[bool]) -> Tensor:
        return torch.tensor(list(marks), dtype=torch.bool, device=self.device)

    @torch.no_grad()
    def observation(
        self,
        views: Sequence[View],
        crops: Sequence[Crop],
        evidence: Evidence,
        joints_2d: Tensor,
        features: bool,
        masks: bool,
    ) -> Observation:
        """The refinement's input: 2D joints ``(B, 21, 2)``, and the hands of a frame ago.

        With the pictures that the feature term needs, and the mask term's distances, if asked.
        """
        past = [view.target.previous for view in views]
        mask = evidence.mask if masks and crops else None
        return Observation(
            self.eager.evidence.feature_input(as_floats(self.batch(crops))) if features else None,
            evidence.features,
            joints_2d,
            evidence.confidences,
            carry(past, crops).to(self.device) if any(past) else None,
            distances=None if mask is None else signed_distances(mask),
        )

    @torch.no_grad()
    def lift(
        self,
        views: Sequence[View],
        crops: Sequence[Crop],
        evidence: Evidence,
        refined: RefinedParameters,
        stds: Tensor,
    ) -> list[Hand]:
        """Hands in image pixels and in the camera's frame; ``stds`` as of ``joint_stds``."""
        projected = self.projection(refined.parameters)
        p = HandParameters.split(refined.parameters)
        pose_space = self.projection.pose_space
        pose = pose_space.pose_from_theta(p.pose)
        tensors = (
            projected.joints,
            projected.vertices,
            p.scale,
            rotation_from_quaternion(p.rotation)[:, None] @ pose_space.frames(pose),
            pose_space.joint_angles(pose),
            refined.parameters,
            evidence.confidences,
            stds,
        )
        rows = zip(*(tensor.cpu().double().numpy() for tensor in tensors), strict=True)
        outward = self.projection.hand_model.triangles.cpu().numpy().astype(np.int32)
        hands = []
        for k, (view, crop, row) in enumerate(zip(views, crops, rows, strict=True)):
            joints, vertices, scale, frames, angles, parameters, sure, std = row
            lifted = lift_to_camera(joints, vertices, scale.item(), frames, crop, view.camera)
            triangles = np.ascontiguousarray(outward[:, [0, 2, 1]] if crop.mirrored else outward)
            right = float(evidence.right[k])
            half_side_px = crop.box.width / 2
            hand = Hand(
                side=Side.LEFT if crop.mirrored else Side.RIGHT,
                score=float(evidence.score[k]),
                box=crop.box,
                **lifted._asdict(),
                joint_confidences=sure.astype(np.float32),
                normals=area_normals(lifted.vertices_m, triangles)[0].astype(np.float32),
                triangles=triangles,
                joint_angles=angles.astype(np.float32),
                fit_stds_m=(std / scale).astype(np.float32),
                occluded=occluded_joints(lifted.joints_m, lifted.vertices_m, triangles),
                parameters=parameters.astype(np.float32),
                intrinsics_known=not view.camera.assumed,
                refinement=Refinement(
                    steps=refined.steps,
                    residual_before_px=float(refined.residual_before[k]) * half_side_px,
                    residual_after_px=float(refined.residual_after[k]) * half_side_px,
                    accepted=bool(refined.accepted[k]),
                ),
                track_id=view.target.track_id,
                right=1 - right if crop.mirrored else right,
            )
            hands.append(hand)
        return hands

    def batch(self, crops: Sequence[Crop]) -> Tensor:
        """``(B, 3, 224, 224)`` bytes on the device."""
        images = np.array([c.image for c in crops], np.uint8)
        images = images.reshape(-1, CROP_SIZE, CROP_SIZE, 3)  # also of no crops
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)


def _hand_model(model: ModelConfig) -> HandModel:
    layer = ManopthHandModel if model.hand_layer == "manopth" else HandModel
    try:
        return layer(model.hand_model or hand_model_path())
    except ImportError as error:
        raise ValueError(f"model.hand_layer: {error}") from error
