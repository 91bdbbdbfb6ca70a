"""One home for every default of the pipeline and the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dhpe_ros import settings
from dhpe_ros.settings import Settings, flatten, setting
from dhpe_ros.types import Box

NOT_SETTINGS = ("use_sim_time", "qos_overrides.", "start_type_description_service")  # ROS's own

MAX_HANDS = 64  # that can be asked for


@dataclass(frozen=True)
class ModelConfig:
    """Which networks and which hand, and where they run."""

    profile: str = setting(
        "lite",
        "lite: one small trunk; full: the paper's networks (ResNet-50, PoseNet), hardly trained",
        one_of=("lite", "full"),
    )
    weights: str = setting("", "safetensors file of the networks; empty: the profile's own")
    localiser: str = setting(
        "", "safetensors file of the network that finds hands; empty: the one that ships"
    )
    hand_model: str = setting(
        "", "MANO-format hand, .npz or MANO_RIGHT.pkl; empty: the open hand that ships"
    )
    hand_layer: str = setting(
        "own",
        "what poses the hand: own, or manopth where it is installed",
        one_of=("own", "manopth"),
    )
    device: str = setting(
        "auto", "torch device: auto, cpu, cuda, cuda:1 ...; auto takes a GPU where there is one"
    )
    backend: str = setting(
        "auto",
        "how the networks run; auto takes the fastest that was built, else CUDA graphs or eager",
        one_of=("auto", "eager", "compiled", "tensorrt"),
    )
    precision: str = setting(
        "auto",
        "of compiled networks; auto takes the fastest that was built",
        one_of=("auto", "fp32", "bf16", "fp16", "int8"),
    )
    engines: str = setting("", "folder of compiled networks; empty: the user's cache")
    strict_backend: bool = setting(
        False, "stop where the backend cannot be used, instead of falling back to the next"
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
        "score that a search asks of a hand, mean confidence of the 2D joints times the "
        "probability of a hand; one that is followed or given needs half of it",
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
    localiser_min_score: float = setting(
        0.15,
        "how sure the search of whole pictures must be of a hand",
        at_least=0.01,
        at_most=1.0,
        live=True,
    )
    max_hands: int = setting(
        4,
        "so many hands at most, the most prominent ones",
        at_least=1,
        at_most=MAX_HANDS,
        live=True,
    )
    search_rate: float = setting(
        3.0,
        "searches a second for further hands while some are followed; 0: none",
        at_least=0.0,
        at_most=100.0,
        live=True,
    )
    memory: float = setting(
        1.5,
        "seconds for which a hand that is lost keeps its identity for when it comes back",
        at_least=0.0,
        at_most=60.0,
        live=True,
    )
    second_look: bool = setting(
        True, "see each hand once more, closer: 2D joints are the mean of both looks", live=True
    )


@dataclass(frozen=True)
class RefinementConfig:
    """Eq. 13: gradient steps on the 63 parameters at test time."""

    optimizer: str = setting(
        "levenberg_marquardt",
        "how the steps are taken; adam and gradient_descent are the paper's way",
        one_of=("levenberg_marquardt", "adam", "gradient_descent"),
        live=True,
    )
    steps: int = setting(50, "at most so many; 0 turns it off", at_least=0, at_most=1000, live=True)
    step_size: float = setting(
        1e-2, "gamma of Eq. 13, of gradient steps", at_least=1e-6, at_most=1.0, live=True
    )
    tolerance: float = setting(
        3e-3,
        "ends when a step, or five gradient steps, lower the objective by less than this part; "
        "0: when none lowers it, and gradient steps are all taken",
        at_least=0.0,
        at_most=1.0,
        live=True,
    )
    time_budget: float = setting(
        0.0,
        "seconds after which no further step begins; 0: none",
        at_least=0.0,
        at_most=60.0,
        live=True,
    )
    joints_weight: float = setting(
        1.0, "weight of the 2D joint term", at_least=0.0, at_most=1e6, live=True
    )
    features_weight: float = setting(
        1.0,
        "weight of the feature term, which levenberg_marquardt leaves out",
        at_least=0.0,
        at_most=1e6,
        live=True,
    )
    mask_weight: float = setting(
        160.0,
        "weight of a term that brings the mesh's outline onto the seen hand's, which gradient "
        "steps leave out; 0: none",
        at_least=0.0,
        at_most=1e6,
        live=True,
    )
    laplacian_weight: float = setting(
        1.0, "weight of the mesh Laplacian term", at_least=0.0, at_most=1e6, live=True
    )
    pose_weight: float = setting(
        0.03,
        "weight of a term against poses no hand takes; 0: the paper's Eq. 13",
        at_least=0.0,
        at_most=1e6,
        live=True,
    )
    shape_weight: float = setting(
        0.015,
        "weight of a term against uncommon shapes; 0: the paper's Eq. 13",
        at_least=0.0,
        at_most=1e6,
        live=True,
    )
    estimate_weight: float = setting(
        0.03,
        "weight of a term against leaving the mesh network's estimate; 0: the paper's Eq. 13",
        at_least=0.0,
        at_most=1e6,
        live=True,
    )
    temporal_weight: float = setting(
        1.0,
        "weight of a term against changes since the last frame of a video; 0: none",
        at_least=0.0,
        at_most=1e6,
        live=True,
    )
    outlier_distance: float = setting(
        0.4,
        "half-sides of the crop beyond which a 2D joint counts as wrong; 0: never, as in the paper",
        at_least=0.0,
        at_most=4.0,
        live=True,
    )
    align_camera: bool = setting(
        True, "start from the scale, shift and turn that fit the 2D joints best", live=True
    )
    confidence_weighting: bool = setting(
        True, "weigh each joint of the 2D term by its squared confidence", live=True
    )

    @classmethod
    def paper(cls) -> RefinementConfig:
        """The paper's Eq. 13 and its 50 steps: three unit weights, and nothing of our own.

        The feature term is a mean over the features here (docs/explanation/refinement.md).
        """
        return cls(
            optimizer="adam",
            tolerance=0.0,
            mask_weight=0.0,
            pose_weight=0.0,
            shape_weight=0.0,
            estimate_weight=0.0,
            temporal_weight=0.0,
            outlier_distance=0.0,
            align_camera=False,
            confidence_weighting=False,
        )

    @property
    def looks_at_features(self) -> bool:
        """Whether the steps ask the feature network."""
        return self.optimizer != "levenberg_marquardt" and self.features_weight > 0

    @property
    def looks_at_masks(self) -> bool:
        """Whether the steps go by the seen hand's outline."""
        return self.optimizer == "levenberg_marquardt" and self.mask_weight > 0


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
    images: str = setting(
        "auto",
        "how to read camera_info: raw images have K and D, rectified ones P; auto tells by the "
        "topic's name, and takes images with distortion for raw where it says nothing",
        one_of=("auto", "raw", "rectified"),
        live=True,
    )


@dataclass(frozen=True)
class MediaConfig:
    """Which pictures are taken from outside, in messages and in files."""

    max_megapixels: float = setting(
        64.0,
        "largest picture, in millions of pixels; larger ones are refused before they are decoded",
        at_least=0.01,
        at_most=1000.0,
        live=True,
    )


@dataclass(frozen=True)
class ScaleConfig:
    """What fixes the absolute size of hands, and with it their distance, beside depth images."""

    hand_length: float = setting(
        0.0,
        "metres from the wrist's crease to the tip of the middle finger, stretched; 0: not known",
        at_least=0.0,
        at_most=0.4,
        live=True,
    )
    learn_seconds: float = setting(
        3.0,
        "seconds after which a hand's size counts as learned; 0: every picture for itself",
        at_least=0.0,
        at_most=3600.0,
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
    expected_rate: float = setting(
        0.0,
        "images and results a second below which diagnostics warn; 0: none is expected",
        at_least=0.0,
        at_most=1000.0,
        live=True,
    )
    marker_lifetime: float = setting(
        1.0, "seconds that RViz keeps a marker", at_least=0.0, at_most=60.0, live=True
    )
    frame_id: str = setting("", "frame of the results; empty: the image's own", live=True)
    depth_tolerance: float = setting(
        0.02,
        "seconds that the stamps of an image and of its depth image may differ",
        at_least=0.0,
        at_most=1.0,
        live=True,
    )
    roi_max_age: float = setting(
        0.1,
        "seconds that boxes on ~/roi may be older than the image that they are used for",
        at_least=0.0,
        at_most=10.0,
        live=True,
    )
    depth_margin: int = setting(
        4,
        "pixels about the hands that ~/depth_without_hands leaves out too",
        at_least=0,
        at_most=100,
        live=True,
    )
    publish_tf: bool = setting(False, "also publish the wrists' frames on /tf")
    tf_prefix: str = setting(
        "auto",
        "beginning of these frames' names, <tf_prefix>hand_<track>; auto: from the namespace",
        live=True,
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
        changes = {
            name.removeprefix("node."): value
            for name, value in cls.overrides(_of_the_node(mapping)).items()
            if not name.startswith(NOT_SETTINGS)
        }
        return cls().replace(changes)


def did_you_mean(name: str) -> str:
    """``; did you mean <the nearest name of a setting>?``, or nothing where none is near."""
    return settings.did_you_mean(name, Config().as_mapping())


def _of_the_node(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a ROS parameter file has for the node ``hand``, or for its only one; else all of it."""
    nodes = dict(_nodes(mapping))
    if not nodes:
        return mapping
    ours = [nodes[name] for name in sorted(nodes) if name.rpartition("/")[2] in ("**", "hand")]
    if not ours and len(nodes) == 1:
        ours = list(nodes.values())
    return dict(pair for parameters in ours for pair in flatten(parameters))


def _nodes(mapping: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Mapping]]:
    """The nodes of a ROS parameter file, by their whole name, and their parameters."""
    for name, inner in mapping.items():
        if name == "ros__parameters" and isinstance(inner, Mapping | None):
            yield within, inner or {}
        elif isinstance(inner, Mapping):
            yield from _nodes(inner, f"{within}/{str(name).strip('/')}")
