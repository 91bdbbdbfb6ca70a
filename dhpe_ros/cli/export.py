"""``dhpe export``: compile the networks for this machine."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from itertools import islice
from typing import TYPE_CHECKING

from dhpe_ros.cli.predict import build_config, load_pipeline
from dhpe_ros.system.errors import CommandError, one_line

if TYPE_CHECKING:
    from dhpe_ros.engines.build import Built, Operators, Views
    from dhpe_ros.pipeline import HandPipeline

NAME = "export"
SUMMARY = "Compile the networks for this machine, so that the node and predict run them faster."

_EPILOG = """\
The engine is written to the user's cache, where `dhpe predict` and the node look for it; with
--output, set model.engines to the same folder. Engines are code for one machine: build them where
they run, and again after a change of torch, driver, weights file or processor; a message then names
the command. Building takes minutes; nothing else builds an engine.

Before it is written, the engine is compared with eager torch on frames of the clip that ships. With
--dry-run nothing is compiled: the report lists the operators that the compiler supports.
Exit code: 0 built; 2 it cannot be built, or differs too much from eager torch; 130 interrupted."""

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
    add("--backend", choices=("auto", "tensorrt", "aoti"), default="auto",
        help="compiler (auto: that of model.backend in the settings, else tensorrt on a GPU that "
        "has it, else aoti)")  # fmt: skip
    add("--precision", choices=("auto", "fp32", "bf16", "fp16", "int8"),
        help="of convolutions (auto, the default: fp16 on GPUs, bf16 on CPUs with AMX, int8 on "
        "those with VNNI, else fp32)")  # fmt: skip
    add("--output", metavar="DIR", help="folder of engines (default: the user's cache)")
    add("--weights", metavar="FILE", help="safetensors instead of the profile's own")
    add("--localiser", metavar="FILE", help="safetensors of another hand localiser")
    add("--hand-model", metavar="FILE", help="MANO-format hand instead of the open one")
    add(
        "--hand-layer",
        choices=("own", "manopth"),
        help="implementation of the hand model (default: own)",
    )
    add("--device", help="torch device: auto, cpu, cuda ... (default: auto)")
    add("--config", metavar="FILE", help="YAML settings; the options here override them")
    add("--joint-limit", metavar="PX", type=float,
        help="maximum error of a joint (default: 0.5 in fp32, 16 in int8, else 4)")  # fmt: skip
    add("--vertex-limit", metavar="MM", type=float,
        help="maximum error of a vertex (default: 0.5 in fp32, 8 in int8, else 3)")  # fmt: skip
    add("--dry-run", action="store_true", help="report the operators; compile nothing")


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dhpe_ros.engines import build
    from dhpe_ros.engines.interruption import children_end_too
    from dhpe_ros.engines.networks import COMPILERS, precisions_of
    from dhpe_ros.engines.store import EngineError

    config = build_config(arguments, _SETTINGS)
    compiler = _compiler(arguments.backend, config.model.backend)
    pipeline = load_pipeline(config.replace({"model.backend": "eager"}))
    device = pipeline.device
    if compiler == "auto":
        compiler = "aoti" if COMPILERS["tensorrt"].unfit(device, "fp32") else "tensorrt"
    precision = precisions_of(config.model, device)[0]
    logging.getLogger("torch").setLevel(logging.ERROR)  # its compilers' warnings
    warnings.simplefilter("ignore", FutureWarning)
    try:
        views = _views(pipeline)
        if arguments.dry_run:
            print(_operators(build.dry_run(pipeline.eager, device, compiler, precision, views)))
            return 0
        limits = _limits(arguments, build.LIMITS[precision])
        bar = tqdm(total=build.STEPS, unit="step", file=sys.stderr)
        with bar, children_end_too():

            def progress(step: str) -> None:
                bar.set_description(step)
                bar.update()

            built = build.build(
                pipeline.eager, config.model, device, compiler, precision, views, limits, progress
            )
    except (build.BuildError, EngineError, OSError) as error:
        raise CommandError(one_line(error)) from error
    print(_report(built))
    return 0


def _compiler(option: str, backend: str) -> str:
    """The option; where that is auto, the compiler of the backend in the settings."""
    from dhpe_ros.engines.networks import COMPILER_OF

    if option != "auto" or backend == "auto":
        return option
    if backend not in COMPILER_OF:
        raise CommandError(
            f"there is nothing to build for model.backend {backend!r}; change it, or give --backend"
        )
    return COMPILER_OF[backend]


def _limits(arguments: argparse.Namespace, defaults: tuple[float, float]) -> tuple[float, float]:
    given = arguments.joint_limit, arguments.vertex_limit
    for name, value in zip(("joint", "vertex"), given, strict=True):
        if value is not None and not value > 0:
            raise CommandError(f"--{name}-limit must be > 0, got {value}")
    joint, vertex = (
        default if value is None else value for value, default in zip(given, defaults, strict=True)
    )
    return joint, vertex


def _views(pipeline: HandPipeline) -> Views:
    """Frames of the clip that ships, and the crops of the hand by its labels."""
    import numpy as np
    import torch

    from dhpe_ros.detection.localiser import shrunk
    from dhpe_ros.detection.search import joints_box
    from dhpe_ros.engines.build import Views
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
        pictures.append(torch.from_numpy(shrunk(image)[0]).permute(2, 0, 1))
    return Views(pipeline.batch(crops), torch.stack(pictures).to(pipeline.device))


def _report(built: Built) -> str:
    parity = built.parity
    return "\n".join(
        (
            _operators(built.operators),
            f"error on {parity.frames} frames: joints {parity.joints_px_mean:.3f} px "
            f"(max {parity.joints_px_max:.3f}), vertices {parity.vertices_mm_mean:.3f} mm "
            f"(max {parity.vertices_mm_max:.3f}), boxes {parity.boxes_px_mean:.3f} px "
            f"(max {parity.boxes_px_max:.3f})",
            *(
                f"a {what} takes {times.compiled_ms:.1f} ms, {times.eager_ms:.1f} ms in eager "
                f"float32: {times.eager_ms / times.compiled_ms:.1f} times as fast"
                for what, times in built.times.items()
            ),
            f"{built.bytes / 1e6:.1f} MB, built in {built.seconds:.0f} s -> {built.sidecar}",
        )
    )


def _operators(operators: Operators) -> str:
    able, unable = operators.supported, operators.unsupported
    lines = [f"operators: {sum(able.values())} compiled, of {len(able)} kinds"]
    if unable:
        names = ", ".join(f"{name} ({count})" for name, count in unable.items())
        lines.append(f"left to torch: {names}")
    return "\n".join(lines)
