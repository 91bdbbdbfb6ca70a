"""``dhpe export``: compile the networks, or write them for another runtime."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_ros.cli.loading import load_pipeline
from dhpe_ros.cli.predict import build_config
from dhpe_ros.system.errors import CommandError, one_line

if TYPE_CHECKING:
    import numpy as np

    from dhpe_ros.engines.build import Views
    from dhpe_ros.geometry.crop import Crop
    from dhpe_ros.pipeline import HandPipeline

NAME = "export"
SUMMARY = "Compile the networks for this machine, or write them for another runtime."

_EPILOG = """\
CPUs run the networks compiled without this command. It is for other weights in int8 (with nncf),
for engines of TensorRT, and for ONNX files (with onnx, onnxscript).

Compiled networks are written to the user's cache, where `dhpe predict` and the node look for them,
or to --output, which must then be model.engines too. Before, they are compared with eager torch.
Exit code: 0 written; 2 not built, or too far from eager torch; 130 interrupted."""

_FRAMES = 32  # of the clip that ships; half of them are compared
# Option -> setting of the configuration, where they have the same meaning.
_SETTINGS = {
    "profile": "model.profile",
    "weights": "model.weights",
    "localiser": "model.localiser",
    "hand_model": "model.hand_model",
    "hand_layer": "model.hand_layer",
    "precision": "model.precision",
    "device": "model.device",
    "output": "model.engines",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--profile", choices=("lite", "full"), help="which networks (default: lite)")
    add("--format", "--backend", dest="format", choices=("auto", "openvino", "tensorrt", "onnx"),
        default="auto", help="auto: tensorrt for a GPU, openvino for a CPU")  # fmt: skip
    add("--precision", choices=("auto", "fp32", "bf16", "fp16", "int8"),
        help="of convolutions (auto, the default: fp16 on GPUs, int8 on CPUs with VNNI, else bf16 "
        "or fp32)")  # fmt: skip
    add("--output", metavar="DIR", help="folder to write to (default: the user's cache)")
    add("--weights", metavar="FILE", help="safetensors instead of the profile's own")
    add("--localiser", metavar="FILE", help="safetensors of another hand localiser")
    add("--hand-model", metavar="FILE", help="MANO-format hand instead of the open one")
    add("--hand-layer", choices=("own", "manopth"), help="hand layer (default: own)")
    add("--device", help="torch device: auto, cpu, cuda ... (default: auto)")
    add("--config", metavar="FILE", help="YAML settings; the options here override them")
    add("--pictures", metavar="DIR", help="folder of 100 or more varied pictures, most with hands, "
        "from which int8 takes its ranges (default: frames of the clip that ships)")  # fmt: skip
    add("--force", action="store_true", help="write them however far from eager torch they are")


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dhpe_ros.engines import build
    from dhpe_ros.engines.store import EngineError
    from dhpe_ros.media import MediaError

    config = build_config(arguments, _SETTINGS)
    if arguments.format == "onnx" and not arguments.output:
        raise CommandError("--format onnx needs --output DIR")
    pipeline = load_pipeline(config.replace({"model.backend": "eager"}))
    eager, device, backend = pipeline.eager, pipeline.device, arguments.format
    if backend == "auto":
        backend = "tensorrt" if device.type == "cuda" else "openvino"
    logging.getLogger("torch").setLevel(logging.ERROR)  # its compilers' warnings
    warnings.simplefilter("ignore")
    try:
        ranges = None
        if arguments.pictures and backend != "onnx":
            ranges = _ranges(pipeline, arguments.pictures)
        with tqdm(total=build.STEPS, unit="step") as bar:

            def progress(step: str) -> None:
                bar.set_description(step)
                bar.update()

            if backend == "onnx":
                paths = build.write_onnx(eager, Path(arguments.output), progress)
            else:
                rest = _views(pipeline), ranges, progress, arguments.force
                paths, parity = build.build(eager, config.model, device, backend, *rest)
                bar.write(str(parity))
    except (EngineError, MediaError, OSError) as error:
        raise CommandError(one_line(error)) from error
    print("\n".join(f"{path.stat().st_size / 1e6:.1f} MB -> {path}" for path in paths))
    return 0


def _views(pipeline: HandPipeline) -> Views:
    """Frames of the clip that ships, and the crops of the hand by its labels."""
    import numpy as np

    from dhpe_ros.detection.localiser import shrunk
    from dhpe_ros.detection.search import joints_box
    from dhpe_ros.files.resources import DEMO_CLIP
    from dhpe_ros.geometry.crop import crop_image
    from dhpe_ros.media import open_media

    labels = json.loads(DEMO_CLIP.with_suffix(".json").read_text("utf-8"))["frames"]
    step = max(1, len(labels) // _FRAMES)
    frames = zip((frame.image for frame in open_media(DEMO_CLIP).frames()), labels, strict=False)
    crops, pictures = [], []
    for image, label in islice(frames, 0, step * _FRAMES, step):
        box = joints_box(np.array(label["joints_px"]), pipeline.config.tracking)
        crops.append(crop_image(image, box))
        pictures.append(shrunk(image)[0])
    return _as_views(pipeline, crops, pictures)


def _ranges(pipeline: HandPipeline, folder: str) -> Views:
    """The pictures of a folder, and crops of all hands that are found in them.

    Raises ``MediaError``.
    """
    from tqdm import tqdm

    from dhpe_ros.detection.localiser import shrunk
    from dhpe_ros.geometry.crop import crop_image
    from dhpe_ros.media import MediaError, open_media
    from dhpe_ros.types import Side

    crops, pictures = [], []
    for frame in tqdm(open_media(folder).frames(), desc="find hands", unit="picture"):
        pictures.append(shrunk(frame.image)[0])
        found = pipeline.find(frame.image)
        crops += [crop_image(frame.image, hand.box, hand.side is Side.LEFT) for hand in found]
    if not crops:
        raise MediaError(folder, "no hand is found in its pictures")
    return _as_views(pipeline, crops, pictures)


def _as_views(pipeline: HandPipeline, crops: list[Crop], pictures: list[np.ndarray]) -> Views:
    """Crops, and pictures as the localiser sees them."""
    import numpy as np
    import torch

    from dhpe_ros.engines.build import Views
    from dhpe_ros.engines.networks import as_floats

    seen = torch.from_numpy(np.stack(pictures)).to(pipeline.device).permute(0, 3, 1, 2)
    return Views(as_floats(pipeline.batch(crops)), seen)
