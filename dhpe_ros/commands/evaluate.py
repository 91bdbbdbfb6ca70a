"""``dhpe evaluate``: how far off the pipeline is on labelled hands, printed and as JSON."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_ros.commands import CommandError, one_line
from dhpe_ros.commands.predict import load_pipeline
from dhpe_ros.config import Config

if TYPE_CHECKING:
    from dhpe_ros.evaluation.labelled import LabelledSet

NAME = "evaluate"
SUMMARY = "Measure 2D, 3D and mask errors on labelled hands."

_EPILOG = """\
Sets:
  synthetic   2,000 rendered hands with exact labels; rendered once, kept in the user's cache
  signs, wild the hands of these folders in --real that are not marked train
  FOLDER      RHD_published_v2: its 2,728 evaluation pictures, the hand of more pixels in each;
              STB's images/ and labels/: B1, the 6,000 pictures of the stereo camera;
              or labelled pictures in the format of docs/training.md
  FILE        a picture or a video with a labels.json beside it

Figures, null where a set has no such labels:
  auc_20_50   area under the 3D-PCK curve from 20 to 50 mm, 0..1, of the joints in sight where a
              set says which are; alignment says how aligned
  err2d_pct   mean distance of the mesh's joints in the picture, in percent of the longer side of
              the joints' box; err2d_median_pct is the median over the hands
  pck10       share of the joints that lie within 10 % of that side
  mask_iou    mean overlap of the mesh's silhouette with the mask; where a mask may show the
              forearm, what lies beyond the wrist is left out
  found_pct   hands that score as one; side_pct: hands whose side the networks tell right
Hands are given by the label's box and side; with --search nothing is given, and the errors are
those of the hands that were found. Exit code: 0 done, 2 the request cannot be met."""

_TABLE = (
    ("n", "{}"), ("found_pct", "{:.1f}"), ("side_pct", "{:.1f}"), ("err2d_pct", "{:.2f}"),
    ("err2d_median_pct", "{:.2f}"), ("pck10", "{:.3f}"), ("mask_iou", "{:.3f}"),
    ("auc_20_50", "{:.3f}"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--set", metavar="SET", required=True, help="synthetic, signs, wild, FOLDER or FILE")
    add("--json", metavar="FILE", type=Path, help="where to write the figures")
    add("--real", metavar="FOLDER", type=Path, default=Path("../shared/real"),
        help="where signs and wild are (default: %(default)s)")  # fmt: skip
    add("--search", action="store_true", help="search for the hands in the whole pictures")
    add("--profile", choices=("lite", "full"), default="lite", help="which networks (%(default)s)")
    add("--weights", metavar="FILE", type=Path, help="safetensors instead of the profile's own")
    add("--refine", metavar="N", type=int, default=Config().refinement.steps,
        help="refinement steps (default: %(default)s)")  # fmt: skip
    add("--limit", metavar="N", type=int, help="at most so many hands")
    add("--seed", metavar="N", type=int, help="which hands --limit draws; which synthetic ones")
    add("--device", default="auto", help="torch device: auto, cpu, cuda ... (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dhpe_ros.evaluation.predict import predict
    from dhpe_ros.evaluation.score import score, summary
    from dhpe_ros.weights import weights_path

    _check(arguments)
    settings = {
        "model.profile": arguments.profile,
        "model.weights": str(arguments.weights or ""),
        "model.device": arguments.device,
        "refinement.steps": arguments.refine,
    }
    try:
        config = Config().replace(settings)
        labelled = open_set(arguments.set, arguments.real, arguments.limit, arguments.seed)
        pipeline = load_pipeline(config)
        weights = arguments.weights or weights_path(arguments.profile)
        predictions = predict(pipeline, labelled, arguments.search)
        bar = tqdm(predictions, total=len(labelled.hands), unit="hand", smoothing=0)
        figures = summary([score(prediction) for prediction in bar])
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error
    result = {
        "set": labelled.name,
        "hands": "searched for" if arguments.search else "boxes and sides of the labels",
        **figures,
        "weights": f"{weights.name} sha256:{_digest(weights)[:12]}",
        "profile": arguments.profile,
        "refinement_steps": arguments.refine,
        "device": str(pipeline.device),
    }
    print(_table(result))
    if arguments.json:
        _write(arguments.json, result)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """What would only fail after the work is done. Raises ``CommandError``."""
    if arguments.limit is not None and arguments.limit < 1:
        raise CommandError(f"--limit must be >= 1, got {arguments.limit}")
    if arguments.seed is not None and arguments.seed < 0:
        raise CommandError(f"--seed must be >= 0, got {arguments.seed}")
    if arguments.json and not arguments.json.parent.is_dir():
        raise CommandError(f"--json {arguments.json}: there is no folder {arguments.json.parent}")


def open_set(name: str, real: Path, limit: int | None, seed: int | None) -> LabelledSet:
    """What ``--set`` names. Errors as in ``open_labelled``; ``CommandError`` without ``real``."""
    from dhpe_ros.evaluation.labelled import open_labelled
    from dhpe_ros.evaluation.synthetic_set import SEED, open_synthetic

    if name == "synthetic":
        return open_synthetic(limit, SEED if seed is None else seed)
    if name not in ("signs", "wild"):
        return open_labelled(Path(name)).part(limit, seed or 0)
    if not real.is_dir():
        raise CommandError(
            f"{name}: there is no folder {real}; name the one that holds {name}/ "
            "with --real FOLDER (docs/training.md describes it)"
        )
    return open_labelled(real / name, name).part(limit, seed or 0)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _table(result: dict) -> str:
    """Names over numbers; a dash where there is none."""
    cells = [("-" if result[k] is None else form.format(result[k])) for k, form in _TABLE]
    widths = [max(len(key), len(cell)) for (key, _), cell in zip(_TABLE, cells, strict=True)]
    rows = ([key for key, _ in _TABLE], cells)
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    about = f"{result['set']} ({result['hands']}), {result['weights']}, "
    about += f"{result['refinement_steps']} refinement steps, {result['device']}"
    return "\n".join([about, *lines])


def _write(path: Path, result: dict) -> None:
    try:
        path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", "utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
