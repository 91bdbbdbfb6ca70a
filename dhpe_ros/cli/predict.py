"""``dhpe predict``: hands in images and videos, written as JSON, overlays and meshes."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from dhpe_ros.cli.output_names import MESH_FORMATS
from dhpe_ros.config import Config
from dhpe_ros.geometry.camera import INTRINSICS, Camera
from dhpe_ros.system.errors import CommandError, one_line

NAME = "predict"
SUMMARY = "Find hands in images and videos and write joints, meshes and overlays."

_EPILOG = """\
Written per image, STEM being the image's name without its suffix:
  STEM.json          sides, scores, joints in pixels and metres, parameters, residuals, camera
  STEM_overlay.jpg   the image with the meshes drawn over it
  STEM_0.obj ...     one mesh per hand; metres, camera frame: x right, y down, z forward
                     (--mesh glb: y up, z backward)

Per video, camera (until --frames or Ctrl-C) or recording, through the tracker:
  STEM_000000.json ...  one per frame
  STEM_overlay.mp4      the overlays as a clip
  STEM_0.obj ...        one mesh per track, of its best frame (--every-mesh: of every frame,
                        as STEM_000000_0.obj)
  STEM_bag/             with --bag: a rosbag2 recording of /hand/hands, meshes, mask, camera_info
                        and points, as the node would have published them

Of all inputs together:
  --csv FILE.csv        one row per hand and picture: joints, parameters, side, track, stamp
  --rerun FILE.rrd      pictures, depth, joints and meshes for the viewer rerun

A folder stands for the images and videos in it. Results of an earlier run are no input; they are
removed where the same stem is written again. Where two inputs have the same stem, the second is
written as STEM_2, and so on. Many inputs are shared between processes, and between machines where
torchrun starts this command on each. Exit code: 0 all done; 1 some inputs failed, the others are
done; 2 the request is wrong; 130 interrupted."""

# Option -> setting of the configuration, where they have the same meaning.
_SETTINGS = {
    "profile": "model.profile",
    "weights": "model.weights",
    "hand_model": "model.hand_model",
    "device": "model.device",
    "backend": "model.backend",
    "refine": "refinement.steps",
    "box": "tracking.box",
    "side": "tracking.side",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    inputs = "image, video, folder, /dev/video0, or rosbag2 recording (folder, .mcap, .db3)"
    add("inputs", metavar="INPUT", nargs="+", type=Path, help=inputs)
    add("--output", metavar="DIR", required=True, type=Path, help="where to write; made if missing")
    add("--profile", choices=("lite", "full"), help="which networks (default: lite)")
    add("--refine", metavar="N", type=int, help="refinement steps; 0 turns it off (default: 50)")
    add(
        "--box",
        metavar="x,y,w,h",
        help="box of the hand in pixels, or full, the whole image (default: full)",
    )
    add("--side", choices=("auto", "left", "right"), help="side of the hand (default: auto)")
    lens = "of the camera, in pixels; MODEL and k: distortion_model and D of raw images, as in ROS"
    add("--intrinsics", metavar=INTRINSICS, help=lens)
    add("--hand-model", metavar="FILE", help="MANO-format hand instead of the open one")
    add("--weights", metavar="FILE", help="safetensors instead of the profile's own")
    add("--device", help="torch device: auto, cpu, cuda ... (default: auto)")
    add("--backend", choices=("auto", "tensorrt", "openvino", "cuda_graphs", "eager"),
        help="backend of the networks (default: the fastest that there is)")  # fmt: skip
    add("--config", metavar="FILE", help="YAML settings; the options here override them")
    add("--topic", default="", help="image topic of a recording (default: the busiest one)")
    add("--depth", metavar="TOPIC", default="",
        help="depth topic of a recording, registered to its images")  # fmt: skip
    add("--frames", metavar="N", type=int, help="maximum number of frames of each video or camera")
    add("--bag", choices=("mcap", "sqlite3"), help="also write a recording of each sequence")
    meshes = "format of meshes (default: obj)"
    add("--mesh", choices=(*MESH_FORMATS, "none"), default="obj", help=meshes)
    add("--no-overlay", action="store_true", help="write no pictures and clips with meshes in them")
    add("--every-mesh", action="store_true", help="write the mesh of every video frame")
    add("--csv", metavar="FILE.csv", type=_file(".csv"), help="also write all hands as one table")
    add("--rerun", metavar="FILE.rrd", type=_file(".rrd"), help="also write a recording for rerun")
    jobs = "number of processes (default: for many inputs one per core; on a GPU one)"
    add("--jobs", metavar="N", type=int, help=jobs)
    resume = "leave out what the last run into this folder has finished with the same options"
    add("--resume", action="store_true", help=resume)


def run(arguments: argparse.Namespace) -> int:
    from dhpe_ros.cli.prediction import Prediction
    from dhpe_ros.media.frames import MediaError
    from dhpe_ros.system.ranks import Ranks

    config = build_config(arguments)
    try:
        intrinsics = Camera.parse(arguments.intrinsics) if arguments.intrinsics else None
    except ValueError as error:
        raise CommandError(f"--intrinsics: {one_line(error)}") from error
    if arguments.frames is not None and arguments.frames < 1:
        raise CommandError(f"--frames must be >= 1, got {arguments.frames}")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise CommandError(f"--jobs must be >= 1, got {arguments.jobs}")
    prepare_output(arguments.output)
    for option, path in (("--csv", arguments.csv), ("--rerun", arguments.rerun)):
        if path is not None:
            prepare_output(path.parent, option)
    with Ranks() as ranks:
        if arguments.rerun is not None and (arguments.resume or ranks.count > 1):
            raise CommandError("--rerun records one whole run: leave out --resume, and torchrun")
        prediction = Prediction(config, arguments, intrinsics, ranks)
        try:
            prediction.run()
        except OSError as error:
            raise CommandError(f"cannot write to {arguments.output}: {one_line(error)}") from error
        except MediaError as error:
            raise CommandError(one_line(error)) from error
        except KeyboardInterrupt:
            if arguments.rerun is None:
                print("dhpe: to go on, add --resume to the command", file=sys.stderr)
            raise
        finally:
            print(prediction.summary(), end="")
    return 1 if prediction.total.failed else 0


def build_config(arguments: argparse.Namespace, settings: Mapping[str, str] = _SETTINGS) -> Config:
    """The configuration of ``--config`` and options, which override it.

    ``settings`` maps options to settings. Raises ``CommandError``.
    """
    options = vars(arguments)
    changes = {name: options[key] for key, name in settings.items() if options[key] is not None}
    try:
        base = Config.from_yaml(arguments.config) if arguments.config else Config()
        return base.replace(changes)
    except OSError as error:
        raise CommandError(f"cannot read {arguments.config}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(one_line(error)) from error


def _file(suffix: str) -> Callable[[str], Path]:
    """Reader of an output's name; the suffix keeps it apart from the inputs."""

    def parse(text: str) -> Path:
        if Path(text).suffix != suffix:
            raise argparse.ArgumentTypeError(f"must end in {suffix}, got {text!r}")
        return Path(text)

    return parse


def prepare_output(folder: Path, option: str = "--output") -> None:
    """Make the folder, and check that it is writable. Raises ``CommandError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"cannot write to {option} {folder}: {reason}") from error
