"""One home for every default.

Each section is a frozen dataclass whose fields carry their description and range. YAML files, the
command line and ROS parameters all go through ``Config.from_mapping``: unknown names and values out
of range are refused by name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from dhpe_ros.types import Box


def setting(
    default: Any,
    description: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A dataclass field with its description, range or choices.

    ``live`` says that it may change while a node is running.
    """
    return field(
        default=default,
        metadata={
            "description": description,
            "at_least": at_least,
            "at_most": at_most,
            "one_of": one_of,
            "live": live,
        },
    )


@dataclass(frozen=True)
class ModelConfig:
    """Which networks and which hand, and where they run."""

    profile: str = setting(
        "lite",
        "full: the paper's networks (ResNet-50, PoseNet); lite: one small trunk for CPUs",
        one_of=("lite", "full"),
    )
    weights: str = setting("", "safetensors file of the networks; empty: the profile's own")
    hand_model: str = setting(
        "", "MANO-format hand, .npz or MANO_RIGHT.pkl; empty: the open hand that ships"
    )
    device: str = setting(
        "auto", "torch device: auto, cpu, cuda, cuda:1 ...; auto takes a GPU where there is one"
    )
    backend: str = setting(
        "auto",
        "how the networks run; auto takes the fastest that is there (only eager today)",
        one_of=("auto", "eager", "compiled", "tensorrt"),
    )
    threads: int = setting(
        0, "CPU threads of torch; 0 leaves torch's own choice", at_least=0, at_most=256
    )


@dataclass(frozen=True)
class TrackingConfig:
    """Where a hand is looked for and when it counts as one."""

    box: str = setting(
        "full", "where to look first: 'x,y,width,height' in pixels, or 'full'", live=True
    )
    side: str = setting(
        "auto",
        "which hand it is; auto lets the network tell",
        one_of=("auto", "left", "right"),
        live=True,
    )
    min_score: float = setting(
        0.35,
        "mean confidence of the 2D joints below which there is no hand",
        at_least=0.0,
        at_most=1.0,
        live=True,
    )
    crop_scale: float = setting(
        1.8,
        "side of the crop over the longer side of the joints' box",
        at_least=1.0,
        at_most=4.0,
        live=True,
    )


@dataclass(frozen=True)
class RefinementConfig:
    """Eq. 13: gradient steps on the 63 parameters at test time."""

    steps: int = setting(50, "gradient steps; 0 turns it off", at_least=0, at_most=1000, live=True)
    step_size: float = setting(1e-2, "gamma of Eq. 13", at_least=1e-6, at_most=1.0, live=True)
    optimizer: str = setting(
        "adam", "how the steps are taken", one_of=("adam", "gradient_descent"), live=True
    )
    joints_weight: float = setting(
        1.0, "weight of the 2D joint term", at_least=0.0, at_most=1e6, live=True
    )
    features_weight: float = setting(
        1.0, "weight of the feature term", at_least=0.0, at_most=1e6, live=True
    )
    laplacian_weight: float = setting(
        1.0, "weight of the mesh Laplacian term", at_least=0.0, at_most=1e6, live=True
    )
    align_camera: bool = setting(
        True, "start from the scale, shift and turn that fit the 2D joints best", live=True
    )
    confidence_weighting: bool = setting(
        True, "weigh each joint of the 2D term by its confidence", live=True
    )


@dataclass(frozen=True)
class CameraConfig:
    """What is assumed where the camera does not say."""

    field_of_view_deg: float = setting(
        60.0,
        "horizontal field of view assumed without intrinsics",
        at_least=5.0,
        at_most=170.0,
        live=True,
    )


@dataclass(frozen=True)
class NodeConfig:
    """The ROS face."""

    image_transport: str = setting(
        "raw", "raw: image; compressed: image/compressed", one_of=("raw", "compressed")
    )
    max_age: float = setting(
        1.0,
        "seconds after its stamp from which a frame is not processed any more; 0: never too old",
        at_least=0.0,
        at_most=3600.0,
        live=True,
    )
    image_timeout: float = setting(
        2.0,
        "seconds without an image after which the node says so",
        at_least=0.1,
        at_most=3600.0,
        live=True,
    )
    marker_lifetime: float = setting(
        1.0, "seconds that RViz keeps a marker", at_least=0.0, at_most=60.0, live=True
    )
    frame_id: str = setting("", "frame of the results; empty: the image's own", live=True)


@dataclass(frozen=True)
class Config:
    """Everything that can be set. A setting has one name everywhere, also as a ROS parameter.

    It is dotted, ``refinement.steps``, but for the node's own settings, as ``max_age``.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    node: NodeConfig = field(default_factory=NodeConfig)

    def __post_init__(self) -> None:
        for name, setting_field, value in self.items():
            _check(name, setting_field.metadata, value)
        if self.tracking.box != "full":
            try:
                Box.parse(self.tracking.box)
            except ValueError as error:
                raise ValueError(f"tracking.box: {error}") from error

    def items(self) -> Iterator[tuple[str, Any, Any]]:
        """``(name, dataclass field, value)`` of every setting, in order."""
        for section in fields(self):
            values = getattr(self, section.name)
            for setting_field in fields(values):
                yield (
                    _name(section.name, setting_field.name),
                    setting_field,
                    getattr(values, setting_field.name),
                )

    def as_mapping(self) -> dict[str, Any]:
        """Name -> value."""
        return {name: value for name, _, value in self.items()}

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with the ``changes`` made, by name.

        Raises ``ValueError`` for an unknown name (with the nearest known one) or a bad value.
        """
        merged = self.as_mapping()
        for name, value in changes.items():
            if name not in merged:
                raise ValueError(f"unknown setting {name!r}{did_you_mean(name)}")
            merged[name] = _convert(name, merged[name], value)
        sections = get_type_hints(Config)
        return Config(
            **{
                section: sections[section](
                    **{f.name: merged[_name(section, f.name)] for f in fields(sections[section])}
                )
                for section in sections
            }
        )

    @staticmethod
    def from_mapping(mapping: Mapping[str, Any]) -> Config:
        """From a nested or dotted mapping that holds overrides only.

        The node's own settings may stand in a section ``node``, as in the dataclasses, or alone.
        """
        return Config().replace(dict(_flatten(mapping)))

    @staticmethod
    def from_yaml(path: str | Path) -> Config:
        """From a YAML file: plain sections, or a ROS parameter file (``ros__parameters``)."""
        try:
            loaded = yaml.safe_load(Path(path).read_text()) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not readable as YAML: {error}") from error
        if not isinstance(loaded, dict):
            raise ValueError(f"{path}: expected a mapping of settings, got {type(loaded).__name__}")
        while len(loaded) == 1 and not _is_setting(next(iter(loaded))):
            (loaded,) = loaded.values()
            if not isinstance(loaded, dict):
                raise ValueError(f"{path}: expected a mapping of settings")
        loaded.pop("use_sim_time", None)
        try:
            return Config.from_mapping(loaded)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def did_you_mean(name: str) -> str:
    """``; did you mean <the nearest name of a setting>?``, or nothing where none is near."""
    near = difflib.get_close_matches(name, Config().as_mapping(), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _name(section: str, field_name: str) -> str:
    """The name of a setting. The node is what has the parameters: its own need no section."""
    return field_name if section == "node" else f"{section}.{field_name}"


def _is_setting(name: str) -> bool:
    """Whether it names a setting or a section of them."""
    return hasattr(Config(), str(name).split(".")[0]) or name in Config().as_mapping()


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}".removeprefix("node."), value


def _convert(name: str, default: Any, value: Any) -> Any:
    """``value`` as the type of ``default``; an int passes for a float, nothing else is bent."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        expected = type(default).__name__
        raise ValueError(f"{name} must be a {expected}, got {value!r} ({type(value).__name__})")
    return value


def _check(name: str, metadata: Mapping[str, Any], value: Any) -> None:
    if metadata["one_of"] and value not in metadata["one_of"]:
        raise ValueError(f"{name} must be one of {', '.join(metadata['one_of'])}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if metadata["at_least"] is not None and value < metadata["at_least"]:
        raise ValueError(f"{name} must be >= {metadata['at_least']}, got {value}")
    if metadata["at_most"] is not None and value > metadata["at_most"]:
        raise ValueError(f"{name} must be <= {metadata['at_most']}, got {value}")
