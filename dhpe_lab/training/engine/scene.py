"""Hands with forearms and what they hold before a camera, by the batch, as synthesis has them.

What a synthetic hand may be is said in ``synthesis``, ``hand_poses``, ``forearm`` and
``rendering``: poses, forearms, skins and lights are drawn there, once, and wait on the device, from
where every example takes its own combination.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lab.rendering import LightBatch, Lights, SkinBatch, random_skin, render_hands
from dhpe_lab.rendering.shading import Rendering
from dhpe_lab.rendering.texels import texels_of
from dhpe_lab.synthesis.forearm import (
    RINGS,
    ForearmShapes,
    extrude,
    sleeve_vertices,
    tube_triangles,
)
from dhpe_lab.synthesis.hand_poses import sample_poses
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_lab.synthesis.synthesis import CLOSEST_M, FARTHEST_M, NEAREST_M, SHAPE_MAX, cloth_texels
from dhpe_lab.training.augmentation import CLOSEST_CROP, WIDEST_MESH
from dhpe_lab.training.engine.draws import Draws
from dhpe_lab.training.engine.objects import HeldObjects, hold, unit_objects
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.rotations import rotation_from_quaternion
from dhpe_ros.rendering import silhouette
from dhpe_ros.types import MIDDLE_MCP

HELD_SHARE = 0.3
_JITTER_RAD = np.radians(2.5)  # by which a pose differs from that of the pool
_SETTLED_AT_ONCE = 4096
_PIXELS_AT_ONCE = 64 * 224**2  # they need some GiB


@dataclass(frozen=True)
class Pools:
    """Numbers of things that wait on the device."""

    poses: int
    skins: int
    others: int = 1024  # lights, forearms

    @classmethod
    def for_device(cls, device: torch.device) -> Pools:
        """Pools that are ready within a minute or so."""
        return cls(32768, 1024) if device.type == "cuda" else cls(256, 32)


@dataclass(frozen=True)
class Scene:
    """B right hands in their crops; crop coordinates if nothing else is said."""

    mesh: Tensor  # (B, V, 3): hand, forearm, object; depth from the middle MCP
    points_m: Tensor  # (B, V, 3) in the hand's frame
    joints: Tensor  # (B, 21, 3), depth as that of the mesh
    scale: Tensor  # (B,) crop half-sides to a metre at the middle MCP
    margin: Tensor  # (B,) side of the crop over the longer side of the joints' box
    rotation: Tensor  # (B, 3, 3)
    pose: Tensor  # (B, 15, 3)
    shape: Tensor  # (B, 10)
    sleeve: Tensor  # (B,) int64: ring of the forearm where the sleeve begins, RINGS for none
    held: HeldObjects


class Stage:
    """Set-up and drawing of scenes, all on one device."""

    def __init__(self, model: HandModel, device: torch.device, seed: int, pools: Pools) -> None:
        """``model`` is on the CPU and has `pose_axes` and `wrist_loop`, as the open hand."""
        rng = np.random.default_rng(seed)
        self._model = copy.deepcopy(model).to(device)
        self._pose_space = PoseSpace(model).to(device)
        self._angles = self._pose_angles(rng, np.asarray(model.extras["pose_axes"]), pools.poses)
        self._loop = torch.from_numpy(np.asarray(model.extras["wrist_loop"])).long().to(device)
        arms = ForearmShapes.random(rng, pools.others)
        as_float = (f.float() if f.is_floating_point() else f for f in arms)
        self._arms = ForearmShapes(*(field.to(device) for field in as_float))
        self._lights = LightBatch.of([Lights.random(rng) for _ in range(pools.others)], device)
        self._build_mesh(model, device)
        self._build_skins(model, rng, device, pools.skins)
        joints = model.skeleton(model.v_template[None])[0]
        to_skin = torch.cdist(joints, model.v_template).amin(1)
        # A ray may meet a finger obliquely.
        self._flesh_m = (1.8 * to_skin + 0.008).to(device)

    def draw_scene(self, draws: Draws) -> Scene:
        """Hands, views and crops at random."""
        angles = self._angles[draws.pick(len(self._angles))]
        space = self._pose_space
        angles = angles + _JITTER_RAD * draws.normal(15, 3) * (space.upper - space.lower > 0.2)
        pose = space.pose_from_angles(angles.clamp(space.lower, space.upper))
        shape = draws.normal(10).clamp(-SHAPE_MAX, SHAPE_MAX)
        hand_m = self._model(pose, shape)
        joints_m = self._model.skeleton(hand_m)
        choice = draws.pick(len(self._arms.length_m))
        arms = ForearmShapes(*(field[choice] for field in self._arms))
        held = hold(joints_m, self._objects, draws, HELD_SHARE)
        points_m = torch.cat((hand_m, extrude(hand_m[:, self._loop], arms), held.vertices_m), 1)
        # All views alike are also all turns within the picture.
        rotation = rotation_from_quaternion(draws.normal(4))
        distance_m = 1 / draws.uniform(low=1 / FARTHEST_M, high=1 / NEAREST_M)
        margin = draws.uniform(low=CLOSEST_CROP, high=WIDEST_MESH)
        root = joints_m[:, MIDDLE_MCP, None]
        joints = _perspective((joints_m - root) @ rotation.mT, distance_m)
        mesh = _perspective((points_m - root) @ rotation.mT, distance_m)
        low, high = joints[..., :2].amin(1), joints[..., :2].amax(1)
        longest = (high - low).amax(1)
        side = longest * margin
        # The joints stay inside, most of the time.
        slack = torch.maximum(side - longest, 0.15 * side) / 2
        center = (low + high) / 2 + draws.uniform(2, low=-1.0, high=1.0) * slack[:, None]
        center = functional.pad(center, (0, 1))[:, None]
        scale = 2 / side
        return Scene(
            mesh=(mesh - center) * scale[:, None, None],
            points_m=points_m,
            joints=(joints - center) * scale[:, None, None],
            scale=scale,
            margin=margin,
            rotation=rotation,
            pose=pose,
            shape=shape,
            sleeve=torch.where(arms.sleeved, arms.sleeve_ring, RINGS),
            held=held,
        )

    def render(self, scene: Scene, size: int, draws: Draws) -> Rendering:
        """Colour pictures; see ``render_hands``."""
        choice = draws.pick(len(self._lights.up))
        at_once = max(1, _PIXELS_AT_ONCE // size**2)
        lights = [field[choice].split(at_once) for field in self._lights]
        *skins, detail = self._skins_of(scene, draws)
        skins = [field.split(at_once) for field in skins]
        meshes = (field.split(at_once) for field in (scene.mesh, scene.points_m))
        parts = [
            render_hands(
                mesh,
                self._triangles,
                size,
                SkinBatch(*(field[k] for field in skins), detail),
                LightBatch(*(field[k] for field in lights)),
                texture_points=points_m,
            )
            for k, (mesh, points_m) in enumerate(zip(*meshes, strict=True))
        ]
        return Rendering(*map(torch.cat, zip(*parts, strict=True)))

    def masks(self, scene: Scene, size: int) -> Tensor:
        """(B, S, S) 0..1: the hands alone, as if nothing were before them."""
        hand = scene.mesh[:, : len(self._model.v_template), :2].contiguous()
        fine = silhouette(hand, self._hand_triangles, 2 * size)
        return functional.avg_pool2d(fine[:, None], 2)[:, 0]

    def in_sight(self, scene: Scene, depth: Tensor) -> Tensor:
        """(B, 21) bool: joints in the picture with no more before them than their own flesh."""
        size = depth.shape[-1]
        x, y, z = scene.joints.unbind(2)
        cells = (((c + 1) * (size / 2)).floor().long().clamp(0, size - 1) for c in (y, x))
        row, column = cells
        nearest = depth.flatten(1).gather(1, row * size + column)
        clear = nearest > z - self._flesh_m * scene.scale[:, None]
        return clear & (scene.joints[..., :2].abs() < 1).all(2)

    def _pose_angles(self, rng: np.random.Generator, axes: np.ndarray, count: int) -> Tensor:
        raw = torch.from_numpy(sample_poses(rng, count, axes)).float()
        chunks = raw.to(self._pose_space.mean.device).split(_SETTLED_AT_ONCE)
        with torch.no_grad():
            space = self._pose_space
            return torch.cat([space.angles(space.settled(chunk)[0]) for chunk in chunks])

    def _build_mesh(self, model: HandModel, device: torch.device) -> None:
        rest_m = model.v_template.double().numpy()
        loop = np.asarray(model.extras["wrist_loop"])
        objects, object_triangles = unit_objects()
        body = len(rest_m) + RINGS * len(loop) + 1
        triangles = np.concatenate(
            (model.triangles.numpy(), tube_triangles(rest_m, loop), object_triangles + body)
        )
        self._objects = torch.from_numpy(objects).float().to(device)
        self._triangles = torch.from_numpy(triangles).to(device)
        self._hand_triangles = self._model.triangles
        # The texels of a part of a mesh come in the same order as in the part alone.
        surface = surface_of(model)
        texels = texels_of(triangles, body + objects.shape[1], surface.texels.detail)
        of_body = (texels.vertices < body).all(1)
        self._of_object = torch.from_numpy(~of_body).to(device)
        self._texel_count = len(of_body)
        cloth = np.zeros((RINGS + 1, len(of_body)), bool)
        for ring in range(1, RINGS):
            sleeve = sleeve_vertices(ring, len(loop))
            cloth[ring, of_body] = cloth_texels(surface.texels, sleeve)
        self._cloth = torch.from_numpy(cloth).to(device)
        on_objects = np.zeros((len(objects), len(of_body), 3), np.float32)
        corners = np.maximum(texels.vertices[~of_body] - body, 0)
        on_objects[:, ~of_body] = np.einsum(
            "nk,onkc->onc", texels.weights[~of_body], objects[:, corners]
        )
        self._on_objects = torch.from_numpy(on_objects).to(device)

    def _build_skins(self, model, rng: np.random.Generator, device, count: int) -> None:
        surface = surface_of(model)
        skins = [random_skin(rng, len(surface.palm), **surface.regions()) for _ in range(count)]
        pool = SkinBatch.of(skins, device)
        albedo = pool.albedo.new_zeros(count, self._texel_count, 3)
        gloss = pool.gloss.new_zeros(count, self._texel_count)
        albedo[:, ~self._of_object], gloss[:, ~self._of_object] = pool.albedo, pool.gloss
        self._skins = SkinBatch(albedo, gloss, pool.surface, pool.detail)
        self.skin_colors = pool.albedo.mean(1)  # (skins, 3) linear RGB

    def _skins_of(self, scene: Scene, draws: Draws) -> SkinBatch:
        """A skin for each hand, with its sleeve and its object painted."""
        choice = draws.pick(len(self._skins.gloss))
        albedo, gloss = self._skins.albedo[choice], self._skins.gloss[choice]
        cloth = self._cloth[scene.sleeve]
        albedo = torch.where(cloth[..., None], draws.uniform(1, 3, low=0.02, high=0.8), albedo)
        gloss = gloss.masked_fill(cloth, 0.0)
        held = scene.held
        along = (self._on_objects[held.kind] @ held.waves[:, :3, None])[..., 0]
        stripes = ((along + held.waves[:, 3:]).sin() > 0)[..., None]
        painted = torch.where(stripes, held.colors[:, :1], held.colors[:, 1:])
        albedo = torch.where(self._of_object[:, None], painted, albedo)
        gloss = torch.where(self._of_object, held.gloss[:, None], gloss)
        return SkinBatch(albedo, gloss, self._skins.surface[choice], self._skins.detail)


def _perspective(turned_m: Tensor, distance_m: Tensor) -> Tensor:
    """Camera axes about the middle MCP (B, N, 3) to where they are seen there, and depth."""
    distance_m = distance_m[:, None, None]
    nearness = distance_m / (distance_m + turned_m[..., 2:]).clamp(min=CLOSEST_M)
    return torch.cat((turned_m[..., :2] * nearness, turned_m[..., 2:]), 2)
