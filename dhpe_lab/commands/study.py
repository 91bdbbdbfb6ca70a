"""``dhpe study``: errors against refinement steps, beside other fits."""

from __future__ import annotations

import argparse
from pathlib import Path

from dhpe_lab.commands.evaluate import add_shared, check_folders, check_least, open_set, write_json
from dhpe_lab.commands.settings_options import refused
from dhpe_lab.evaluation.methods import STUDY_STEPS
from dhpe_ros.cli.loading import load_pipeline
from dhpe_ros.config import Config
from dhpe_ros.system.errors import CommandError

NAME = "study"
SUMMARY = "Measure what refinement is worth: errors against steps, and other ways to fit."


_EPILOG = """\
The networks see each hand once, in the label's box and with its side. From there: the paper's
Eq. 13 with Adam and Levenberg-Marquardt as configured, with each number of steps; a particle swarm;
and a fit to the 2D joints alone. docs/explanation/refinement.md describes them.

Printed: a table in Markdown for each set, ready for that page. Sets are those of dhpe evaluate.
--picture and --json are written anew after each set. Hands come one at a time, a few seconds each
on a CPU. Exit code: 0 done, 2 the request cannot be met, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--set", metavar="SET", nargs="+", required=True,
        help="synthetic, signs, wild, FOLDER or FILE, one or more")  # fmt: skip
    add("--picture", metavar="FILE.svg", type=Path, help="where to draw the curves")
    add("--json", metavar="FILE", type=Path, help="where to write the figures")
    add_shared(parser)
    add("--steps", metavar="N", type=int, nargs="+", default=STUDY_STEPS,
        help=f"how many, beside none (default: {' '.join(map(str, STUDY_STEPS))})")  # fmt: skip
    add("--limit", metavar="N", type=int, default=100, help="hands of each set (%(default)s)")


@refused(ImportError)
def run(arguments: argparse.Namespace) -> int:
    from dhpe_lab.evaluation.measure import Question

    _check(arguments)
    settings = {
        "model.profile": arguments.profile or "lite",
        "model.weights": str(arguments.weights or ""),
        "model.device": arguments.device,
    }
    config, seed = Config().replace(settings), arguments.seed or 0
    steps, rows = sorted(set(arguments.steps)), []
    from dhpe_lab.evaluation.refinement_study import study
    from dhpe_lab.evaluation.report.refinement import markdown, picture

    sets = [
        open_set(name, arguments.real, arguments.limit, arguments.seed)
        for name in dict.fromkeys(arguments.set)
    ]
    for labelled in sets:
        if not labelled.gives_boxes:
            raise CommandError(f"{labelled.name}: study needs labelled hands")
    weights = Question("dhpe", False, config).settings()["model.weights"]
    pipeline = load_pipeline(config)
    about = f"Weights {weights}, {pipeline.device}"
    for labelled in sets:
        rows += study(pipeline, labelled, steps, seed)
        if arguments.json:
            write_json(arguments.json, {"about": about, "seed": seed, "rows": rows})
        if arguments.picture:
            arguments.picture.write_bytes(picture(rows))
    print(markdown(f"{about}.", rows), end="")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what would fail only after the work. Raises ``CommandError``."""
    if not all(1 <= steps <= 1000 for steps in arguments.steps):
        said = " ".join(map(str, arguments.steps))
        raise CommandError(f"--steps must be 1 to 1000 each, got {said}; 0 is always there")
    check_least(arguments, limit=1, seed=0)
    if arguments.picture and arguments.picture.suffix != ".svg":
        raise CommandError(f"--picture {arguments.picture}: curves are drawn as .svg")
    check_folders(arguments, "picture", "json")
