"""Coloured pictures of hands, for training: skins, lights and ``render_hand``."""

from dhpe_lab.rendering.lighting import Lights
from dhpe_lab.rendering.photo_texture import photo_skin
from dhpe_lab.rendering.shading import Rendering, render_hand
from dhpe_lab.rendering.skin import Skin, random_skin, skin_tone

__all__ = [
    "Lights",
    "Rendering",
    "Skin",
    "photo_skin",
    "random_skin",
    "render_hand",
    "skin_tone",
]
