"""``dhpe export``: compile the networks for this machine."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_ros.commands import CommandError, one_line
from dhpe_ros.commands.predict import build_config, load_pipeline

if TYPE_CHECKING:
    from torch import Tensor

    from dhpe_ros.engines.build import Built, Operators
    from dhpe_ros.pipeline import HandPipeline

NAME = "export"
SUMMARY = "Compile the networks for this machine, so that the node and predict run them faster."

_EPILOG = """\
The engine goes where `dhpe predict` and the node look for it, the user's cache; with --output, set
model.engines to the same folder. Engines are code for one machine: build them where they run, and
again after another torch, driver, weights file or processor; the message that says so has the
command. Building takes minutes; nothing else ever builds one.

Before anything is written the engine is compared with eager torch on hands of the clip that ships.
With --dry-run nothing is compiled: the report says what the compiler can do of the networks.
Exit code: 0 built; 2 it cannot be built, or is too far from eager torch; 130 interrupted."""

_CROPS = 16  # of the clip that ships
# Option -> setting of the configuration, where they have the same meaning.
_SETTINGS = {
    "profile": "model.profile",
    "weights": "model.weights",
    "hand_model": "model.hand_model",
    "device": "model.device",
    "output": "model.engines",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--profile", choices=("lite", "full"), help="which networks (default: lite)")
    add("--backend", choices=("auto", "tensorrt", "aoti"), default="auto",
        help="compiler (default: tensorrt on a GPU that has it, else aoti)")  # fmt: skip
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto",
        help="of convolutions (auto: fp16 on GPUs, bf16 on CPUs with AMX, or fp32)")  # fmt: skip
    add("--output", metavar="DIR", help="folder of engines (default: the user's cache)")
    add("--weights", metavar="FILE", help="safetensors instead of the profile's own")
    add("--hand-model", metavar="FILE", help="MANO-format hand instead of the open one")
    add("--device", help="torch device: auto, cpu, cuda ... (default: auto)")
    add("--config", metavar="FILE", help="YAML settings; the options here override them")
    add("--joint-limit", metavar="PX", type=float,
        help="most that a joint may be off (default: 0.5 in fp32, else 2)")  # fmt: skip
    add("--vertex-limit", metavar="MM", type=float,
        help="most that a vertex may be off (default: 0.5 in fp32, else 3)")  # fmt: skip
    add("--dry-run", action="store_true", help="only report the operators; compile nothing")


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dhpe_ros.engines import build
    from dhpe_ros.engines.networks import COMPILERS, precisions
    from dhpe_ros.engines.store import EngineError

    config = build_config(arguments, _SETTINGS)
    pipeline = load_pipeline(config.replace({"model.backend": "eager"}))
    device = pipeline.device
    compiler = arguments.backend
    if compiler == "auto":
        compiler = "aoti" if COMPILERS["tensorrt"].unfit(device, "fp32") else "tensorrt"
    precision = arguments.precision
    if precision == "auto":
        precision = precisions(device)[0]
    logging.getLogger("torch").setLevel(logging.ERROR)  # compilers are talkative
    warnings.simplefilter("ignore", FutureWarning)
    try:
        if arguments.dry_run:
            print(_operators(build.dry_run(pipeline.eager, device, compiler, precision)))
            return 0
        limits = _limits(arguments, build.LIMITS[precision])
        crops = _crops(pipeline)
        with tqdm(total=build.STEPS, unit="step", file=sys.stderr) as bar:

            def progress(step: str) -> None:
                bar.set_description(step)
                bar.update()

            built = build.build(
                pipeline.eager, config.model, device, compiler, precision, crops, limits, progress
            )
    except (build.BuildError, EngineError, OSError) as error:
        raise CommandError(one_line(error)) from error
    print(_report(built))
    return 0


def _limits(arguments: argparse.Namespace, defaults: tuple[float, float]) -> tuple[float, float]:
    given = arguments.joint_limit, arguments.vertex_limit
    for name, value in zip(("joint", "vertex"), given, strict=True):
        if value is not None and not value > 0:
            raise CommandError(f"--{name}-limit must be > 0, got {value}")
    joint, vertex = (
        default if value is None else value for value, default in zip(given, defaults, strict=True)
    )
    return joint, vertex


def _crops(pipeline: HandPipeline) -> Tensor:
    """``(N, 3, 224, 224)``: the hand in frames of the clip that ships, where its labels say."""
    import numpy as np

    import dhpe_ros
    from dhpe_ros.crop import crop_image
    from dhpe_ros.hand_search import joints_box
    from dhpe_ros.media import open_media

    clip = Path(dhpe_ros.__file__).parent / "assets/demo_clip.mp4"
    labels = json.loads(clip.with_suffix(".json").read_text("utf-8"))["frames"]
    step = max(1, len(labels) // _CROPS)
    crops = [
        crop_image(frame.image, joints_box(np.array(label["joints_px"]), pipeline.config.tracking))
        for frame, label in islice(
            zip(open_media(clip).frames(), labels, strict=False), 0, step * _CROPS, step
        )
    ]
    return pipeline.batch(crops)


def _report(built: Built) -> str:
    parity = built.parity
    return "\n".join(
        (
            _operators(built.operators),
            f"off eager torch on {parity.crops} crops: joints {parity.joints_px_mean:.3f} px "
            f"(most {parity.joints_px_max:.3f}), vertices {parity.vertices_mm_mean:.3f} mm "
            f"(most {parity.vertices_mm_max:.3f})",
            f"a crop takes {built.compiled_ms:.1f} ms, {built.eager_ms:.1f} ms in eager float32: "
            f"{built.eager_ms / built.compiled_ms:.1f} times as fast",
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
