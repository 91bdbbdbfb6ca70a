"""``dhpe convert-mano``: convert a MANO pickle to an .npz, which needs no unpickling."""

from __future__ import annotations

import argparse
from pathlib import Path

from dhpe_ros.system.errors import CommandError, one_line

NAME = "convert-mano"
SUMMARY = "Convert a MANO_RIGHT.pkl to the .npz that --hand-model loads, without running its code."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="FILE.pkl", type=Path, help="MANO_RIGHT.pkl (or an .npz)")
    parser.add_argument(
        "--output",
        metavar="FILE.npz",
        type=Path,
        help="where to write (default: beside the input, with the suffix .npz)",
    )


def run(arguments: argparse.Namespace) -> int:
    from dhpe_ros.hand.model import HandModel

    source: Path = arguments.input
    output: Path = arguments.output or source.with_suffix(".npz")
    if output.suffix != ".npz":
        raise CommandError(f"--output must end in .npz, got {output}")
    if output.exists() and source.exists() and output.samefile(source):
        raise CommandError(f"{output}: is the input itself; name another --output")
    try:
        model = HandModel(source)
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        model.save(output)
    except OSError as error:
        raise CommandError(f"cannot write {output}: {one_line(error)}") from error
    print(f"{source} -> {output}")
    return 0
