"""``dhpe data``: whether a copy of a data set is whole, file by file, and samples of pictures."""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_lab.commands.settings_options import refused
from dhpe_ros.system.errors import CommandError, one_line

if TYPE_CHECKING:
    from dhpe_lab.evaluation.data_check import Checked

NAME = "data"
SUMMARY = "Check a copy of a data set (counts, files, labels drawn), or copy some of its pictures."

_EPILOG = """\
DIR is recognised by what it holds: RHD_published_v2, STB (images/ and labels/), Dexter+Object
(data/), labelled pictures (docs/reference/data.md), or pictures for backgrounds (NYU's, or any).
All labels are read; of the pictures, --look of each part are opened. --picture draws labels over
some of them: joints in 3D projected through the set's camera where there are any.

sample copies --count whole pictures of the training split of labelled pictures, chosen at random,
to --output, as `dhpe export --pictures` takes them.
Exit code: 0 all well; 1 something is missing or wrong, named by file; 2 nothing known is there."""

_NAMED = 20  # problems that are printed
_SEED = 0  # of a sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("action", choices=("check", "sample"), help="what to do")
    add("folder", metavar="DIR", type=Path, help="where the data set is")
    add("--look", metavar="N", type=int, default=200, help="pictures of each part; 0: all (200)")
    add("--picture", metavar="FILE.jpg", type=Path, help="where to draw labels over pictures")
    add("--count", metavar="N", type=int, default=100, help="pictures of a sample (100)")
    add("--output", metavar="DIR", type=Path, help="where to copy a sample")


@refused()
def run(arguments: argparse.Namespace) -> int:
    return _check(arguments) if arguments.action == "check" else _sample(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from dhpe_lab.evaluation.data_check import check

    if arguments.look < 0:
        raise CommandError(f"--look must be >= 0, got {arguments.look}")
    if arguments.picture and not arguments.picture.parent.is_dir():
        raise CommandError(f"--picture: there is no folder {arguments.picture.parent}")
    checked = check(arguments.folder, arguments.look or None)
    if arguments.picture and checked.sheet:
        arguments.picture.write_bytes(checked.sheet)
    print(_text(checked))
    return 1 if checked.problems else 0


def _sample(arguments: argparse.Namespace) -> int:
    from dhpe_lab.datasets.label_files import read_frames

    if arguments.output is None:
        raise CommandError("sample needs --output DIR")
    pictures = sorted({frame.picture for frame in read_frames(arguments.folder, train=True)})
    if not 1 <= arguments.count <= len(pictures):
        raise CommandError(f"--count must be 1 to {len(pictures)}, got {arguments.count}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = arguments.folder.resolve().name
    for number, picture in enumerate(random.Random(_SEED).sample(pictures, arguments.count)):
        shutil.copy(picture, arguments.output / f"{name}_{number:04d}{picture.suffix}")
    print(f"{arguments.count} of {len(pictures)} pictures -> {arguments.output}")
    return 0


def _text(checked: Checked) -> str:
    from dhpe_lab.evaluation.data_check import PUBLISHED

    lines = [checked.kind]
    for part, count in checked.counts.items():
        published = PUBLISHED.get(checked.kind, {}).get(part)
        beside = f" of {published:,} published" if published else ""
        lines.append(f"  {part}: {count:,}{beside}")
    if checked.note:
        lines.append(f"  {checked.note}")
    lines.append(f"  {checked.looked_at:,} pictures opened, {len(checked.problems)} problems")
    lines += [f"  - {one_line(problem)}" for problem in checked.problems[:_NAMED]]
    if len(checked.problems) > _NAMED:
        lines.append(f"  - and {len(checked.problems) - _NAMED} more")
    return "\n".join(lines)
