"""The command line ``dhpe``: runs a command; its errors become exit codes.

0: done; 1: done, but some inputs failed; 2: the request itself cannot be met; 130: interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

from dhpe_ros import __version__
from dhpe_ros.cli import convert_mano, export, predict
from dhpe_ros.system.errors import CommandError, one_line, start_log

OWN = (predict, export, convert_mano)
GROUP = "dhpe.commands"  # of entry points, for commands of other packages


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the usage."""

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
        help="level of the library's log (default: %(default)s)",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _commands():
        command_parser = commands.add_parser(
            command.NAME, help=command.SUMMARY, description=command.SUMMARY
        )
        command.add_arguments(command_parser)
        command_parser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # else a caller captures the output
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        arguments = build_parser().parse_args(_words() if argv is None else argv)
        start_log(arguments.log_level)
        return arguments.run(arguments)
    except CommandError as error:
        print(f"dhpe: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dhpe: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe (`dhpe ... | head`): flushing at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as finished:  # argparse, after --help and --version
        return int(finished.code or 0)


@cache
def _commands() -> tuple[Any, ...]:
    """Our own command modules and those of installed packages, by name."""
    found = {point.name: point.load() for point in entry_points(group=GROUP)}
    return (*OWN, *(found[name] for name in sorted(found)))


def _words() -> list[str]:
    """The arguments; a program with the name of a command, as for ``ros2 run``, adds that name."""
    program, words = Path(sys.argv[0]).name, sys.argv[1:]
    if program not in [command.NAME for command in _commands()]:
        return words
    if "--ros-args" in words:  # launch adds them, for nodes
        words = words[: words.index("--ros-args")]
    return [program, *words]
