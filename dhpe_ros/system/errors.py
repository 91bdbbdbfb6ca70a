"""Errors of programs, their text for a screen or a log, and the log itself."""

import logging


def one_line(error: BaseException | str) -> str:
    """The text of an error on a single line."""
    return " ".join(str(error).split()) or type(error).__name__


class CommandError(Exception):
    """A request that cannot be met at all: one line on the screen, exit code 2."""


def start_log(level: str) -> None:
    """Show the library's log, from ``level`` on."""
    logging.basicConfig(format="dhpe: %(levelname)s: %(message)s")
    for package in ("dhpe_ros", "dhpe_lab"):
        logging.getLogger(package).setLevel(level.upper())
