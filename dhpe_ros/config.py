"""Every default of the pipeline and the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dhpe_ros.settings import Settings, flatten, setting
from dhpe_ros.types import Box

NOT_SETTINGS = ("use_sim_time", "qos_overrides.", "start_type_description_service")  # ROS's own

MAX_HANDS = 64  # that can be asked for

live = partial(setting, live=True)


def _weight(default: float, of: str) -> Any:
    return live(default, f"weight of the {of}", 0.0, 1e6)


@dataclass(frozen=True)
class ModelConfig:
    """Networks, hand model, and the device and backend that run them."""

    profile: str = setting(
        "lite",
        "networks: lite has one small trunk, full those of the paper (ResNet-50, PoseNet), "
        "hardly trained",
        one_of=("lite", "full"),
    )
    weights: str = setting("", "path of the networks' safetensors file; empty: the profile's own")
    localiser: str = setting(
        "", "path of the localiser's safetensors file; empty: the one that ships"
    )
    hand_model: str = setting(
        "", "path of a hand in MANO's format, .npz or .pkl; empty: the open hand that ships"
    )
    hand_layer: str = setting(
        "own",
        "hand layer that poses the mesh; manopth must be installed",
        one_of=("own", "manopth"),
    )
    device: str = setting(
        "auto", "torch device: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one"
    )
    backend: str = setting(
        "auto",
        "runtime of the networks; auto takes OpenVINO on a CPU, on a GPU TensorRT's engines where "
        "they were built, else CUDA graphs",
        one_of=("auto", "tensorrt", "openvino", "cuda_graphs", "eager"),
    )
    precision: str = setting(
        "auto",
        "precision of compiled networks; auto takes the fastest for the processor",
        one_of=("auto", "fp32", "bf16", "fp16", "int8"),
    )
    engines: str = setting("", "folder of compiled networks; empty: the user's cache")
    strict_backend: bool = setting(
        False, "fail if the backend cannot be used, instead of falling back to the next"
    )
    threads: int = setting(0, "number of CPU threads of torch; 0: torch's own choice", 0, 256)


@dataclass(frozen=True)
class TrackingConfig:
    """Search for hands, their confirmation and their tracking."""

    box: str = live(
        "full",
        "region searched for hands: 'x,y,width,height' in pixels, or 'full' for the whole image",
    )
    side: str = live(
        "auto",
        "side of all hands; auto lets the networks predict it",
        one_of=("auto", "left", "right"),
    )
    min_score: float = live(
        0.25,
        "minimum score of a found hand: mean confidence of its 2D joints times the probability "
        "of a hand; half of it is enough for a tracked or given hand",
        0.0,
        1.0,
    )
    crop_scale: float = live(
        1.8, "side of the square crop, in longer sides of the joints' box", 1.0, 4.0
    )
    localiser_min_score: float = live(
        0.15, "minimum score of the localiser for a place to be searched", 0.01, 1.0
    )
    max_hands: int = live(4, "maximum number of tracked hands", 1, MAX_HANDS)
    search_rate: float = live(
        3.0,
        "searches for further hands while some are tracked, and closer looks for small ones while "
        "none is, in hertz; 0: none",
        0.0,
        100.0,
    )
    memory: float = live(
        1.5, "time for which a lost hand keeps its track id, in seconds", 0.0, 60.0
    )


@dataclass(frozen=True)
class RefinementConfig:
    """Eq. 13: steps on the 63 parameters at test time."""

    optimizer: str = live(
        "levenberg_marquardt",
        "optimiser of the 63 hand parameters; the paper uses gradient steps",
        one_of=("levenberg_marquardt", "adam", "gradient_descent"),
    )
    steps: int = live(50, "maximum number of steps; 0: no refinement", 0, 1000)
    step_size: float = live(1e-2, "step size of gradient steps, gamma of Eq. 13", 1e-6, 1.0)
    tolerance: float = live(
        1e-2,
        "relative decrease of the objective in a step, or in five gradient steps, below which "
        "the steps end; 0: steps end when none lowers it, gradient steps are all taken",
        0.0,
        1.0,
    )
    time_budget: float = live(
        0.0, "time after which no further step begins, in seconds; 0: no limit", 0.0, 60.0
    )
    joints_weight: float = _weight(1.0, "2D joint term")
    features_weight: float = _weight(1.0, "feature term, which levenberg_marquardt leaves out")
    mask_weight: float = _weight(
        40.0,
        "mask term, the distance of the mesh's outline to the predicted mask's; gradient steps "
        "leave it out; 0: none",
    )
    laplacian_weight: float = _weight(1.0, "mesh Laplacian term")
    pose_weight: float = _weight(
        0.03, "pose prior, against implausible poses; the paper has none: 0"
    )
    shape_weight: float = _weight(
        0.015, "shape prior, against uncommon shapes; the paper has none: 0"
    )
    estimate_weight: float = _weight(
        0.1, "proximal term, against leaving the mesh network's estimate; the paper has none: 0"
    )
    temporal_weight: float = _weight(
        1.0, "temporal term, against changes since the last frame of a video; 0: none"
    )
    outlier_distance: float = live(
        0.4,
        "distance from which a 2D joint counts as an outlier, in half-sides of the crop; 0: none "
        "does, as in the paper",
        0.0,
        4.0,
    )
    align_camera: bool = live(
        True,
        "start from the scale, translation and rotation in the image that fit the 2D joints best",
    )
    confidence_weighting: bool = live(
        True, "weight each joint of the 2D joint term by its squared confidence"
    )

    @classmethod
    def paper(cls) -> RefinementConfig:
        """The paper's Eq. 13 and its 50 steps: three unit weights, and nothing of our own.

        The feature term is a mean over the features here (docs/explanation/refinement.md).
        """
        return cls(
            optimizer="adam", tolerance=0.0, mask_weight=0.0, pose_weight=0.0, shape_weight=0.0,
            estimate_weight=0.0, temporal_weight=0.0, outlier_distance=0.0, align_camera=False,
            confidence_weighting=False,
        )  # fmt: skip

    @property
    def looks_at_features(self) -> bool:
        """True if the steps run the feature network."""
        return self.optimizer != "levenberg_marquardt" and self.features_weight > 0

    @property
    def looks_at_masks(self) -> bool:
        """True if the steps use the predicted mask."""
        return self.optimizer == "levenberg_marquardt" and self.mask_weight > 0


@dataclass(frozen=True)
class CameraConfig:
    """Assumptions about cameras."""

    field_of_view_deg: float = live(
        60.0, "horizontal field of view assumed without intrinsics, in degrees", 5.0, 170.0
    )
    images: str = live(
        "auto",
        "kind of images, by which camera_info is read: K and D of raw ones, P of rectified ones; "
        "auto decides by the topic's name, else by the distortion",
        one_of=("auto", "raw", "rectified"),
    )


@dataclass(frozen=True)
class MediaConfig:
    """Limits of pictures in messages and files."""

    max_megapixels: float = live(
        64.0, "maximum megapixels of a picture; larger ones are refused undecoded", 0.01, 1000.0
    )


@dataclass(frozen=True)
class ScaleConfig:
    """Absolute size of hands, and with it their distance, without depth images."""

    hand_length: float = live(
        0.0, "metres from the wrist's crease to the middle finger's tip; 0: unknown", 0.0, 0.4
    )
    learn_seconds: float = live(
        3.0,
        "seconds after which a hand's estimated size counts as learned; 0: each image has its own",
        0.0,
        3600.0,
    )


@dataclass(frozen=True)
class NodeConfig:
    """The node's own settings."""

    autostart: bool = setting(
        True, "configure and activate the node at its start; false leaves that to others"
    )
    image_transport: str = setting(
        "raw",
        "image transport: raw subscribes to image, compressed to image/compressed",
        one_of=("raw", "compressed"),
    )
    max_age: float = live(
        1.0, "maximum age of a frame by its stamp, in seconds; 0: no limit", 0.0, 3600.0
    )
    image_timeout: float = live(
        2.0, "time without an image after which the node warns, in seconds", 0.1, 3600.0
    )
    expected_rate: float = live(
        0.0, "hertz of images and results below which diagnostics warn; 0: never", 0.0, 1000.0
    )
    marker_lifetime: float = live(1.0, "time for which RViz keeps a marker, in seconds", 0.0, 60.0)
    frame_id: str = live("", "frame_id of the results; empty: that of the image")
    depth_tolerance: float = live(
        0.02, "maximum seconds between the stamps of an image and its depth image", 0.0, 1.0
    )
    roi_max_age: float = live(
        0.1, "maximum age of boxes on ~/roi when their image is taken, in seconds", 0.0, 10.0
    )
    depth_margin: int = live(
        4, "margin about the hands that ~/depth_without_hands leaves out, in pixels", 0, 100
    )
    grasp_distance: float = live(
        0.05, "reach of palm and fingers for ~/grasped_object, in metres", 0.005, 0.3
    )
    publish_tf: bool = setting(False, "publish the wrists' frames on /tf")
    tf_joints: bool = live(
        False, "with publish_tf, publish the other joints' frames too, <wrist's frame>_<joint>"
    )
    tf_prefix: str = live(
        "auto", "prefix of these frames, <tf_prefix>hand_<track id>; auto: from the namespace"
    )


@dataclass(frozen=True)
class Config(Settings):
    """Everything that can be set. A setting has one name everywhere, also as a ROS parameter.

    It is dotted, ``refinement.steps``, but for the node's own settings, as ``max_age``.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    node: NodeConfig = field(default_factory=NodeConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tracking.box != "full":
            try:
                Box.parse(self.tracking.box)
            except ValueError as error:
                raise ValueError(f"tracking.box: {error}") from error
        if 0 < self.scale.hand_length < 0.05:
            raise ValueError(
                f"scale.hand_length is in metres, got {self.scale.hand_length}; people's hands "
                "have 0.10 to 0.23, and 0 stands for not known"
            )

    @staticmethod
    def name_of(section: str, field_name: str) -> str:
        """The node is what has the parameters: its own need no section."""
        return field_name if section == "node" else f"{section}.{field_name}"

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Config:
        """From a nested or dotted mapping of overrides, or that of a ROS parameter file.

        The node's own settings may stand in a section ``node``, as in the dataclasses, or alone.
        """
        given = flatten(_of_the_node(mapping))
        own = {name.removeprefix("node."): value for name, value in given}
        return super().from_mapping(
            {name: value for name, value in own.items() if not name.startswith(NOT_SETTINGS)}
        )


def _of_the_node(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters that a ROS file has for the node ``hand``, or its only node; else all of it."""
    nodes = dict(_nodes(mapping))
    ours = [name for name in sorted(nodes) if name.rpartition("/")[2] in ("**", "hand")]
    if not ours and len(nodes) == 1:
        ours = list(nodes)
    return dict(pair for name in ours for pair in flatten(nodes[name])) if nodes else mapping


def _nodes(mapping: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Mapping]]:
    """The nodes of a ROS parameter file, by their whole name, and their parameters."""
    for name, inner in mapping.items():
        if name == "ros__parameters" and isinstance(inner, Mapping | None):
            yield within, inner or {}
        elif isinstance(inner, Mapping):
            yield from _nodes(inner, f"{within}/{str(name).strip('/')}")
