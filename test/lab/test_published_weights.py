"""Published networks become ours: made-up weights in the true formats, run layer by layer."""

import os
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional

from dhpe_lab.training.published_weights import load_efficientnet, load_posenet, load_resnet
from dhpe_ros.cli.main import main
from dhpe_ros.networks.efficientnet_lite import EfficientNetLite0
from dhpe_ros.networks.layers import IMAGENET_MEAN, IMAGENET_STD
from dhpe_ros.networks.posenet import PoseNet
from dhpe_ros.networks.resnet import ResNet50
from dhpe_ros.networks.weights import load_networks
from dhpe_ros.types import JOINT_NAMES

# hand3d's PoseNet: name, kernel, inputs, outputs; pools after the second, fourth and eighth.
POSENET = (
    ("conv1_1", 3, 3, 64), ("conv1_2", 3, 64, 64), ("conv2_1", 3, 64, 128),
    ("conv2_2", 3, 128, 128), ("conv3_1", 3, 128, 256), ("conv3_2", 3, 256, 256),
    ("conv3_3", 3, 256, 256), ("conv3_4", 3, 256, 256), ("conv4_1", 3, 256, 512),
    ("conv4_2", 3, 512, 512), ("conv4_3", 3, 512, 256), ("conv4_4", 3, 256, 256),
    ("conv4_5", 3, 256, 256), ("conv4_6", 3, 256, 256), ("conv4_7", 3, 256, 128),
    ("conv5_1", 1, 128, 512), ("conv5_2", 1, 512, 21),
    *((f"conv{s}_{k}", 7, 149 if k == 1 else 128, 128) for s in (6, 7) for k in range(1, 6)),
    *((f"conv{s}_6", 1, 128, 128) for s in (6, 7)), *((f"conv{s}_7", 1, 128, 21) for s in (6, 7)),
)  # fmt: skip
FINGERS = ("thumb", "index", "middle", "ring", "little")
TIP_TO_BASE = ["wrist", *(f"{finger}{k}" for finger in FINGERS for k in (4, 3, 2, 1))]


@pytest.fixture(scope="module")
def hand3d():
    """Arrays named and laid out as in hand3d's pickle, beside a network that is not ours."""
    rng, arrays = np.random.default_rng(0), {"HandSegNet/conv1_1/biases": np.zeros(64)}
    for name, size, inputs, outputs in POSENET:
        spread = 1.4 / np.sqrt(size * size * inputs)
        weights = rng.normal(0, spread, (size, size, inputs, outputs)).astype(np.float32)
        arrays[f"PoseNet2D/{name}/weights"] = weights
        arrays[f"PoseNet2D/{name}/biases"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    return arrays


def convolved(x: np.ndarray, arrays: dict, name: str) -> np.ndarray:
    """TensorFlow's convolution with the same padding: (height, width, channels) with HWIO."""
    weights = arrays[f"PoseNet2D/{name}/weights"]
    rim = weights.shape[0] // 2
    padded = np.pad(x, ((rim, rim), (rim, rim), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[:2], axis=(0, 1))
    found = np.tensordot(windows, weights, axes=((3, 4, 2), (0, 1, 2)))
    return found + arrays[f"PoseNet2D/{name}/biases"]


def leaky(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.01 * x)


def score_maps(image: np.ndarray, arrays: dict) -> list[np.ndarray]:
    """hand3d's three stages, in NumPy."""
    x = image
    for index, (name, *_) in enumerate(POSENET[:15]):
        x = leaky(convolved(x, arrays, name))
        if index in (1, 3, 7):
            height, width, channels = x.shape
            x = x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
    encoding = x
    scores = [convolved(leaky(convolved(encoding, arrays, "conv5_1")), arrays, "conv5_2")]
    for stage in (6, 7):
        x = np.concatenate((scores[-1], encoding), axis=2)
        for k in range(1, 7):
            x = leaky(convolved(x, arrays, f"conv{stage}_{k}"))
        scores.append(convolved(x, arrays, f"conv{stage}_7"))
    return scores


def test_posenet_computes_what_hand3d_does_joint_by_joint(hand3d, tmp_path):
    file = tmp_path / "weights.pickle"
    file.write_bytes(pickle.dumps(hand3d, protocol=2))
    network = PoseNet().eval()
    load_posenet(network, file)
    image = np.random.default_rng(1).uniform(-0.5, 0.5, (16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        found = network(torch.from_numpy(image).permute(2, 0, 1)[None])
    for ours, theirs in zip(found, score_maps(image, hand3d), strict=True):
        assert np.abs(theirs).max() > 0.05
        for channel, joint in enumerate(TIP_TO_BASE):
            np.testing.assert_allclose(
                ours[0, JOINT_NAMES.index(joint)].numpy(), theirs[..., channel], atol=1e-4
            )


class _Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_what_is_wrong_with_a_posenet_is_said(hand3d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, network = tmp_path / "w.pickle", PoseNet()
    small = {name: np.zeros(1, np.float32) for name in hand3d}
    key = "PoseNet2D/conv4_3/weights"
    for changes, said in (
        ({key: None}, "w.pickle: has no PoseNet2D/conv4_3/weights"),
        ({key: np.zeros((3, 3, 2, 2))}, "w.pickle: does not fit PoseNet"),
        ({"PoseNet2D/conv9_9/biases": np.zeros(1)}, "conv9_9/biases, which PoseNet does not have"),
        ({key: _Evil()}, r"w.pickle: refused to load posix\.system"),
    ):
        arrays = {n: a for n, a in {**small, **changes}.items() if a is not None}
        file.write_bytes(pickle.dumps(arrays, protocol=2))
        with pytest.raises(ValueError, match=said):
            load_posenet(network, file)
    assert not (tmp_path / "pwned").exists()


def torchvision_state() -> dict[str, torch.Tensor]:
    """The names and shapes of torchvision's resnet50, filled with random numbers."""
    draws = torch.Generator().manual_seed(0)
    state = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    inputs = 64
    for layer, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            shapes = ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for k, shape in enumerate(shapes, 1):
                state |= {f"{at}.conv{k}.weight": shape, **_norm(f"{at}.bn{k}", shape[0])}
            if block == 0:
                state[f"{at}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                state |= _norm(f"{at}.downsample.1", 4 * width)
            inputs = 4 * width
    state |= {"fc.weight": (1000, 2048), "fc.bias": (1000,)}
    made = {}
    for name, shape in state.items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(7)
        elif name.endswith(("running_var", "bn1.weight", "bn2.weight", "downsample.1.weight")):
            made[name] = 0.5 + torch.rand(shape, generator=draws)
        else:
            fan = int(np.prod(shape[1:])) or 1
            made[name] = torch.randn(shape, generator=draws) * (1.4 / fan**0.5)
    return made


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (width,) for kind in kinds} | {f"{name}.num_batches_tracked": ()}


def resnet(x: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """torchvision's resnet50 up to the pooled features, written out."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return functional.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(x, name, **options):
        return functional.conv2d(x, state[f"{name}.weight"], **options)

    x = norm(conv(x, "conv1", stride=2, padding=3), "bn1").relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            at, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(conv(x, f"{at}.conv1"), f"{at}.bn1").relu()
            y = norm(conv(y, f"{at}.conv2", stride=stride, padding=1), f"{at}.bn2").relu()
            y = norm(conv(y, f"{at}.conv3"), f"{at}.bn3")
            if block == 0:
                x = norm(conv(x, f"{at}.downsample.0", stride=stride), f"{at}.downsample.1")
            x = (x + y).relu()
    return x.mean((2, 3))


def test_both_go_into_one_file_that_training_can_start_from(hand3d, tmp_path, capsys):
    state = torchvision_state()
    assert len(state) == 320, "as many entries as torchvision's has"
    torch.save(state, tmp_path / "resnet50.pth")
    network = ResNet50().eval()
    load_resnet(network, tmp_path / "resnet50.pth")
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = network(image)[0], resnet(image, state)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    (tmp_path / "w.pickle").write_bytes(pickle.dumps(hand3d, protocol=2))
    output = tmp_path / "full.safetensors"
    options = ("--posenet", tmp_path / "w.pickle", "--resnet", tmp_path / "resnet50.pth",
               "--output", output)  # fmt: skip
    assert main(["convert-weights", *(str(option) for option in options)]) == 0
    networks = load_networks(output, "full")
    kept = networks.evidence.feature_network.state_dict()["layer3.2.conv2.weight"]
    torch.testing.assert_close(kept, state["layer3.2.conv2.weight"], rtol=1e-3, atol=1e-5)
    assert networks.training["converted"]["posenet"].startswith("w.pickle sha256:")

    torch.save({**state, "layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "resnet50.pth")
    assert main(["convert-weights", *(str(option) for option in options)]) == 2
    assert "resnet50.pth: does not fit ResNet50" in capsys.readouterr().err
    assert main(["convert-weights", "--output", str(output)]) == 2
    assert "give --posenet, --resnet or both" in capsys.readouterr().err


# ---------------------------------------------------------------- EfficientNet-Lite0

# Blocks as the paper's table has them: expansion, kernel, stride, inputs, outputs.
LITE0 = (
    (1, 3, 1, 32, 16), (6, 3, 2, 16, 24), (6, 3, 1, 24, 24), (6, 5, 2, 24, 40), (6, 5, 1, 40, 40),
    (6, 3, 2, 40, 80), (6, 3, 1, 80, 80), (6, 3, 1, 80, 80), (6, 5, 1, 80, 112),
    (6, 5, 1, 112, 112), (6, 5, 1, 112, 112), (6, 5, 2, 112, 192), (6, 5, 1, 192, 192),
    (6, 5, 1, 192, 192), (6, 5, 1, 192, 192), (6, 3, 1, 192, 320),
)  # fmt: skip


def lite0_arrays() -> dict[str, torch.Tensor]:
    """Weights of chance under the names of the published file, classifier included."""
    torch.manual_seed(0)
    arrays = {"_fc.weight": torch.zeros(1000, 1280), "_conv_head.weight": torch.zeros(1280, 320)}

    def layer(convolution: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (2 / (inputs * kernel * kernel)) ** 0.5
        arrays[f"{convolution}.weight"] = spread * torch.randn(outputs, inputs, kernel, kernel)
        arrays[f"{norm}.weight"] = 1 + 0.1 * torch.randn(outputs)
        arrays[f"{norm}.bias"] = 0.1 * torch.randn(outputs)
        arrays[f"{norm}.running_mean"] = 0.1 * torch.randn(outputs)
        arrays[f"{norm}.running_var"] = 0.5 + torch.rand(outputs)
        arrays[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    layer("_conv_stem", "_bn0", 32, 3, 3)
    for number, (expansion, kernel, _, inputs, outputs) in enumerate(LITE0):
        block, inner = f"_blocks.{number}", expansion * inputs
        if expansion > 1:
            layer(f"{block}._expand_conv", f"{block}._bn0", inner, inputs, 1)
        layer(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel)
        layer(f"{block}._project_conv", f"{block}._bn2", outputs, inner, 1)
    return arrays


def lite0(x: torch.Tensor, arrays: dict[str, torch.Tensor]) -> torch.Tensor:
    """The published network up to its last block, on colours about 127 with a spread of 128.

    The picture brings the pixel about it: ours take what lies outside for the mean colour.
    """

    def layer(x, convolution, norm, stride=1, groups=1, active=True, pad=True):
        weight = arrays[f"{convolution}.weight"]
        padding = weight.shape[-1] // 2 if pad else 0
        x = functional.conv2d(x, weight, None, stride, padding, groups=groups)
        numbers = (arrays[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        x = functional.batch_norm(x, *numbers, eps=1e-3)
        return x.clamp(0, 6) if active else x

    x = layer((255 * x - 127) / 128, "_conv_stem", "_bn0", stride=2, pad=False)
    for number, (expansion, _, stride, inputs, outputs) in enumerate(LITE0):
        block, y = f"_blocks.{number}", x
        if expansion > 1:
            y = layer(y, f"{block}._expand_conv", f"{block}._bn0")
        groups = y.shape[1]
        y = layer(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups)
        y = layer(y, f"{block}._project_conv", f"{block}._bn2", active=False)
        x = x + y if stride == 1 and inputs == outputs else y
    return x


def test_the_encoder_computes_what_the_published_one_does(tmp_path):
    file, arrays = tmp_path / "lite0.pth", lite0_arrays()
    torch.save(arrays, file)
    network = EfficientNetLite0()
    load_efficientnet(network, file)
    mean, std = (torch.tensor(part)[:, None, None] for part in (IMAGENET_MEAN, IMAGENET_STD))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = network.eval()((image - mean) / std)
        framed = mean.repeat(1, 66, 66)[None]
        framed[..., 1:-1, 1:-1] = image
        expected = lite0(framed, arrays)
    assert [one.shape[1] for one in found] == [16, 24, 40, 112, 320]
    assert torch.allclose(found[-1], expected, atol=1e-3)


def test_what_is_wrong_with_an_encoder_is_said(tmp_path):
    file, arrays = tmp_path / "lite0.pth", lite0_arrays()
    del arrays["_blocks.7._project_conv.weight"]
    torch.save(arrays, file)
    with pytest.raises(ValueError, match=r"lite0.pth: has no _blocks.7._project_conv.weight"):
        load_efficientnet(EfficientNetLite0(), file)
