"""Errors of programs, and their text for a screen or a log."""


def one_line(error: BaseException | str) -> str:
    """The text of an error on a single line."""
    return " ".join(str(error).split()) or type(error).__name__


class CommandError(Exception):
    """A request that cannot be met at all: one line on the screen, exit code 2."""
