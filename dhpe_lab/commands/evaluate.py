"""``dhpe evaluate``: errors of the pipeline and of other methods; printed, JSON, a report."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_lab.commands.settings_options import read_changes, refused
from dhpe_lab.evaluation.methods import METHODS, STUDY_STEPS
from dhpe_ros.cli.loading import load_pipeline
from dhpe_ros.cli.predict import prepare_output
from dhpe_ros.config import Config
from dhpe_ros.system.errors import CommandError

if TYPE_CHECKING:
    from dhpe_lab.evaluation.labelled import LabelledSet
    from dhpe_lab.evaluation.measure import Measured
    from dhpe_ros.pipeline import HandPipeline

NAME = "evaluate"
SUMMARY = "Measure 2D, 3D and mask errors on labelled hands, and write a report."

_EPILOG = """\
Sets:
  synthetic   2,000 rendered hands with exact labels; rendered once, kept in the user's cache
  demo        the rendered clip that ships, with exact labels
  signs, wild, wild2
              the hands of these folders in --real that are not marked train
  frames, frames2, negatives
              the whole pictures of these folders that are not marked train, or with --split all
              whatever their mark, searched as a user's are; figures of their own, below
  FOLDER      RHD_published_v2: its 2,728 evaluation pictures, the hand of more pixels in each;
              STB's images/ and labels/: B1, the 6,000 pictures of the stereo camera;
              Dexter+Object's data/: 3,014 pictures with finger tips;
              labelled pictures in the format of docs/reference/data.md; or pictures without labels
  FILE        a picture, a video or a rosbag2 recording, with a labels.json beside it or without

Figures, null where a set has no such labels:
  auc_20_50   area under the 3D-PCK curve from 20 to 50 mm, 0..1, of the joints in sight where a
              set says which are; alignment says how aligned; _all: hands not found are wrong
  err2d_pct   mean distance of the joints in the picture, in percent of the longer side of the
              labelled joints' box; err2d_median_pct is the median over the hands; _px in pixels
  pck10       share of the joints that lie within 10 % of that side
  mask_iou    mean overlap of the mesh's silhouette with the mask; where a mask may show the
              forearm, what lies beyond the wrist is left out
  found_pct   hands that score as one; side_pct: hands whose side the networks tell right
  details     errors by alignment, joint and finger, all pixels' mask figures, calibration, jitter
Of whole pictures, a hand being found if its joints lie within half the labelled box in the mean:
  recall, recall_small   share of the hands found; of those shorter than 15 % of the picture
  precision   share of what was found that is a labelled hand; what lies in a box of ignore is
              left out
  with_hand_pct   pictures in which a hand was found; the others as above, of the found hands
  faults   hands missed, on the wrong side or 15 % off, and found where none is; --report shows them

Methods:
{methods}

Hands are given by the label's box and side; with --search, or where there are no labels, nothing is
given, and the errors are those of the hands that were found. Predictions are kept in the user's
cache, by set, method, settings, weights and code: the same command again only scores, and one that
was interrupted goes on. On several GPUs or CPU processes:
  torchrun --nproc-per-node 2 -m dhpe_ros.cli evaluate --set RHD_published_v2 --report report
Exit code: 0 done, 2 the request cannot be met, 130 interrupted."""

CROPS = ("signs", "wild", "wild2")
WHOLE_PICTURES = ("frames", "frames2", "negatives")
_TABLE = (
    ("n", "{}"), ("found_pct", "{:.1f}"), ("side_pct", "{:.1f}"), ("err2d_pct", "{:.2f}"),
    ("err2d_median_pct", "{:.2f}"), ("pck10", "{:.3f}"), ("mask_iou", "{:.3f}"),
    ("auc_20_50", "{:.3f}"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    methods = (f"  {name:11} {about}" for name, about in METHODS.items())
    parser.epilog = _EPILOG.replace("{methods}", "\n".join(methods))
    add = parser.add_argument
    add("--set", metavar="SET", nargs="+", required=True,
        help="a name of the list below, FOLDER or FILE, one or more")  # fmt: skip
    add("--json", metavar="FILE", type=Path, help="where to write the figures of one set")
    add("--report", metavar="DIR", type=Path, help="where to write report.html and report.md")
    add("--method", metavar="METHOD", nargs="+", default=["dhpe"], choices=tuple(METHODS),
        help="what is measured, one or more of the methods below (default: dhpe)")  # fmt: skip
    add_shared(parser)
    add("--split", choices=("val", "train", "all"), default="val",
        help="which pictures of whole-picture sets (default: %(default)s)")  # fmt: skip
    add("--search", action="store_true", help="search for the hands in the whole pictures")
    add("--refine", metavar="N", type=int, help="refinement steps; 0: none (default: 50)")
    add("--config", metavar="FILE", type=Path, help="YAML settings; the options override them")
    add("--settings", metavar="SECTION.NAME=VALUE", nargs="+", default=[],
        help="further settings, as refinement.optimizer=adam")  # fmt: skip
    add("--range", metavar=("LOW", "HIGH"), type=float, nargs=2,
        help="a further range of 3D-PCK's area, in mm, beside 20 50 and 0 50")  # fmt: skip
    add("--curve", metavar="N", type=int, default=0,
        help="in the report, errors over refinement steps of N hands; seconds each")  # fmt: skip
    add("--limit", metavar="N", type=int, help="at most N hands of each set")
    add("--fresh", action="store_true", help="predict anew what is in the cache")


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Options of ``dhpe study`` too."""
    add = parser.add_argument
    add("--real", metavar="FOLDER", type=Path, default=Path("../shared/real"),
        help="where signs, wild and so on are (default: %(default)s)")  # fmt: skip
    add("--profile", choices=("lite", "full"), help="which networks (default: lite)")
    add("--weights", metavar="FILE", type=Path, help="safetensors instead of the profile's own")
    add("--seed", metavar="N", type=int, help="of --limit, rendered hands and the swarm")
    add("--device", default="auto", help="torch device: auto, cpu, cuda ... (default: auto)")


@refused(RuntimeError, ImportError)
def run(arguments: argparse.Namespace) -> int:
    from dhpe_lab.training import distributed

    _check(arguments)
    if arguments.report:
        prepare_output(arguments.report)
    config = _config(arguments)
    with distributed.joined(arguments.device) as device:
        _evaluate(arguments, config.replace({"model.device": str(device)}))
    return 0


def _evaluate(arguments: argparse.Namespace, config: Config) -> None:
    """Measure all sets with all methods, in all processes; the first one reports."""
    from dhpe_lab.evaluation.measure import RANGES_MM, Question, measure
    from dhpe_ros.files.resources import user_cache

    if arguments.report:
        from dhpe_lab.evaluation.report.report import write_report
    ranges = [*RANGES_MM, *([tuple(arguments.range)] if arguments.range else [])]
    pipeline = functools.cache(lambda: load_pipeline(config))
    folder = user_cache() / "predictions"
    names = list(dict.fromkeys(arguments.set))
    for name in filter(WHOLE_PICTURES.__contains__, names):
        _search_pictures(name, arguments, config, pipeline)
    sets = [_opened_in_turn(n, arguments) for n in names if n not in WHOLE_PICTURES]
    measured: list[Measured] = []
    for labelled in sets:
        for method in dict.fromkeys(arguments.method):
            search = arguments.search or not labelled.gives_boxes
            question = Question(method, search, config, arguments.seed or 0)
            one = measure(labelled, question, pipeline, folder, arguments.fresh, ranges)
            if one is not None:
                measured.append(one)
                print(_table(one), flush=True)
    if not measured:  # another process tells, or whole pictures alone were asked for
        return
    if arguments.json:
        write_json(arguments.json, _flat(measured[0]))
    if arguments.report:
        write_report(arguments.report, measured, ranges, _curves(arguments, measured, pipeline))
        print(arguments.report / "report.html")


def _search_pictures(
    name: str,
    arguments: argparse.Namespace,
    config: Config,
    pipeline: Callable[[], HandPipeline],
) -> None:
    """Print the figures of a whole-picture set, all and by set; write them to ``--json``."""
    from tqdm import tqdm

    from dhpe_lab.datasets.label_files import read_frames
    from dhpe_lab.datasets.labelled_hand import evenly
    from dhpe_lab.evaluation.detection import detection_figures, fault_counts, search_pictures
    from dhpe_lab.evaluation.measure import Question

    folder = _real_set(name, arguments.real)
    splits = {"val": (False,), "train": (True,), "all": (True, False)}[arguments.split]
    frames = [frame for train in splits for frame in read_frames(folder, train)]
    frames = evenly(frames, arguments.limit)
    if not frames:
        raise CommandError(f"{folder}: no picture is marked {arguments.split}")
    searched = list(tqdm(search_pictures(pipeline(), frames), name, len(frames), unit="picture"))
    figures = detection_figures(searched)
    by_set = {
        source: detection_figures([one for one in searched if one.frame.source == source])
        for source in dict.fromkeys(frame.source for frame in frames)
    }
    rows = [["", *figures]]
    for row, of_row in {name: figures, **by_set}.items():
        rows.append([row, *("-" if value is None else f"{value:g}" for value in of_row.values())])
    print(_aligned(rows))
    if arguments.json:
        settings = Question("dhpe", True, config).settings()
        found = {"set": name, "split": arguments.split, **figures}
        more = {"faults": fault_counts(searched), "by_set": by_set, "settings": settings}
        write_json(arguments.json, {**found, **more})
    if arguments.report:
        from dhpe_lab.evaluation.report.detection import write_report

        write_report(arguments.report, name, {name: figures, **by_set}, searched)
        print(arguments.report / "report.html")


def _aligned(rows: list[list[str]]) -> str:
    """Lines of cells, each column to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(lines)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what would fail only after the work. Raises ``CommandError``."""
    if whole := set(arguments.set) & set(WHOLE_PICTURES):
        if arguments.report and len(set(arguments.set)) > 1:
            raise CommandError(f"--report: {min(whole)} has a report of its own; give it alone")
        if arguments.method != ["dhpe"]:
            raise CommandError(f"--method: {min(whole)} is searched by dhpe alone")
    check_least(arguments, limit=1, seed=0, curve=0)
    if arguments.range and not 0 <= arguments.range[0] < arguments.range[1]:
        raise CommandError("--range: LOW must be at least 0 and below HIGH")
    if arguments.curve and not arguments.report:
        raise CommandError("--curve is part of the report; name its folder with --report DIR")
    check_folders(arguments, "json")
    if arguments.json and len(arguments.set) * len(arguments.method) > 1:
        raise CommandError(
            "--json holds the figures of one set and one method; --report DIR writes those of "
            "all to DIR/figures.json"
        )


def check_least(arguments: argparse.Namespace, **least: int) -> None:
    """Refuse an option that is set and below its least value. Raises ``CommandError``."""
    for name, lowest in least.items():
        value = getattr(arguments, name)
        if value is not None and value < lowest:
            raise CommandError(f"--{name} must be >= {lowest}, got {value}")


def check_folders(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse a file to write whose folder is not there. Raises ``CommandError``."""
    for name in names:
        file = getattr(arguments, name)
        if file and not file.parent.is_dir():
            raise CommandError(f"--{name} {file}: there is no folder {file.parent}")


def _config(arguments: argparse.Namespace) -> Config:
    """The configuration file, if any, under the settings, under the options."""
    config = Config.from_yaml(arguments.config) if arguments.config else Config()
    config = config.replace(read_changes(arguments.settings, config.as_mapping()))
    options = {
        "model.profile": arguments.profile,
        "model.weights": str(arguments.weights) if arguments.weights else None,
        "refinement.steps": arguments.refine,
    }
    return config.replace({k: v for k, v in options.items() if v is not None})


def _opened_in_turn(name: str, arguments: argparse.Namespace) -> LabelledSet:
    """The first process renders what is missing, the others find it there."""
    from dhpe_lab.training import distributed

    options = (name, arguments.real, arguments.limit, arguments.seed)
    labelled = open_set(*options) if distributed.rank() == 0 else None
    distributed.wait()
    return labelled or open_set(*options)


def open_set(name: str, real: Path, limit: int | None, seed: int | None) -> LabelledSet:
    """Open a ``--set``. Errors as in ``open_labelled``; ``CommandError`` without ``real``."""
    from dhpe_lab.evaluation.labelled import open_demo, open_labelled
    from dhpe_lab.evaluation.synthetic_set import SEED, open_synthetic

    if name == "synthetic":
        return open_synthetic(limit, SEED if seed is None else seed)
    if name == "demo":
        return open_demo().part(limit, 0)
    if name not in CROPS:
        return open_labelled(Path(name)).part(limit, seed or 0)
    return open_labelled(_real_set(name, real), name).part(limit, seed or 0)


def _real_set(name: str, real: Path) -> Path:
    if not real.is_dir():
        raise CommandError(
            f"{name}: there is no folder {real}; name the one that holds {name}/ "
            "with --real FOLDER (docs/reference/data.md describes it)"
        )
    return real / name


def _curves(arguments: argparse.Namespace, measured: list[Measured], pipeline) -> list[dict]:
    """Rows of ``study``: errors against refinement steps, of some hands of each set."""
    from dhpe_lab.evaluation.refinement_study import study

    if not arguments.curve:
        return []
    sets = {one.labelled.name: one.labelled for one in measured if not one.question.search}
    parts = [one.part(arguments.curve, arguments.seed or 0) for one in sets.values()]
    return [
        row for one in parts for row in study(pipeline(), one, STUDY_STEPS, arguments.seed or 0)
    ]


def _flat(one: Measured) -> dict[str, object]:
    """The figures of one set, with what they are of."""
    question = one.question
    settings = question.settings()
    return {
        "set": one.labelled.name,
        "hands": "searched for" if question.search else "boxes and sides of the labels",
        "method": question.method,
        **one.figures,
        "details": one.details,
        "weights": settings["model.weights"],
        "profile": question.config.model.profile,
        "refinement_steps": question.config.refinement.steps,
        "device": question.config.model.device,
        "settings": settings,
    }


def _table(one: Measured) -> str:
    """Names over numbers; a dash where there is none."""
    result = _flat(one)
    cells = ["-" if result[k] is None else form.format(result[k]) for k, form in _TABLE]
    about = f"{result['set']} ({result['hands']}), {result['method']}, {result['weights']}, "
    about += f"{result['refinement_steps']} refinement steps"
    return f"{about}\n{_aligned([[key for key, _ in _TABLE], cells])}"


def write_json(path: Path, result: dict) -> None:
    """Write ``result`` as a JSON file. Raises ``CommandError``."""
    try:
        path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", "utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
