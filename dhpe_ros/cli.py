"""The command line ``dhpe``: finds the command, runs it, and turns its errors into exit codes.

0: done; 1: done, but some inputs failed; 2: the request itself cannot be met; 130: interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dhpe_ros import __version__
from dhpe_ros.commands import (
    CommandError,
    ablate,
    convert_mano,
    convert_weights,
    data,
    evaluate,
    export,
    finetune,
    predict,
    study,
    train,
)
from dhpe_ros.errors import one_line

COMMANDS = (
    predict, train, finetune, evaluate, ablate, study, data, export, convert_mano, convert_weights
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``dhpe`` with all its commands."""
    parser = _Parser(prog="dhpe", description="Dense 3D hand pose from colour images.")
    parser.add_argument("--version", action="version", version=f"dhpe {__version__}")
    parser.add_argument(
        "--log-level",
        default="warning",
        choices=("debug", "info", "warning", "error"),
        help="how much the library tells (default: %(default)s)",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command_parser = commands.add_parser(
            command.NAME, help=command.SUMMARY, description=command.SUMMARY
        )
        command.add_arguments(command_parser)
        command_parser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # not where a caller listens
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        arguments = build_parser().parse_args(_words() if argv is None else argv)
        logging.basicConfig(format="dhpe: %(levelname)s: %(message)s")
        logging.getLogger("dhpe_ros").setLevel(arguments.log_level.upper())
        return arguments.run(arguments)
    except CommandError as error:
        print(f"dhpe: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dhpe: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left (`dhpe ... | head`); nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as finished:  # argparse, after --help and --version
        return int(finished.code or 0)


def _words() -> list[str]:
    """What this process was given; started by the name of a command, as ``ros2 run``, it is one."""
    program, words = Path(sys.argv[0]).name, sys.argv[1:]
    if program not in [command.NAME for command in COMMANDS]:
        return words
    if "--ros-args" in words:  # launch adds what is meant for nodes
        words = words[: words.index("--ros-args")]
    return [program, *words]


if __name__ == "__main__":
    sys.exit(main())
