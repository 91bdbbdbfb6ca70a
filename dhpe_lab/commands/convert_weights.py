"""``dhpe convert-weights``: published networks into a file that training can start from."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from dhpe_lab.commands.settings_options import refused
from dhpe_ros.system.errors import CommandError

NAME = "convert-weights"
SUMMARY = "Convert hand3d's PoseNet and torchvision's ResNet-50 into weights of the full profile."

_EPILOG = """\
What is not given stays untrained, as do the heads of the mesh: the result is where to start, with
  dhpe train model.profile=full model.initial=FILE.safetensors
Whoever gives these files has their licences to keep. No code in them is run.
Exit code: 0 done, 2 the request cannot be met."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--posenet", metavar="FILE.pickle", type=Path, help="hand3d's weights with PoseNet2D/...")
    add("--resnet", metavar="FILE.pth", type=Path, help="torchvision's resnet50 checkpoint")
    add("--output", metavar="FILE.safetensors", type=Path, required=True, help="where to write")


@refused()
def run(arguments: argparse.Namespace) -> int:
    import torch

    from dhpe_lab.training.published_weights import load_posenet, load_resnet
    from dhpe_ros.networks.weights import build_networks, save_networks

    given = {name: getattr(arguments, name) for name in ("posenet", "resnet")}
    given = {name: path for name, path in given.items() if path}
    if not given:
        raise CommandError("nothing to convert: give --posenet, --resnet or both")
    if arguments.output.suffix != ".safetensors":
        raise CommandError(f"--output must end in .safetensors, got {arguments.output}")
    torch.manual_seed(0)
    networks = build_networks("full")
    if "posenet" in given:
        load_posenet(networks.evidence.joint_network, given["posenet"])
    if "resnet" in given:
        load_resnet(networks.evidence.feature_network, given["resnet"])
    sources = {
        name: f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for name, path in given.items()
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_networks(networks, arguments.output, {"converted": sources})
    print(f"{', '.join(str(path) for path in given.values())} -> {arguments.output}")
    return 0
